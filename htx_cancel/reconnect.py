"""Pace the attempts to connect while the exchange cannot be reached.

An attempt that finds no connection returns its tokens, so no budget holds back the next one:
without this, hundreds of batches would try a host that is down in a tight loop.

Rules:

* While the exchange is reachable nobody waits here.
* Else the attempts are ``ATTEMPTS_PER_SECOND``, evenly spread by an ``AsyncLimiter``. Who makes the
  next one is decided here when it is due: by priority, then by arrival.
* The first sign of life lets all go that wait or sleep here, by priority.
"""

import asyncio
import heapq
from functools import partial
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING

from aiolimiter import AsyncLimiter

from htx_cancel import hooks

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
        self._pacer: asyncio.Task[None] | None = None

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
        if not self.unreachable:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting, (priority, next(self._arrivals), future))
        if self._pacer is None or self._pacer.done():
            self._pacer = loop.create_task(self._pace())
            self._pacer.add_done_callback(self._paced)
        await future

    async def _pace(self) -> None:
        """Let those who wait go, one at a time."""
        while self._waiting:
            await self._limiter.acquire()
            while self._waiting:
                future = heapq.heappop(self._waiting)[2]
                if not future.done():
                    future.set_result(None)
                    break

    def _paced(self, pacer: "asyncio.Task[None]") -> None:
        error = asyncio.CancelledError() if pacer.cancelled() else pacer.exception()
        if error is None:
            return
        if not isinstance(error, asyncio.CancelledError):
            hooks.report("the pacer of reconnections failed", error)
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:  # nobody else would wake them
            _wake(future)

    def close(self) -> None:
        """Stop pacing."""
        if self._pacer is not None:
            self._pacer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
