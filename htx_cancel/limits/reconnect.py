"""Pace the attempts to connect while the exchange cannot be reached.

An attempt that fails to connect gives its tokens back, so no budget delays the next one: without
this module, hundreds of batches would try a host that is down in a tight loop.

Rules:

* While the exchange can be reached, no attempt waits here.
* Otherwise ``ATTEMPTS_PER_SECOND`` are made, evenly spread by an ``AsyncLimiter``, and at most
  ``AT_ONCE`` are in flight. When an attempt is due, the caller first by priority and then by
  arrival makes it.
* The first request that gets through wakes all callers that wait or sleep here, in the order of
  priority and arrival, ``PER_TURN`` in each turn of the event loop.
"""

import asyncio
import heapq
from itertools import count
from math import inf

from aiolimiter import AsyncLimiter

from htx_cancel import hooks

ATTEMPTS_PER_SECOND = 50.0
AT_ONCE = 4  #: attempts in flight; an attempt that hangs holds its tokens
PER_TURN = 20  #: callers woken in one turn of the event loop

_Entry = tuple[int, int, "asyncio.Future[None]"]  # priority, arrival, and the awaited future


class Reconnect:
    """Whether the exchange can be reached, and the queue of attempts while it cannot."""

    def __init__(self) -> None:
        self.unreachable = False
        self.since = -inf  #: loop time at which the exchange was last found unreachable
        self._limiter = AsyncLimiter(1, 1 / ATTEMPTS_PER_SECOND)
        self._waiting: list[_Entry] = []  # a heap of callers that want to make an attempt
        self._sleeping: set[_Entry] = set()
        self._arrivals = count()
        self._pacer: asyncio.Task[None] | None = None
        self._in_flight = 0  # attempts to reconnect
        self._attempt_ended: asyncio.Future[None] | None = None  # awaited by the pacer
        self._waking: list[_Entry] = []  # in reverse order

    def begin(self) -> bool:
        """Note that an attempt begins; return whether it is an attempt to reconnect."""
        self._in_flight += self.unreachable
        return self.unreachable

    def end(self, reconnecting: bool) -> None:  # noqa: FBT001 - the result of ``begin``
        """Note that an attempt ended; ``reconnecting`` is the result of its ``begin``."""
        self._in_flight -= reconnecting
        if self._attempt_ended is not None:
            _wake(self._attempt_ended)

    def fail(self) -> None:
        """Note that a request could not be sent."""
        if not self.unreachable:
            self.unreachable, self.since = True, asyncio.get_running_loop().time()

    def succeed(self) -> None:
        """Note that a request was sent."""
        if self.unreachable:
            self.unreachable = False
            entries = [*self._waking, *self._waiting, *self._sleeping]
            self._waking = sorted(entries, key=lambda entry: entry[:2], reverse=True)
            self._waiting.clear()
            self._wake_some()

    def _wake_some(self) -> None:
        for _ in range(min(PER_TURN, len(self._waking))):
            _wake(self._waking.pop()[2])
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _enter(self, priority: int) -> _Entry:
        return priority, next(self._arrivals), asyncio.get_running_loop().create_future()

    async def sleep(self, seconds: float, priority: int) -> None:
        """Sleep, but wake early when the exchange can be reached again."""
        entry = self._enter(priority)
        timer = asyncio.get_running_loop().call_later(seconds, _wake, entry[2])
        self._sleeping.add(entry)
        try:
            await entry[2]
        finally:
            self._sleeping.discard(entry)
            timer.cancel()

    async def wait(self, priority: int) -> None:
        """Wait until this caller may make an attempt."""
        if not self.unreachable:
            return
        entry = self._enter(priority)
        heapq.heappush(self._waiting, entry)
        if self._pacer is None or self._pacer.done():
            self._pacer = asyncio.get_running_loop().create_task(self._pace())
            self._pacer.add_done_callback(self._pacer_ended)
        await entry[2]

    async def _pace(self) -> None:
        """Wake the waiting callers, one at a time."""
        while self._waiting:
            await self._limiter.acquire()
            while self._in_flight >= AT_ONCE:
                self._attempt_ended = asyncio.get_running_loop().create_future()
                await self._attempt_ended
            while self._waiting:
                future = heapq.heappop(self._waiting)[2]
                if not future.done():
                    future.set_result(None)
                    break

    def _pacer_ended(self, pacer: "asyncio.Task[None]") -> None:
        if not pacer.cancelled() and pacer.exception() is None:
            return
        if (error := hooks.failure(pacer)) is not None:
            hooks.report("the task that paces attempts to reconnect failed", error)
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:  # no other code would wake these callers
            _wake(future)

    def close(self) -> None:
        """Stop pacing."""
        if self._pacer is not None:
            self._pacer.cancel()


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
