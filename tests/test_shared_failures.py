"""Test shared budgets with real failures: of processes, of a real store, and of the network.

The exchange runs in a process of its own. Its three window rules differ in what the headers state;
the times of arrival show that no rule would have refused a request.
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
def store_server() -> Iterator[StoreServer]:
    """Run a store for the tests that do not kill it."""
    with server() as found:
        yield found


async def flush(store: StoreServer) -> None:
    """Flush a store."""
    client = redis.asyncio.Redis.from_url(store.url)
    await client.flushall()
    await client.aclose()


@asynccontextmanager
async def world(
    folder: Path, store: StoreServer, workers: int, **options: Any
) -> AsyncIterator[World]:
    """Start workers, and wait until each has sent a request."""
    async with World(folder, store, LIMITS, **options) as found:
        for _ in range(workers):
            await found.join()
        for member in found.members:
            await member.peer.ask("name")
        await asyncio.gather(*(found.cancel_new(member, "v5", 1) for member in found.members))
        yield found
        assert await found.contradictions() == Counter()


async def all_hold(found: World) -> None:
    """Wait until each process holds tokens of the pool."""

    async def each_has_some() -> bool:
        held = [await member.peer.ask("held", POOL) for member in found.members]
        return all(held)

    await until(each_has_some)


async def linked(member: Member) -> bool:
    """Return whether a worker is linked to the store."""
    return bool(await member.peer.ask("state") == "linked")


async def all_linked(found: World) -> bool:
    """Return whether all workers are linked to the store."""
    return all([await linked(member) for member in found.members])


def full_from(times: list[float], since: float, limit: Limit) -> float:
    """Return when the first window that began after ``since`` had all its requests."""
    times = [at for at in times if at > since]
    for first, last in zip(times, times[limit.calls - 1 :], strict=False):
        if last - first < limit.seconds:
            return last
    raise AssertionError("no window was full")


@pytest.mark.parametrize("window", RULES)
async def test_the_tokens_of_a_killed_holder_come_back(
    window: WindowRule, store_server: StoreServer, tmp_path: Path
) -> None:
    """They come back after at most a lease, the grace and two windows, and not too soon."""
    async with world(tmp_path, store_server, 3, window=window, when_cut_off=HOLD) as found:
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


async def test_a_suspended_holder_uses_no_token_that_others_got(
    store_server: StoreServer, tmp_path: Path
) -> None:
    """Other processes get its tokens meanwhile; it uses none of those when it continues."""
    async with world(tmp_path, store_server, 3, window="slide", when_cut_off=HOLD) as found:
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
        await found.cancel_new(stopped, "v5", 3)
        assert len(await found.arrivals()) == before + 3
        await found.check_limits()


async def kill_and_empty(found: World, store: StoreServer) -> float:
    """Kill the store, start it without its book 3 s later; return when it was killed.

    Return only when all tokens can be used again.
    """
    await all_hold(found)
    store.kill()
    killed = time.time()
    await asyncio.sleep(3.0)
    store.start()
    await until(lambda: all_linked(found))
    await asyncio.sleep(LEASE + GRACE + 2 * WINDOW)
    return killed


async def test_an_emptied_store_stops_all_processes_with_hold(tmp_path: Path) -> None:
    """Killed, and back without its book after 3 s: no request leaves meanwhile."""
    with server() as store:
        async with world(tmp_path, store, 3, window="epoch", when_cut_off=HOLD) as found:
            async with found.flooded(found.members):
                killed = await kill_and_empty(found, store)
            await found.check_limits()
            times = await found.arrivals()
            assert not [at for at in times if killed + LEASE + GRACE < at < killed + 3.0]
            full_from(times, killed + 3.0, LIMITS[POOL])
            for member in found.members:
                assert await found.events(member) == ["store_lost", "store_back"]


async def test_an_emptied_store_stops_no_process_with_a_share(tmp_path: Path) -> None:
    """Killed, and back without its book after 3 s: each process uses its half."""
    with server() as store:
        async with world(tmp_path, store, 2, window="slide", when_cut_off=Share(0.5)) as found:
            async with found.flooded(found.members):
                killed = await kill_and_empty(found, store)
                ended = time.time()
            await found.check_limits()
            times = [at for at in await found.arrivals() if killed < at < ended]
            gaps = [later - at for at, later in pairwise(times)]
            assert max(gaps) < WINDOW + 0.5
            for member in found.members:
                assert await found.events(member) == ["store_lost", "store_back"]


async def test_a_killed_store_with_an_append_only_file_loses_nothing(tmp_path: Path) -> None:
    """It is killed, and back after half a second."""
    with server("--appendonly", "yes", "--appendfsync", "always") as store:
        async with world(tmp_path, store, 3, window="first", when_cut_off=HOLD) as found:
            async with found.flooded(found.members):
                await all_hold(found)
                await asyncio.sleep(WINDOW)
                await check_nothing_is_lost(found, kill_and_restart(store))
            await found.check_limits()


async def test_a_flushed_store_loses_nothing(store_server: StoreServer, tmp_path: Path) -> None:
    """All held tokens are claimed at once."""
    async with world(tmp_path, store_server, 3, window="slide", when_cut_off=HOLD) as found:
        async with found.flooded(found.members):
            await all_hold(found)
            await asyncio.sleep(WINDOW)
            await check_nothing_is_lost(found, flush(store_server))
        await found.check_limits()


async def kill_and_restart(store: StoreServer) -> None:
    """Kill a store, and start it half a second later."""
    store.kill()
    await asyncio.sleep(0.5)
    store.start()


async def check_nothing_is_lost(found: World, fault: Awaitable[None]) -> None:
    """Check that a fault loses nothing: no lease, no token, no time."""
    began = time.time()
    await fault
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


async def test_a_process_that_is_cut_off_stops_with_hold(
    store_server: StoreServer, tmp_path: Path
) -> None:
    """The other process gets its tokens after its lease; it goes on when it is linked again."""
    async with world(tmp_path, store_server, 3, window="epoch", when_cut_off=HOLD) as found:
        silently, loudly, other = found.members
        async with found.flooded(found.members):
            await all_hold(found)
            silently.proxy.cut()
            loudly.proxy.close()
            cut = time.time()
            await until(lambda: is_in(silently, "cut_off"))
            await until(lambda: is_in(loudly, "cut_off"))
            await asyncio.sleep(GRACE + 2 * WINDOW)
            for member in (silently, loudly):
                member.proxy.mend()
            await until(lambda: all_linked(found))
            await asyncio.sleep(WINDOW)
        await found.check_limits()
        full = full_from(await found.arrivals(), cut + LEASE, LIMITS[POOL])
        assert full - cut < LEASE + GRACE + 2 * WINDOW + RENEWAL
        for member in (silently, loudly):
            assert await found.events(member) == ["store_lost", "store_back"]
        assert await found.events(other) == []


async def is_in(member: Member, state: str) -> bool:
    """Return whether a worker reports this state of its store."""
    return bool(await member.peer.ask("state") == state)


@pytest.mark.parametrize("window", RULES)
async def test_a_process_that_is_cut_off_goes_on_with_a_fair_share(
    window: WindowRule, store_server: StoreServer, tmp_path: Path
) -> None:
    """All together may exceed the limit: refusals are reported, and sent again."""
    async with world(tmp_path, store_server, 2, window=window, when_cut_off=FAIR_SHARE) as found:
        alone, other = found.members
        async with found.flooded(found.members):
            await all_hold(found)
            alone.proxy.cut()
            await until(lambda: is_in(alone, "own_share"))
            await asyncio.sleep(LEASE + GRACE + 2 * WINDOW)
            alone.proxy.mend()
            await until(lambda: linked(alone))
        refused = await found.refused()
        reported = Counter[str]()
        for member in found.members:
            for event in await member.peer.ask("events"):
                reported.update(event.names if event.kind == "refused" else ())
        assert refused == reported
        store_events = [kind for kind in await found.events(alone) if kind.startswith("store")]
        assert store_events == ["store_lost", "store_back"]
        assert "store_lost" not in await found.events(other)
