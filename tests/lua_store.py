"""The store's script without a server: in an embedded Lua, on any clock, with any trouble.

What a server offers to ``share.lua`` is written here a second time: its clock, its one value, its
name and age, MessagePack, and messages to subscribers.
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

Trouble = Literal["lost_before", "lost_after", "late", "doubled"]


class LuaServer:
    """A server with one book; ``clock`` is its time in seconds.

    A process that has left began the book a while ago, unless it is ``empty``.
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
        """Become another server: with the book as it was before the last message, or without it."""
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
            entries = {self._to_lua(key): self._to_lua(it) for key, it in value.items()}
            return self._lua.table_from(entries)
        return value.encode() if isinstance(value, str) else value


def _to_python(value: Any) -> Any:
    if lua51.lua_type(value) == "table":
        entries = {_to_python(key): _to_python(it) for key, it in value.items()}
        if set(entries) == set(range(1, len(entries) + 1)):
            return [entries[number] for number in range(1, len(entries) + 1)]
        return entries
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.decode() if isinstance(value, bytes) else value


class LuaStore:
    """A process's way to a ``LuaServer`` on the running loop, some seconds long each way.

    ``down`` is whether it leads nowhere; ``share`` of the messages meet ``troubles``.
    """

    def __init__(
        self,
        network: "Network",
        *,
        delay: float = 0.0003,
        share: float = 0.0,
        troubles: Sequence[Trouble] = ("lost_before", "lost_after", "late", "doubled"),
        seed: int = 0,
    ) -> None:
        self.down = False
        self.syncs = 0
        self.closed = False
        self._network = network
        self._delay = delay
        self._share = share
        self._troubles = troubles
        self._chance = random.Random(seed)

    async def sync(self, message: bytes) -> bytes:
        """Take a message there and an answer back, or fail as a network does."""
        self.syncs += 1
        await asyncio.sleep(self._delay)
        trouble = None
        if self._chance.random() < self._share:
            trouble = self._chance.choice(self._troubles)
        if self.down or trouble == "lost_before":
            raise ConnectionError("the store is away")
        if trouble == "late":
            late = self._chance.uniform(0.0, 3.0)
            asyncio.get_running_loop().call_later(late, self._network.run, message)
            raise ConnectionError("no answer, yet")
        answer = self._network.run(message)
        if trouble == "doubled":
            answer = self._network.run(message)
        await asyncio.sleep(self._delay)
        if trouble == "lost_after":
            raise ConnectionError("the answer was lost")
        return answer

    async def notices(self, process: str) -> AsyncIterator[bytes]:
        """Yield what the server publishes for a process."""
        queue = self._network.queues[process]
        while True:
            notice = await queue.get()
            await asyncio.sleep(self._delay)
            if not self.down:
                yield notice

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


class Network:
    """A server, and the messages on their way to its subscribers."""

    def __init__(self, *, age: float = 1e6) -> None:
        self.server = LuaServer(asyncio.get_running_loop().time, age=age)
        self.queues: defaultdict[str, asyncio.Queue[bytes]] = defaultdict(asyncio.Queue)

    def run(self, message: bytes) -> bytes:
        """Run the script, and pass on what it publishes."""
        answer = self.server.run(message)
        for process, notice in self.server.published:
            self.queues[process].put_nowait(notice)
        self.server.published.clear()
        return answer
