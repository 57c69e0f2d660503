"""Soak shared budgets: processes cancel all the time, and faults happen at random.

``python tests/shared_soak.py --minutes 10 --seed 1`` lets four processes cancel new orders of two
budgets through one exchange, with routine and urgent calls. Meanwhile processes are killed and
replaced, or suspended; the store is killed and restarted with or without its file, or flushed;
connections to the store are cut, closed, or slow. At the end, after a quiet time, no token may be
lost: a burst of N calls in each budget leaves at once. The exit code is 1 if a status contradicts
the exchange's book, an id is lost, a call hangs, a token is lost, or, with ``--when-cut-off hold``,
if any request was refused or would have been under another rule.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import redis.asyncio
from msgspec import Struct
from servers import StoreServer
from shared_processes import FIVE, KINDS, POOL, GoneError, Member, World

from htx_cancel import FAIR_SHARE, HOLD, Limit
from htx_cancel.limits.shared import GRACE, LEASE, WhenCutOff
from htx_cancel.sandbox.rules import Kind
from htx_cancel.sandbox.windows import WindowRule

LIMITS = {POOL: Limit(72, 3.0), FIVE: Limit(5, 1.0)}
LONGEST = 3.0  #: seconds, of their windows
CUT_OFF: dict[str, WhenCutOff] = {"hold": HOLD, "fair_share": FAIR_SHARE}
LOOPS = 2  #: loops of routine calls, for each process and kind
RECENT = LEASE + GRACE + 2 * LONGEST  #: seconds after which a fault has no more effect


class Settings(Struct, frozen=True):
    """The settings of a run."""

    minutes: float
    seed: int
    processes: int
    when_cut_off: str
    window: WindowRule
    pause: float  #: most seconds between two faults


class Soak:
    """The work, the faults, and their results."""

    def __init__(self, settings: Settings, world: World, folder: Path) -> None:
        self.settings = settings
        self.world = world
        self.folder = folder
        self.work_random = random.Random(settings.seed)  #: for the work
        self.fault_random = random.Random(settings.seed)  #: for the faults
        self.faults: list[tuple[str, float, float]] = []  #: name, start, end, in epoch seconds
        self.events: Counter[tuple[str, str]] = Counter()
        self.hung = 0
        self.lost: list[str] = []
        self._over = asyncio.Event()
        self._work = set[asyncio.Task[None]]()
        self._store_is_up = asyncio.Event()
        self._store_is_up.set()
        self._suspended: list[Member] = []

    # the work

    async def join(self) -> None:
        """Start a process, and let it work."""
        member = await self.world.join()
        for kind in KINDS:
            for _ in range(LOOPS):
                self._begin(self._routine(member, kind))
            self._begin(self._urgent(member, kind))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)

    async def _routine(self, member: Member, kind: Kind) -> None:
        most = LIMITS[KINDS[kind][0]].calls // 2
        while member.peer.alive and not self._over.is_set():
            await self.world.cancel_new(member, kind, self.work_random.randint(1, most))
            if self.work_random.random() < 0.1:
                await asyncio.sleep(self.work_random.uniform(0.0, 4.0))

    async def _urgent(self, member: Member, kind: Kind) -> None:
        while member.peer.alive and not self._over.is_set():
            await asyncio.sleep(self.work_random.uniform(0.0, 2.0))
            if member.peer.alive:
                await self.world.cancel_new(member, kind, 1, urgent=True)

    # the faults

    async def run_faults(self) -> None:
        """Cause faults, some at the same time, until the time is over."""
        kinds = (self.kill, self.stop, self.restart, self.flush, self.cut, self.close, self.slow)
        end = time.monotonic() + self.settings.minutes * 60
        under_way = set[asyncio.Task[None]]()
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, self.fault_random.uniform(0.0, self.settings.pause)))
            fault = self.fault_random.choice(kinds)
            under_way.add(asyncio.create_task(self._record(fault.__name__, fault())))
        await asyncio.gather(*under_way)

    async def _record(self, name: str, fault: Coroutine[Any, Any, None]) -> None:
        began = time.time()
        await fault
        self.faults.append((name, began, time.time()))

    def _pick_member(self) -> Member:
        return self.fault_random.choice(
            [member for member in self.world.members if member.peer.alive]
        )

    async def kill(self) -> None:
        """Kill a process; start another one in its place."""
        member = self._pick_member()
        await self._collect(member)
        member.peer.signal(signal.SIGKILL)
        self.world.members.remove(member)
        await self.join()

    async def stop(self) -> None:
        """Suspend a process for a while."""
        member = self._pick_member()
        if member in self._suspended:
            return
        self._suspended.append(member)
        member.peer.signal(signal.SIGSTOP)
        await asyncio.sleep(self.fault_random.uniform(0.1, 6.0))
        if member.peer.alive:
            member.peer.signal(signal.SIGCONT)
        self._suspended.remove(member)

    async def restart(self) -> None:
        """Kill the store; restart it, with its file or without."""
        if not self._store_is_up.is_set():
            return
        self._store_is_up.clear()
        self.world.store.kill()
        await asyncio.sleep(self.fault_random.uniform(0.1, 5.0))
        if self.fault_random.random() < 0.5:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
            (self.folder / "appendonly.aof").unlink(missing_ok=True)
        self.world.store.start()
        self._store_is_up.set()

    async def flush(self) -> None:
        """Flush the store."""
        await self._store_is_up.wait()
        client = redis.asyncio.Redis.from_url(self.world.store.url)
        try:
            await client.flushall()
        except redis.exceptions.RedisError:  # the store was just killed
            pass
        finally:
            await client.aclose()

    async def cut(self) -> None:
        """Cut the connection of a process to the store for a while."""
        proxy = self._pick_member().proxy
        proxy.cut()
        await asyncio.sleep(self.fault_random.uniform(0.1, 6.0))
        proxy.mend()

    async def close(self) -> None:
        """Reset the connections of a process to the store for a while."""
        proxy = self._pick_member().proxy
        proxy.close()
        await asyncio.sleep(self.fault_random.uniform(0.1, 6.0))
        proxy.mend()

    async def slow(self) -> None:
        """Slow the connection of a process to the store for a while."""
        proxy = self._pick_member().proxy
        proxy.delay = self.fault_random.uniform(0.01, 0.4)
        await asyncio.sleep(self.fault_random.uniform(1.0, 6.0))
        proxy.delay = 0.0

    # the end

    async def run(self) -> None:
        """Run the work and the faults, then check that no token is lost."""
        for _ in range(self.settings.processes):
            await self.join()
        await self.run_faults()
        self._over.set()
        _, hung = await asyncio.wait(self._work, timeout=60.0)
        self.hung = len(hung)
        for task in self._work - hung:
            task.result()
        for task in hung:
            task.cancel()
        for member in self.world.members:
            await self._collect(member)
        await asyncio.sleep(RECENT)
        for kind in KINDS:
            await self._burst(kind)

    async def _collect(self, member: Member) -> None:
        """Count the events of a process."""
        try:
            async with asyncio.timeout(1.0):
                for event in await member.peer.ask("events"):
                    state = f" while {event.state}" if event.kind == "refused" else ""
                    self.events[event.kind + state, ", ".join(event.names)] += 1
        except (GoneError, TimeoutError):
            self.events["the events of a suspended process are unknown", ""] += 1

    async def _burst(self, kind: Kind) -> None:
        """Check that no token of a budget is lost: neither in the book, nor in use."""
        name = KINDS[kind][0]
        limit, living = LIMITS[name], self.world.members
        book = (await self.world.holdings())[name]
        names = {await member.peer.ask("name") for member in living}
        if book.at_home + sum(book.held.values()) != limit.calls or not names >= set(book.held):
            self.lost.append(f"{name}: {book}")
        shares = Counter(number % len(living) for number in range(limit.calls))
        before = len(await self.world.arrivals(name))
        await asyncio.gather(
            *(
                self.world.cancel_new(living[n], kind, calls, urgent=True)
                for n, calls in shares.items()
            )
        )
        times = (await self.world.arrivals(name))[before:]
        took = max(times) - min(times)
        print(f"a burst of {len(times)} calls of {name}: {took * 1000:.0f} ms")
        if took >= limit.seconds / 2:
            self.lost.append(f"{name}: {took:.3f} s for a burst")

    def _faults_around(self, at: float) -> str:
        """Return the faults that may have affected a moment, as text."""
        return ", ".join(
            f"{name} {began - at:+.2f}..{ended - at:+.2f}"
            for name, began, ended in sorted(self.faults, key=lambda fault: fault[1])
            if began <= at <= ended + RECENT
        )

    async def report(self) -> bool:
        """Print the results; return whether they are as they must be."""
        world, holds = self.world, self.settings.when_cut_off == "hold"
        wrong = await world.contradictions()
        refused, too_many = await world.refused(), await world.too_many()
        statuses = Counter(world.statuses.values())
        calls = {name: len(await world.arrivals(name)) for name in LIMITS}
        print(f"{self.settings}")
        print(f"calls: {calls}; orders: {len(world.statuses)}, of killed ones: {world.abandoned}")
        print(f"faults: {dict(Counter(name for name, _, _ in self.faults))}")
        print(f"statuses: {dict(statuses)}")
        for (kind, names), number in sorted(self.events.items()):
            print(f"{number} events: {kind} {names}")
        print(f"refused: {dict(refused)}; would be under some rule: {len(too_many)}")
        for name, at in too_many if holds else too_many[:5]:
            print(f"  one too many: {name} at {at:.3f}: {self._faults_around(at)}")
        print(f"contradictions with the book: {dict(wrong)}; hung: {self.hung}; lost: {self.lost}")
        return not (wrong or self.hung or self.lost or (holds and (refused or too_many)))


@asynccontextmanager
async def prepared(settings: Settings) -> AsyncIterator[Soak]:
    """Yield a soak with a store and an exchange."""
    options = ("--appendonly", "yes", "--appendfsync", "everysec")
    with TemporaryDirectory() as folder:
        store = StoreServer(Path(folder), *options)
        try:
            async with World(
                Path(folder),
                store,
                LIMITS,
                window=settings.window,
                when_cut_off=CUT_OFF[settings.when_cut_off],
            ) as world:
                yield Soak(settings, world, Path(folder))
        finally:
            store.kill()


async def soak(settings: Settings) -> bool:
    """Run a soak; return whether the results are as they must be."""
    async with prepared(settings) as found:
        await found.run()
        return await found.report()


def main() -> int:
    """Run a soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--when-cut-off", choices=CUT_OFF, default="hold")
    parser.add_argument("--window", choices=get_args(WindowRule), default="slide")
    parser.add_argument("--pause", type=float, default=6.0, help="most seconds between two faults")
    settings = Settings(**vars(parser.parse_args()))
    return 0 if asyncio.run(soak(settings)) else 1


if __name__ == "__main__":
    sys.exit(main())
