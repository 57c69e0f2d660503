"""Run the store's script in an embedded Lua, on any clock and with any network fault.

This module replaces all that a server offers to ``share.lua``: its clock, its one value, its run id
and uptime, MessagePack, and messages to subscribers.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.resources import files
from typing import Any, Literal

import msgspec
from lupa import lua51  # type: ignore[import-untyped]

from htx_cancel.limits.store import Message, encode

SCRIPT = (files("htx_cancel.limits") / "share.lua").read_text()
CHANNELS = b"book:"

Fault = Literal["lost_before", "lost_after", "late", "doubled"]


class LuaServer:
    """A server with one book; ``clock`` is its time in seconds.

    Unless it is ``empty``, a process that has left began its book 10 s ago.
    """

    def __init__(
        self, clock: Callable[[], float], *, age: float = 1e6, empty: bool = False
    ) -> None:
        self.book: bytes | None = None
        self._earlier: bytes | None = None
        self.run_id = 1
        self.published: list[tuple[str, bytes]] = []
        self._clock = clock
        self._started = clock() - age
        self._lua = lua51.LuaRuntime(encoding=None)
        source = f"function(KEYS, ARGV, redis, cmsgpack) {SCRIPT}\nend"
        self._script = self._lua.eval(source.encode())
        if not empty:
            self._clock = lambda: clock() - 10.0
            self.run(
                encode(
                    Message("founder", 1, 0, 0, known=False, bye=True, keep_for_urgent=0, wants=[])
                )
            )
            self._clock, self._earlier = clock, None

    def run(self, message: bytes) -> bytes:
        """Run the script on a message; return the answer."""
        table = self._lua.table
        redis = self._lua.table_from({b"call": self._call})
        packing = self._lua.table_from({b"pack": self._pack, b"unpack": self._unpack})
        answer = self._script(table(b"book"), table(message, CHANNELS), redis, packing)
        assert isinstance(answer, bytes)
        return answer

    def restart(self, *, keep: bool) -> None:
        """Restart with the book as it was before the last message, or without a book."""
        self.run_id += 1
        self._started = self._clock()
        self.book = self._earlier if keep else None

    def _call(self, command: bytes, *given: Any) -> Any:
        now = self._clock()
        if command == b"INFO":
            age = int(now - self._started)
            return f"# Server\r\nrun_id:{self.run_id:040}\r\nuptime_in_seconds:{age}\r\n".encode()
        if command == b"TIME":
            seconds, rest = divmod(round(now * 1_000_000), 1_000_000)
            return self._lua.table(str(seconds).encode(), str(rest).encode())
        if command == b"GET":
            return self.book if self.book is not None else False
        if command == b"SET":
            self._earlier, self.book = self.book, given[1]
            return True
        assert command == b"PUBLISH"
        self.published.append((given[0].removeprefix(CHANNELS).decode(), given[1]))
        return 1

    def _unpack(self, packed: bytes) -> Any:
        return self._to_lua(msgspec.msgpack.decode(packed))

    def _pack(self, value: Any) -> bytes:
        return msgspec.msgpack.encode(_to_python(value))

    def _to_lua(self, value: Any) -> Any:
        if isinstance(value, list):
            return self._lua.table(*map(self._to_lua, value))
        if isinstance(value, dict):
            entries = {self._to_lua(key): self._to_lua(item) for key, item in value.items()}
            return self._lua.table_from(entries)
        return value.encode() if isinstance(value, str) else value


def _to_python(value: Any) -> Any:
    if lua51.lua_type(value) == "table":
        entries = {_to_python(key): _to_python(item) for key, item in value.items()}
        if set(entries) == set(range(1, len(entries) + 1)):
            return [entries[number] for number in range(1, len(entries) + 1)]
        return entries
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.decode() if isinstance(value, bytes) else value


class LuaStore:
    """The connection of one process to a ``LuaServer``; ``delay`` is seconds, each way.

    While it is ``down``, each message fails. ``fault_rate`` is the part of messages with a fault.
    """

    def __init__(
        self,
        network: "Network",
        *,
        delay: float = 0.0003,
        fault_rate: float = 0.0,
        faults: Sequence[Fault] = ("lost_before", "lost_after", "late", "doubled"),
        seed: int = 0,
    ) -> None:
        self.down = False
        self.syncs = 0
        self.closed = False
        self._network = network
        self._delay = delay
        self._fault_rate = fault_rate
        self._faults = faults
        self._chance = random.Random(seed)

    async def sync(self, message: bytes) -> bytes:
        """Carry a message to the server and the answer back, or fail as a network does."""
        self.syncs += 1
        await asyncio.sleep(self._delay)
        fault = None
        if self._chance.random() < self._fault_rate:
            fault = self._chance.choice(self._faults)
        if self.down or fault == "lost_before":
            raise ConnectionError("the store is unavailable")
        if fault == "late":
            late = self._chance.uniform(0.0, 3.0)
            asyncio.get_running_loop().call_later(late, self._network.run, message)
            raise ConnectionError("the message is delayed")
        answer = self._network.run(message)
        if fault == "doubled":
            answer = self._network.run(message)
        await asyncio.sleep(self._delay)
        if fault == "lost_after":
            raise ConnectionError("the answer was lost")
        return answer

    async def notices(self, process: str) -> AsyncIterator[bytes]:
        """Yield the notices that the server publishes for a process."""
        queue = self._network.queues[process]
        while True:
            notice = await queue.get()
            await asyncio.sleep(self._delay)
            if not self.down:
                yield notice

    async def close(self) -> None:
        """Note that the store was closed."""
        self.closed = True


class Network:
    """A server, and the queues of its subscribers."""

    def __init__(self, *, age: float = 1e6) -> None:
        self.server = LuaServer(asyncio.get_running_loop().time, age=age)
        self.queues: defaultdict[str, asyncio.Queue[bytes]] = defaultdict(asyncio.Queue)

    def run(self, message: bytes) -> bytes:
        """Run the script on a message, and queue the notices that it publishes."""
        answer = self.server.run(message)
        for process, notice in self.server.published:
            self.queues[process].put_nowait(notice)
        self.server.published.clear()
        return answer
