"""A server that only counts: calls against every rule that the exchange's windows may have.

A call is four bytes, its number; its reply is the number and one byte, 1 if it was let in. The
line there and back has a delay and a jitter of its own for each call. Every connection has
windows of its own, under the name it sends first.
"""

import asyncio
import random
import struct
from collections.abc import Callable
from typing import Any, cast

from htx_cancel.sandbox.windows import WINDOWS, Budget, Window, WindowRule

CALL, REPLY = struct.Struct("!I"), struct.Struct("!I?")
NAME_LENGTH = 32


class Tally:
    """What one connection's calls came to."""

    def __init__(self, calls: int, seconds: float) -> None:
        budget = Budget("calls", calls, seconds)
        self.windows: dict[WindowRule, Window] = {
            rule: make(budget) for rule, make in WINDOWS.items()
        }
        self.refused = dict.fromkeys(WINDOWS, 0)

    def admit(self, now: float) -> bool:
        """Count one call under each rule; the likely rule's verdict is the reply."""
        verdicts = {rule: window.admit(now).admitted for rule, window in self.windows.items()}
        for rule, admitted in verdicts.items():
            self.refused[rule] += not admitted
        return bool(verdicts["first"])


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport
    tally: Tally

    def __init__(self, settings: dict[str, Any], tallies: dict[str, Tally]) -> None:
        self._settings = settings
        self._tallies = tallies
        self._buffer = b""
        self._named = False
        self._chance = random.Random(0)
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._named:
            if len(self._buffer) < NAME_LENGTH:
                return
            name = self._buffer[:NAME_LENGTH].decode().strip()
            self._buffer = self._buffer[NAME_LENGTH:]
            self._named = True
            self.tally = self._tallies[name] = Tally(
                self._settings["calls"], self._settings["seconds"]
            )
        whole = len(self._buffer) // CALL.size * CALL.size
        for (number,) in CALL.iter_unpack(self._buffer[:whole]):
            self._loop.call_later(self._way(), self._arrive, number)
        self._buffer = self._buffer[whole:]

    def _way(self) -> float:
        way: float = self._settings["delay"] + self._settings["jitter"] * self._chance.random()
        return way

    def _arrive(self, number: int) -> None:
        admitted = self.tally.admit(self._loop.time())
        self._loop.call_later(self._way(), self.transport.write, REPLY.pack(number, admitted))


async def listen(settings: dict[str, Any]) -> tuple[int, Callable[[], Any]]:
    """Serve on a free port; return it, and a function that tells what was refused."""
    tallies: dict[str, Tally] = {}
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(settings, tallies), "127.0.0.1", 0, backlog=100
    )
    port: int = server.sockets[0].getsockname()[1]
    return port, lambda: {name: tally.refused for name, tally in tallies.items()}


class Line(asyncio.Protocol):
    """The client's end: many calls at once on one connection."""

    transport: asyncio.Transport

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._buffer = b""
        self._sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the name."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._name.ljust(NAME_LENGTH).encode())

    def data_received(self, data: bytes) -> None:
        """Hand out replies."""
        self._buffer += data
        whole = len(self._buffer) // REPLY.size * REPLY.size
        for number, admitted in REPLY.iter_unpack(self._buffer[:whole]):
            self._waiting.pop(number).set_result(admitted)
        self._buffer = self._buffer[whole:]

    async def call(self) -> bool:
        """Make one call; return whether it was let in."""
        self._sent += 1
        reply: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[self._sent] = reply
        self.transport.write(CALL.pack(self._sent))
        return await reply
