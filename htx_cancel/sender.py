"""One try: choose a door, sign now, send, and tell the budget what came of it.

Rules:

* A *door* is one address of the exchange. The first door that is not away is taken; if all are
  away, the one that comes back first.
* A door that refused a connection, kept silent for the whole of a request's time, broke off or
  answered with 5xx is away for ``AWAY`` seconds.
  Only a request that began after the failure can bring it back sooner.
* The wall clock is read to stamp a signature, and nowhere else.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from htx_cancel.errors import NoAnswerError, NotSentError
from htx_cancel.permit import Limiter, Permit
from htx_cancel.signing import Signer
from htx_cancel.transport import Reply, Request, Transport

AWAY = 5.0  #: seconds
QUIET_CALLS = 10  #: that follow to each door that answered, one after another

#: A public call that changes nothing and counts against no private budget.
TIMESTAMP = "/api/v1/timestamp"


class Errand(Struct, frozen=True, gc=False):
    """What is to be asked of the exchange, through whichever door."""

    method: str
    path: str
    body: bytes = b""
    params: Mapping[str, str] | None = None


class Door:
    """One address of the exchange, and since when it has been failing."""

    __slots__ = ("away_until", "failed_at", "origin", "signer")

    def __init__(self, origin: str, signer: Signer) -> None:
        self.origin = origin
        self.signer = signer
        self.failed_at = float("-inf")
        self.away_until = float("-inf")


class Sender:
    """Signs and sends over one transport, through one or several doors."""

    def __init__(
        self,
        transport: Transport,
        doors: Sequence[Door],
        *,
        request_timeout: float,
        wall_clock: Callable[[], float],
    ) -> None:
        self.doors = doors
        self._transport = transport
        self._request_timeout = request_timeout
        self._wall_clock = wall_clock
        self._ahead = 0.0

    def resync(self, server_epoch: float) -> None:
        """Sign with the exchange's clock from now on."""
        self._ahead = server_epoch - self._wall_clock()

    async def send(self, errand: Errand, permit: Permit, deadline: float | None) -> Reply:
        """Spend the permit on one try; raise ``NotSentError`` or ``NoAnswerError``."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        timeout = self._request_timeout
        if deadline is not None:
            timeout = min(timeout, deadline - began)
        if timeout <= 0:
            permit.unsent()
            raise NotSentError("the time was over before it could leave")
        door = self._door(began)
        permit.host = door.origin
        stamp = self._wall_clock() + self._ahead
        target = door.signer.target(errand.method, errand.path, stamp, errand.params)
        try:
            reply = await self._transport.send(
                Request(errand.method, door.origin, target, errand.body), timeout=timeout
            )
        except NotSentError:
            permit.unsent()
            self._failed(door, loop.time())
            raise
        except BaseException as error:
            permit.no_reply()
            if isinstance(error, NoAnswerError) and timeout == self._request_timeout:
                self._failed(door, loop.time())
            raise
        permit.left_at = reply.left_at
        permit.replied(reply.headers, stamp + loop.time() - began)
        if reply.status >= 500:
            self._failed(door, loop.time())
        elif began > door.failed_at:
            door.away_until = began
        return reply

    def _door(self, now: float) -> Door:
        for door in self.doors:
            if door.away_until <= now:
                return door
        return min(self.doors, key=lambda door: door.away_until)

    def _failed(self, door: Door, now: float) -> None:
        door.failed_at = now
        door.away_until = now + AWAY

    async def warm_up(self, connections: int, limiter: Limiter) -> int:
        """Open connections to every door with public calls; return how many answered.

        A few calls one after another follow, which show the way at its quietest.
        """
        origins = [door.origin for door in self.doors for _ in range(connections)]
        answered = await asyncio.gather(*(self._greet(origin, limiter) for origin in origins))
        there = [origin for origin, answer in zip(origins, answered, strict=True) if answer]
        for origin in dict.fromkeys(there):
            for _ in range(QUIET_CALLS):
                if not await self._greet(origin, limiter, alone=True):
                    break
        return sum(answered)

    async def _greet(self, origin: str, limiter: Limiter, *, alone: bool = False) -> bool:
        request = Request("GET", origin, TIMESTAMP)
        try:
            reply = await self._transport.send(request, timeout=self._request_timeout)
        except Exception:  # noqa: BLE001 - a foreign transport may raise anything
            return False
        if reply.status >= 500:
            return False
        if reply.left_at is not None:
            trip = asyncio.get_running_loop().time() - reply.left_at
            limiter.learn_trip(origin, trip, alone=alone)
        return True

    async def close(self) -> None:
        """Close the transport."""
        await self._transport.close()
