"""The limiter against naive servers: no request is refused, and hardly any time is lost.

In the matrix, jitter is uniform and independent each way, as the estimate of the shortest round
trip assumes. The properties give the limiter the true shortest round trip instead, and let every
trip take any longer time: there it is certain, not likely, that no request is refused.
"""

import asyncio
import os
import random
from functools import partial
from math import inf
from statistics import mean

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limiter_model import EPOCH, RULES, Driver, KnownWay, Server, Way, least, refusals
from limits_helpers import A, B, U, state
from virtualtime import run

from htx_cancel.endpoints import Limit
from htx_cancel.errors import TooLateError
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import Permit, Priority

#: Runs of each cell of the matrix; ``LIMITER_SEEDS=120`` is the long form.
SEEDS = int(os.environ.get("LIMITER_SEEDS", "24"))
fuzz = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


# the matrix


async def _burst(  # noqa: PLR0917
    rule: str, limit: Limit, count: int, delay: float, jitter: float, seed: int, *, warm: bool
) -> tuple[int, float]:
    """Send many requests; return the refusals, and the least possible time over the time taken."""
    server = Server(rule, limit.calls, limit.seconds)
    await asyncio.sleep(random.Random(seed).uniform(0, limit.seconds))
    budgets = Budgets({U: limit}, max_in_flight=1000)
    driver = Driver(budgets, Way(delay, jitter, seed), headers=seed % 2 == 0)
    if warm:
        await driver.warm_up()
    began = asyncio.get_running_loop().time()
    took = await driver.call((U,), [server], count) - began
    return server.refused, least(limit.calls, limit.seconds, count, delay, jitter) / took


@pytest.mark.slow
@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("jitter", [0.0, 0.005, 0.05])
@pytest.mark.parametrize("delay", [0.001, 0.02, 0.1])
@pytest.mark.parametrize(
    ("limit", "count"), [(Limit(5, 1.0), 100), (Limit(36, 3.0), 360), (Limit(72, 3.0), 360)]
)
@pytest.mark.parametrize("rule", RULES)
def test_a_burst_is_never_refused_and_loses_hardly_any_time(
    rule: str, limit: Limit, count: int, delay: float, jitter: float, *, warm: bool
) -> None:
    """No rule refuses a request, with headers or without; the time is near the least possible.

    A client that did not warm up may lose one round trip in its first window.
    """
    burst = partial(_burst, rule, limit, count, delay, jitter, warm=warm)
    results = [run(burst(seed)) for seed in range(SEEDS)]
    assert sum(refused for refused, _ in results) == 0
    least_share = {True: (0.99, 0.95), False: (0.97, 0.94)}[warm][jitter == 0.05]
    assert mean(share for _, share in results) >= least_share


# several budgets


def test_requests_of_one_and_of_two_budgets_share_a_pool_without_loss() -> None:
    """Requests with two budgets take what they can use of the pool, the others take the rest."""

    async def main() -> tuple[tuple[float, ...], int]:
        budgets = Budgets(max_in_flight=1000)
        a, b, pool = Server("slide", 5, 1.0), Server("first", 5, 1.0), Server("slide", 72, 3.0)
        driver = Driver(budgets, Way(0.02, 0.005))
        await driver.warm_up()
        began = asyncio.get_running_loop().time()
        ends = await asyncio.gather(
            driver.call((A, U), [a, pool], 60),
            driver.call((B, U), [b, pool], 60),
            driver.call((U,), [pool], 300),
        )
        return tuple(end - began for end in ends), len(driver.refused)

    ends, refused = run(main())
    assert refused == 0
    assert max(ends[:2]) < 12.1
    assert ends[2] < 16.2


def test_an_urgent_request_gets_the_next_token() -> None:
    """It waits less than about one window behind a thousand requests of lower priority."""

    async def main() -> float:
        budgets = Budgets()
        server = Server("slide", 5, 1.0)
        driver = Driver(budgets, Way(0.02, 0.005))
        bulk = asyncio.create_task(driver.call((A,), [server], 1000))
        await asyncio.sleep(10.3)
        began = asyncio.get_running_loop().time()
        await driver.call((A,), [server], 1, priority=Priority.URGENT)
        bulk.cancel()
        assert not driver.refused
        return asyncio.get_running_loop().time() - began

    assert run(main()) < 1.1


def test_the_predicted_wait_is_the_actual_wait() -> None:
    """Behind a queue, the predicted time of the k-th request is within 2 % of the actual time."""

    async def main() -> list[tuple[float, float]]:
        budgets = Budgets()
        server = Server("slide", 5, 1.0)
        driver = Driver(budgets, Way(0.02, 0.005))
        await driver.warm_up()
        await driver.call((A,), [server], 10)
        began = asyncio.get_running_loop().time()
        ahead = asyncio.create_task(driver.call((A,), [server], 20))
        await asyncio.sleep(0.1)
        predicted = [budgets.wait((A,), count=count) + 0.1 for count in (1, 7, 20)]
        measured = asyncio.create_task(driver.call((A,), [server], 20))
        await asyncio.gather(ahead, measured)
        return [
            (guess, driver.sent[29 + count] - began)
            for guess, count in zip(predicted, (1, 7, 20), strict=True)
        ]

    for predicted, actual in run(main()):
        assert predicted == pytest.approx(actual, rel=0.02, abs=0.03)


# others of the same UID


async def _beside_others(
    rule: str, seed: int, *, bursts: bool, headers: bool
) -> tuple[float, float]:
    """Share 72 per 3 s with a process that takes 30; return refusals and requests per window."""
    loop = asyncio.get_running_loop()
    server = Server(rule, 72, 3.0)

    async def others() -> None:
        await asyncio.sleep(random.Random(seed).uniform(0, 3))
        while True:
            for _ in range(30 if bursts else 1):
                server.intrude(loop.time())
            await asyncio.sleep(3.0 if bursts else 0.1)

    intruder = asyncio.create_task(others())
    driver = Driver(Budgets(), Way(0.02, 0.005, seed), headers=headers)
    await driver.call((U,), [server], 10_000, until=90.0)
    intruder.cancel()
    sent, refused = (sum(at > 9 for at in times) for times in (driver.sent, driver.refused))
    return refused / sent, (sent - refused) / 27


@pytest.mark.slow
@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("bursts", [True, False])
@pytest.mark.parametrize("rule", ["first", "slide"])
def test_tokens_are_left_to_another_process(rule: str, *, bursts: bool, headers: bool) -> None:
    """Once its share is known, next to no request is refused, and our share is used."""
    for seed in range(3):
        refused, calls = run(_beside_others(rule, seed, bursts=bursts, headers=headers))
        assert refused <= 0.02
        assert calls >= 0.95 * 42


def test_the_reserve_ends_when_the_other_process_stops() -> None:
    """Some windows after the last proof of the other process, the whole budget is used again."""

    async def main() -> None:
        budgets = Budgets()
        server = Server("slide", 72, 3.0)
        loop = asyncio.get_running_loop()

        async def others() -> None:
            for _ in range(6):
                for _ in range(30):
                    server.intrude(loop.time())
                await asyncio.sleep(3.0)

        driver = Driver(budgets, Way(0.02, 0.0), headers=True)
        intruder = asyncio.create_task(others())
        await driver.call((U,), [server], 10_000, until=17.0)
        assert state(budgets, U).reserve >= 25
        await intruder
        await driver.call((U,), [server], 10_000, until=90.0)
        assert state(budgets, U).reserve == 0
        assert sum(84 < at <= 87 for at in driver.sent) >= 71

    run(main())


# properties

seconds = st.floats(0.0, 3.0)
trips = st.floats(0.0, 0.4)
names = st.sampled_from([(A,), (B,), (U,), (A, U), (U, B)])
priorities = st.sampled_from(list(Priority))
ends = st.sampled_from(["reply", "reply", "reply", "no reply", "lost", "unsent"])
calls = st.tuples(seconds, names, priorities, ends, trips, trips, st.none() | seconds)
LIMITS = {A: Limit(2, 1.0), B: Limit(3, 0.7), U: Limit(4, 2.0)}
SHORTEST = 0.05  #: seconds, each way


class _Run:
    """One random schedule of requests that wait, may be cancelled, and end somehow."""

    def __init__(self) -> None:
        self.budgets = Budgets(LIMITS, max_in_flight=7, round_trips=KnownWay(2 * SHORTEST))
        self.arrivals: dict[str, list[float]] = {A: [], B: [], U: []}
        self.waiting: dict[int, tuple[frozenset[str], Priority, float]] = {}
        self.grants = 0

    async def call(
        self,
        ticket: int,
        plan: tuple[float, tuple[str, ...], Priority, str, float, float, float | None],
    ) -> None:
        at, names, priority, end, outward, back, patience = plan
        await asyncio.sleep(at)
        self.waiting[ticket] = (frozenset(names), priority, asyncio.get_running_loop().time())
        order = self.budgets.ticket()
        try:
            async with asyncio.timeout(patience):
                permit = await self.budgets.acquire(names, priority=priority, ticket=order)
        except TimeoutError:
            return
        finally:
            request = self.waiting.pop(ticket)
        self.grants += 1
        self.check_order(permit, request)
        await self.travel(permit, end, SHORTEST + outward, SHORTEST + back)

    def check_order(self, permit: Permit, request: tuple[frozenset[str], Priority, float]) -> None:
        """Check that no earlier request for the same budgets at this priority still waits."""
        names, priority, came = request
        for others, level, since in self.waiting.values():
            if others == names and since < permit.granted:
                assert (level, since) >= (priority, came)

    async def travel(self, permit: Permit, end: str, outward: float, back: float) -> None:
        if end == "unsent":
            await asyncio.sleep(outward / 4)
            permit.unsent()
            return
        await asyncio.sleep(outward)
        if end != "lost":
            for name in permit.names:
                self.arrivals[name].append(asyncio.get_running_loop().time())
        await asyncio.sleep(back)
        if end == "reply":
            permit.replied()
        else:
            permit.no_reply()

    async def watch(self) -> None:
        """Check that no request waits while a token of each of its budgets is free."""
        while True:
            before = self.grants, self.idle()
            await asyncio.sleep(0.0015)
            assert not (before[1] & self.idle()) or before[0] != self.grants
            await asyncio.sleep(0.01)

    def idle(self) -> set[int]:
        """Return the requests that wait although their one budget has room."""
        if not self.waiting:
            return set()
        states = self.budgets.snapshot()
        free = {each.name for each in states if each.free}
        full = sum(each.in_flight for each in states) == 7  # each request has one budget
        return {
            ticket for ticket, (names, _, _) in self.waiting.items() if names <= free and not full
        }

    def check_all_free(self) -> None:
        """Check that every token is free, a window after the last request."""
        for each in self.budgets.snapshot():
            assert (each.free, each.in_flight, each.cooling, each.waiting) == (
                each.calls,
                0,
                0,
                0,
            )


@pytest.mark.slow
@pytest.mark.timeout(240)
@settings(fuzz, max_examples=700)
@given(st.lists(calls, max_size=24))
def test_no_schedule_is_refused_leaks_a_token_or_breaks_the_order(
    plans: list[tuple[float, tuple[str, ...], Priority, str, float, float, float | None]],
) -> None:
    """The rules hold however requests wait, are cancelled, answered, lost or unsent."""

    async def main() -> None:
        schedule = _Run()
        await asyncio.gather(*(schedule.call(ticket, plan) for ticket, plan in enumerate(plans)))
        await asyncio.sleep(2.1)
        schedule.check_all_free()
        for name, limit in LIMITS.items():
            assert refusals(schedule.arrivals[name], limit.calls, limit.seconds) == 0

    run(main())


@pytest.mark.slow
@settings(fuzz, max_examples=60)
@given(st.lists(calls, max_size=16))
def test_no_request_waits_while_tokens_are_free(
    plans: list[tuple[float, tuple[str, ...], Priority, str, float, float, float | None]],
) -> None:
    """With one budget each, a free token is taken within a timer's least step."""

    async def main() -> None:
        schedule = _Run()
        watch = asyncio.create_task(schedule.watch())
        alone = [(at, names[:1], *rest) for at, names, *rest in plans]
        await asyncio.gather(*(schedule.call(ticket, plan) for ticket, plan in enumerate(alone)))  # type: ignore[arg-type]
        assert not watch.done()
        watch.cancel()

    run(main())


numbers = st.integers(-2, 9).map(str) | st.sampled_from(["", "x", "1e3", "99999999999999999999"])
intervals = st.sampled_from(["500", "1000", "2000", "3000", "0", "-1", "abc"])
headers = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "ratelimit-limit": numbers,
        "ratelimit-interval": intervals,
        "ratelimit-remaining": numbers,
        "ratelimit-reset": st.integers(0, 9000).map(lambda ms: str(int(EPOCH * 1000) + ms)),
    },
)
replies = st.tuples(seconds, names, priorities, trips, headers, st.booleans(), st.none() | seconds)


@pytest.mark.slow
@settings(fuzz, max_examples=500)
@given(st.lists(replies, max_size=24))
def test_no_header_and_no_refusal_loses_a_token(
    plans: list[
        tuple[float, tuple[str, ...], Priority, float, dict[str, str] | None, bool, float | None]
    ],
) -> None:
    """After changed limits, foreign use, invalid headers and refusals all tokens become free."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        budgets = Budgets(LIMITS, max_in_flight=5)

        async def call(
            plan: tuple[
                float, tuple[str, ...], Priority, float, dict[str, str] | None, bool, float | None
            ],
        ) -> None:
            at, names, priority, trip, headers, refused, patience = plan
            await asyncio.sleep(at)
            late = inf if patience is None else loop.time() + patience
            try:
                permit = await budgets.acquire(names, priority=priority, deadline=late)
            except TooLateError:
                return
            assert loop.time() <= late + 1e-6
            await asyncio.sleep(trip)
            permit.replied(headers, EPOCH + loop.time())
            if refused:
                permit.refused()

        await asyncio.gather(*map(call, plans))
        await asyncio.sleep(300)
        for each in budgets.snapshot():
            assert (each.free, each.in_flight, each.waiting) == (each.calls, 0, 0)

    run(main())
