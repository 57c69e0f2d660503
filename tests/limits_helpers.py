"""What the tests of the limits share: budgets' names, headers, and steps with permits."""

import asyncio

import pytest
from limiter_model import EPOCH
from virtualtime import now

from htx_cancel.limits.budget import MARGIN, SPREAD
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import BudgetState, Permit

A = "/swap-api/v1/swap_track_cancel"
B = "/swap-api/v1/swap_track_cancelall"
U = "usdt_m_trade"
STEP = 0.0011  #: a timer's least step, and its rounding


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


async def hold(budgets: Budgets, used: int = 1) -> None:
    """Have a call refused whose reply tells a reset in 0.3 s, and wait until the hold is over."""
    (await answered(budgets, used, reset=0.3)).refused()
    assert state(budgets).held_for == pytest.approx(0.3 + SPREAD + MARGIN, abs=0.0011)
    await asyncio.sleep(0.36)
