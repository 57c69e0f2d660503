"""One budget after a refusal: how long it is held, and the trial that follows."""

import asyncio
from typing import TYPE_CHECKING

import pytest
from limiter_model import EPOCH, KnownWay
from limits_helpers import STEP, A, B, U, answered, hold, limit_headers, spend, state, take, turns
from virtualtime import now, run

from htx_cancel.endpoints import Limit
from htx_cancel.limits.budget import MARGIN, SPREAD
from htx_cancel.limits.limiter import Budgets

if TYPE_CHECKING:
    from htx_cancel.limits.permit import BudgetEvent


def test_a_refusal_holds_its_budget_until_the_reset() -> None:
    """Then requests are sent again; other budgets are not held."""

    async def main() -> None:
        events: list[BudgetEvent] = []
        budgets = Budgets(on_event=events.append)
        (permit,) = await take(budgets, 1, A, U)
        permit.replied(limit_headers(5, 1000, 0, reset=0.4), EPOCH)
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
    """All budgets of the request are held, because the exceeded one is unknown."""

    async def main() -> None:
        events: list[BudgetEvent] = []
        budgets = Budgets(on_event=events.append)
        (permit,) = await take(budgets, 1, A, U)
        permit.replied()
        permit.refused()
        (event,) = events
        assert event.names == (A, U)
        assert event.wait == pytest.approx(3 + MARGIN)
        assert state(budgets, A).held_for == pytest.approx(1 + MARGIN)
        assert state(budgets, U).held_for == pytest.approx(3 + MARGIN)
        await budgets.acquire((U,))
        assert now() > 3

    run(main())


@pytest.mark.parametrize(("names", "held", "seconds"), [((A, U), U, 3.0), ((A,), A, 0.3 + SPREAD)])
def test_a_refusal_with_some_left_points_to_another_budget(
    names: tuple[str, ...], held: str, seconds: float
) -> None:
    """The described budget still had room, and its reset is not that of the other one.

    If it is the only one, it is held nevertheless.
    """

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1, *names)
        permit.replied(limit_headers(5, 1000, 4, reset=0.3), EPOCH)
        permit.refused()
        assert [each.name for each in budgets.snapshot() if each.held_for] == [held]
        assert state(budgets, held).held_for == pytest.approx(seconds + MARGIN, abs=0.001)

    run(main())


def test_a_refusal_whose_headers_describe_no_budget_holds_all_for_one_window() -> None:
    """The stated reset may be that of either budget."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1, A, B)
        permit.replied(limit_headers(5, 1000, 0, reset=0.3), EPOCH)
        permit.refused()
        for name in (A, B):
            assert state(budgets, name).held_for == pytest.approx(1 + MARGIN)

    run(main())


def test_a_refusal_reported_late_frees_no_token_twice() -> None:
    """The token is already free."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.replied(limit_headers(5, 1000, 0, reset=0.5), EPOCH)
        await asyncio.sleep(1.5)
        assert state(budgets).cooling == 0
        permit.refused()
        await asyncio.sleep(2.5)
        assert (state(budgets).free, state(budgets).in_flight) == (5, 0)
        assert repr(budgets) == "<Budgets in_flight=0 waiting=0 taken=[]>"

    run(main())


def test_no_later_reply_shortens_a_hold() -> None:
    """Neither a late reply nor a second refusal with an earlier reset does."""

    async def main() -> None:
        budgets = Budgets()
        first, second, third = await take(budgets, 3)
        first.replied(limit_headers(5, 1000, 0, reset=0.9), EPOCH)
        first.refused()
        second.replied(limit_headers(5, 1000, 0, reset=0.1), EPOCH)
        second.refused()
        third.replied(limit_headers(5, 1000, 2))
        assert state(budgets).held_for == pytest.approx(0.9 + SPREAD + MARGIN, abs=0.001)

    run(main())


def test_a_reset_far_away_holds_no_longer_than_a_window() -> None:
    """A wrong clock must not stop the client."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.replied(limit_headers(5, 1000, 0, reset=500.0), EPOCH)
        permit.refused()
        assert state(budgets).held_for == pytest.approx(1 + MARGIN)

    run(main())


def test_a_reset_holds_one_window_without_a_wall_clock() -> None:
    """The time until the reset is unknown."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.replied(limit_headers(5, 1000, 0, reset=0.3))
        permit.refused()
        assert state(budgets).held_for == pytest.approx(1 + MARGIN)

    run(main())


def test_a_reset_in_the_past_holds_for_a_moment() -> None:
    """Our clock is ahead, but the tokens of a burst still become free one by one."""

    async def main() -> None:
        budgets = Budgets()
        (await answered(budgets, 5, reset=-5.0)).refused()
        assert state(budgets).held_for == pytest.approx(SPREAD + MARGIN)

    run(main())


def test_a_refused_request_with_a_reset_gives_its_token_back() -> None:
    """The hold replaces the token; without a stated reset the token cools."""

    async def main() -> None:
        for reset, cooling in ((0.3, 0), (None, 1)):
            budgets = Budgets()
            (await answered(budgets, 1, reset=reset)).refused()
            assert state(budgets).cooling == cooling

    run(main())


# the trial after a hold


def test_the_first_request_after_a_hold_goes_alone() -> None:
    """The other requests are sent at its reply."""

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
def test_a_trial_without_a_reply_is_repeated(end: str) -> None:
    """One more request is sent, at once and alone."""

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


def test_an_older_request_ends_no_trial() -> None:
    """Its reply does not state what is free after the hold."""

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


def test_a_trial_from_before_a_new_hold_does_not_end_the_next_trial() -> None:
    """An older request was refused meanwhile: after that hold one request goes alone again."""

    async def main() -> None:
        budgets = Budgets()
        (old,) = await take(budgets, 1)
        await asyncio.sleep(0.01)
        await hold(budgets, 2)
        (trial,) = await take(budgets, 1)
        old.replied(limit_headers(5, 1000, 3, reset=now() + 0.3), EPOCH + now())
        old.refused()
        trial.replied()
        await asyncio.sleep(0.36)
        assert state(budgets).free == 1

    run(main())


def test_one_window_after_a_refusal_no_trial_is_needed() -> None:
    """Whatever happened to the trial, all tokens are free then under any rule, and not before."""

    async def main() -> None:
        budgets = Budgets()
        await hold(budgets)
        trial, *others = [asyncio.create_task(budgets.acquire((A,))) for _ in range(5)]
        await asyncio.sleep(1 + MARGIN / 2 - now())
        assert not any(each.done() for each in others)
        await asyncio.gather(*others)
        assert now() == pytest.approx(1 + MARGIN, abs=STEP)
        assert trial.done()

    run(main())


def test_the_reply_of_a_trial_states_how_much_is_free() -> None:
    """After a reset all but its own token; in a sliding window less what others used."""

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


def test_each_reply_soon_after_a_hold_states_what_others_still_use() -> None:
    """The exchange counted all requests that were answered since the hold, not only the last."""

    async def main() -> None:
        budgets = Budgets()
        await hold(budgets, 5)
        await answered(budgets, 3)
        assert state(budgets).foreign == 2
        await answered(budgets, 3)
        assert state(budgets).foreign == 1

    run(main())


def test_a_late_reply_from_before_a_hold_is_not_counted_as_one_after_it() -> None:
    """The trial's reply need not have counted that request."""

    async def main() -> None:
        budgets = Budgets()
        (old,) = await take(budgets, 1)
        await asyncio.sleep(0.01)
        await hold(budgets, 5)
        assert state(budgets).foreign == 3
        (trial,) = await take(budgets, 1)
        old.replied()
        trial.replied(limit_headers(5, 1000, 2))
        assert state(budgets).foreign == 2

    run(main())


@pytest.mark.parametrize("held", [False, True])
def test_only_replies_soon_after_a_hold_reduce_foreign_use(*, held: bool) -> None:
    """A reply with a lower count was otherwise only sent earlier."""

    async def main() -> None:
        budgets = Budgets()
        if held:
            await hold(budgets)
            await asyncio.sleep(1.1)
        old, new = await take(budgets, 2)
        new.replied(limit_headers(5, 1000, 0))
        old.replied(limit_headers(5, 1000, 4))
        assert state(budgets).foreign == 3

    run(main())


def test_a_late_reply_from_before_a_hold_reduces_no_foreign_use() -> None:
    """The exchange counted its request before the others came."""

    async def main() -> None:
        budgets = Budgets()
        (old,) = await take(budgets, 1)
        await asyncio.sleep(0.01)
        await hold(budgets, 5)
        old.replied(limit_headers(5, 1000, 4))
        assert state(budgets).foreign == 3

    run(main())


def test_foreign_use_seen_after_a_hold_is_as_old_as_the_refusal() -> None:
    """It filled the window then, and cools from then on."""

    async def main() -> None:
        budgets = Budgets({A: Limit(20, 1.0)}, round_trips=KnownWay(0.0))
        first, second, third = await take(budgets, 3)
        first.replied(limit_headers(20, 1000, 15))
        await asyncio.sleep(0.2)
        second.replied(limit_headers(20, 1000, 14))
        third.replied(limit_headers(20, 1000, 14, reset=0.5), EPOCH + now())
        third.refused()
        assert state(budgets).foreign == 3
        await asyncio.sleep(0.36)
        (trial,) = await take(budgets, 1)
        trial.replied(limit_headers(20, 1000, 11))
        assert state(budgets).foreign == 6
        await asyncio.sleep(0.5)
        assert state(budgets).foreign == 1

    run(main())
