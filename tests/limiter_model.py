"""Naive servers with a rate limit, and a driver that sends requests to them through ``Budgets``.

The servers implement three rules in a slow and obvious way, independent of the limiter:

* ``first``: a fixed window that starts with its first request;
* ``epoch``: a fixed window aligned to the clock;
* ``slide``: a log of the requests of the last window.

A server counts the requests that it accepts; a refused request is not counted.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence

from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import Permit, Priority
from htx_cancel.limits.round_trip import RoundTrips

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
        """Return when the current window began."""
        if self.rule == "epoch":
            return now - (now - self.phase + EDGE) % self.seconds
        if self.rule == "slide":
            return now - self.seconds + EDGE
        if not self.taken or now - self.phase >= self.seconds - EDGE:
            self.phase = now
        return self.phase

    def arrive(self, now: float) -> tuple[bool, dict[str, str]]:
        """Accept or refuse a request that arrives now; the headers state how much remains."""
        since = self._since(now)
        self.taken = [at for at in self.taken if at >= since]
        good = len(self.taken) < self.calls
        if good:
            self.taken.append(now)
        else:
            self.refused += 1
        return good, self._headers(since)

    def intrude(self, now: float) -> None:
        """Count a request of another process of the UID, even in a full window."""
        since = self._since(now)
        self.taken = [*(at for at in self.taken if at >= since), now]

    def _headers(self, since: float) -> dict[str, str]:
        start = self.taken[0] if self.rule == "slide" else since
        return {
            "ratelimit-limit": str(self.calls),
            "ratelimit-interval": str(int(self.seconds * 1000)),
            "ratelimit-remaining": str(max(0, self.calls - len(self.taken))),
            "ratelimit-reset": str(int((EPOCH + start + self.seconds) * 1000)),
        }


class Way:
    """The network: a fixed delay and a uniform jitter, each way."""

    def __init__(self, delay: float, jitter: float, seed: int = 0) -> None:
        self.delay = delay
        self.jitter = jitter
        self.random = random.Random(seed)

    def one(self) -> float:
        """Return a random time of one way."""
        return self.delay + self.random.uniform(0, self.jitter)


class Driver:
    """Sends requests and records when."""

    def __init__(self, budgets: Budgets, way: Way, *, headers: bool = False) -> None:
        self.budgets = budgets
        self.way = way
        self.headers = headers
        self.sent: list[float] = []
        self.refused: list[float] = []  # when they were sent

    async def warm_up(self) -> None:
        """Learn the round trip as ``CancelClient.warm_up`` does: ten probes, one after another."""
        for _ in range(10):
            trip = self.way.one() + self.way.one()
            await asyncio.sleep(trip)
            self.budgets.learn_round_trip("", trip, sequential=True)

    async def send(self, permit: Permit, servers: Sequence[Server]) -> None:
        """Carry one request to the servers and its reply back."""
        loop = asyncio.get_running_loop()
        sent = loop.time()
        self.sent.append(sent)
        await asyncio.sleep(self.way.one())
        answers = [server.arrive(loop.time()) for server in servers]
        await asyncio.sleep(self.way.one())
        permit.replied(answers[0][1] if self.headers else None, EPOCH + loop.time())
        if not all(good for good, _ in answers):
            self.refused.append(sent)
            permit.refused()

    async def call(
        self,
        names: tuple[str, ...],
        servers: Sequence[Server],
        count: int,
        *,
        priority: Priority = Priority.ROUTINE,
        until: float = float("inf"),
    ) -> float:
        """Send many requests with one ticket; return the time of the last reply."""
        loop = asyncio.get_running_loop()
        ticket = self.budgets.ticket()
        sends: list[asyncio.Task[None]] = []
        while len(sends) < count and loop.time() < until:
            permits = await self.budgets.acquire_some(
                names, count - len(sends), priority=priority, ticket=ticket
            )
            sends += [asyncio.create_task(self.send(permit, servers)) for permit in permits]
        await asyncio.gather(*sends)
        return loop.time()


def least(calls: int, seconds: float, count: int, delay: float, jitter: float) -> float:
    """Return the mean of the least possible time without a risk of refusals."""
    return (count - 1) // calls * (seconds + jitter / 2) + 2 * delay + jitter


def refusals(arrivals: Iterable[float], calls: int, seconds: float) -> int:
    """Count the requests that any rule would refuse if they arrived at these times."""
    rules = [
        ("first", 0.0),
        ("slide", 0.0),
        *(("epoch", phase * seconds / 7) for phase in range(7)),
    ]
    servers = [Server(rule, calls, seconds, phase) for rule, phase in rules]
    for at in sorted(arrivals):
        for server in servers:
            server.arrive(at)
    return sum(server.refused for server in servers)


class KnownWay(RoundTrips):
    """A known shortest round trip, for tests that do not test the estimate."""

    def __init__(self, shortest: float) -> None:
        super().__init__()
        self.floor = shortest

    def learn(self, host: str, trip: float, now: float, *, sequential: bool = False) -> None:
        """Check only that the trip is possible."""
        assert trip >= self.floor - EDGE, (host, trip, now, sequential)
        self.mean = trip
