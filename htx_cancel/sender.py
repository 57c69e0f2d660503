"""One try: sign now, send, and tell the budget what came of it."""

import asyncio
from collections.abc import Callable

from htx_cancel.errors import NotSentError
from htx_cancel.limiter import Permit
from htx_cancel.signing import Signer
from htx_cancel.transport import Reply, Request, Transport


class Sender:
    """Signs for one host and sends over one transport."""

    def __init__(
        self,
        transport: Transport,
        origin: str,
        signer: Signer,
        *,
        request_timeout: float,
        wall_clock: Callable[[], float],
    ) -> None:
        self._transport = transport
        self.origin = origin
        self._signer = signer
        self._request_timeout = request_timeout
        self._wall_clock = wall_clock

    async def post(self, path: str, body: bytes, permit: Permit, deadline: float | None) -> Reply:
        """Spend the permit on one try; raise ``NotSentError`` or ``NoAnswerError``."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        timeout = self._request_timeout
        if deadline is not None:
            timeout = min(timeout, deadline - began)
        if timeout <= 0:
            permit.unsent()
            raise NotSentError("the time was over before it could leave")
        stamp = self._wall_clock()
        target = self._signer.target("POST", path, stamp)
        try:
            reply = await self._transport.send(
                Request("POST", self.origin, target, body), timeout=timeout
            )
        except NotSentError:
            permit.unsent()
            raise
        except BaseException:
            permit.no_reply()
            raise
        permit.replied(reply.headers, stamp + loop.time() - began)
        return reply

    async def close(self) -> None:
        """Close the transport."""
        await self._transport.close()
