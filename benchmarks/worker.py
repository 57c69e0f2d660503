"""A process that shares a limit with others, and the work it can be given."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from msgspec import Struct

from benchmarks.counting_exchange import Connection
from benchmarks.process import Answer, until
from benchmarks.shared_limiters import LIMITERS, Endpoints, Limiter, Setup, counted_commands


class Request(Struct, frozen=True):
    """One request, with times of the monotonic clock."""

    names: tuple[str, ...]  #: of the budgets it charges
    wanted: float
    sent: float
    replied: float


class Done(Struct, frozen=True):
    """What a process did in one piece of work."""

    requests: list[Request]
    commands: int  #: to the store
    floor: float  #: the shortest round trip that its budgets know


class Worker:
    """A process's limiter in a group, and its work: one piece after another."""

    def __init__(self, endpoints: Endpoints, commands: Callable[[], int]) -> None:
        self._endpoints = endpoints
        self._commands = commands
        self._opened = AsyncExitStack()
        self._requests: list[Request] = []

    async def ready(self) -> None:
        """Return as soon as the process runs."""

    async def open(self, setup: Setup) -> int:
        """Join a group; return this process's id."""
        self._group = setup.group
        opened = LIMITERS[setup.limiter](setup, self._endpoints)
        self._limiter: Limiter = await self._opened.enter_async_context(opened)
        return os.getpid()

    async def close(self) -> None:
        """Leave the group."""
        await self._opened.aclose()

    async def work(self, kind: str, at: float, *args: Any) -> Done:
        """Do one of the pieces of work below, from a time of the monotonic clock on."""
        await until(at)
        before = self._commands()
        await getattr(self, kind)(*args)
        requests, self._requests = self._requests, []
        return Done(requests, self._commands() - before, self._limiter.floor())

    async def burst(self, wanted: list[tuple[str, ...]]) -> None:
        """Want all these requests at once."""
        await asyncio.gather(*(self._request(names) for names in wanted))

    async def idle(self, end: float) -> None:
        """Want nothing."""
        await until(end)

    async def flood(self, name: str, callers: int, end: float) -> None:
        """Run callers that want the next request as soon as they have had a reply."""
        await asyncio.gather(*(self._repeat(name, end) for _ in range(callers)))

    async def _repeat(self, name: str, end: float) -> None:
        with suppress(TimeoutError):
            while time.monotonic() < end:
                await self._request((name,), end=end)

    async def urgent(self, name: str, end: float, seed: int) -> None:
        """Want one urgent request after another, with random pauses of one to two seconds."""
        chance = random.Random(seed)
        while time.monotonic() < end:
            await self._request((name,), urgent=True)
            await asyncio.sleep(chance.uniform(1.0, 2.0))

    async def _request(
        self, names: tuple[str, ...], *, urgent: bool = False, end: float | None = None
    ) -> None:
        """Send a request once the limiter allows it; give up at the end, if there is one."""
        wanted = time.monotonic()
        async with AsyncExitStack() as stack:
            async with asyncio.timeout_at(end):
                await stack.enter_async_context(self._limiter.enter(names, urgent))
            sent = time.monotonic()
            await self._endpoints.exchange.request(self._group, *names)
        self._requests.append(Request(names, wanted, sent, time.monotonic()))


@asynccontextmanager
async def worker(port: int, store: str) -> AsyncIterator[Answer]:
    """Serve; a question names the worker's method."""
    exchange = await Connection.open(port)
    with counted_commands() as commands:
        served = Worker(Endpoints(exchange, store), commands)
        yield lambda method, *args: getattr(served, method)(*args)
    exchange.transport.close()
