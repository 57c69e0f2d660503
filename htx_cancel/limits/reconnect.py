"""Pace the attempts to connect while the exchange cannot be reached.

An attempt that finds no connection returns its tokens, so no budget holds back the next one:
without this, hundreds of batches would try a host that is down in a tight loop.

Rules:

* While the exchange is reachable nobody waits here.
* Else the attempts are ``ATTEMPTS_PER_SECOND``, evenly spread by an ``AsyncLimiter``, and no more
  than ``AT_ONCE`` are under way. Who makes the next one is decided when it is due: by priority,
  then by arrival.
* The first sign of life lets all go that wait or sleep here, by priority, some a turn of the loop.
"""

import asyncio
import heapq
from itertools import count
from math import inf

from aiolimiter import AsyncLimiter

from htx_cancel import hooks

ATTEMPTS_PER_SECOND = 50.0
AT_ONCE = 4  #: attempts under way: one that hangs holds a token all the while
PER_TURN = 20  #: of those that wait, let go in one turn of the event loop

_Entry = tuple[int, int, "asyncio.Future[None]"]  # priority, arrival, what is awaited


class Reconnect:
    """Whether the exchange can be reached, and the queue of those who try while it cannot."""

    def __init__(self) -> None:
        self.unreachable = False
        self.since = -inf  #: loop time of the first failure of the last time it was unreachable
        self._limiter = AsyncLimiter(1, 1 / ATTEMPTS_PER_SECOND)
        self._waiting: list[_Entry] = []  # a heap: for leave to make an attempt
        self._sleeping: set[_Entry] = set()
        self._arrivals = count()
        self._pacer: asyncio.Task[None] | None = None
        self._trying = 0  # attempts to reconnect that are under way
        self._freed: asyncio.Future[None] | None = None  # for which the pacer waits
        self._going: list[_Entry] = []  # the first one last

    def begin(self) -> bool:
        """Note that an attempt begins; say whether it is one to reconnect."""
        self._trying += self.unreachable
        return self.unreachable

    def end(self, reconnecting: bool) -> None:  # noqa: FBT001 - what ``begin`` said
        """Note that an attempt is over."""
        self._trying -= reconnecting
        if self._trying < AT_ONCE and self._freed is not None:
            _wake(self._freed)

    def fail(self) -> None:
        """Note that a request could not be sent."""
        if not self.unreachable:
            self.unreachable, self.since = True, asyncio.get_running_loop().time()

    def succeed(self) -> None:
        """Note that a request was sent."""
        if self.unreachable:
            self.unreachable = False
            going = [*self._going, *self._waiting, *self._sleeping]
            self._going = sorted(going, key=lambda entry: entry[:2], reverse=True)
            self._waiting.clear()
            self._go()

    def _go(self) -> None:
        """Let some go, and the others in the next turns of the event loop."""
        for _ in range(min(PER_TURN, len(self._going))):
            _wake(self._going.pop()[2])
        if self._going:
            asyncio.get_running_loop().call_soon(self._go)

    def _enter(self, priority: int) -> _Entry:
        return priority, next(self._arrivals), asyncio.get_running_loop().create_future()

    async def sleep(self, seconds: float, priority: int) -> None:
        """Sleep, but no longer than until the exchange can be reached again."""
        entry = self._enter(priority)
        timer = asyncio.get_running_loop().call_later(seconds, _wake, entry[2])
        self._sleeping.add(entry)
        try:
            await entry[2]
        finally:
            self._sleeping.discard(entry)
            timer.cancel()

    async def wait(self, priority: int) -> None:
        """Wait until an attempt may be made."""
        if not self.unreachable:
            return
        entry = self._enter(priority)
        heapq.heappush(self._waiting, entry)
        if self._pacer is None or self._pacer.done():
            self._pacer = asyncio.get_running_loop().create_task(self._pace())
            self._pacer.add_done_callback(self._paced)
        await entry[2]

    async def _pace(self) -> None:
        """Let those who wait go, one at a time."""
        while self._waiting:
            await self._limiter.acquire()
            while self._trying >= AT_ONCE:
                self._freed = asyncio.get_running_loop().create_future()
                await self._freed
            while self._waiting:
                future = heapq.heappop(self._waiting)[2]
                if not future.done():
                    future.set_result(None)
                    break

    def _paced(self, pacer: "asyncio.Task[None]") -> None:
        if not pacer.cancelled() and pacer.exception() is None:
            return
        if (error := hooks.failure(pacer)) is not None:
            hooks.report("the pacer of reconnections failed", error)
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:  # nobody else would wake them
            _wake(future)

    def close(self) -> None:
        """Stop pacing."""
        if self._pacer is not None:
            self._pacer.cancel()


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
