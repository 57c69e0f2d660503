"""What the rate-limit headers of a reply teach of a limit; nonsense teaches nothing."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest
from limiter_model import EPOCH
from limits_helpers import A, B, U, state, take, told
from virtualtime import now, run

from htx_cancel.endpoints import BUDGETS, Limit
from htx_cancel.limits.limiter import Budgets

if TYPE_CHECKING:
    from htx_cancel.limits.permit import BudgetEvent


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
