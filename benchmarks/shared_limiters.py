"""The limiters that several processes may share: ours, other libraries', and none.

Each function opens one process's limiter. Other libraries wait as their manuals show for asyncio;
a library without a wait is asked again when it says. A limiter without priorities treats
urgent requests like all others.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from msgspec import Struct

from benchmarks.counting_exchange import Connection
from benchmarks.workload import Rate
from htx_cancel import Budgets, Limit, Priority, RedisStore, SharedBudgets
from htx_cancel.limits.round_trip import RoundTrips

IN_FLIGHT = 100_000  #: more requests than there are
PROBES = 10  #: as many as ``CancelClient.warm_up`` sends


class Setup(Struct, frozen=True):
    """Which limiter a group of processes uses, and for which limits."""

    limiter: str
    group: str
    processes: int
    rates: dict[str, Rate]  #: by budget
    keep_for_urgent: int = 0  #: tokens


class Endpoints(Struct, frozen=True):
    """What one process is connected to."""

    exchange: Connection
    store: str  #: the path of its Unix socket


class Limiter(Struct, frozen=True):
    """One process's limiter."""

    #: Takes the names of budgets, and whether the request is urgent.
    enter: Callable[[tuple[str, ...], bool], AbstractAsyncContextManager[object]]
    floor: Callable[[], float] = lambda: (
        0.0
    )  #: the shortest round trip our budgets know, in seconds


Opened = AsyncIterator[Limiter]


@contextmanager
def counted_commands() -> Iterator[Callable[[], int]]:
    """Count the commands that this process sends to a store, with any library."""
    from redis.asyncio import Redis  # noqa: PLC0415 - only in processes that use a store

    original, sent = Redis.execute_command, 0

    async def counted(client: Any, *args: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        return await original(client, *args, **options)  # type: ignore[no-untyped-call]

    Redis.execute_command = counted  # type: ignore[assignment,method-assign]
    try:
        yield lambda: sent
    finally:
        Redis.execute_command = original  # type: ignore[method-assign]


async def _ours(budgets: Budgets, round_trips: RoundTrips, exchange: Connection) -> Limiter:
    """Use budgets as the client does, after a warm-up."""
    loop = asyncio.get_running_loop()
    for _ in range(PROBES):
        began = loop.time()
        await exchange.request("probes")
        budgets.learn_round_trip("exchange", loop.time() - began, sequential=True)

    @asynccontextmanager
    async def enter(names: tuple[str, ...], urgent: bool) -> AsyncIterator[None]:
        priority = Priority.URGENT if urgent else Priority.ROUTINE
        permit = await budgets.acquire(names, priority=priority)
        permit.sent("exchange", loop.time())
        yield
        permit.replied()

    return Limiter(enter, lambda: round_trips.floor)


@asynccontextmanager
async def _shared(setup: Setup, endpoints: Endpoints) -> Opened:
    round_trips = RoundTrips()
    async with SharedBudgets(
        RedisStore(f"unix://{endpoints.store}", account=setup.group),
        limits={name: Limit(*rate) for name, rate in setup.rates.items()},
        keep_for_urgent=setup.keep_for_urgent,
        max_in_flight=IN_FLIGHT,
        round_trips=round_trips,
    ) as budgets:
        yield await _ours(budgets, round_trips, endpoints.exchange)


@asynccontextmanager
async def _unshared(setup: Setup, endpoints: Endpoints, *, divide: bool) -> Opened:
    """Give each process an equal part of each limit, or all of it, without a store."""
    parts = setup.processes if divide else 1
    limits = {name: Limit(calls // parts, per) for name, (calls, per) in setup.rates.items()}
    round_trips = RoundTrips()
    budgets = Budgets(limits, max_in_flight=IN_FLIGHT, round_trips=round_trips)
    yield await _ours(budgets, round_trips, endpoints.exchange)


def _entered_after(wait: Callable[[], Any]) -> Limiter:
    @asynccontextmanager
    async def enter(_names: tuple[str, ...], _urgent: bool) -> AsyncIterator[None]:
        await wait()
        yield

    return Limiter(enter)


@asynccontextmanager
async def _limits(setup: Setup, endpoints: Endpoints) -> Opened:
    """Let one task of the process ask at a time, and sleep until the reset that it is told."""
    from limits import RateLimitItemPerSecond  # noqa: PLC0415 - only where it is measured
    from limits.aio.storage import RedisStorage  # noqa: PLC0415
    from limits.aio.strategies import MovingWindowRateLimiter  # noqa: PLC0415

    ((calls, seconds),) = setup.rates.values()
    storage = RedisStorage(f"async+redis+unix://{endpoints.store}", implementation="redispy")
    limiter, item = MovingWindowRateLimiter(storage), RateLimitItemPerSecond(calls, int(seconds))
    turn = asyncio.Lock()

    async def wait() -> None:
        async with turn:
            while not await limiter.hit(item, setup.group):
                stats = await limiter.get_window_stats(item, setup.group)
                await asyncio.sleep(stats.reset_time - time.time())

    await storage.check()
    yield _entered_after(wait)


@asynccontextmanager
async def _throttled(setup: Setup, endpoints: Endpoints, *, using: str) -> Opened:
    """Wait with a timeout, as the manual says."""
    from throttled.asyncio import RedisStore as Store  # noqa: PLC0415
    from throttled.asyncio import Throttled, per_duration  # noqa: PLC0415

    ((calls, seconds),) = setup.rates.values()
    throttle = Throttled(
        key=setup.group,
        using=using,
        quota=per_duration(timedelta(seconds=seconds), limit=calls),
        store=Store(server=f"unix://{endpoints.store}"),
        timeout=3600,
    )
    await throttle.peek(setup.group)
    yield _entered_after(throttle.limit)


@asynccontextmanager
async def _pyrate(setup: Setup, endpoints: Endpoints) -> Opened:
    from pyrate_limiter import Limiter as PyrateLimiter  # noqa: PLC0415
    from pyrate_limiter import Rate as PyrateRate  # noqa: PLC0415
    from pyrate_limiter import RedisBucket  # noqa: PLC0415
    from redis.asyncio import Redis  # noqa: PLC0415

    ((calls, seconds),) = setup.rates.values()
    async with Redis.from_url(f"unix://{endpoints.store}") as client:
        rates = [PyrateRate(calls, int(seconds * 1000))]
        with PyrateLimiter(await RedisBucket.init(rates, client, setup.group)) as limiter:
            yield _entered_after(lambda: limiter.try_acquire_async(setup.group))


OURS = "htx_cancel SharedBudgets"
WITH_STORE: dict[str, Callable[[Setup, Endpoints], AbstractAsyncContextManager[Limiter]]] = {
    OURS: _shared,
    "limits, moving window": _limits,
    "throttled-py, GCRA": partial(_throttled, using="gcra"),
    "throttled-py, token bucket": partial(_throttled, using="token_bucket"),
    "pyrate-limiter, RedisBucket": _pyrate,
}
LIMITERS = WITH_STORE | {
    "Budgets, N / processes each": partial(_unshared, divide=True),
    "Budgets, N each": partial(_unshared, divide=False),
}
