"""An exchange for several processes that only records requests, in a process of its own.

It answers every request after a delay each way, and refuses nothing. What each rule for windows
would have refused is counted afterwards.
"""

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Self, cast

from msgspec import Struct

from benchmarks.process import Answer
from benchmarks.workload import Rate, refusals
from htx_cancel.sandbox.windows import WINDOWS

ONE_WAY, JITTER = 0.005, 0.003  #: seconds


class Arrival(Struct, frozen=True):
    """One request, as it arrived."""

    at: float  #: by the monotonic clock
    epoch: float  #: by the wall clock
    process: int  #: its id
    names: tuple[str, ...]  #: of the budgets that the request charges


class Counts(Struct, frozen=True):
    """The requests of one group of processes."""

    arrivals: list[Arrival]
    refused: dict[str, int]  #: requests that each rule for windows would have refused
    too_close: int  #: requests that arrived within T of the one N requests earlier


def count_refusals(arrivals: list[Arrival], rates: Mapping[str, Rate]) -> Counts:
    """Count what each rule for windows refuses, and check once more without windows."""
    refused, too_close = Counter[str](dict.fromkeys(WINDOWS, 0)), 0
    for name, (calls, seconds) in rates.items():
        charged = [arrival for arrival in arrivals if name in arrival.names]
        refused.update(refusals([arrival.epoch for arrival in charged], (calls, seconds)))
        pairs = zip(charged, charged[calls:], strict=False)
        too_close += sum(last.at - first.at < seconds for first, last in pairs)
    return Counts(arrivals, refused, too_close)


class _Exchange:
    def __init__(self) -> None:
        self.arrivals: defaultdict[str, list[Arrival]] = defaultdict(list)  #: by group
        self._chance = random.Random(0)

    def after_delay(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function after the delay of one way."""
        delay = ONE_WAY + JITTER * self._chance.random()
        asyncio.get_running_loop().call_later(delay, function, *args)

    def receive(self, line: str, transport: asyncio.Transport) -> None:
        """Record a request, and send its reply after the delay."""
        number, group, process, *names = line.split()
        arrival = Arrival(time.monotonic(), time.time(), int(process), tuple(names))
        self.arrivals[group].append(arrival)
        self.after_delay(transport.write, f"{number}\n".encode())


class _LineProtocol(asyncio.Protocol):
    """A connection on which every message is one line."""

    transport: asyncio.Transport
    _buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self.line_received(line.decode())

    def line_received(self, line: str) -> None:
        raise NotImplementedError


class _ServerConnection(_LineProtocol):
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    def line_received(self, line: str) -> None:
        self._exchange.after_delay(self._exchange.receive, line, self.transport)


class Connection(_LineProtocol):
    """A worker's connection to the exchange, for any number of requests at a time."""

    def __init__(self) -> None:
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection

    def line_received(self, line: str) -> None:
        """Wake the request that the line answers, unless its task was cancelled."""
        if not (reply := self._waiting.pop(int(line))).done():
            reply.set_result(None)

    async def request(self, group: str, *names: str) -> None:
        """Send a request that charges these budgets, and wait for its reply."""
        number = next(self._numbers)
        reply = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.transport.write(f"{number} {group} {os.getpid()} {' '.join(names)}\n".encode())
        await reply


@asynccontextmanager
async def exchange() -> AsyncIterator[Answer]:
    """Serve on a free port; answer with the port, or with the arrivals of a group."""
    loop, model = asyncio.get_running_loop(), _Exchange()
    server = await loop.create_server(lambda: _ServerConnection(model), "127.0.0.1", 0, backlog=256)

    async def answer(group: str = "") -> object:
        return model.arrivals.pop(group) if group else server.sockets[0].getsockname()[1]

    async with server:
        yield answer
