"""Limiters that several processes may share: ours, others', and none.

Each opens a gate for one process of a group. What others' libraries wait by is what their manuals
show for asyncio; where a library has no wait, its word for when to ask again is waited for. A
limiter without urgent calls treats them as all others.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from msgspec import Struct

from benchmarks.exchange import PROBE, Line
from benchmarks.work import Rate
from htx_cancel import Budgets, Limit, Priority, RedisStore, SharedBudgets
from htx_cancel.limits.round_trip import RoundTrips

MANY = 100_000  #: requests in flight
PROBES = 10  #: as ``CancelClient.warm_up`` sends them


class Setup(Struct, frozen=True):
    """Which limiter a group of processes uses, for what."""

    limiter: str
    group: str
    processes: int
    rates: dict[str, Rate]  #: by the names of budgets
    kept: int = 0  #: tokens for urgent calls only


class Place(Struct, frozen=True):
    """Where a process stands: its connection to the exchange, and the socket of the store."""

    line: Line
    socket: str


class Gate:
    """One process's way through a limiter."""

    def __init__(self, enter: Callable[..., AbstractAsyncContextManager[object]]) -> None:
        self.enter = enter  #: with names of budgets, and whether it is urgent
        self.round_trips = RoundTrips()  #: what ours know of the way to the exchange


Opened = AsyncIterator[Gate]


@contextmanager
def counted_commands() -> Iterator[Callable[[], int]]:
    """Count the commands that this process sends to a store, whatever library does."""
    from redis.asyncio import Redis  # noqa: PLC0415 - only in processes that speak to a store

    plain, sent = Redis.execute_command, 0

    async def counted(client: Any, *args: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        return await plain(client, *args, **options)  # type: ignore[no-untyped-call]

    Redis.execute_command = counted  # type: ignore[assignment,method-assign]
    try:
        yield lambda: sent
    finally:
        Redis.execute_command = plain  # type: ignore[method-assign]


async def _ours(budgets: Budgets, place: Place, round_trips: RoundTrips) -> Gate:
    """Use budgets as the client does, after a warm-up."""
    loop = asyncio.get_running_loop()
    for _ in range(PROBES):
        began = loop.time()
        await place.line.call(PROBE)
        budgets.learn_round_trip("exchange", loop.time() - began, probe=True)

    @asynccontextmanager
    async def enter(names: tuple[str, ...], urgent: bool) -> AsyncIterator[None]:
        priority = Priority.URGENT if urgent else Priority.ROUTINE
        permit = await budgets.acquire(names, priority=priority)
        permit.sent("exchange", loop.time())
        yield
        permit.replied()

    gate = Gate(enter)
    gate.round_trips = round_trips
    return gate


@asynccontextmanager
async def _shared(setup: Setup, place: Place) -> Opened:
    store = RedisStore(f"unix://{place.socket}", account=setup.group)
    round_trips = RoundTrips()
    async with SharedBudgets(
        store,
        limits={name: Limit(*rate) for name, rate in setup.rates.items()},
        keep_for_urgent=setup.kept,
        max_in_flight=MANY,
        round_trips=round_trips,
    ) as budgets:
        yield await _ours(budgets, place, round_trips)


def _each(*, part: bool) -> Callable[[Setup, Place], AbstractAsyncContextManager[Gate]]:
    """Let each process have an equal part of a limit, or all of it, and speak to no store."""

    @asynccontextmanager
    async def opened(setup: Setup, place: Place) -> Opened:
        parts = setup.processes if part else 1
        limits = {name: Limit(n // parts, w) for name, (n, w) in setup.rates.items()}
        round_trips = RoundTrips()
        budgets = Budgets(limits, max_in_flight=MANY, round_trips=round_trips)
        yield await _ours(budgets, place, round_trips)

    return opened


def _waited_for(wait: Callable[[], Any]) -> Gate:
    @asynccontextmanager
    async def enter(_names: tuple[str, ...], _urgent: bool) -> AsyncIterator[None]:
        await wait()
        yield

    return Gate(enter)


@asynccontextmanager
async def _limits(setup: Setup, place: Place) -> Opened:
    """Let one caller of a process at a time ask, and wait for the told reset: it has no wait."""
    from limits import RateLimitItemPerSecond  # noqa: PLC0415 - only where it is measured
    from limits.aio.storage import RedisStorage  # noqa: PLC0415
    from limits.aio.strategies import MovingWindowRateLimiter  # noqa: PLC0415

    ((calls, seconds),) = setup.rates.values()
    storage = RedisStorage(f"async+redis+unix://{place.socket}", implementation="redispy")
    limiter, item = MovingWindowRateLimiter(storage), RateLimitItemPerSecond(calls, int(seconds))
    turn = asyncio.Lock()

    async def wait() -> None:
        async with turn:
            while not await limiter.hit(item, setup.group):
                stats = await limiter.get_window_stats(item, setup.group)
                await asyncio.sleep(stats.reset_time - time.time())

    await storage.check()
    yield _waited_for(wait)


def _throttled(using: str) -> Callable[[Setup, Place], AbstractAsyncContextManager[Gate]]:
    @asynccontextmanager
    async def opened(setup: Setup, place: Place) -> Opened:
        """Wait with a timeout, as its manual says."""
        from throttled.asyncio import RedisStore as Store  # noqa: PLC0415
        from throttled.asyncio import Throttled, per_duration  # noqa: PLC0415

        ((calls, seconds),) = setup.rates.values()
        throttle = Throttled(
            key=setup.group,
            using=using,
            quota=per_duration(timedelta(seconds=seconds), limit=calls),
            store=Store(server=f"unix://{place.socket}"),
            timeout=3600,
        )
        await throttle.peek(setup.group)
        yield _waited_for(throttle.limit)

    return opened


@asynccontextmanager
async def _pyrate(setup: Setup, place: Place) -> Opened:
    from pyrate_limiter import Limiter, RedisBucket  # noqa: PLC0415
    from pyrate_limiter import Rate as PyrateRate  # noqa: PLC0415
    from redis.asyncio import Redis  # noqa: PLC0415

    ((calls, seconds),) = setup.rates.values()
    async with Redis.from_url(f"unix://{place.socket}") as client:
        rates = [PyrateRate(calls, int(seconds * 1000))]
        with Limiter(await RedisBucket.init(rates, client, setup.group)) as limiter:
            yield _waited_for(lambda: limiter.try_acquire_async(setup.group))


OURS = "htx_cancel SharedBudgets"
LIMITERS: dict[str, Callable[[Setup, Place], AbstractAsyncContextManager[Gate]]] = {
    OURS: _shared,
    "limits, moving window": _limits,
    "throttled-py, GCRA": _throttled("gcra"),
    "throttled-py, token bucket": _throttled("token_bucket"),
    "pyrate-limiter, RedisBucket": _pyrate,
}
WITH_STORE = tuple(LIMITERS)
LIMITERS |= {
    "Budgets, N / processes each": _each(part=True),
    "Budgets, N each": _each(part=False),
}
