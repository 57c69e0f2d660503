"""Naive servers with a rate limit, and a driver that sends calls to them through ``Budgets``.

The servers are the slow and obvious reading of three rules, apart from the limiter's own:

* ``first``: a fixed window that starts with its first call;
* ``epoch``: a fixed window aligned to the clock;
* ``slide``: a log of the calls of the last window.

A server counts the calls that it takes; a refused call is not counted.
"""

import asyncio
import random
from collections.abc import Iterable

from htx_cancel.limiter import Budgets, Permit, Priority

RULES = ("first", "epoch", "slide")
EPOCH = 1_700_000_000.0  #: the wall clock at loop time zero
EDGE = 1e-9  #: rounding of sums of floats


class Server:
    """One budget at the exchange."""

    def __init__(self, rule: str, calls: int, seconds: float, phase: float = 0.0) -> None:
        self.rule = rule
        self.calls = calls
        self.seconds = seconds
        self.phase = phase
        self.taken: list[float] = []
        self.refused = 0

    def _since(self, now: float) -> float:
        """Say when the window began whose calls count now."""
        if self.rule == "epoch":
            return now - (now - self.phase + EDGE) % self.seconds
        if self.rule == "slide" or not self.taken:
            return now - self.seconds + EDGE
        if now - self.phase >= self.seconds - EDGE:
            self.phase = now
        return self.phase

    def arrive(self, now: float) -> tuple[bool, dict[str, str]]:
        """Take or refuse a call that arrives now; the headers say what is left."""
        if not self.taken:
            self.phase = now if self.rule == "first" else self.phase
        since = self._since(now)
        self.taken = [at for at in self.taken if at >= since]
        good = len(self.taken) < self.calls
        if good:
            self.taken.append(now)
        else:
            self.refused += 1
        start = self.taken[0] if self.rule == "slide" else since
        return good, {
            "Ratelimit-Limit": str(self.calls),
            "ratelimit-interval": str(int(self.seconds * 1000)),
            "RATELIMIT-REMAINING": str(self.calls - len(self.taken)),
            "ratelimit-reset": str(int((EPOCH + start + self.seconds) * 1000)),
        }


class Way:
    """The network: a fixed delay and an even jitter, each way."""

    def __init__(self, delay: float, jitter: float, seed: int = 0) -> None:
        self.delay = delay
        self.jitter = jitter
        self.random = random.Random(seed)

    def one(self) -> float:
        """Draw one way's time."""
        return self.delay + self.random.uniform(0, self.jitter)


class Driver:
    """Sends calls and keeps the books."""

    def __init__(self, budgets: Budgets, way: Way, *, headers: bool = False) -> None:
        self.budgets = budgets
        self.way = way
        self.headers = headers
        self.sent: list[float] = []
        self.refused = 0

    async def send(self, permit: Permit, servers: Iterable[Server]) -> bool:
        """Carry one call there and its reply back."""
        loop = asyncio.get_running_loop()
        self.sent.append(loop.time())
        await asyncio.sleep(self.way.one())
        answers = [server.arrive(loop.time()) for server in servers]
        await asyncio.sleep(self.way.one())
        good = all(answer[0] for answer in answers)
        permit.replied(answers[0][1] if self.headers else None, EPOCH + loop.time())
        if not good:
            self.refused += 1
            permit.refused()
        return good

    async def call(
        self,
        names: tuple[str, ...],
        servers: Iterable[Server],
        count: int,
        priority: Priority = Priority.ROUTINE,
    ) -> float:
        """Send many calls as one caller does, one turn for all; say when all were answered."""
        turn = self.budgets.turn()
        sends = []
        for left in range(count, 0, -1):
            permit = await self.budgets.acquire(names, priority=priority, turn=turn, backlog=left)
            sends.append(asyncio.create_task(self.send(permit, servers)))
        await asyncio.gather(*sends)
        return asyncio.get_running_loop().time()


def least(calls: int, seconds: float, count: int, delay: float, jitter: float) -> float:
    """Give the shortest time in which a limiter that must be sure can do it, on average."""
    return (count - 1) // calls * (seconds + jitter / 2) + 2 * delay + jitter
