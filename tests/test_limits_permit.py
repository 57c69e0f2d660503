"""How a permit ends, what happens to its tokens, and permits for a user's own requests."""

import asyncio

import pytest
from limiter_model import EPOCH, KnownWay
from limits_helpers import STEP, A, limit_headers, spend, state, take, turns
from virtualtime import now, run

from htx_cancel.endpoints import Limit
from htx_cancel.errors import InvalidValueError, TooLateError
from htx_cancel.limits.budget import MARGIN, SPREAD
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import Priority


def test_a_user_shares_the_budgets_with_its_own_requests() -> None:
    """The block takes a token, which cools after it; a request never sent frees it at once."""

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
        await failing.__aexit__(ValueError, ValueError("failed"), None)
        assert (state(budgets).in_flight, state(budgets).free) == (0, 0)
        assert budgets.round_trip == 0.0

    run(main())


def test_a_request_whose_block_raised_counts_as_unanswered() -> None:
    """Its token is free one window later, with no round trip subtracted."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)}, round_trips=KnownWay(0.2))
        with pytest.raises(ValueError, match="failed"):
            async with budgets.permit(A):
                raise ValueError("failed")
        assert state(budgets).next_in == pytest.approx(1 + MARGIN, abs=1e-6)

    run(main())


def test_an_urgent_request_of_a_user_passes_waiting_ones() -> None:
    """The priority of its permit counts in the queue."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        await spend(budgets, 1)
        routine = asyncio.create_task(budgets.acquire((A,)))
        await turns()
        async with budgets.permit(A, priority=Priority.URGENT):
            assert not routine.done()
        routine.cancel()

    run(main())


def test_only_the_first_end_of_a_permit_counts() -> None:
    """A second report about the same request changes nothing."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        permit.unsent()
        permit.replied(limit_headers(9, 1000, 0))
        permit.no_reply()
        permit.refused()
        permit.unsent()
        assert state(budgets).free == state(budgets).calls == 5
        assert permit.names == (A,)

    run(main())


def test_only_the_headers_of_the_first_reply_count() -> None:
    """A second report of the reply does not change the reset of a refusal."""

    async def main() -> None:
        budgets = Budgets()
        (permit,) = await take(budgets, 1)
        for reset in (0.5, 0.1):
            permit.replied(limit_headers(5, 1000, 0, reset=reset), EPOCH)
        permit.refused()
        assert state(budgets).held_for == pytest.approx(0.5 + SPREAD + MARGIN, abs=0.001)

    run(main())


def test_a_token_without_reply_is_free_a_window_after_the_caller_gave_up() -> None:
    """No round trip is subtracted, because none was measured."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)}, round_trips=KnownWay(0.2))
        (permit,) = await take(budgets, 1)
        await asyncio.sleep(0.5)
        permit.no_reply()
        await budgets.acquire((A,))
        assert 1.5 + MARGIN <= now() <= 1.5 + MARGIN + STEP

    run(main())


def test_an_unsent_request_frees_its_token_at_once() -> None:
    """The next waiter gets it at the same instant."""

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
