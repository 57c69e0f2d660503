"""A server that accepts every cancel at once: as little HTTP/1.1 as the clients send.

It is used where the sandbox itself would take longer than the clients. It checks no signature and
keeps no limit; its replies have the exchange's shapes and headers.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from benchmarks.process import Answer

#: The limit that its headers tell, and that clients are given: one that is never felt.
FREE = (100_000, 0.1)

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_IDS = re.compile(rb'"order_id": *("[^"]*"|\[[^\]]*\])')

_ID = re.compile(rb'"[^"]*"')


def _reply(path: bytes, body: bytes) -> bytes:
    """Say that all went well; to a call that names no order, tell the time."""
    found = _IDS.search(body)
    ids = found[1].strip(b'"') if found else b""
    if ids.startswith(b"["):
        items = [b'{"code":200,"message":"Success","order_id":%b}' % it for it in _ID.findall(ids)]
        content = b'{"code":200,"message":"Success","data":[%b],"ts":1}' % b",".join(items)
    elif path.startswith(b"/v5"):
        content = b'{"code":200,"message":"Success","data":{"order_id":"%b"},"ts":1}' % ids
    else:
        content = b'{"status":"ok","data":{"errors":[],"successes":"%b"},"ts":1}' % ids
    reset = time.time() * 1000 + 100
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain;charset=UTF-8\r\n"
        f"ratelimit-limit: {FREE[0]}\r\nratelimit-interval: {FREE[1] * 1000:.0f}\r\n"
        f"ratelimit-remaining: {FREE[0] - 10}\r\nratelimit-reset: {reset:.0f}\r\n"
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
        while (end := self._buffer.find(b"\r\n\r\n") + 4) >= 4:
            length = _LENGTH.search(self._buffer, 0, end)
            whole = end + int(length[1] if length else 0)
            if len(self._buffer) < whole:
                return
            path, body = self._buffer.split(b" ", 2)[1], self._buffer[end:whole]
            self._buffer = self._buffer[whole:]
            self.transport.write(_reply(path, body))


@asynccontextmanager
async def ready() -> AsyncIterator[Answer]:
    """Serve on a free port; answer with the base URL."""
    loop = asyncio.get_running_loop()
    async with await loop.create_server(_Connection, "127.0.0.1", 0, backlog=1024) as server:

        async def answer() -> str:
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield answer
