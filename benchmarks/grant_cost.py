"""What one grant of shared budgets costs the process that asks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from operator import sub, truediv
from statistics import median

from msgspec import Struct

from htx_cancel import Budgets, RedisStore, SharedBudgets

POOL = "usdt_m_trade"
REST = 0.05  #: seconds


class GrantCost(Struct, frozen=True):
    """Medians, in seconds unless stated otherwise."""

    at_hand: float  #: a grant of shared budgets with tokens at hand, returned at once
    ratio: float  #: of such a grant to one of budgets that are not shared
    ping: float  #: a PING of the store's client, after a rest
    fetched: float  #: how much longer a grant takes whose tokens must be fetched, after a rest


async def grant_cost(store: str, turns: int, trips: int) -> GrantCost:
    """Measure everything in turns. This runs in a process of its own."""
    from redis.asyncio import Redis  # noqa: PLC0415 - only in processes that use a store

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Redis.from_url(f"unix://{store}"))
        redis_store = RedisStore.of(client, account="grant_cost")
        async with SharedBudgets(redis_store) as budgets:
            await _grant(budgets)  # the first grant of a new account has to wait
        pings, fetches = list[float](), list[float]()
        for _ in range(trips):
            pings.append(await _timed(client.ping))
            async with SharedBudgets(redis_store) as budgets:
                fetches.append(await _timed(lambda: _grant(budgets)))
        shared = await stack.enter_async_context(SharedBudgets(redis_store))
        await _grant(shared)
        local, of_shared, of_local = Budgets(), list[float](), list[float]()
        for _ in range(turns):
            of_local.append(await _grants(local, 1_000))
            await asyncio.sleep(0)
            of_shared.append(await _grants(shared, 1_000))
            await asyncio.sleep(0)
    return GrantCost(
        median(of_shared),
        median(map(truediv, of_shared, of_local)),
        median(pings),
        median(map(sub, fetches, pings)),
    )


async def _grant(budgets: Budgets) -> None:
    (await budgets.acquire((POOL,))).unsent()


async def _timed(act: Callable[[], Awaitable[object]]) -> float:
    await asyncio.sleep(REST)
    began = time.perf_counter()
    await act()
    return time.perf_counter() - began


async def _grants(budgets: Budgets, times: int) -> float:
    """Return the seconds of one grant, out of many in a row."""
    began = time.perf_counter()
    for _ in range(times):
        await _grant(budgets)
    return (time.perf_counter() - began) / times
