"""The queue for the budgets: which waiter is next, and when, as predicted."""

import asyncio
import itertools
from math import inf

import pytest
from limiter_model import KnownWay
from limits_helpers import A, B, U, bursts, spend, take, turns
from virtualtime import now, run

from htx_cancel.endpoints import Limit
from htx_cancel.limits.budget import MARGIN, Budget
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import BudgetEvent, Permit, Priority
from htx_cancel.limits.queue import LAST, Forecast, Lane, Waiter, reserved_for_earlier
from htx_cancel.limits.round_trip import RoundTrips

ARRIVALS = itertools.count()


def lane_of_one_budget() -> Lane:
    """Return an empty lane of one budget."""
    return Lane((A,), (Budget(A, Limit(1, 1.0), RoundTrips()),))


def push(lane: Lane, ticket: int, wanted: int = 1) -> Waiter:
    """Add a routine waiter for so many permits to a lane."""
    rank = (int(Priority.ROUTINE), ticket)
    future: asyncio.Future[list[Permit]] = asyncio.get_running_loop().create_future()
    waiter = Waiter(lane, rank, wanted, inf, future)
    lane.push(waiter, next(ARRIVALS))
    return waiter


def test_the_order_is_priority_then_arrival() -> None:
    """An urgent request passes all others, a background request none."""

    async def main() -> list[str]:
        budgets = Budgets({A: Limit(1, 1.0)})
        await spend(budgets, 1)
        got: list[str] = []

        async def call(name: str, priority: Priority) -> None:
            permit = await budgets.acquire((A,), priority=priority)
            got.append(name)
            permit.replied()

        wanted = [("b", 2), ("r1", 1), ("r2", 1), ("u1", 0), ("r3", 1), ("u2", 0)]
        async with asyncio.TaskGroup() as group:
            for name, priority in wanted:
                group.create_task(call(name, Priority(priority)))
        return got

    assert run(main()) == ["u1", "u2", "r1", "r2", "r3", "b"]


def test_a_call_of_many_batches_keeps_its_place() -> None:
    """Later calls get nothing while the earlier call still has batches."""

    async def main() -> str:
        budgets = Budgets({A: Limit(3, 1.0)})
        got = ""

        async def call(name: str, count: int) -> None:
            nonlocal got
            ticket = budgets.ticket()
            while count:
                permits = await budgets.acquire_some((A,), count, ticket=ticket)
                count -= len(permits)
                got += name * len(permits)
                for permit in permits:
                    asyncio.get_running_loop().call_later(0.01, permit.replied)

        await asyncio.gather(call("a", 7), call("b", 5), call("c", 2))
        return got

    assert run(main()) == "aaaaaaabbbbbcc"


def test_a_new_caller_does_not_pass_waiting_callers() -> None:
    """Not even a caller that is about to ask for its next permits."""

    async def main() -> str:
        budgets = Budgets({A: Limit(2, 1.0)})
        first, second = await take(budgets, 2)
        got = ""

        async def call(name: str, count: int = 1) -> None:
            nonlocal got
            ticket = budgets.ticket()
            while count:
                permits = await budgets.acquire_some((A,), count, ticket=ticket)
                count -= len(permits)
                got += name * len(permits)

        early = asyncio.create_task(call("a", 2))
        await turns()
        late = asyncio.create_task(call("b"))
        first.unsent()
        second.unsent()
        await turns(6)
        late.cancel()
        await early
        return got

    assert run(main()) == "aa"


def test_no_caller_passes_an_earlier_one_that_is_about_to_ask_again() -> None:
    """Two calls get a part in one turn of the loop; the earlier call is served next."""

    async def main() -> str:
        budgets = Budgets({A: Limit(3, 1.0), B: Limit(2, 1.0)})
        held, wide = await take(budgets, 3, A), await take(budgets, 2, B)
        got = ""

        async def call(name: str, names: tuple[str, ...], count: int, priority: int = 1) -> None:
            nonlocal got
            ticket = budgets.ticket()
            while count:
                permits = await budgets.acquire_some(
                    names, count, priority=Priority(priority), ticket=ticket
                )
                count -= len(permits)
                got += name * len(permits)

        calls = [
            asyncio.create_task(each)
            for each in (call("u", (A, B), 2, 0), call("a", (A,), 9), call("b", (A,), 1))
        ]
        await turns()
        for permit in (*held, *wide):
            permit.unsent()
        await turns(6)
        for each in calls:
            each.cancel()
        return got

    assert run(main()) == "auu"


def test_a_caller_that_does_not_ask_again_delays_no_later_one() -> None:
    """It got a part of what it wanted; the next waiter is served in the same turn of the loop."""

    async def main() -> None:
        budgets = Budgets(max_in_flight=2)
        first, second = await take(budgets, 2, U)
        early = asyncio.create_task(budgets.acquire_some((A,), 5))
        late = asyncio.create_task(budgets.acquire((B,)))
        await turns()
        first.replied()
        second.replied()
        await turns()
        assert len(early.result()) == 1
        assert late.done()

    run(main())


def test_the_order_of_names_makes_no_difference() -> None:
    """The same budgets are the same queue, in the order of arrival."""

    async def main() -> None:
        events: list[BudgetEvent] = []
        budgets = Budgets({A: Limit(1, 1.0)}, on_event=events.append)
        await spend(budgets, 1, A, U)
        got: list[tuple[str, ...]] = []

        async def call(*names: str) -> None:
            permit = await budgets.acquire(names)
            assert permit.names == (A, U)
            got.append(names)
            permit.replied()

        wanted = [(U, A), (A, U), (A, U, A), (U, A)]
        await asyncio.gather(*(call(*names) for names in wanted))
        assert got == wanted
        assert [event.names for event in events] == [(A, U)] * 4

    run(main())


def test_tokens_of_the_pool_are_reserved_for_an_earlier_lane() -> None:
    """No more than that lane can use before other tokens become free."""

    async def main() -> None:
        budgets = Budgets({U: Limit(12, 3.0)})
        await spend(budgets, 5, A, U)
        narrow = asyncio.create_task(budgets.acquire_some((A, U), 3))
        await turns()
        wide = [asyncio.create_task(budgets.acquire((U,))) for _ in range(7)]
        await turns(10)
        assert sum(each.done() for each in wide) == 4
        assert len(await narrow) == 3
        await turns()
        assert sum(each.done() for each in wide) == 4
        for each in wide:
            each.cancel()

    run(main())


def test_no_token_is_reserved_for_a_lane_that_another_process_blocks() -> None:
    """Another process holds all tokens of the other budget of that lane."""

    async def main() -> None:
        trips = RoundTrips()
        blocked, pool = Budget(A, Limit(1, 1.0), trips), Budget(U, Limit(1, 3.0), trips)
        lane = Lane((A, U), (blocked, pool))
        push(lane, 1)
        assert reserved_for_earlier(pool, LAST, [lane], 0.0) == 1
        blocked.tokens = 0
        assert reserved_for_earlier(pool, LAST, [lane], 0.0) == 0

    run(main())


def test_a_lane_is_swept_when_half_of_it_is_dead() -> None:
    """Although no dropped waiter was the first, hardly any dead entries remain."""

    async def main() -> None:
        lane = lane_of_one_budget()
        waiters = [push(lane, ticket) for ticket in range(1, 101)]
        lengths = []
        for some in (waiters[1:51], waiters[51:52], waiters[52:]):
            for each in some:
                lane.drop(each)
            lengths.append(len(lane.heap))
        assert lengths[:2] == [100, 49]
        assert lengths[2] < 4
        assert lane.head() is waiters[0]

    run(main())


def test_a_sweep_keeps_the_order() -> None:
    """The first of the remaining waiters is served first."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        (permit,) = await take(budgets, 1)
        waiters = {}
        for ticket in (1, 10, 2, 11, 12, 3, 4):
            waiters[ticket] = asyncio.create_task(budgets.acquire((A,), ticket=ticket))
            await turns()
        for ticket in (2, 11, 12, 1):
            waiters[ticket].cancel()
            await turns()
        permit.unsent()
        await turns()
        assert [
            ticket for ticket, each in waiters.items() if each.done() and ticket in {10, 3, 4}
        ] == [3]
        for each in waiters.values():
            each.cancel()

    run(main())


def test_a_lane_has_a_free_token_when_its_last_full_budget_has_one() -> None:
    """Tokens of other budgets that become free earlier do not help."""
    trips = RoundTrips()
    short, long = Budget(A, Limit(2, 1.0), trips), Budget(U, Limit(1, 3.0), trips)
    lane = Lane((A, U), (short, long))
    for budget in (long, short, short):
        budget.take(0.0)
        budget.replied(0.0, 0.0)
        assert lane.next_at(0.5, urgent=False) == pytest.approx(3 + MARGIN)


def test_a_lane_whose_free_tokens_are_reserved_waits_for_the_next_token() -> None:
    """All its budgets have room, so the next token of any of them may serve it."""
    trips = RoundTrips()
    short, long = Budget(A, Limit(2, 1.0), trips), Budget(U, Limit(2, 3.0), trips)
    for budget in (short, long):
        budget.take(0.0)
        budget.replied(0.0, 0.0)
    lane = Lane((A, U), (short, long))
    assert lane.next_at(0.5, urgent=False) == pytest.approx(1 + MARGIN)


# prediction


def test_the_wait_of_the_kth_request_is_predicted() -> None:
    """None while tokens are free; then one window for each round of all tokens."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        assert [budgets.wait((A,), count=count) for count in (1, 5)] == [0.0, 0.0]
        assert budgets.wait((A,), count=6) == pytest.approx(1 + MARGIN)
        assert budgets.wait((A,), count=16) == pytest.approx(3 * (1 + MARGIN))
        assert budgets.wait((A, U), count=100) == pytest.approx(19 * (1 + MARGIN))

    run(main())


def test_no_request_is_predicted_before_the_end_of_a_hold() -> None:
    """Tokens that are free or become free earlier wait for that end as well."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        await spend(budgets, 2)
        await asyncio.sleep(0.5)
        (permit,) = await take(budgets, 1)
        permit.replied()
        permit.refused()
        waits = [budgets.wait((A,), count=count) for count in (1, 3, 5)]
        assert waits == pytest.approx([1 + MARGIN] * 3)

    run(main())


def test_tokens_are_predicted_in_the_order_in_which_they_become_free() -> None:
    """An unanswered request may have ended before one that was answered."""

    async def main() -> None:
        budgets = Budgets({A: Limit(2, 1.0)}, round_trips=KnownWay(0.0))
        first, second = await take(budgets, 2)
        first.no_reply()
        await asyncio.sleep(0.5)
        second.replied()
        waits = [budgets.wait((A,), count=count) for count in (1, 2)]
        assert waits == pytest.approx([0.5 + MARGIN, 1 + MARGIN])

    run(main())


def test_waiters_for_another_budget_do_not_count() -> None:
    """They take no token of this one."""

    async def main() -> None:
        budgets = Budgets()
        await spend(budgets, 5, B)
        waiter = asyncio.create_task(budgets.acquire_some((B,), 20))
        await turns()
        assert budgets.wait((A,)) == 0.0
        assert budgets.fits((A,), deadline=now() + 0.5) == 5
        waiter.cancel()

    run(main())


def test_the_predicted_time_and_number_of_requests_agree() -> None:
    """By the time of the n-th request, n requests can be sent, although times are rounded."""
    budget = Budget(A, Limit(5, 1.0), KnownWay(0.0))
    forecast = Forecast((), LAST, 0.1)
    counts = range(1, 500)
    times = [forecast.time_of_nth(budget, count) for count in counts]
    assert [forecast.count_until(budget, at) for at in times] == [
        -(-count // 5) * 5 for count in counts
    ]


def test_no_request_is_predicted_long_before_the_first_token() -> None:
    """The only token is in flight during a hold, so it is free two windows from now."""
    budget = Budget(A, Limit(1, 1.0), RoundTrips())
    budget.take(0.0)
    budget.refuse(0.0, 0.0, None, 0.0)
    assert Forecast((), LAST, 0.0).count_until(budget, 0.0) == 0


def test_an_urgent_request_is_predicted_without_the_reserve() -> None:
    """A routine request is predicted with the reserve."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        await bursts(budgets, 3, 3, calls=5)
        assert budgets.wait((A,), count=5, priority=Priority.URGENT) == 0.0
        assert budgets.wait((A,), count=5) == pytest.approx(2 * (1 + MARGIN))

    run(main())


@pytest.mark.parametrize(("way", "trip", "period"), [(0.1, 0.3, 1.2), (1.5, 1.5, 1.5)])
def test_a_token_is_used_again_after_a_round_trip_and_its_cooling(
    way: float, trip: float, period: float
) -> None:
    """A token cools for a window less the shortest round trip, or not at all."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(way))
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(trip)
        permit.replied()
        await asyncio.sleep(2)
        assert budgets.wait((A,), count=6) == pytest.approx(period, abs=0.002)

    run(main())


def test_the_predicted_wait_counts_only_requests_ahead_that_can_be_sent_before() -> None:
    """Five hundred also wait for a scarcer budget, and leave room in the wider one."""

    async def main() -> None:
        budgets = Budgets()
        await spend(budgets, 5, A, U)
        narrow = asyncio.create_task(budgets.acquire_some((A, U), 500))
        await turns()
        assert budgets.wait((U,)) == 0.0
        began = now()
        await budgets.acquire((U,))
        assert now() - began < 1e-6
        narrow.cancel()

    run(main())


def test_the_number_of_requests_before_a_deadline_is_predicted() -> None:
    """It is predicted behind the waiters, by priority, and by the scarcest budget."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        assert budgets.fits((A,), deadline=now() - 1) == 0
        assert budgets.fits((A,), deadline=now() + 2.5) == 15
        assert budgets.fits((A, U), deadline=now() + 2.5) == 15
        assert budgets.fits((U,), deadline=now() + 2.5) == 72
        await spend(budgets, 5)
        waiter = asyncio.create_task(budgets.acquire_some((A,), 7))
        await turns()
        assert budgets.fits((A,), deadline=now() + 2.5) == 3
        assert budgets.fits((A,), deadline=now() + 2.5, priority=Priority.URGENT) == 10
        waiter.cancel()

    run(main())


def test_the_number_of_requests_that_fit_is_never_negative() -> None:
    """Not even if more wait in several lanes than a shared budget has room for."""

    async def main() -> None:
        budgets = Budgets({U: Limit(1, 3.0)}, round_trips=KnownWay(0.0))
        await spend(budgets, 1, U)
        waiters = [asyncio.create_task(budgets.acquire(names)) for names in ((U,), (A, U), (B, U))]
        await turns()
        assert budgets.fits((U,), deadline=now() + 3.5) == 0
        for each in waiters:
            each.cancel()

    run(main())


def test_the_newest_ticket_waits_for_all_older_ones() -> None:
    """But not for other requests with the same ticket."""

    async def main() -> None:
        lane = lane_of_one_budget()
        for ticket, wanted in ((1, 2), (2, 50), (2, 3)):
            push(lane, ticket, wanted)
        assert lane.ahead((1, 2)) == 2

    run(main())


def test_an_old_ticket_waits_only_for_older_ones() -> None:
    """Its prediction leaves out later waiters and dropped waiters."""

    async def main() -> None:
        lane = lane_of_one_budget()
        early, late, newest = 1, 2, 3
        push(lane, newest, 1)
        push(lane, late, 50)
        push(lane, early, 2)
        lane.drop(push(lane, early, 100))
        assert lane.ahead((1, early)) == 0
        assert lane.ahead((1, late)) == 2
        assert lane.ahead((1, newest)) == 52
        assert lane.ahead((1, newest + 1)) == 53

    run(main())
