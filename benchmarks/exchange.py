"""A model of the exchange for several processes, in a process of its own.

It answers every request after the same way there and back, and counts it, in the middle, under each
rule for windows. Nothing is refused: the replies of a call counted as one too many are the same.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Self, cast

from msgspec import Struct

from benchmarks.process import Answer
from benchmarks.work import Rate
from htx_cancel.sandbox.windows import WINDOWS, Budget

ONE_WAY, JITTER = 0.005, 0.003  #: seconds
PROBE = "-"  #: the budget of a call that charges none


class Counted(Struct, frozen=True):
    """What one budget has seen; times are of the monotonic clock."""

    refused: dict[str, int]  #: calls that each rule would have refused
    too_close: int  #: arrivals less than one window after the one that is a whole limit earlier
    arrivals: list[tuple[float, int]]  #: when, and from which process


class _Budget:
    """One budget: its windows under each rule, and what arrived."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._windows = {rule: window(Budget("", *rate)) for rule, window in WINDOWS.items()}
        self._refused: dict[str, int] = dict.fromkeys(WINDOWS, 0)
        self._arrivals: list[tuple[float, int]] = []

    def count(self, process: int) -> None:
        """Count a call."""
        self._arrivals.append((time.monotonic(), process))
        for rule, window in self._windows.items():
            self._refused[rule] += not window.admit(time.time()).admitted

    def counted(self) -> Counted:
        """Tell what was counted, and check it once more without the windows."""
        calls, seconds = self._rate
        pairs = zip(self._arrivals, self._arrivals[calls:], strict=False)
        close = sum(last[0] - first[0] < seconds for first, last in pairs)
        return Counted(self._refused, close, self._arrivals)


class _Exchange:
    """All budgets, of groups of processes that know nothing of one another."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, _Budget]] = {}
        self._chance = random.Random(0)

    def later(self, then: Callable[..., object], *args: Any) -> None:
        """Do something one way later."""
        delay = ONE_WAY + JITTER * self._chance.random()
        asyncio.get_running_loop().call_later(delay, then, *args)

    def arrive(self, line: str, reply: asyncio.Transport) -> None:
        """Count a request, and send its reply on the way."""
        number, group, process, names = line.split()
        for name in names.split(",") if names != PROBE else ():
            self.groups[group][name].count(int(process))
        self.later(reply.write, f"{number}\n".encode())


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._exchange.later(self._exchange.arrive, line.decode(), self.transport)


@asynccontextmanager
async def exchange() -> AsyncIterator[Answer]:
    """Serve on a free port; answer with the port, or with what a group's budgets have seen."""
    loop, model = asyncio.get_running_loop(), _Exchange()
    server = await loop.create_server(lambda: _Connection(model), "127.0.0.1", 0, backlog=256)

    async def answer(group: str = "", rates: Mapping[str, Rate] | None = None) -> object:
        if not group:
            return server.sockets[0].getsockname()[1]
        if rates is not None:
            model.groups[group] = {name: _Budget(rate) for name, rate in rates.items()}
            return None
        return {name: budget.counted() for name, budget in model.groups.pop(group).items()}

    async with server:
        yield answer


class Line(asyncio.Protocol):
    """A worker's connection to the exchange, for any number of calls at a time."""

    def __init__(self) -> None:
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._buffer = b""

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect."""
        connect = asyncio.get_running_loop().create_connection
        _, line = await connect(cls, "127.0.0.1", port)
        return line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take replies."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if not (reply := self._waiting.pop(int(line))).done():
                reply.set_result(None)

    async def call(self, group: str, *names: str) -> None:
        """Send a request that charges these budgets, and wait for its reply."""
        number = next(self._numbers)
        reply = self._waiting[number] = asyncio.get_running_loop().create_future()
        line = f"{number} {group} {os.getpid()} {','.join(names) or PROBE}\n"
        self._transport.write(line.encode())
        await reply

    def close(self) -> None:
        """Disconnect."""
        self._transport.close()
