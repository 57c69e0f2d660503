"""A stub of the exchange that accepts every cancel at once, in as little HTTP/1.1 as clients need.

The benchmarks use it where the sandbox would be slower than the clients. It checks no signature and
keeps no limit; its replies have the exchange's shapes and headers.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from benchmarks.process import Answer
from benchmarks.workload import Rate

#: The limit in its headers, and the one that clients are given: too high to be reached.
UNLIMITED: Rate = (100_000, 0.1)

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_IDS = re.compile(rb'"order_id": *("[^"]*"|\[[^\]]*\])')
_ID = re.compile(rb'"[^"]*"')


def _reply(path: bytes, body: bytes) -> bytes:
    """Return a reply that accepts every order in the body."""
    found = _IDS.search(body)
    ids = found[1].strip(b'"') if found else b""
    if ids.startswith(b"["):
        entry = b'{"code":200,"message":"Success","order_id":%b}'
        items = [entry % order_id for order_id in _ID.findall(ids)]
        content = b'{"code":200,"message":"Success","data":[%b],"ts":1}' % b",".join(items)
    elif path.startswith(b"/v5"):
        content = b'{"code":200,"message":"Success","data":{"order_id":"%b"},"ts":1}' % ids
    else:
        content = b'{"status":"ok","data":{"errors":[],"successes":"%b"},"ts":1}' % ids
    calls, seconds = UNLIMITED
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain;charset=UTF-8\r\n"
        f"ratelimit-limit: {calls}\r\nratelimit-interval: {seconds * 1000:.0f}\r\n"
        f"ratelimit-remaining: {calls - 10}\r\n"
        f"ratelimit-reset: {time.time() * 1000 + 100:.0f}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n") + 4) >= 4:
            length = _LENGTH.search(self._buffer, 0, head_end)
            end = head_end + int(length[1] if length else 0)
            if len(self._buffer) < end:
                return
            path, body = self._buffer.split(b" ", 2)[1], self._buffer[head_end:end]
            self._buffer = self._buffer[end:]
            self.transport.write(_reply(path, body))


@asynccontextmanager
async def stub() -> AsyncIterator[Answer]:
    """Serve on a free port; answer with the base URL."""
    loop = asyncio.get_running_loop()
    async with await loop.create_server(_Connection, "127.0.0.1", 0, backlog=1024) as server:

        async def answer() -> str:
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield answer
