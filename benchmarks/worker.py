"""One of several processes that share a limit, and what it can be asked to do."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from msgspec import Struct

from benchmarks.exchange import Line
from benchmarks.gates import LIMITERS, Gate, Place, Setup, counted_commands
from benchmarks.process import Answer, until


class Call(Struct, frozen=True):
    """One call, in times of the monotonic clock."""

    names: tuple[str, ...]
    urgent: bool
    asked: float
    left: float
    replied: float


class Told(Struct, frozen=True):
    """What a process did."""

    calls: list[Call]
    commands: int  #: to the store
    floor: float  #: of the round trip, as far as it was learned


class Worker:
    """What it can be asked to do, one thing after another."""

    def __init__(self, place: Place, commands: Any) -> None:
        self._place = place
        self._commands = commands
        self._opened = AsyncExitStack()
        self._calls: list[Call] = []

    async def ready(self) -> None:
        """Say that it runs."""

    async def open(self, setup: Setup) -> int:
        """Join a group; tell this process by its id."""
        self._group = setup.group
        limiter = LIMITERS[setup.limiter](setup, self._place)
        self._gate: Gate = await self._opened.enter_async_context(limiter)
        return os.getpid()

    async def close(self) -> None:
        """Leave the group."""
        await self._opened.aclose()

    async def hurry(self, wanted: list[tuple[str, ...]], at: float) -> Told:
        """Want all these calls at once."""
        await until(at)
        before = self._commands()
        await asyncio.gather(*(self._call(names) for names in wanted))
        return self._told(before)

    async def rest(self, at: float, end: float) -> Told:
        """Want nothing."""
        await until(at)
        before = self._commands()
        await until(end)
        return self._told(before)

    async def flood(self, name: str, callers: int, at: float, end: float) -> Told:
        """Have so many callers that want a call again as soon as they have had one."""
        await until(at)
        before = self._commands()
        await asyncio.gather(*(self._repeat(name, end) for _ in range(callers)))
        return self._told(before)

    async def _repeat(self, name: str, end: float) -> None:
        with suppress(TimeoutError):
            while time.monotonic() < end:
                await self._call((name,), end=end)

    async def urge(self, name: str, at: float, end: float, seed: int) -> Told:
        """Want one urgent call now and then."""
        await until(at)
        chance, before = random.Random(seed), self._commands()
        while time.monotonic() < end:
            await self._call((name,), urgent=True)
            await asyncio.sleep(chance.uniform(1.0, 2.0))
        return self._told(before)

    async def _call(
        self, names: tuple[str, ...], *, urgent: bool = False, end: float | None = None
    ) -> None:
        """Pass the limiter, before the end if there is one, and send a request."""
        asked = time.monotonic()
        async with AsyncExitStack() as gate:
            async with asyncio.timeout_at(end):
                await gate.enter_async_context(self._gate.enter(names, urgent))
            left = time.monotonic()
            await self._place.line.call(self._group, *names)
        self._calls.append(Call(names, urgent, asked, left, time.monotonic()))

    def _told(self, before: int) -> Told:
        calls, self._calls = self._calls, []
        return Told(calls, self._commands() - before, self._gate.round_trips.floor)


@asynccontextmanager
async def worker(port: int, socket: str) -> AsyncIterator[Answer]:
    """Serve; a question names what to do."""
    line = await Line.open(port)
    with counted_commands() as commands:
        served = Worker(Place(line, socket), commands)

        async def answer(what: str, *args: Any) -> Any:
            return await getattr(served, what)(*args)

        yield answer
    line.close()
