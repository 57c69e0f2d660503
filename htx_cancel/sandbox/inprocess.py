"""A transport that connects a client to the sandbox without a socket, also on virtual time."""

import asyncio
from urllib.parse import urlsplit

from htx_cancel.errors import NoAnswerError, NotSentError
from htx_cancel.sandbox.delay import Delay
from htx_cancel.sandbox.exchange import Exchange
from htx_cancel.sandbox.faults import NO_FAULT, Fault, FaultPlan, respond
from htx_cancel.sandbox.messages import HttpRequest, HttpResponse
from htx_cancel.sandbox.parameters import ids_in
from htx_cancel.wire.transport import Reply, Request

_HEADERS = {"Content-Type": "application/json"}


class InProcessTransport:
    """Sends requests to an exchange; ``delay`` and ``jitter`` are seconds, each way.

    The exchange's clock is the running loop's plus ``epoch`` seconds. ``faults`` decides which
    requests have a fault. Every connection to an origin in ``down`` is refused.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        delay: float = 0.0,
        jitter: float = 0.0,
        seed: int = 0,
        epoch: float = 1767323045.0,
        faults: FaultPlan | None = None,
    ) -> None:
        self.down: set[str] = set()
        self._exchange = exchange
        self._delay = Delay(delay, jitter, seed)
        self._epoch = epoch
        self._faults = FaultPlan() if faults is None else faults

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send one request and return its reply, within the timeout."""
        host = urlsplit(request.origin).netloc
        http = HttpRequest(request.method, host, request.target, _HEADERS, request.body)
        if request.origin in self.down:
            raise NotSentError("connection refused")
        fault = self._faults.next(ids_in(http), http.path) or NO_FAULT
        if fault.delivery == "refused":
            raise NotSentError("connection refused")
        left_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout):
                response = await self._deliver(http, fault)
        except TimeoutError:
            raise NoAnswerError(f"no reply within {timeout:.3g} s") from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status, headers, response.body, left_at)

    async def _deliver(self, request: HttpRequest, fault: Fault) -> HttpResponse:
        await self._delay.travel()
        now = self._epoch + asyncio.get_running_loop().time()
        response = respond(self._exchange, request, now, fault)
        if fault.delivery == "hang":
            await asyncio.get_running_loop().create_future()
        if fault.seconds:
            await asyncio.sleep(fault.seconds)
        await self._delay.travel()
        if response is None or fault.delivery in ("reset", "cut"):
            raise NoAnswerError("the connection was lost")
        return response

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""
