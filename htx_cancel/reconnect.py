"""Pace the attempts to connect while the exchange cannot be reached.

An attempt that finds no connection returns its tokens, so no budget holds back the next one:
without this, hundreds of batches would try a host that is down in a tight loop.

Rules:

* While the exchange is reachable nobody waits here.
* Else one attempt is let through at a time, ``ATTEMPTS_PER_SECOND``, evenly spread by an
  ``AsyncLimiter``; who goes first is decided here, by priority and then by arrival.
* The first sign of life lets all go that wait or sleep here, by priority.
"""

import asyncio
import heapq
from functools import partial
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING

from aiolimiter import AsyncLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPTS_PER_SECOND = 50.0


class Reconnect:
    """Whether the exchange can be reached, and the queue of those who try while it cannot."""

    def __init__(self) -> None:
        self.unreachable = False
        self.sleepers: dict[Callable[[], None], int] = {}  #: to be woken then, and their priority
        self._limiter = AsyncLimiter(1, 1 / ATTEMPTS_PER_SECOND)
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()
        self._busy = False  # somebody waits for the AsyncLimiter

    def fail(self) -> None:
        """Note that a request could not be sent."""
        self.unreachable = True

    def succeed(self) -> None:
        """Note that a request was sent."""
        if not self.unreachable:
            return
        self.unreachable = False
        waiting, self._waiting = self._waiting, []
        going: list[tuple[int, Callable[[], None]]] = [
            (priority, partial(_wake, future)) for priority, _, future in sorted(waiting)
        ]
        going += [(priority, wake) for wake, priority in self.sleepers.items()]
        for _, wake in sorted(going, key=itemgetter(0)):
            wake()

    async def wait(self, priority: int) -> None:
        """Wait until an attempt may be made."""
        rank = (priority, next(self._arrivals))
        while self.unreachable:
            if self._busy:
                await self._turn(rank)
                continue
            self._busy = True
            try:
                await self._limiter.acquire()
                return
            finally:
                self._busy = False
                self._wake_first()

    async def _turn(self, rank: tuple[int, int]) -> None:
        """Wait until those before are gone, or the exchange is reachable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (*rank, future))
        try:
            await future
        except BaseException:
            if future.done() and not future.cancelled():
                self._wake_first()  # it had its turn, and does not take it
            future.cancel()
            raise

    def _wake_first(self) -> None:
        while self._waiting:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                _wake(future)
                return


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
