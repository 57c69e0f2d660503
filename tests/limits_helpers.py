"""Helpers of the tests of the limits: budget names, headers, and steps with permits."""

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
STEP = 0.0011  #: seconds: a timer's least step, and its rounding


def state(budgets: Budgets, name: str = A) -> BudgetState:
    """Return one budget's state."""
    return next(each for each in budgets.snapshot() if each.name == name)


def limit_headers(
    limit: int, interval: int, remaining: int, reset: float | None = None
) -> dict[str, str]:
    """Return rate-limit headers; ``reset`` is loop time in seconds."""
    headers = {
        "ratelimit-limit": str(limit),
        "ratelimit-interval": str(interval),
        "ratelimit-remaining": str(remaining),
    }
    if reset is not None:
        headers["ratelimit-reset"] = str(int((EPOCH + reset) * 1000))
    return headers


async def take(budgets: Budgets, count: int, *names: str) -> list[Permit]:
    """Take ``count`` permits."""
    return [await budgets.acquire(names or (A,)) for _ in range(count)]


async def spend(budgets: Budgets, count: int, *names: str) -> None:
    """Take ``count`` permits, and report a reply for each at once."""
    for permit in await take(budgets, count, *names):
        permit.replied()


async def turns(count: int = 3) -> None:
    """Let the event loop make some turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def answered(
    budgets: Budgets, used: int, *, calls: int = 5, reset: float | None = None
) -> Permit:
    """Take a permit of a budget of one second; report a reply with headers at once."""
    (permit,) = await take(budgets, 1)
    at = None if reset is None else now() + reset
    permit.replied(limit_headers(calls, 1000, calls - used, at), EPOCH + now())
    return permit


async def bursts(budgets: Budgets, *others: int, calls: int = 20, apart: float = 1.01) -> None:
    """Report replies with so much foreign use, in one window after another."""
    for used in others:
        await answered(budgets, used + 1, calls=calls)
        await asyncio.sleep(apart)


async def hold(budgets: Budgets, used: int = 1) -> None:
    """Report a refusal with a reset in 0.3 s, and wait until the hold ends."""
    (await answered(budgets, used, reset=0.3)).refused()
    assert state(budgets).held_for == pytest.approx(0.3 + SPREAD + MARGIN, abs=0.0011)
    await asyncio.sleep(0.36)
