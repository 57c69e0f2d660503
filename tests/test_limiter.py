"""The limiter's behaviours, one by one, on virtual time."""

import asyncio
from collections.abc import Mapping
from math import inf
from typing import Any

import pytest
from limiter_model import EPOCH, KnownWay, refusals
from virtualtime import VirtualLoop, run

from htx_cancel.endpoints import BUDGETS, Limit
from htx_cancel.errors import InvalidTypeError, InvalidValueError, TooLateError, WrongLoopError
from htx_cancel.limits.budget import MARGIN, SPREAD
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import BudgetEvent, BudgetState, Permit, Priority
from htx_cancel.limits.round_trip import STALL, RoundTrip, RoundTrips

A = "/swap-api/v1/swap_track_cancel"
B = "/swap-api/v1/swap_track_cancelall"
U = "usdt_m_trade"
STEP = 0.0011  #: a timer's least step, and its rounding


def now() -> float:
    """Read the loop's clock."""
    return asyncio.get_running_loop().time()


def state(budgets: Budgets, name: str = A) -> BudgetState:
    """Find one budget's state."""
    return next(each for each in budgets.snapshot() if each.name == name)


def told(limit: int, interval: int, remaining: int, reset: float | None = None) -> dict[str, str]:
    """Write rate-limit headers; ``reset`` is in seconds of loop time."""
    headers = {
        "ratelimit-limit": str(limit),
        "ratelimit-interval": str(interval),
        "ratelimit-remaining": str(remaining),
    }
    if reset is not None:
        headers["ratelimit-reset"] = str(int((EPOCH + reset) * 1000))
    return headers


async def take(budgets: Budgets, count: int, *names: str) -> list[Permit]:
    """Take permits that are free."""
    return [await budgets.acquire(names or (A,)) for _ in range(count)]


async def spend(budgets: Budgets, count: int, *names: str) -> None:
    """Take permits and have them answered at once."""
    for permit in await take(budgets, count, *names):
        permit.replied()


async def turns(count: int = 3) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_an_engine_shares_the_budgets_with_its_own_requests() -> None:
    """A token is taken for the block, and rests after it; one that never left is back at once."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        async with budgets.permit(A) as permit:
            permit.unsent()
        assert state(budgets).free == 1
        async with budgets.permit(A, timeout=0.1):
            assert state(budgets).in_flight == 1
            await asyncio.sleep(0.01)
        assert state(budgets).cooling == 1
        with pytest.raises(TooLateError):
            await budgets.permit(A, timeout=0.5).__aenter__()
        with pytest.raises(InvalidValueError, match="timeout"):
            await budgets.permit(A, timeout=0.0).__aenter__()
        failing = budgets.permit(A)
        await failing.__aenter__()
        await failing.__aexit__(ValueError, ValueError("mine"), None)
        assert (state(budgets).in_flight, state(budgets).free) == (0, 0)
        assert budgets.round_trip == 0.0

    run(main())


def test_a_request_of_an_engine_that_raised_counts_as_unanswered() -> None:
    """Its token is back one window later, with no credit for the way."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)}, round_trips=KnownWay(0.2))
        with pytest.raises(ValueError, match="mine"):
            async with budgets.permit(A):
                raise ValueError("mine")
        assert state(budgets).next_in == pytest.approx(1 + MARGIN, abs=1e-6)

    run(main())


def test_one_timer_serves_all_waiters() -> None:
    """A hundred wait, in two lanes, some with a deadline, and the loop has one timer."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        budgets = Budgets()
        for name in (A, B):
            await spend(budgets, 5, name)
        waiters = []
        for place in range(50):
            for deadline in (inf, 30.0 - place / 10):
                names = (A if place % 2 else B,)
                waiters.append(asyncio.create_task(budgets.acquire(names, deadline=deadline)))
                await asyncio.sleep(0.001)
        timers = [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        assert sum(each._callback == budgets._wake for each in timers) == 1
        for each in waiters:
            each.cancel()

    run(main())


def test_budgets_belong_to_the_loop_in_which_they_were_used_first() -> None:
    """Elsewhere they would wait for what never comes; so that is an error, at once."""
    budgets = Budgets()
    run(take(budgets, 1))
    with pytest.raises(WrongLoopError, match="one event loop"):
        run(take(budgets, 1))


# tokens


def test_calls_leave_at_once_while_tokens_are_free() -> None:
    """As many as the limit says, without a turn of the loop."""

    async def main() -> None:
        budgets = Budgets()
        began = now()
        await take(budgets, 5)
        assert now() == began
        assert state(budgets).free == 0

    run(main())


def test_a_token_given_back_goes_to_who_waits() -> None:
    """In the same turn of the event loop."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        permit = await budgets.acquire((A,))
        waiting = asyncio.ensure_future(budgets.acquire((A,)))
        await turns()
        assert not waiting.done()
        permit.unsent()
        await waiting

    run(main())


def test_a_token_is_back_one_window_after_its_reply() -> None:
    """Not after its sending; and the margin later, no more."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)}, round_trips=KnownWay(0.0))
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(0.3)
        permit.replied()
        await budgets.acquire((A,))
        assert 1.3 + MARGIN <= now() <= 1.3 + MARGIN + STEP

    run(main())


def test_a_loop_that_oversleeps_long_timers_costs_little() -> None:
    """Where a timer may be late by a thousandth of its length, a token is not late by that."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 60)})
        await spend(budgets, 1)
        await budgets.acquire((A,))
        assert now() == pytest.approx(60 + MARGIN, abs=STEP)

    run(main(), oversleep=0.001)


def test_the_shortest_round_trip_is_credited() -> None:
    """After some equal round trips, a token is back one window after it was sent."""

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


def test_the_shortest_of_all_hosts_is_credited() -> None:
    """The next call may take the shorter way; one of unknown length gives no credit."""

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


def test_the_floor_of_a_round_trip_stays_below_it_and_falls_with_a_shorter_one() -> None:
    """With time and samples it comes near the least; a shorter trip lowers it at once."""
    known = RoundTrip()
    for at, trip in enumerate((0.2, 0.21, 0.25, 0.22, 0.2, 0.23, 0.21, 0.2) * 20):
        known.learn(trip, at)
        assert known.floor <= 0.2
    assert known.floor > 0.19
    known.learn(0.1, 200)
    assert known.floor < 0.1


def test_samples_of_one_moment_give_no_floor_above_what_a_stall_may_be() -> None:
    """However many and however equal they are."""
    known = RoundTrip()
    for _ in range(100):
        known.learn(0.15, 1.0)
    assert known.floor == 0.0
    known.learn(0.15, 2.0)
    assert known.floor == pytest.approx(0.15 - STALL / 4)


def test_a_request_that_was_alone_is_worth_a_second() -> None:
    """It shared its moment with nobody; one beside others is not alone, whatever is said."""

    async def main(*, beside: bool) -> float:
        trips = RoundTrips()
        budgets = Budgets(round_trips=trips)
        if beside:
            await take(budgets, 1)
        for _ in range(9):
            budgets.learn_round_trip("here", 0.02, probe=True)
        return trips.floor

    assert run(main(beside=False)) == pytest.approx(0.02 - STALL / 100)
    assert run(main(beside=True)) == 0.0


def test_a_first_burst_whose_calls_waited_for_one_another_gets_little_credit() -> None:
    """All trips are long by the same queue; the spread of the replies says that there is one."""

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


def test_a_stall_of_the_loop_is_not_taken_for_a_long_way() -> None:
    """All calls of a first burst waited for the loop on their way out; the next will not."""

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


def test_a_call_without_reply_returns_its_token_a_window_after_it_was_given_up() -> None:
    """There is no credit for a way that nobody measured."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)}, round_trips=KnownWay(0.2))
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(0.5)
        permit.no_reply()
        await budgets.acquire((A,))
        assert 1.5 + MARGIN <= now() <= 1.5 + MARGIN + STEP

    run(main())


def test_an_unsent_call_returns_its_token_at_once() -> None:
    """And the next waiter has it in the same instant."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        (permit,) = await take(budgets, 1)
        waiter = asyncio.create_task(budgets.acquire((A,)))
        await asyncio.sleep(0.1)
        began = now()
        permit.unsent()
        await waiter
        assert now() - began < 1e-6

    run(main())


def test_only_the_first_end_of_a_permit_counts() -> None:
    """A second word about the same call changes nothing."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.unsent()
        permit.replied(told(9, 1000, 0))
        permit.no_reply()
        permit.refused()
        permit.unsent()
        assert state(budgets).free == state(budgets).calls == 5
        assert permit.names == (A,)

    run(main())


# several budgets


def test_a_call_takes_all_its_budgets_or_none() -> None:
    """One that waits for its interface holds nothing of the pool, and stops nobody there."""

    async def main() -> None:
        budgets = Budgets()
        await spend(budgets, 5, A, U)
        narrow = asyncio.create_task(budgets.acquire((A, U)))
        await turns()
        assert (state(budgets, A).waiting, state(budgets, U).waiting) == (1, 1)
        assert (state(budgets, U).free, state(budgets, U).in_flight) == (67, 0)
        began = now()
        await take(budgets, 5, B)
        await take(budgets, 66, U)
        assert now() - began < 1e-6
        await narrow
        assert now() < 1.01

    run(main())


def test_room_in_the_pool_is_kept_for_an_earlier_lane() -> None:
    """No more than it can use before other tokens come back."""

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


def test_the_order_of_names_makes_no_difference() -> None:
    """The same budgets are the same queue."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        await take(budgets, 1, A, U)
        waiters = [asyncio.create_task(budgets.acquire(names)) for names in ((A, U), (U, A))]
        await turns()
        assert len(budgets._lanes) == 1
        for each in waiters:
            each.cancel()

    run(main())


def test_calls_in_flight_are_limited() -> None:
    """A place in flight is free at the reply, without a window."""

    async def main() -> None:
        budgets = Budgets(max_in_flight=2)
        first, second = await take(budgets, 2, U)
        waiters = [asyncio.create_task(budgets.acquire((U,))) for _ in range(2)]
        await asyncio.sleep(10)
        assert not waiters[0].done()
        assert budgets.wait((U,)) == 0.0
        first.replied()
        await waiters[0]
        assert not waiters[1].done()
        second.replied()
        await waiters[1]
        assert now() < 10.001
        assert budgets.wait((U,), count=3) == pytest.approx(20.0, abs=0.01)

    run(main())


# order


def test_the_order_is_priority_then_arrival() -> None:
    """An urgent call passes all others, a background call none."""

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


def test_a_call_of_many_batches_keeps_its_place_with_one_waiter() -> None:
    """Later calls get nothing while the earlier one still has batches."""

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


def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    """Nor one whose next call is just being asked for."""

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


def test_nobody_passes_a_turn_that_went_before_another_one_could_ask_again() -> None:
    """Two calls with more to come are granted in one turn of the loop; the earlier one goes on."""

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


# deadlines


def test_a_deadline_before_the_predicted_token_fails_at_once() -> None:
    """With the predicted wait, and nothing left behind."""

    async def main() -> None:
        budgets = Budgets()
        await spend(budgets, 5)
        with pytest.raises(TooLateError) as caught:
            await budgets.acquire((A,), deadline=now() + 0.5)
        assert caught.value.wait == pytest.approx(1 + MARGIN, abs=0.001)
        with pytest.raises(TooLateError):
            await budgets.acquire((A,), deadline=now() - 0.1)
        assert state(budgets).waiting == 0
        await budgets.acquire((A,), deadline=now() + 1.1)

    run(main())


def test_a_deadline_that_passes_while_waiting_fails_then() -> None:
    """The reply that was to free a token came too late."""

    async def main() -> None:
        budgets = Budgets({A: Limit(2, 1.0)})
        await take(budgets, 2)
        waiters = [asyncio.create_task(budgets.acquire((A,), deadline=1.5)) for _ in range(2)]
        await turns()
        waiters.pop().cancel()
        with pytest.raises(TooLateError):
            await waiters.pop()
        assert 1.5 <= now() <= 1.5 + STEP
        assert state(budgets).waiting == 0

    run(main())


def test_a_deadline_that_a_refusal_makes_hopeless_fails_with_it() -> None:
    """Nobody waits for a gate that opens too late."""

    async def main() -> None:
        budgets = Budgets({A: Limit(3, 10.0)})
        permits = await take(budgets, 3)
        permits.pop().replied()
        await asyncio.sleep(9)
        soon, late = (
            asyncio.create_task(budgets.acquire((A,), deadline=at)) for at in (11.0, 25.0)
        )
        await turns()
        permits[0].replied()
        permits[0].refused()
        with pytest.raises(TooLateError):
            await soon
        assert now() < 9.001
        await late
        assert now() > 19

    run(main())


def test_a_waiter_that_is_late_when_its_token_comes_does_not_get_it() -> None:
    """Whoever is in time has it."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        (permit,) = await take(budgets, 1)
        late = asyncio.create_task(budgets.acquire((A,), deadline=1.1))
        good = asyncio.create_task(budgets.acquire((A,)))
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.stall(0.2)  # no timer could say that it is late
        permit.unsent()
        await good
        with pytest.raises(TooLateError):
            await late

    run(main())


@pytest.mark.parametrize("refused_at", [0.1, 0.6])
def test_waiters_with_deadlines_that_went_are_not_counted_twice(refused_at: float) -> None:
    """Neither when a refusal looks at the deadlines nor when they pass."""

    async def main() -> None:
        budgets = Budgets({A: Limit(4, 1.0)})
        (permit, *_) = await take(budgets, 4)
        taker, first, gone, last = (
            asyncio.create_task(budgets.acquire((A,), deadline=at))
            for at in (inf, 1.5, 1.5 + 1e-9, 1.5 + 2e-9)
        )
        await turns()
        gone.cancel()
        await asyncio.sleep(refused_at)
        permit.replied()
        permit.refused()
        await taker
        for each in (first, last):
            with pytest.raises(TooLateError):
                await each
        assert repr(budgets) == f"<Budgets in_flight=4 waiting=0 taken=[{A} 4/4]>"

    run(main())


def test_one_hold_looks_at_the_deadlines_once() -> None:
    """However many calls of a burst are refused, and however many wait."""

    class Counted(list[Any]):
        looks = 0

        def __iter__(self) -> Any:
            self.looks += 1
            return super().__iter__()

    async def main() -> None:
        budgets = Budgets()
        budgets._deadlines = deadlines = Counted()
        for permit in await take(budgets, 5):
            permit.replied()
            permit.refused()
        assert deadlines.looks == 1

    run(main())


# cancellation


def test_a_waiter_that_is_cancelled_takes_no_token() -> None:
    """The next one has its place."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        (permit,) = await take(budgets, 1)
        first, second = (asyncio.create_task(budgets.acquire((A,))) for _ in range(2))
        await turns()
        first.cancel()
        permit.unsent()
        await second
        assert now() < 0.001
        assert first.cancelled()

    run(main())


def test_a_waiter_cancelled_in_the_turn_of_its_grant_gives_the_token_on() -> None:
    """It had it, and never knew."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        (permit,) = await take(budgets, 1)
        first, second = (asyncio.create_task(budgets.acquire((A,))) for _ in range(2))
        await turns()
        permit.unsent()
        first.cancel()
        await second
        assert now() < 0.001
        assert first.cancelled()
        assert state(budgets).in_flight == 1

    run(main())


def test_many_cancelled_waiters_leave_nothing_behind() -> None:
    """Neither in the queue nor in the numbers."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        await take(budgets, 1)
        waiters = [asyncio.create_task(budgets.acquire((A,))) for _ in range(100)]
        await turns()
        for each in waiters[:-1]:
            each.cancel()
        await turns()
        assert state(budgets).waiting == 1
        assert len(budgets._lane((A,)).heap) < 4
        waiters[-1].cancel()

    run(main())


def test_the_queue_is_swept_when_half_of_it_has_gone() -> None:
    """Though none of those who went was the first."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        await take(budgets, 1)
        waiters = [asyncio.create_task(budgets.acquire((A,))) for _ in range(100)]
        await turns()
        lengths = []
        for some in (waiters[1:51], waiters[51:52]):
            for each in some:
                each.cancel()
            await turns()
            lengths.append(len(budgets._lane((A,)).heap))
        assert lengths == [100, 49]
        for each in waiters:
            each.cancel()

    run(main())


def test_the_order_outlives_a_sweep_of_the_queue() -> None:
    """The first of those who stay goes first."""

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


# what replies teach


def test_a_limit_is_adopted_from_the_headers() -> None:
    """The pair, or the interval, or being alone, tells which budget is meant."""

    async def main() -> None:
        events: list[BudgetEvent] = []
        budgets = Budgets(on_event=events.append)
        for names, headers, learned in (
            ((A, U), told(144, 3000, 143), (U, 144, 3.0)),
            ((A, U), told(10, 1000, 9), (A, 10, 1.0)),
            ((A,), told(20, 2000, 18), (A, 20, 2.0)),
        ):
            (permit,) = await take(budgets, 1, *names)
            permit.replied(headers)
            name, calls, seconds = learned
            assert (state(budgets, name).calls, state(budgets, name).seconds) == (calls, seconds)
        assert [(event.kind, *event.names) for event in events] == [
            ("learned", U),
            ("learned", A),
            ("learned", A),
        ]

    run(main())


@pytest.mark.parametrize(
    ("names", "headers"),
    [
        ((A,), {}),
        ((A,), {"ratelimit-limit": "9"}),
        ((A,), told(9, 1000, 8) | {"ratelimit-interval": "soon"}),
        ((A,), told(0, 1000, 0)),
        ((A,), told(100_001, 1000, 0)),
        ((A,), told(9, 99, 8)),
        ((A,), told(9, 60_001, 8)),
        ((A,), told(51, 1000, 8)),  # more than ten times what is known
        ((U,), told(7, 3000, 6)),  # less than a tenth
        ((U,), told(200, 60_000, 7)),  # a window of a minute
        ((U,), told(20, 900, 7)),  # a window of less than a third
        ((A,), told(9, 1000, 8) | {"ratelimit-limit": "+9"}),
        ((A,), told(9, 1000, 8) | {"ratelimit-limit": "1_0"}),
        ((A,), told(9, 1000, 8) | {"ratelimit-limit": "\u0669"}),  # an Arabic 9
        ((A,), told(9, 1000, 8) | {"ratelimit-limit": "9" * 5000}),
        ((A,), told(72, 3000, 71)),  # the pool's
        ((A, U), told(9, 5000, 8)),
        ((A, B), told(9, 1000, 8)),
    ],
)
def test_headers_that_say_nothing_certain_teach_nothing(
    names: tuple[str, ...], headers: Mapping[str, str]
) -> None:
    """Junk, nonsense, and what may be another budget's, are passed over."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1, *names)
        permit.replied(headers, EPOCH)
        assert {
            each.name: Limit(each.calls, each.seconds) for each in budgets.snapshot()
        } == BUDGETS

    run(main())


@pytest.mark.parametrize(
    ("calls", "interval", "taken"),
    [
        (50, 1000, True),
        (51, 1000, False),
        (1, 2000, True),
        (1, 2001, False),
        (5, 334, True),
        (5, 333, False),
        (15, 3000, True),
        (15, 3001, False),
    ],
)
def test_a_limit_is_believed_within_bounds(calls: int, interval: int, *, taken: bool) -> None:
    """A tenth to ten times the rate, a third to three times the window, of the known one."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.replied(told(calls, interval, calls - 1))
        shown = state(budgets)
        assert ((shown.calls, shown.seconds) == (calls, interval / 1000)) is taken

    run(main())


def test_no_step_by_step_change_leads_far_from_the_known_limit() -> None:
    """The published one is the measure, not the one learned last."""

    async def main() -> None:
        budgets = Budgets()
        for calls in (50, 500):
            (permit,) = await take(budgets, 1)
            permit.replied(told(calls, 1000, calls - 1))
        assert state(budgets).calls == 50

    run(main())


def test_a_late_reply_does_not_undo_newer_knowledge() -> None:
    """What the later call was told stands."""

    async def main() -> None:
        budgets = Budgets()
        old, new = await take(budgets, 2)
        new.replied(told(9, 1000, 7))
        old.replied(told(5, 1000, 4))
        assert state(budgets).calls == 9

    run(main())


def test_a_smaller_limit_holds_from_its_reply_on() -> None:
    """What was taken under the larger one comes back first."""

    async def main() -> None:
        budgets = Budgets()
        permits = await take(budgets, 5)
        for permit in permits:
            permit.replied(told(2, 1000, 0))
        assert state(budgets).free == 0
        await take(budgets, 2)
        assert now() > 1

    run(main())


def test_what_others_used_is_charged_for_a_window() -> None:
    """As much as the exchange's count is above our own."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.replied(told(5, 1000, 1))
        assert (state(budgets).foreign, state(budgets).reserve, state(budgets).free) == (3, 0, 1)
        await asyncio.sleep(1.01)
        assert (state(budgets).foreign, state(budgets).reserve, state(budgets).free) == (0, 0, 5)

    run(main())


def test_what_others_used_in_two_windows_is_reserved_for_them() -> None:
    """Then it is left to them in every window, until the proof has stopped for a while."""

    async def main() -> None:
        budgets = Budgets()
        for _ in range(2):
            (permit,) = await take(budgets, 1)
            permit.replied(told(5, 1000, 1))
            await asyncio.sleep(1.01)
        assert (state(budgets).foreign, state(budgets).reserve, state(budgets).free) == (0, 3, 2)
        await asyncio.sleep(10)
        assert (state(budgets).reserve, state(budgets).free) == (0, 5)

    run(main())


@pytest.mark.parametrize(("headers", "left"), [(True, 0), (False, 2)])
def test_the_reserve_falls_to_what_headers_told(*, headers: bool, left: int) -> None:
    """All at once, some windows after the last proof; without any word it shrinks by one."""

    async def main() -> None:
        budgets = Budgets()
        for _ in range(2):
            (permit,) = await take(budgets, 1)
            permit.replied(told(5, 1000, 1))
            await asyncio.sleep(1.01)
        await asyncio.sleep(0.9)
        (permit,) = await take(budgets, 1)
        permit.replied(told(5, 1000, 4) if headers else None)
        await asyncio.sleep(1.2)
        assert state(budgets).reserve == left

    run(main())


def test_a_smaller_limit_cuts_the_reserve() -> None:
    """Others cannot be left more than there is."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        for _ in range(2):
            (permit,) = await take(budgets, 1)
            permit.replied(told(20, 1000, 1))
            await asyncio.sleep(1.01)
        assert state(budgets).reserve == 18
        (permit,) = await take(budgets, 1)
        permit.replied(told(5, 1000, 4))
        assert (state(budgets).calls, state(budgets).reserve) == (5, 4)
        await asyncio.sleep(1.01)
        assert state(budgets).free == 1

    run(main())


def test_an_urgent_call_need_not_leave_what_is_reserved_for_others() -> None:
    """The reserve is a courtesy; what others were seen to use in this window is not."""

    async def main() -> None:
        budgets = Budgets()
        for _ in range(2):
            (permit,) = await take(budgets, 1)
            permit.replied(told(5, 1000, 1))
            await asyncio.sleep(1.01)
        began = now()
        await take(budgets, 2)
        began = now()
        (await budgets.acquire((A,), priority=Priority.URGENT)).unsent()
        assert now() == began
        routine = asyncio.create_task(budgets.acquire((A,)))
        await turns()
        assert not routine.done()
        assert budgets.wait((A,), priority=Priority.URGENT) == 0.0
        for _ in range(3):
            await budgets.acquire((A,), priority=Priority.URGENT)
        assert now() - began < 1e-6
        routine.cancel()

    run(main())


def test_foreign_use_is_waited_for() -> None:
    """Its tokens come back like our own."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        (permit,) = await take(budgets, 1)
        permit.replied(told(5, 1000, 0))
        assert (state(budgets).reserve, state(budgets).foreign) == (0, 4)
        assert state(budgets).next_in == pytest.approx(1 + MARGIN)
        await budgets.acquire((A,))
        assert now() == pytest.approx(1 + MARGIN, abs=STEP)

    run(main())


def test_our_own_calls_are_not_taken_for_those_of_others() -> None:
    """Even when the reply comes after newer calls, or tokens came back meanwhile."""

    async def main() -> None:
        budgets = Budgets()
        old = await budgets.acquire((A,))
        await spend(budgets, 4)
        await asyncio.sleep(1.01)
        await spend(budgets, 3)
        old.replied(told(5, 1000, 0))
        assert (state(budgets).foreign, state(budgets).reserve) == (0, 0)

    run(main())


# what is left to others


async def answered(
    budgets: Budgets, used: int, *, calls: int = 5, reset: float | None = None
) -> Permit:
    """Take a permit of a budget of one second, and have it answered at once, with headers."""
    (permit,) = await take(budgets, 1)
    at = None if reset is None else now() + reset
    permit.replied(told(calls, 1000, calls - used, at), EPOCH + now())
    return permit


async def bursts(budgets: Budgets, *others: int, calls: int = 20, apart: float = 1.01) -> None:
    """See others use so much of a window, one window after another."""
    for used in others:
        await answered(budgets, used + 1, calls=calls)
        await asyncio.sleep(apart)


def test_foreign_use_alone_is_waited_for_with_the_credit_of_the_way() -> None:
    """The exchange counted it before its reply left, as it counts our own."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.2))
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(0.2)
        permit.replied(told(5, 1000, 0, reset=0.3), EPOCH + now())
        permit.refused()
        assert (state(budgets).foreign, state(budgets).cooling) == (4, 0)
        trial = await budgets.acquire((A,))
        await asyncio.sleep(0.25)
        trial.replied()
        await budgets.acquire((A,))
        assert now() == pytest.approx(1 + MARGIN, abs=STEP)

    run(main())


def test_the_same_foreign_use_is_charged_once() -> None:
    """Two replies of one window tell of it."""

    async def main() -> None:
        budgets = Budgets()
        first, second = await take(budgets, 2)
        first.replied(told(5, 1000, 1))
        second.replied(told(5, 1000, 0))
        assert (state(budgets).foreign, state(budgets).free) == (3, 0)

    run(main())


def test_foreign_use_of_an_earlier_window_hides_none_of_this_one() -> None:
    """It is over when the reply comes, though nobody looked at the budget since."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        await answered(budgets, 4)
        await asyncio.sleep(0.9)
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(0.6)
        permit.replied(told(5, 1000, 0))
        assert state(budgets).foreign == 3

    run(main())


def test_what_others_used_of_their_reserve_is_not_left_to_them_again() -> None:
    """The greater of the two counts, now and in a prediction."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        await bursts(budgets, 3, 3, calls=5)
        began = now()
        await answered(budgets, 3)
        shown = state(budgets)
        assert (shown.reserve, shown.foreign, shown.free) == (3, 2, 1)
        await asyncio.sleep(0.5)
        await spend(budgets, 1)
        waits = [budgets.wait((A,), count=count) for count in (1, 2, 3)]
        assert waits == pytest.approx([0.501, 1.001, 1.502], abs=STEP)
        assert now() == pytest.approx(began + 0.5)

    run(main())


@pytest.mark.parametrize(("others", "reserve"), [((3, 18), 18), ((18, 3), 3), ((18, 18, 3), 18)])
def test_from_the_second_burst_on_the_greatest_is_reserved(
    others: tuple[int, ...], reserve: int
) -> None:
    """A smaller one lowers nothing."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        await bursts(budgets, *others)
        assert state(budgets).reserve == reserve

    run(main())


@pytest.mark.parametrize(("apart", "reserve"), [(5.95, 3), (6.05, 0)])
def test_bursts_less_than_six_windows_apart_are_in_a_row(apart: float, reserve: int) -> None:
    """Twice the time after which a reserve begins to shrink."""

    async def main() -> None:
        budgets = Budgets()
        await answered(budgets, 4)
        await asyncio.sleep(apart)
        await answered(budgets, 4)
        assert state(budgets).reserve == reserve

    run(main())


def test_the_reserve_shrinks_slowly_at_first() -> None:
    """By one after three windows without proof, then by twice as much each time."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        await bursts(budgets, 18)
        await answered(budgets, 19, calls=20)
        shown = []
        for _ in range(6):
            await asyncio.sleep(2.99)
            shown.append(state(budgets).reserve)
            await asyncio.sleep(0.01)
        assert shown == [18, 17, 15, 11, 3, 0]

    run(main())


def test_new_proof_lets_the_reserve_shrink_slowly_again() -> None:
    """And what headers told before it says nothing about what comes after."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        await bursts(budgets, 18, 18)
        await asyncio.sleep(2)
        assert state(budgets).reserve == 17
        await asyncio.sleep(1)
        await answered(budgets, 1, calls=20)
        await asyncio.sleep(1.01)
        await answered(budgets, 19, calls=20)
        assert state(budgets).reserve == 18
        await asyncio.sleep(3)
        assert state(budgets).reserve == 17

    run(main())


def test_one_who_waits_for_the_reserve_goes_when_it_shrinks() -> None:
    """No reply has to come first."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        await bursts(budgets, 3)
        await answered(budgets, 4)
        proved = now()
        await asyncio.sleep(1.01)
        await take(budgets, 2)
        await budgets.acquire((A,))
        assert now() == pytest.approx(proved + 3, abs=STEP)

    run(main())


def test_headers_of_the_window_of_the_proof_do_not_lower_the_reserve() -> None:
    """That window may just have begun anew, and those who were seen come again."""

    async def main() -> None:
        budgets = Budgets()
        await bursts(budgets, 3)
        await answered(budgets, 4)
        await asyncio.sleep(0.5)
        await answered(budgets, 1)
        await asyncio.sleep(2.51)
        assert state(budgets).reserve == 2

    run(main())


def test_the_reserve_falls_to_the_least_that_any_reply_left() -> None:
    """A later reply that leaves more possible takes nothing back."""

    async def main() -> None:
        budgets = Budgets()
        await bursts(budgets, 3, 3, calls=5)
        first, second = await take(budgets, 2)
        first.replied(told(5, 1000, 4))
        second.replied(told(5, 1000, 3))
        await asyncio.sleep(2)
        assert state(budgets).reserve == 0

    run(main())


def test_a_refusal_after_a_cut_of_the_limit_reserves_less_than_all() -> None:
    """What the burst had shown was under the larger limit."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        await bursts(budgets, 18)
        first, second = await take(budgets, 2)
        first.replied(told(20, 1000, 0))
        second.replied(told(5, 1000, 0))
        second.refused()
        assert (state(budgets).calls, state(budgets).reserve) == (5, 4)

    run(main())


@pytest.mark.parametrize(
    ("refused", "reserves"), [((3, 1, 2), [0, 1, 3]), ((3, 3), [0, 3]), ((15, 15), [0, 10])]
)
def test_refusals_without_headers_prove_others(
    refused: tuple[int, ...], reserves: list[int]
) -> None:
    """Those of a burst, above the reserve that was left then; but never more than half."""

    async def main() -> list[int]:
        budgets = Budgets({A: Limit(20, 1.0)})
        shown = []
        for count in refused:
            for permit in await take(budgets, count):
                permit.replied()
                permit.refused()
            shown.append(state(budgets).reserve)
            await asyncio.sleep(1.01)
        return shown

    assert run(main()) == reserves


def test_a_refusal_of_a_burst_renews_its_proof() -> None:
    """The time until the reserve shrinks begins with it."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        await bursts(budgets, 10)
        first, second = await take(budgets, 2)
        first.replied(told(20, 1000, 8))
        await asyncio.sleep(0.5)
        second.replied()
        second.refused()
        await asyncio.sleep(2.9)
        assert state(budgets).reserve == 10
        await asyncio.sleep(0.2)
        assert state(budgets).reserve == 9

    run(main())


def test_more_left_than_the_limit_allows_says_nothing_about_others() -> None:
    """The reserve shrinks as without a word."""

    async def main() -> None:
        budgets = Budgets()
        await bursts(budgets, 3, 3, calls=5)
        await answered(budgets, -4)
        await asyncio.sleep(2)
        assert state(budgets).reserve == 2

    run(main())


# refusals


def test_a_refusal_holds_its_budget_until_the_reset() -> None:
    """Then calls leave again; other budgets never stopped."""

    async def main() -> None:
        events: list[BudgetEvent] = []
        budgets = Budgets(on_event=events.append)
        (permit,) = await take(budgets, 1, A, U)
        permit.replied(told(5, 1000, 0, reset=0.4), EPOCH)
        permit.refused()
        permit.refused()
        assert [event.kind for event in events] == ["refused"]
        assert events[0].names == (A,)
        assert (
            events[0].wait
            == state(budgets).held_for
            == pytest.approx(0.4 + SPREAD + MARGIN, abs=0.001)
        )
        assert state(budgets).free == 0
        await take(budgets, 1, U)
        assert now() < 0.001

    run(main())


def test_a_refusal_without_headers_holds_one_window() -> None:
    """All that the call charged, since nobody knows which was meant."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1, A, U)
        permit.replied()
        permit.refused()
        assert state(budgets, A).held_for == pytest.approx(1 + MARGIN)
        assert state(budgets, U).held_for == pytest.approx(3 + MARGIN)
        await budgets.acquire((U,))
        assert now() > 3

    run(main())


@pytest.mark.parametrize(("names", "held"), [((A, U), U), ((A,), A)])
def test_a_refusal_with_some_left_points_to_another_budget(
    names: tuple[str, ...], held: str
) -> None:
    """The one described still had room; where there is no other, it is held all the same."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1, *names)
        permit.replied(told(5, 1000, 4))
        permit.refused()
        assert [each.name for each in budgets.snapshot() if each.held_for] == [held]

    run(main())


def test_a_refusal_that_is_told_late_returns_no_token_twice() -> None:
    """Its token had come back by itself."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.replied(told(5, 1000, 0, reset=0.5), EPOCH)
        await asyncio.sleep(1.5)
        assert state(budgets).cooling == 0
        permit.refused()
        await asyncio.sleep(2.5)
        assert (state(budgets).free, state(budgets).in_flight) == (5, 0)
        assert repr(budgets) == "<Budgets in_flight=0 waiting=0 taken=[]>"

    run(main())


def test_no_later_word_shortens_a_hold() -> None:
    """Neither a late reply nor a second refusal that would end sooner."""

    async def main() -> None:
        budgets = Budgets()
        first, second, third = await take(budgets, 3)
        first.replied(told(5, 1000, 0, reset=0.9), EPOCH)
        first.refused()
        second.replied(told(5, 1000, 0, reset=0.1), EPOCH)
        second.refused()
        third.replied(told(5, 1000, 2))
        assert state(budgets).held_for == pytest.approx(0.9 + SPREAD + MARGIN, abs=0.001)

    run(main())


def test_a_reset_far_away_holds_no_longer_than_a_window() -> None:
    """A clock that is wrong must not stop the client."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.replied(told(5, 1000, 0, reset=500.0), EPOCH)
        permit.refused()
        assert state(budgets).held_for == pytest.approx(1 + MARGIN)

    run(main())


def test_a_reset_in_the_past_holds_for_a_moment() -> None:
    """Our clock is ahead: the calls of others come in turn all the same."""

    async def main() -> None:
        budgets = Budgets()
        (await answered(budgets, 5, reset=-5.0)).refused()
        assert state(budgets).held_for == pytest.approx(SPREAD + MARGIN)

    run(main())


# the trial after a hold


async def hold(budgets: Budgets, used: int = 1) -> None:
    """Have a call refused whose reply tells a reset in 0.3 s, and wait until the hold is over."""
    (await answered(budgets, used, reset=0.3)).refused()
    assert state(budgets).held_for == pytest.approx(0.3 + SPREAD + MARGIN, abs=0.0011)
    await asyncio.sleep(0.36)


def test_a_refused_call_that_told_the_reset_gives_its_token_back() -> None:
    """The hold stands for it; where it told none, its token rests."""

    async def main() -> None:
        for reset, cooling in ((0.3, 0), (None, 1)):
            budgets = Budgets()
            (await answered(budgets, 1, reset=reset)).refused()
            assert state(budgets).cooling == cooling

    run(main())


def test_the_first_call_after_a_hold_goes_alone() -> None:
    """The others follow at its reply."""

    async def main() -> None:
        budgets = Budgets()
        await spend(budgets, 1)
        await hold(budgets, 2)
        assert (state(budgets).free, state(budgets).cooling) == (1, 1)
        calls = [asyncio.create_task(budgets.acquire((A,))) for _ in range(4)]
        await asyncio.sleep(0.1)
        assert [each.done() for each in calls] == [True] + 3 * [False]
        calls[0].result().replied()
        await turns()
        assert all(each.done() for each in calls)

    run(main())


@pytest.mark.parametrize("end", ["no_reply", "unsent"])
def test_a_trial_that_nobody_answered_is_made_again(end: str) -> None:
    """One more call goes, at once, and alone again."""

    async def main() -> None:
        budgets = Budgets()
        await hold(budgets)
        calls = [asyncio.create_task(budgets.acquire((A,))) for _ in range(3)]
        await turns()
        getattr(calls[0].result(), end)()
        await turns()
        assert [each.done() for each in calls] == [True, True, False]
        calls[2].cancel()

    run(main())


def test_an_older_call_ends_no_trial() -> None:
    """Its reply says nothing of what is free after the hold."""

    async def main() -> None:
        budgets = Budgets()
        (old,) = await take(budgets, 1)
        await asyncio.sleep(0.01)
        await hold(budgets, 2)
        calls = [asyncio.create_task(budgets.acquire((A,))) for _ in range(2)]
        await turns()
        old.replied()
        await turns()
        assert [each.done() for each in calls] == [True, False]
        calls[1].cancel()

    run(main())


def test_a_trial_that_a_new_hold_overtook_ends_no_other() -> None:
    """A call that was sent before was refused meanwhile: after that hold one goes alone again."""

    async def main() -> None:
        budgets = Budgets()
        (old,) = await take(budgets, 1)
        await asyncio.sleep(0.01)
        await hold(budgets, 2)
        (trial,) = await take(budgets, 1)
        old.replied(told(5, 1000, 3, reset=now() + 0.3), EPOCH + now())
        old.refused()
        trial.replied()
        await asyncio.sleep(0.36)
        assert state(budgets).free == 1

    run(main())


def test_one_window_after_a_refusal_no_trial_is_needed() -> None:
    """Whatever became of the one that went: all is free then, under any rule."""

    async def main() -> None:
        budgets = Budgets()
        await hold(budgets)
        trial, *others = [asyncio.create_task(budgets.acquire((A,))) for _ in range(5)]
        await asyncio.gather(*others)
        assert now() == pytest.approx(1 + MARGIN, abs=STEP)
        assert trial.done()

    run(main())


def test_the_reply_of_a_trial_says_how_much_is_free() -> None:
    """After a window's reset all but its own; in a sliding window what the others still hold."""

    async def main() -> None:
        for used, free in ((1, 4), (3, 2), (5, 0)):
            budgets = Budgets()
            await spend(budgets, 1)
            await asyncio.sleep(1.01)
            await hold(budgets, 5)
            assert state(budgets).foreign == 4
            await answered(budgets, used)
            assert (state(budgets).foreign, state(budgets).free) == (used - 1, free)

    run(main())


def test_a_late_reply_from_before_a_hold_is_not_counted_as_one_after_it() -> None:
    """Its call is none of those that the trial's reply must have counted."""

    async def main() -> None:
        budgets = Budgets()
        (old,) = await take(budgets, 1)
        await asyncio.sleep(0.01)
        await hold(budgets, 5)
        assert state(budgets).foreign == 3
        (trial,) = await take(budgets, 1)
        old.replied()
        trial.replied(told(5, 1000, 2))
        assert state(budgets).foreign == 2

    run(main())


@pytest.mark.parametrize("held", [False, True])
def test_only_replies_soon_after_a_hold_take_foreign_use_back(*, held: bool) -> None:
    """Another reply that counts less was only sent sooner."""

    async def main() -> None:
        budgets = Budgets()
        if held:
            await hold(budgets)
            await asyncio.sleep(1.1)
        old, new = await take(budgets, 2)
        new.replied(told(5, 1000, 0))
        old.replied(told(5, 1000, 4))
        assert state(budgets).foreign == 3

    run(main())


def test_foreign_use_seen_after_a_hold_is_as_old_as_the_refusal() -> None:
    """It is what filled the window then, and comes back in its order."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)}, round_trips=KnownWay(0.0))
        first, second, third = await take(budgets, 3)
        first.replied(told(20, 1000, 15))
        await asyncio.sleep(0.2)
        second.replied(told(20, 1000, 14))
        third.replied(told(20, 1000, 14, reset=0.5), EPOCH + now())
        third.refused()
        assert state(budgets).foreign == 3
        await asyncio.sleep(0.36)
        (trial,) = await take(budgets, 1)
        trial.replied(told(20, 1000, 11))
        assert state(budgets).foreign == 6
        await asyncio.sleep(0.5)
        assert state(budgets).foreign == 1

    run(main())


# prediction and events


def test_the_wait_of_the_kth_call_is_predicted() -> None:
    """Nothing while tokens are free; then one window for each round of them."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        assert [budgets.wait((A,), count=count) for count in (1, 5)] == [0.0, 0.0]
        assert budgets.wait((A,), count=6) == pytest.approx(1 + MARGIN)
        assert budgets.wait((A,), count=16) == pytest.approx(3 * (1 + MARGIN))
        assert budgets.wait((A, U), count=100) == pytest.approx(19 * (1 + MARGIN))

    run(main())


def test_no_call_is_predicted_before_the_end_of_a_hold() -> None:
    """Tokens that are free or back sooner wait for it as well."""

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


def test_an_urgent_call_is_predicted_as_if_nothing_were_reserved() -> None:
    """A routine one is not."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        await bursts(budgets, 3, 3, calls=5)
        assert budgets.wait((A,), count=5, priority=Priority.URGENT) == 0.0
        assert budgets.wait((A,), count=5) == pytest.approx(2 * (1 + MARGIN))

    run(main())


@pytest.mark.parametrize(("way", "trip", "period"), [(0.1, 0.3, 1.2), (1.5, 1.5, 1.5)])
def test_the_use_of_a_token_takes_a_round_trip_and_a_rest(
    way: float, trip: float, period: float
) -> None:
    """The rest is a window less the shortest way, and may be nothing at all."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(way))
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(trip)
        permit.replied()
        await asyncio.sleep(2)
        assert budgets.wait((A,), count=6) == pytest.approx(period, abs=0.002)

    run(main())


def test_the_predicted_wait_counts_only_those_ahead_who_can_leave_before() -> None:
    """Five hundred wait for a narrow budget as well, and leave the wide one's room to others."""

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


def test_how_many_fit_before_a_deadline_is_predicted() -> None:
    """Behind those who wait, by priority, and by the narrowest budget."""

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


def test_no_less_than_none_fit() -> None:
    """Where more wait in several lanes than a shared budget has room for."""

    async def main() -> None:
        budgets = Budgets({U: Limit(1, 3.0)}, round_trips=KnownWay(0.0))
        await spend(budgets, 1, U)
        waiters = [asyncio.create_task(budgets.acquire(names)) for names in ((U,), (A, U), (B, U))]
        await turns()
        assert budgets.fits((U,), deadline=now() + 3.5) == 0
        for each in waiters:
            each.cancel()

    run(main())


def test_an_old_turn_waits_only_for_older_ones() -> None:
    """Its prediction leaves out who came later, and who is gone."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)}, round_trips=KnownWay(0.0))
        await spend(budgets, 1)
        early, late = budgets.ticket(), budgets.ticket()
        keep = [
            asyncio.create_task(budgets.acquire_some((A,), most, ticket=ticket))
            for ticket, most in ((budgets.ticket(), 1), (late, 50), (early, 2), (early, 100))
        ]
        await turns()
        keep[3].cancel()
        await turns()
        lane = budgets._lane((A,))
        assert lane.ahead((1, early)) == 0
        assert lane.ahead((1, late)) == 2
        assert lane.ahead((1, late + 1)) == 52
        assert lane.ahead((1, late + 2)) == 53
        for each in keep:
            each.cancel()

    run(main())


def test_every_wait_is_told() -> None:
    """With the predicted time; what is free is not worth a word."""

    async def main() -> None:
        events: list[BudgetEvent] = []
        budgets = Budgets({A: Limit(1, 1.0)}, on_event=events.append)
        await spend(budgets, 1)
        assert not events
        await budgets.acquire((A,))
        assert [(event.kind, event.names) for event in events] == [("wait", (A,))]
        assert events[0].wait == pytest.approx(1 + MARGIN, abs=0.001)

    run(main())


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_a_hook_that_fails_breaks_nothing(error: type[BaseException]) -> None:
    """The loop's exception handler hears of it."""
    loop = VirtualLoop()

    def hook(event: BudgetEvent) -> None:
        raise error(event.kind)

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)}, on_event=hook)
        await spend(budgets, 1)
        await budgets.acquire((A,))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    assert [str(failure["exception"]) for failure in loop.failures] == ["wait"]


def test_a_snapshot_shows_every_budget() -> None:
    """And the repr the ones in use."""

    async def main() -> None:
        budgets = Budgets()
        first, second, _ = await take(budgets, 3)
        first.replied()
        second.no_reply()
        shown = state(budgets)
        assert (shown.free, shown.in_flight, shown.cooling, shown.next_in) == (2, 1, 2, 0.0)
        assert [each.name for each in budgets.snapshot()] == list(BUDGETS)
        assert repr(budgets) == f"<Budgets in_flight=1 waiting=0 taken=[{A} 3/5]>"
        assert budgets.ticket() < budgets.ticket()

    run(main())


# arguments


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"limits": {"spot": Limit(1, 1.0)}}, InvalidValueError),
        ({"limits": [A]}, InvalidTypeError),
        ({"limits": {A: 5}}, InvalidTypeError),
        ({"max_in_flight": 0}, InvalidValueError),
        ({"max_in_flight": True}, InvalidTypeError),
        ({"max_in_flight": 1.5}, InvalidTypeError),
        ({"on_event": "print"}, InvalidTypeError),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    """Before anything is made."""
    with pytest.raises(error):
        Budgets(**arguments)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ((), InvalidValueError),
        (("spot",), InvalidValueError),
        (A, InvalidTypeError),
        ((1,), InvalidTypeError),
    ],
)
def test_wrong_names_are_refused(names: Any, error: type[Exception]) -> None:
    """A budget must be one of the table's."""

    async def main() -> None:
        with pytest.raises(error):
            await Budgets().acquire(names)

    run(main())
