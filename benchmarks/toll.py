"""What a grant of shared budgets costs the process that asks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from msgspec import Struct

from htx_cancel import Budgets, RedisStore, SharedBudgets

POOL = "usdt_m_trade"
REST = 0.05  #: seconds


class Toll(Struct, frozen=True):
    """Seconds, of which medians are taken, turn by turn."""

    local: list[float]  #: a grant that is given back, of budgets that are not shared
    shared: list[float]  #: of shared ones, with tokens at hand
    ping: list[float]  #: of the store's client, after a rest
    fetched: list[float]  #: a grant for which the tokens must be fetched, after a rest


async def toll(socket: str, turns: int, trips: int) -> Toll:
    """Inside a process of its own: measure all in turns."""
    from redis.asyncio import Redis  # noqa: PLC0415 - only in a process that speaks to a store

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Redis.from_url(f"unix://{socket}"))
        store = RedisStore.of(client, account="toll")
        pings, fetches = list[float](), list[float]()
        async with SharedBudgets(store) as budgets:
            await _grant(budgets)  # a new account's first one has to wait
        for _ in range(trips):
            pings.append(await _timed(client.ping))
            async with SharedBudgets(store) as budgets:
                fetches.append(await _timed(lambda: _grant(budgets)))
        shared = await stack.enter_async_context(SharedBudgets(store))
        await _grant(shared)
        costs: dict[Budgets, list[float]] = {Budgets(): [], shared: []}
        for _ in range(turns):
            for each, found in costs.items():
                found.append(await _granted(each, 1_000))
                await asyncio.sleep(0)
    of_local, of_shared = costs.values()
    return Toll(of_local, of_shared, pings, fetches)


async def _grant(budgets: Budgets) -> None:
    (await budgets.acquire((POOL,))).unsent()


async def _timed(act: Callable[[], Awaitable[object]]) -> float:
    await asyncio.sleep(REST)
    began = time.perf_counter()
    await act()
    return time.perf_counter() - began


async def _granted(budgets: Budgets, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        await _grant(budgets)
    return (time.perf_counter() - began) / times
