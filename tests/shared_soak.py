"""A soak of shared budgets: processes that cancel all the time, and faults at random.

``python tests/shared_soak.py --minutes 10 --seed 1`` lets four processes cancel fresh orders of two
budgets through one exchange, routinely and urgently, while processes are killed and replaced, or
stopped for a while, the store is killed and started again with its file or without, or flushed, and
ways to it are cut, closed, or slow. At the end, after a quiet time, no budget may be lost: a burst
of N calls in each goes out at once. Exit code 1 if a status contradicts the book, an id is lost, a
process hangs, a budget is lost, or, with ``--when-cut-off hold``, any call was refused or would
have been under another rule.
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
LONGEST = 3.0  #: of their windows
CUT_OFF: dict[str, WhenCutOff] = {"hold": HOLD, "fair_share": FAIR_SHARE}
LOOPS = 2  #: of routine calls, for each process and kind
RECENT = LEASE + GRACE + 2 * LONGEST  #: seconds after which a fault has no more effect


class Settings(Struct, frozen=True):
    """What to run."""

    minutes: float
    seed: int
    processes: int
    when_cut_off: str
    window: WindowRule
    pause: float  #: most seconds between two faults


class Soak:
    """The work, the faults, and what came of them."""

    def __init__(self, settings: Settings, world: World, folder: Path) -> None:
        self.settings = settings
        self.world = world
        self.folder = folder
        self.dice = random.Random(settings.seed)  #: of the work
        self.fate = random.Random(settings.seed)  #: of the faults
        self.faults: list[tuple[str, float, float]] = []  #: name, from, to, in epoch seconds
        self.told: Counter[tuple[str, str]] = Counter()
        self.hung = 0
        self.lost: list[str] = []
        self._over = asyncio.Event()
        self._work = set[asyncio.Task[None]]()
        self._store_is_up = asyncio.Event()
        self._store_is_up.set()
        self._stopped: list[Member] = []

    # the work

    async def join(self) -> None:
        """Let a process join, and work."""
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
            await self.world.pull(member, kind, self.dice.randint(1, most))
            if self.dice.random() < 0.1:
                await asyncio.sleep(self.dice.uniform(0.0, 4.0))

    async def _urgent(self, member: Member, kind: Kind) -> None:
        while member.peer.alive and not self._over.is_set():
            await asyncio.sleep(self.dice.uniform(0.0, 2.0))
            if member.peer.alive:
                await self.world.pull(member, kind, 1, urgent=True)

    # the faults

    async def trouble(self) -> None:
        """Let faults happen, some at once, until the time is over."""
        kinds = (self.kill, self.stop, self.restart, self.flush, self.cut, self.close, self.slow)
        end = time.monotonic() + self.settings.minutes * 60
        under_way = set[asyncio.Task[None]]()
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, self.fate.uniform(0.0, self.settings.pause)))
            fault = self.fate.choice(kinds)
            under_way.add(asyncio.create_task(self._note(fault.__name__, fault())))
        await asyncio.gather(*under_way)

    async def _note(self, name: str, fault: Coroutine[Any, Any, None]) -> None:
        began = time.time()
        await fault
        self.faults.append((name, began, time.time()))

    def _some(self) -> Member:
        return self.fate.choice([it for it in self.world.members if it.peer.alive])

    async def kill(self) -> None:
        """Kill a process; another one takes its place."""
        member = self._some()
        await self._collect(member)
        member.peer.signal(signal.SIGKILL)
        self.world.members.remove(member)
        await self.join()

    async def stop(self) -> None:
        """Let a process stand still for a while."""
        member = self._some()
        if member in self._stopped:
            return
        self._stopped.append(member)
        member.peer.signal(signal.SIGSTOP)
        await asyncio.sleep(self.fate.uniform(0.1, 6.0))
        if member.peer.alive:
            member.peer.signal(signal.SIGCONT)
        self._stopped.remove(member)

    async def restart(self) -> None:
        """Kill the store; start it again, with its file or without."""
        if not self._store_is_up.is_set():
            return
        self._store_is_up.clear()
        self.world.store.kill()
        await asyncio.sleep(self.fate.uniform(0.1, 5.0))
        if self.fate.random() < 0.5:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
            (self.folder / "appendonly.aof").unlink(missing_ok=True)
        self.world.store.start()
        self._store_is_up.set()

    async def flush(self) -> None:
        """Let the store forget all."""
        await self._store_is_up.wait()
        client = redis.asyncio.Redis.from_url(self.world.store.url)
        try:
            await client.flushall()
        except redis.exceptions.RedisError:  # it was killed just now
            pass
        finally:
            await client.aclose()

    async def cut(self) -> None:
        """Let nothing pass on the way of a process, for a while."""
        way = self._some().way
        way.cut()
        await asyncio.sleep(self.fate.uniform(0.1, 6.0))
        way.mend()

    async def close(self) -> None:
        """Reset the connections of a process for a while."""
        way = self._some().way
        way.close()
        await asyncio.sleep(self.fate.uniform(0.1, 6.0))
        way.mend()

    async def slow(self) -> None:
        """Let the way of a process be a long one for a while."""
        way = self._some().way
        way.delay = self.fate.uniform(0.01, 0.4)
        await asyncio.sleep(self.fate.uniform(1.0, 6.0))
        way.delay = 0.0

    # the end

    async def run(self) -> None:
        """Do all of it."""
        for _ in range(self.settings.processes):
            await self.join()
        await self.trouble()
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
        """Note what a process was told."""
        try:
            async with asyncio.timeout(1.0):
                for event in await member.peer.ask("events"):
                    state = f" while {event.state}" if event.kind == "refused" else ""
                    self.told[event.kind + state, ", ".join(event.names)] += 1
        except (GoneError, TimeoutError):
            self.told["not heard of a stopped process", ""] += 1

    async def _burst(self, kind: Kind) -> None:
        """Check that all of a budget is there: in the book, and to use."""
        name = KINDS[kind][0]
        limit, living = LIMITS[name], self.world.members
        book = (await self.world.holdings())[name]
        names = {await member.peer.ask("name") for member in living}
        if book.at_home + sum(book.held.values()) != limit.calls or not names >= set(book.held):
            self.lost.append(f"{name}: {book}")
        shares = Counter(number % len(living) for number in range(limit.calls))
        before = len(await self.world.arrivals(name))
        await asyncio.gather(
            *(self.world.pull(living[it], kind, calls, urgent=True) for it, calls in shares.items())
        )
        times = (await self.world.arrivals(name))[before:]
        took = max(times) - min(times)
        print(f"a burst of {len(times)} calls of {name}: {took * 1000:.0f} ms")
        if took >= limit.seconds / 2:
            self.lost.append(f"{name}: {took:.3f} s for a burst")

    def _around(self, at: float) -> str:
        """Name the faults that may have had a part in what happened then."""
        return ", ".join(
            f"{name} {began - at:+.2f}..{ended - at:+.2f}"
            for name, began, ended in sorted(self.faults, key=lambda it: it[1])
            if began <= at <= ended + RECENT
        )

    async def report(self) -> bool:
        """Print what was found; say whether it is as it must be."""
        world, holds = self.world, self.settings.when_cut_off == "hold"
        wrong = await world.contradictions()
        refused, too_many = await world.refused(), await world.too_many()
        statuses = Counter(world.said.values())
        calls = {name: len(await world.arrivals(name)) for name in LIMITS}
        print(f"{self.settings}")
        print(f"calls: {calls}; orders: {len(world.said)}, of killed ones: {world.abandoned}")
        print(f"faults: {dict(Counter(name for name, _, _ in self.faults))}")
        print(f"statuses: {dict(statuses)}")
        for (kind, names), number in sorted(self.told.items()):
            print(f"told {number} times: {kind} {names}")
        print(f"refused: {dict(refused)}; would be under some rule: {len(too_many)}")
        for name, at in too_many if holds else too_many[:5]:
            print(f"  one too many: {name} at {at:.3f}: {self._around(at)}")
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
    """Run it; say whether all is as it must be."""
    async with prepared(settings) as found:
        await found.run()
        return await found.report()


def main() -> int:
    """Run it."""
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
