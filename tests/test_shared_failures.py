"""Shared budgets against real failures: of processes, of a real store, and of the way to it.

The judge is an exchange in a process of its own. Its three rules are told apart by what its headers
say; that none of them would have refused a call is read from the times of arrival.
"""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import redis.asyncio
from servers import StoreServer, server
from shared_processes import FIVE, POOL, Member, World, until

from htx_cancel import FAIR_SHARE, HOLD, Limit, Share
from htx_cancel.limits.shared import GRACE, LEASE, RENEWAL
from htx_cancel.sandbox.windows import WindowRule

pytestmark = pytest.mark.slow

WINDOW = 0.7  #: seconds
LIMITS = {POOL: Limit(24, WINDOW), FIVE: Limit(5, WINDOW)}
RULES: tuple[WindowRule, ...] = get_args(WindowRule)


@pytest.fixture(scope="module")
def old() -> Iterator[StoreServer]:
    """Run a store that all tests of this module use that leave it alone."""
    with server() as found:
        yield found


async def flush(store: StoreServer) -> None:
    """Let a store forget all."""
    client = redis.asyncio.Redis.from_url(store.url)
    await client.flushall()
    await client.aclose()


@asynccontextmanager
async def world(
    folder: Path, store: StoreServer, workers: int, **options: Any
) -> AsyncIterator[World]:
    """Let workers join, and wait until tokens are lent."""
    async with World(folder, store, LIMITS, **options) as found:
        for _ in range(workers):
            await found.join()
        for member in found.members:
            await member.peer.ask("name")
        await asyncio.gather(*(found.pull(member, "v5", 1) for member in found.members))
        yield found
        assert await found.contradictions() == Counter()


async def all_hold(found: World) -> None:
    """Wait until each process holds tokens of the pool."""

    async def each_has_some() -> bool:
        held = [await member.peer.ask("held", POOL) for member in found.members]
        return all(held)

    await until(each_has_some)


async def linked(member: Member) -> bool:
    """Say whether a worker has its store."""
    return bool(await member.peer.ask("state") == "linked")


async def all_linked(found: World) -> bool:
    """Say whether all workers have their store."""
    return all([await linked(member) for member in found.members])


def full_from(times: list[float], since: float, limit: Limit) -> float:
    """Say when a first window that began after a time had all its calls."""
    times = [at for at in times if at > since]
    for first, last in zip(times, times[limit.calls - 1 :], strict=False):
        if last - first < limit.seconds:
            return last
    raise AssertionError("no window was full")


@pytest.mark.parametrize("window", RULES)
async def test_a_killed_holder_s_tokens_come_back(
    window: WindowRule, old: StoreServer, tmp_path: Path
) -> None:
    """At most a lease, the grace and two windows after its end; and not too soon."""
    async with world(tmp_path, old, 3, window=window, when_cut_off=HOLD) as found:
        dead, *living = found.members
        async with found.flooded(found.members):
            await all_hold(found)
            await asyncio.sleep(WINDOW)
            dead.peer.signal(signal.SIGKILL)
            killed = time.time()
            await asyncio.sleep(LEASE + GRACE + 2 * WINDOW + RENEWAL)
        await found.check_limits()
        for name, limit in LIMITS.items():
            full = full_from(await found.arrivals(name), killed + 0.1, limit)
            assert full - killed < LEASE + GRACE + 2 * WINDOW + RENEWAL
        assert found.abandoned
        for member in living:
            assert await found.events(member) == []


async def test_a_stopped_holder_works_on(old: StoreServer, tmp_path: Path) -> None:
    """Others have its tokens, meanwhile; it uses none of these when it goes on."""
    async with world(tmp_path, old, 3, window="slide", when_cut_off=HOLD) as found:
        stopped = found.members[0]
        async with found.flooded(found.members):
            await all_hold(found)
            await asyncio.sleep(WINDOW)
            stopped.peer.signal(signal.SIGSTOP)
            await asyncio.sleep(5.0)
            stopped.peer.signal(signal.SIGCONT)
            await until(lambda: linked(stopped))
            await asyncio.sleep(WINDOW)
        before = len(await found.arrivals())
        await found.pull(stopped, "v5", 3)
        assert len(await found.arrivals()) == before + 3
        await found.check_limits()


async def emptied(found: World, store: StoreServer) -> float:
    """Kill the store, start it without its book 3 s later; return when it was killed.

    At the end all tokens can be used again.
    """
    await all_hold(found)
    store.kill()
    killed = time.time()
    await asyncio.sleep(3.0)
    store.start()
    await until(lambda: all_linked(found))
    await asyncio.sleep(LEASE + GRACE + 2 * WINDOW)
    return killed


async def test_an_emptied_store_holds_all_with_hold(tmp_path: Path) -> None:
    """Killed, and back without its book after three seconds: nothing is sent for a while."""
    with server() as store:
        async with world(tmp_path, store, 3, window="epoch", when_cut_off=HOLD) as found:
            async with found.flooded(found.members):
                killed = await emptied(found, store)
            await found.check_limits()
            times = await found.arrivals()
            assert not [at for at in times if killed + LEASE + GRACE < at < killed + 3.0]
            full_from(times, killed + 3.0, LIMITS[POOL])
            for member in found.members:
                assert await found.events(member) == ["store_lost", "store_back"]


async def test_an_emptied_store_stops_nobody_with_a_share(tmp_path: Path) -> None:
    """Killed, and back without its book after three seconds: each goes on with its half."""
    with server() as store:
        async with world(tmp_path, store, 2, window="slide", when_cut_off=Share(0.5)) as found:
            async with found.flooded(found.members):
                killed = await emptied(found, store)
                ended = time.time()
            await found.check_limits()
            times = [at for at in await found.arrivals() if killed < at < ended]
            gaps = [later - at for at, later in pairwise(times)]
            assert max(gaps) < WINDOW + 0.5
            for member in found.members:
                assert await found.events(member) == ["store_lost", "store_back"]


async def test_a_killed_store_that_wrote_all_down_loses_nothing(tmp_path: Path) -> None:
    """Killed, and back with its append-only file after half a second."""
    with server("--appendonly", "yes", "--appendfsync", "always") as store:
        async with world(tmp_path, store, 3, window="first", when_cut_off=HOLD) as found:
            async with found.flooded(found.members):
                await all_hold(found)
                await asyncio.sleep(WINDOW)
                await goes_on(found, kill_and_restart(store))
            await found.check_limits()


async def test_a_flushed_store_loses_nothing(old: StoreServer, tmp_path: Path) -> None:
    """All that is held is claimed at once."""
    async with world(tmp_path, old, 3, window="slide", when_cut_off=HOLD) as found:
        async with found.flooded(found.members):
            await all_hold(found)
            await asyncio.sleep(WINDOW)
            await goes_on(found, flush(old))
        await found.check_limits()


async def kill_and_restart(store: StoreServer) -> None:
    """Kill a store, and start it half a second later."""
    store.kill()
    await asyncio.sleep(0.5)
    store.start()


async def goes_on(found: World, trouble: Awaitable[None]) -> None:
    """Check that nothing is lost by some trouble: no lease, no token, no time."""
    began = time.time()
    await trouble
    await asyncio.sleep(LEASE + GRACE + 2 * WINDOW)
    ended = time.time()
    times = [at for at in await found.arrivals() if began < at < ended]
    gaps = [later - at for at, later in pairwise(times)]
    assert max(gaps) < WINDOW + 0.5
    for member in found.members:
        assert await linked(member)
        assert await found.events(member) == []
    book = (await found.holdings())[POOL]
    assert book.at_home + sum(book.held.values()) == book.calls


async def test_who_is_cut_off_stops_with_hold(old: StoreServer, tmp_path: Path) -> None:
    """The other has its tokens after its lease; it goes on when its way is clear again."""
    async with world(tmp_path, old, 3, window="epoch", when_cut_off=HOLD) as found:
        silently, loudly, other = found.members
        async with found.flooded(found.members):
            await all_hold(found)
            silently.way.cut()
            loudly.way.close()
            cut = time.time()
            await until(lambda: is_in(silently, "cut_off"))
            await until(lambda: is_in(loudly, "cut_off"))
            await asyncio.sleep(GRACE + 2 * WINDOW)
            for member in (silently, loudly):
                member.way.mend()
            await until(lambda: all_linked(found))
            await asyncio.sleep(WINDOW)
        await found.check_limits()
        full = full_from(await found.arrivals(), cut + LEASE, LIMITS[POOL])
        assert full - cut < LEASE + GRACE + 2 * WINDOW + RENEWAL
        for member in (silently, loudly):
            assert await found.events(member) == ["store_lost", "store_back"]
        assert await found.events(other) == []


async def is_in(member: Member, state: str) -> bool:
    """Say whether a worker says so of its store."""
    return bool(await member.peer.ask("state") == state)


@pytest.mark.parametrize("window", RULES)
async def test_one_that_is_cut_off_goes_on_with_a_fair_share(
    window: WindowRule, old: StoreServer, tmp_path: Path
) -> None:
    """It and the others may exceed the limit: what is refused is told, and sent again."""
    async with world(tmp_path, old, 2, window=window, when_cut_off=FAIR_SHARE) as found:
        alone, other = found.members
        async with found.flooded(found.members):
            await all_hold(found)
            alone.way.cut()
            await until(lambda: is_in(alone, "own_share"))
            await asyncio.sleep(LEASE + GRACE + 2 * WINDOW)
            alone.way.mend()
            await until(lambda: linked(alone))
        refused = await found.refused()
        told = Counter[str]()
        for member in found.members:
            for event in await member.peer.ask("events"):
                told.update(event.names if event.kind == "refused" else ())
        assert refused == told
        told_of_store = [kind for kind in await found.events(alone) if kind.startswith("store")]
        assert told_of_store == ["store_lost", "store_back"]
        assert "store_lost" not in await found.events(other)
