"""The tokens of one budget: how they cool, and what others of the UID use."""

import asyncio
from math import inf

import pytest
from limiter_model import EPOCH, KnownWay
from limits_helpers import STEP, A, B, answered, bursts, limit_headers, spend, state, take, turns
from virtualtime import now, run

from htx_cancel.endpoints import Limit
from htx_cancel.limits.budget import MARGIN
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import Priority


def test_a_token_is_free_one_window_after_its_reply() -> None:
    """One window after the reply, not after the request, plus the margin and no more."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)}, round_trips=KnownWay(0.0))
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(0.3)
        permit.replied()
        await budgets.acquire((A,))
        assert 1.3 + MARGIN <= now() <= 1.3 + MARGIN + STEP

    run(main())


# foreign use


def test_what_others_used_is_charged_for_a_window() -> None:
    """The difference between the exchange's count and our own is charged."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.replied(limit_headers(5, 1000, 1))
        assert (state(budgets).foreign, state(budgets).reserve, state(budgets).free) == (3, 0, 1)
        await asyncio.sleep(1.01)
        assert (state(budgets).foreign, state(budgets).reserve, state(budgets).free) == (0, 0, 5)

    run(main())


def test_foreign_use_is_waited_for() -> None:
    """Foreign tokens cool like our own."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        (permit,) = await take(budgets, 1)
        permit.replied(limit_headers(5, 1000, 0))
        assert (state(budgets).reserve, state(budgets).foreign) == (0, 4)
        assert state(budgets).next_in == pytest.approx(1 + MARGIN)
        await budgets.acquire((A,))
        assert now() == pytest.approx(1 + MARGIN, abs=STEP)

    run(main())


def test_our_own_requests_do_not_count_as_foreign() -> None:
    """Not even if the reply arrives after newer requests, or tokens became free meanwhile."""

    async def main() -> None:
        budgets = Budgets()
        old = await budgets.acquire((A,))
        await spend(budgets, 4)
        await asyncio.sleep(1.01)
        await spend(budgets, 3)
        old.replied(limit_headers(5, 1000, 0))
        assert (state(budgets).foreign, state(budgets).reserve) == (0, 0)

    run(main())


@pytest.mark.parametrize("end", ["no_reply", "unsent"])
def test_a_request_that_ended_without_a_reply_hides_no_foreign_use(end: str) -> None:
    """Once its token is free again, it is none of the requests that the exchange counted."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        getattr(permit, end)()
        await asyncio.sleep(1.01)
        await answered(budgets, 3)
        assert state(budgets).foreign == 2

    run(main())


def test_an_urgent_request_waits_for_foreign_use() -> None:
    """Foreign tokens of this window are used, not reserved."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        await answered(budgets, 5)
        await budgets.acquire((A,), priority=Priority.URGENT)
        assert now() == pytest.approx(1 + MARGIN, abs=STEP)

    run(main())


def test_foreign_use_cools_for_a_window_less_the_shortest_round_trip() -> None:
    """The exchange counted foreign use before the reply left, like our own requests."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.2))
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(0.2)
        permit.replied(limit_headers(5, 1000, 0, reset=0.3), EPOCH + now())
        permit.refused()
        assert (state(budgets).foreign, state(budgets).cooling) == (4, 0)
        trial = await budgets.acquire((A,))
        await asyncio.sleep(0.25)
        trial.replied()
        await budgets.acquire((A,))
        assert now() == pytest.approx(1 + MARGIN, abs=STEP)

    run(main())


def test_the_same_foreign_use_is_charged_once() -> None:
    """Two replies of one window state the same use."""

    async def main() -> None:
        budgets = Budgets()
        first, second = await take(budgets, 2)
        first.replied(limit_headers(5, 1000, 1))
        second.replied(limit_headers(5, 1000, 0))
        assert (state(budgets).foreign, state(budgets).free) == (3, 0)

    run(main())


def test_foreign_use_of_an_earlier_window_does_not_hide_that_of_this_one() -> None:
    """It is over when the reply arrives, although the budget was not read since."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        await answered(budgets, 4)
        await asyncio.sleep(0.9)
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(0.6)
        permit.replied(limit_headers(5, 1000, 0))
        assert state(budgets).foreign == 3

    run(main())


# the reserve


def test_what_others_used_in_two_windows_is_reserved_for_them() -> None:
    """It is left to them in every window, until the proof has stopped for some windows."""

    async def main() -> None:
        budgets = Budgets()
        for _ in range(2):
            (permit,) = await take(budgets, 1)
            permit.replied(limit_headers(5, 1000, 1))
            await asyncio.sleep(1.01)
        assert (state(budgets).foreign, state(budgets).reserve, state(budgets).free) == (0, 3, 2)
        await asyncio.sleep(10)
        assert (state(budgets).reserve, state(budgets).free) == (0, 5)

    run(main())


@pytest.mark.parametrize(("headers", "left"), [(True, 0), (False, 2)])
def test_the_reserve_falls_to_what_headers_leave_possible(*, headers: bool, left: int) -> None:
    """At once, some windows after the last proof; without headers it shrinks by one."""

    async def main() -> None:
        budgets = Budgets()
        for _ in range(2):
            (permit,) = await take(budgets, 1)
            permit.replied(limit_headers(5, 1000, 1))
            await asyncio.sleep(1.01)
        await asyncio.sleep(0.9)
        (permit,) = await take(budgets, 1)
        permit.replied(limit_headers(5, 1000, 4) if headers else None)
        await asyncio.sleep(1.2)
        assert state(budgets).reserve == left

    run(main())


def test_a_smaller_limit_cuts_the_reserve() -> None:
    """The reserve is below the limit."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        for _ in range(2):
            (permit,) = await take(budgets, 1)
            permit.replied(limit_headers(20, 1000, 1))
            await asyncio.sleep(1.01)
        assert state(budgets).reserve == 18
        (permit,) = await take(budgets, 1)
        permit.replied(limit_headers(5, 1000, 4))
        assert (state(budgets).calls, state(budgets).reserve) == (5, 4)
        await asyncio.sleep(1.01)
        assert state(budgets).free == 1

    run(main())


def test_an_urgent_request_may_use_the_reserve() -> None:
    """The reserve is a courtesy; foreign use in this window is not."""

    async def main() -> None:
        budgets = Budgets()
        for _ in range(2):
            (permit,) = await take(budgets, 1)
            permit.replied(limit_headers(5, 1000, 1))
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


def test_an_urgent_request_waits_for_no_reserved_token() -> None:
    """Only for a token of another budget that is full."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)}, round_trips=KnownWay(0.0))
        await bursts(budgets, 18, 18)
        began = now()
        await spend(budgets, 5, B)
        await asyncio.sleep(0.5)
        await spend(budgets, 2, A)
        await budgets.acquire((A, B), priority=Priority.URGENT)
        assert now() == pytest.approx(began + 1 + MARGIN, abs=STEP)

    run(main())


def test_an_urgent_request_may_use_the_reserve_behind_another_urgent_one() -> None:
    """The earlier one waits for another budget too, and needs one reserved token."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)}, round_trips=KnownWay(0.0))
        await bursts(budgets, 18, 18)
        await spend(budgets, 5, B)
        await spend(budgets, 2, A)
        first, second = (
            asyncio.create_task(budgets.acquire(names, priority=Priority.URGENT))
            for names in ((A, B), (A,))
        )
        await turns()
        assert (first.done(), second.done()) == (False, True)
        first.cancel()

    run(main())


def test_foreign_use_counts_as_part_of_the_reserve() -> None:
    """The greater of reserve and foreign use counts, now and in a prediction."""

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
    """A smaller burst does not lower the reserve."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        await bursts(budgets, *others)
        assert state(budgets).reserve == reserve

    run(main())


def test_all_that_others_used_in_a_burst_is_reserved() -> None:
    """Not only the part that one reply adds."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        await bursts(budgets, 4)
        first, second = await take(budgets, 2)
        first.replied(limit_headers(20, 1000, 14))
        assert state(budgets).reserve == 4
        second.replied(limit_headers(20, 1000, 9))
        assert state(budgets).reserve == 9

    run(main())


@pytest.mark.parametrize(("apart", "reserve"), [(5.95, 3), (6.05, 0)])
def test_bursts_less_than_six_windows_apart_are_in_a_row(apart: float, reserve: int) -> None:
    """Six windows are twice the time after which a reserve begins to shrink."""

    async def main() -> None:
        budgets = Budgets()
        await answered(budgets, 4)
        await asyncio.sleep(apart)
        await answered(budgets, 4)
        assert state(budgets).reserve == reserve

    run(main())


def test_the_reserve_shrinks_slowly_at_first() -> None:
    """It shrinks by one after three windows without proof, then by twice as much each time.

    When nothing is reserved, no more such times follow.
    """

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
        assert budgets._budgets[A].next_at(now()) == inf

    run(main())


def test_new_proof_lets_the_reserve_shrink_slowly_again() -> None:
    """Headers from before the new proof do not count any more."""

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


def test_a_waiter_is_served_when_the_reserve_shrinks() -> None:
    """The waiter is served without a reply in between."""

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


@pytest.mark.parametrize("trip", [0.0, 0.6])
def test_headers_in_the_window_of_the_proof_do_not_lower_the_reserve(trip: float) -> None:
    """That window may just have been reset, and the others may return.

    The reply may arrive after it.
    """

    async def main() -> None:
        budgets = Budgets()
        await bursts(budgets, 3)
        await answered(budgets, 4)
        await asyncio.sleep(0.5)
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(trip)
        permit.replied(limit_headers(5, 1000, 4))
        await asyncio.sleep(2.51 - trip)
        assert state(budgets).reserve == 2

    run(main())


def test_the_reserve_falls_to_the_least_that_any_reply_leaves_possible() -> None:
    """A later reply that leaves more use possible changes nothing."""

    async def main() -> None:
        budgets = Budgets()
        await bursts(budgets, 3, 3, calls=5)
        first, second = await take(budgets, 2)
        first.replied(limit_headers(5, 1000, 4))
        second.replied(limit_headers(5, 1000, 3))
        await asyncio.sleep(2)
        assert state(budgets).reserve == 0

    run(main())


def test_a_refusal_after_a_cut_of_the_limit_reserves_less_than_all() -> None:
    """The burst was proved under the larger limit."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        await bursts(budgets, 18)
        first, second = await take(budgets, 2)
        first.replied(limit_headers(20, 1000, 0))
        second.replied(limit_headers(5, 1000, 0))
        second.refused()
        assert (state(budgets).calls, state(budgets).reserve) == (5, 4)

    run(main())


@pytest.mark.parametrize(
    ("refused", "reserves"), [((3, 1, 2), [0, 1, 3]), ((3, 3), [0, 3]), ((15, 15), [0, 10])]
)
def test_refusals_without_headers_prove_others(
    refused: tuple[int, ...], reserves: list[int]
) -> None:
    """Refusals of a burst add to the reserve at its start, up to half of the limit."""

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
    """The time until the reserve shrinks starts again."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)})
        await bursts(budgets, 10)
        first, second = await take(budgets, 2)
        first.replied(limit_headers(20, 1000, 8))
        await asyncio.sleep(0.5)
        second.replied()
        second.refused()
        await asyncio.sleep(2.9)
        assert state(budgets).reserve == 10
        await asyncio.sleep(0.2)
        assert state(budgets).reserve == 9

    run(main())


def test_more_remaining_than_the_limit_is_ignored() -> None:
    """The reserve shrinks as it does without headers."""

    async def main() -> None:
        budgets = Budgets()
        await bursts(budgets, 3, 3, calls=5)
        await answered(budgets, -4)
        await asyncio.sleep(2)
        assert state(budgets).reserve == 2

    run(main())
