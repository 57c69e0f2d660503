"""The way to the sandbox over a socket: HTTP/1.1 over aiohttp, on the wall clock."""

import asyncio
import socket
import ssl
import time
from types import TracebackType
from typing import Self

from aiohttp import web

from htx_cancel.sandbox.connections import Connections
from htx_cancel.sandbox.delay import Delay
from htx_cancel.sandbox.exchange import Exchange
from htx_cancel.sandbox.faults import CALM, FaultPlan, respond
from htx_cancel.sandbox.messages import HttpRequest
from htx_cancel.sandbox.parameters import asked


class SandboxServer:
    """Serves an exchange while its context lasts; ``delay`` and ``jitter`` are seconds, each way.

    Port 0 takes any free port; ``base_url`` tells which, once the context is entered. ``faults``
    decides which requests meet trouble. A request that has come in can no longer be refused at
    the port: its connection is reset instead, and nothing is carried out.
    """

    _connections: Connections
    _runner: web.ServerRunner
    _site: web.TCPSite

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
        faults: FaultPlan | None = None,
    ) -> None:
        self._exchange = exchange
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._delay = Delay(delay, jitter, seed)
        self._faults = FaultPlan() if faults is None else faults
        self._held: socket.socket | None = None

    @property
    def base_url(self) -> str:
        """The origin to send requests to."""
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        self._connections = Connections(self._handle)
        self._runner = web.ServerRunner(self._connections)
        await self._runner.setup()
        try:
            await self.up()
        except BaseException:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connections.release()
        self._let_go()
        await self._runner.cleanup()

    async def up(self) -> None:
        """Listen, again on the same port after ``down``; do nothing if it listens."""
        if self._runner.sites:
            return
        self._site = web.TCPSite(
            self._runner,
            self._host,
            self._port,
            ssl_context=self._ssl_context,
            backlog=1024,
        )
        self._let_go()
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def down(self) -> None:
        """Refuse connections, and close those that there are, until ``up``; or do nothing."""
        if not self._runner.sites:
            return
        await self._site.stop()
        self._held = _hold(self._host, self._port)
        self._connections.abort()
        await asyncio.sleep(0)

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        arriving = HttpRequest(
            method=request.method,
            host=request.headers.get("Host", ""),
            target=request.raw_path,
            headers=request.headers,
            body=await request.read(),
        )
        fault = self._faults.next(asked(arriving), arriving.path) or CALM
        await self._delay.travel()
        reply = respond(self._exchange, arriving, time.time(), fault)
        if fault.delivery == "hang":
            await self._connections.wait(request)
        elif fault.delivery == "whole" and fault.seconds:
            await self._connections.wait(request, fault.seconds)
        await self._delay.travel()
        return await self._connections.deliver(request, reply, fault)


def _hold(host: str, port: int) -> socket.socket:
    """Bind a port without listening: it stays ours while the server is down."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((host, port))
    return held
