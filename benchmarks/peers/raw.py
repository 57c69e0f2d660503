"""The physical limit: ready-made bytes over asyncio's protocols, replies hardly looked at.

It signs nothing, reads nothing, and works only against a server that does not mind.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import cast
from urllib.parse import urlsplit

from benchmarks.peers import Setting, Words
from benchmarks.peers.byhand import payload, signed, tls
from benchmarks.workload import WORK, cut


class _Line(asyncio.Protocol):
    """One connection with at most one request on it; every reply ends in a brace."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.reply: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.reply is not None and data.endswith(b"}"):
            self.reply.set_result(None)
            self.reply = None


class Raw:
    """As many connections as requests in flight."""

    def __init__(self, setting: Setting) -> None:
        parts = urlsplit(setting.base_url)
        self._host, self._port = str(parts.hostname), parts.port or 80
        self._tls = tls(setting.certificate)
        self._free: asyncio.LifoQueue[_Line] = asyncio.LifoQueue()
        self._lines: list[_Line] = []
        self._most = setting.in_flight
        self._ready: dict[str, bytes] = {}

    def prepare(self, kind: str, ids: Sequence[str]) -> None:
        """Make the bytes of every request beforehand."""
        work, host = WORK[kind], f"{self._host}:{self._port}"
        query = signed("POST", host, work.path)
        head = (
            f"POST {work.path}?{query} HTTP/1.1\r\nHost: {host}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        for batch in cut(ids, work.batch):
            body = json.dumps(payload(work, batch))
            self._ready[batch[0]] = f"{head}{len(body)}\r\n\r\n{body}".encode()

    async def _line(self) -> _Line:
        if self._free.empty() and len(self._lines) < self._most:
            line = _Line()
            self._lines.append(line)
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: line, self._host, self._port, ssl=self._tls)
            return line
        return await self._free.get()

    async def _one(self, sent: bytes) -> None:
        line = await self._line()
        reply = line.reply = asyncio.get_running_loop().create_future()
        line.transport.write(sent)
        await reply
        self._free.put_nowait(line)

    async def _worker(self, requests: list[bytes]) -> None:
        while requests:
            await self._one(requests.pop())

    async def cancel(self, kind: str, ids: Sequence[str]) -> Words:
        """Send what was prepared."""
        size = WORK[kind].batch
        if len(ids) <= size:
            await self._one(self._ready[ids[0]])
            return {}
        requests = [self._ready[ids[at]] for at in range(0, len(ids), size)]
        await asyncio.gather(*(self._worker(requests) for _ in range(self._most)))
        return {}

    async def close(self) -> None:
        """Close every connection."""
        for line in self._lines:
            line.transport.close()


async def open_peer(setting: Setting) -> Raw:
    """Make the peer."""
    return Raw(setting)
