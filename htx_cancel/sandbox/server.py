"""A door to the sandbox with a socket: HTTP/1.1 over aiohttp, on the wall clock."""

import ssl
import time
from types import TracebackType
from typing import Self

from aiohttp import web

from htx_cancel.sandbox.exchange import Exchange, HttpRequest
from htx_cancel.sandbox.line import Line


class SandboxServer:
    """Serves an exchange while its context lasts; ``delay`` and ``jitter`` are seconds, each way.

    Port 0 takes any free port; ``base_url`` tells which, once the context is entered.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        delay: float = 0.0,
        jitter: float = 0.0,
        seed: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._exchange = exchange
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._line = Line(delay, jitter, seed)
        self._runner: web.ServerRunner | None = None

    @property
    def base_url(self) -> str:
        """The origin to send requests to."""
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        runner = web.ServerRunner(web.Server(self._handle, access_log=None))
        await runner.setup()
        site = web.TCPSite(
            runner, self._host, self._port, ssl_context=self._ssl_context, backlog=1024
        )
        try:
            await site.start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        arriving = HttpRequest(
            method=request.method,
            host=request.headers.get("Host", ""),
            target=request.raw_path,
            headers=request.headers,
            body=await request.read(),
        )
        await self._line.travel()
        response = self._exchange.handle(arriving, time.time())
        await self._line.travel()
        return web.Response(status=response.status, headers=response.headers, body=response.body)
