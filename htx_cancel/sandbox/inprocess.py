"""A door to the sandbox without a socket: the client's transport, also on virtual time."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

from htx_cancel.sandbox.exchange import Exchange, HttpRequest
from htx_cancel.sandbox.line import Line
from htx_cancel.transport import Reply, Request

_HEADERS = {"Content-Type": "application/json"}


class InProcessTransport:
    """Carries requests to an exchange; ``delay`` and ``jitter`` are seconds, each way.

    The exchange's clock is the running loop's, ``epoch`` seconds ahead. ``no_answer`` makes the
    exception for a reply that is later than the timeout; a client's tests give the client's own.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        delay: float = 0.0,
        jitter: float = 0.0,
        seed: int = 0,
        epoch: float = 1767323045.0,
        no_answer: Callable[[str], Exception] = TimeoutError,
    ) -> None:
        self._exchange = exchange
        self._line = Line(delay, jitter, seed)
        self._epoch = epoch
        self._no_answer = no_answer

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Carry one request there and its reply back, unless that takes longer than the timeout."""
        try:
            async with asyncio.timeout(timeout):
                return await self._carry(request)
        except TimeoutError:
            raise self._no_answer(f"no reply within {timeout:.3g} s") from None

    async def _carry(self, request: Request) -> Reply:
        host = urlsplit(request.origin).netloc
        arriving = HttpRequest(request.method, host, request.target, _HEADERS, request.body)
        await self._line.travel()
        now = self._epoch + asyncio.get_running_loop().time()
        response = self._exchange.handle(arriving, now)
        await self._line.travel()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status, headers, response.body)

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""
