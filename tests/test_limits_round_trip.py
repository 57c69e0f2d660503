"""The floor of the round trip, and how much earlier a token is free because of it."""

import asyncio
from math import sqrt

import pytest
from limiter_model import KnownWay, refusals
from limits_helpers import STEP, A, U, take
from virtualtime import VirtualLoop, now, run

from htx_cancel.endpoints import Limit
from htx_cancel.limits.budget import MARGIN
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.round_trip import CERTAIN, STALL, RoundTrip, RoundTrips


def test_the_floor_of_a_round_trip_stays_below_it_and_falls_with_a_shorter_one() -> None:
    """It approaches the least sample with time and samples; a shorter trip lowers it at once."""
    known = RoundTrip()
    for at, trip in enumerate((0.2, 0.21, 0.25, 0.22, 0.2, 0.23, 0.21, 0.2) * 20):
        known.learn(trip, at)
        assert known.floor <= 0.2
    assert known.floor > 0.19
    known.learn(0.1, 200)
    assert known.floor < 0.1


def test_samples_of_one_moment_give_no_floor_above_a_possible_stall() -> None:
    """No matter how many or how equal the samples are."""
    known = RoundTrip()
    for _ in range(100):
        known.learn(0.15, 1.0)
    assert known.floor == 0.0
    known.learn(0.15, 2.0)
    assert known.floor == pytest.approx(0.15 - STALL / 4)


def test_jitter_is_subtracted_although_a_stall_is_impossible() -> None:
    """The samples lie far apart, and the least of two may be much too long."""
    known = RoundTrip()
    known.learn(0.2, 0.0)
    known.learn(0.3, 1000.0)
    assert known.floor == pytest.approx(0.2 - CERTAIN * 0.05 / sqrt(2))


def test_a_probe_counts_as_a_second() -> None:
    """A request beside others in flight is no probe, even if it is reported as one."""

    async def main(*, beside: bool) -> float:
        trips = RoundTrips()
        budgets = Budgets(round_trips=trips)
        if beside:
            await take(budgets, 1)
        for _ in range(9):
            budgets.learn_round_trip("here", 0.02, sequential=True)
        return trips.floor

    assert run(main(beside=False)) == pytest.approx(0.02 - STALL / 100)
    assert run(main(beside=True)) == 0.0


def test_the_shortest_round_trip_is_subtracted_from_the_cooling() -> None:
    """After some equal round trips, a token is free one window after its request was sent."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        for _ in range(6):
            permit = await budgets.acquire((A,))
            await asyncio.sleep(0.2)
            permit.replied()
        following = await budgets.acquire((A,))
        took = following.granted - permit.granted
        assert 1.0 + MARGIN - 1e-6 <= took <= 1.0 + MARGIN + STALL / 36 + STEP

    run(main())


def test_a_waiter_gets_its_token_earlier_when_the_shortest_round_trip_rises() -> None:
    """The timer was set before the reply that taught it."""

    async def main() -> None:
        trips = KnownWay(0.0)
        budgets = Budgets({A: Limit(2, 1.0)}, round_trips=trips)
        first, second = await take(budgets, 2)
        first.replied()
        waiter = asyncio.create_task(budgets.acquire((A,)))
        await asyncio.sleep(0.5)
        trips.floor = 0.3
        second.replied()
        await waiter
        assert now() == pytest.approx(0.7 + MARGIN, abs=STEP)

    run(main())


def test_the_shortest_round_trip_of_all_hosts_is_subtracted() -> None:
    """The next request may go to the nearest host; nothing is subtracted for an unknown host."""

    async def main() -> None:
        trips = RoundTrips()
        budgets = Budgets(round_trips=trips)
        for host, trip in (("far", 0.3), ("near", 0.1), ("new", 0.2)):
            for _ in range(14 if host != "new" else 1):
                permit = await budgets.acquire((U,))
                permit.sent(host, now())
                await asyncio.sleep(trip)
                permit.replied()
            known = {"far": 0.3, "near": 0.1, "new": 0.0}[host]
            assert known - 0.05 <= trips.floor <= known + 1e-6

    run(main())


def test_little_is_subtracted_after_a_first_burst_that_queued_on_its_way() -> None:
    """All trips are longer by the same queue, which the spread of the replies reveals."""

    async def main() -> int:
        budgets = Budgets({A: Limit(36, 3.0)})
        arrivals: list[float] = []

        async def call(queue: float) -> None:
            permit = await budgets.acquire((A,))
            await asyncio.sleep(0.02 + queue)
            arrivals.append(now())
            await asyncio.sleep(0.02)
            permit.replied()

        await asyncio.gather(*(call(0.03 + 0.001 * place) for place in range(36)))
        await asyncio.gather(*(call(0.0) for _ in range(108)))
        return refusals(arrivals, 36, 3.0)

    assert run(main()) == 0


def test_a_stall_of_the_loop_does_not_count_as_a_long_round_trip() -> None:
    """All requests of a first burst waited for the loop; the next ones will not."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        budgets = Budgets({A: Limit(36, 3.0)})
        arrivals: list[float] = []

        async def call() -> None:
            permit = await budgets.acquire((A,))
            await asyncio.sleep(0.02)
            arrivals.append(now())
            await asyncio.sleep(0.02)
            permit.replied()

        loop.call_later(0.01, loop.stall, 0.1)
        await asyncio.gather(*(call() for _ in range(144)))
        return refusals(arrivals, 36, 3.0)

    assert run(main()) == 0
