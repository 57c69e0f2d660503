"""How budgets learn a limit from rate-limit headers, and ignore invalid headers."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest
from limiter_model import EPOCH, KnownWay
from limits_helpers import STEP, A, B, U, limit_headers, spend, state, take
from virtualtime import now, run

from htx_cancel.endpoints import BUDGETS, Limit
from htx_cancel.limits.budget import MARGIN
from htx_cancel.limits.limiter import Budgets

if TYPE_CHECKING:
    from htx_cancel.limits.permit import BudgetEvent


def test_a_limit_is_adopted_from_the_headers() -> None:
    """The limit, the interval, or being the only budget tells which budget is described."""

    async def main() -> None:
        events: list[BudgetEvent] = []
        budgets = Budgets(on_event=events.append)
        for names, headers, learned in (
            ((A, U), limit_headers(144, 3000, 143), (U, 144, 3.0)),
            ((A, U), limit_headers(10, 1000, 9), (A, 10, 1.0)),
            ((A,), limit_headers(20, 2000, 18), (A, 20, 2.0)),
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


def test_headers_with_the_limit_of_one_budget_describe_it() -> None:
    """Another budget with the same interval is not described."""

    async def main() -> None:
        budgets = Budgets({B: Limit(6, 1.0)})
        (permit,) = await take(budgets, 1, A, B)
        permit.replied(limit_headers(6, 1000, 3))
        assert (state(budgets, A).foreign, state(budgets, B).foreign) == (0, 2)

    run(main())


def test_headers_are_compared_to_the_requests_of_the_described_budget() -> None:
    """Earlier requests that charged another budget do not matter."""

    async def main() -> None:
        budgets = Budgets()
        await spend(budgets, 4, A)
        await asyncio.sleep(1.01)
        (permit,) = await take(budgets, 1, A, U)
        permit.replied(limit_headers(72, 3000, 70))
        assert state(budgets, U).foreign == 1

    run(main())


@pytest.mark.parametrize(
    ("names", "headers"),
    [
        ((A,), {}),
        ((A,), {"ratelimit-limit": "9"}),
        ((A,), limit_headers(9, 1000, 8) | {"ratelimit-interval": "soon"}),
        ((A,), limit_headers(0, 1000, 0)),
        ((A,), limit_headers(100_001, 1000, 0)),
        ((A,), limit_headers(9, 99, 8)),
        ((A,), limit_headers(9, 60_001, 8)),
        ((A,), limit_headers(51, 1000, 8)),  # more than ten times what is known
        ((U,), limit_headers(7, 3000, 6)),  # less than a tenth
        ((U,), limit_headers(200, 60_000, 7)),  # a window of a minute
        ((U,), limit_headers(20, 900, 7)),  # a window of less than a third
        ((A,), limit_headers(9, 1000, 8) | {"ratelimit-limit": "+9"}),
        ((A,), limit_headers(9, 1000, 8) | {"ratelimit-limit": "1_0"}),
        ((A,), limit_headers(9, 1000, 8) | {"ratelimit-limit": "\u0669"}),  # an Arabic 9
        ((A,), limit_headers(9, 1000, 8) | {"ratelimit-limit": "9" * 5000}),
        ((A,), limit_headers(72, 3000, 71)),  # the pool's
        ((A, U), limit_headers(9, 5000, 8)),
        ((A, B), limit_headers(9, 1000, 8)),
    ],
)
def test_uncertain_headers_are_ignored(names: tuple[str, ...], headers: Mapping[str, str]) -> None:
    """Invalid headers, and headers that may describe another budget, are ignored."""

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
    """Believed: 0.1 to 10 times the published rate, 1/3 to 3 times the published window."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.replied(limit_headers(calls, interval, calls - 1))
        shown = state(budgets)
        assert ((shown.calls, shown.seconds) == (calls, interval / 1000)) is taken

    run(main())


def test_no_series_of_changes_leads_far_from_the_published_limit() -> None:
    """A limit is compared to the published one, not to the last one learned."""

    async def main() -> None:
        budgets = Budgets()
        for calls in (50, 500):
            (permit,) = await take(budgets, 1)
            permit.replied(limit_headers(calls, 1000, calls - 1))
        assert state(budgets).calls == 50

    run(main())


def test_a_late_reply_does_not_undo_a_newer_limit() -> None:
    """The limit stated to the later request stays."""

    async def main() -> None:
        budgets = Budgets()
        old, new = await take(budgets, 2)
        new.replied(limit_headers(9, 1000, 7))
        old.replied(limit_headers(5, 1000, 4))
        assert state(budgets).calls == 9

    run(main())


def test_a_token_cools_for_the_learned_window() -> None:
    """Even the token of the request whose reply states it."""

    async def main() -> None:
        budgets = Budgets(round_trips=KnownWay(0.0))
        (permit,) = await take(budgets, 1)
        permit.replied(limit_headers(2, 2000, 1))
        await spend(budgets, 1)
        await take(budgets, 1)
        assert now() == pytest.approx(2 + MARGIN, abs=STEP)

    run(main())


def test_a_smaller_limit_holds_from_its_reply_on() -> None:
    """Tokens taken under the larger limit must become free first."""

    async def main() -> None:
        budgets = Budgets()
        permits = await take(budgets, 5)
        for permit in permits:
            permit.replied(limit_headers(2, 1000, 0))
        assert state(budgets).free == 0
        await take(budgets, 2)
        assert now() > 1

    run(main())
