"""A server that costs next to nothing: as much HTTP/1.1 as the peers send, and ready answers.

It is used where the sandbox itself would be the bottleneck. It checks no signature and keeps no
limit; its replies have the exchange's shapes and headers.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

#: What to do with a request: a reply, or one of the words below.
AttemptResult = bytes | str
HANG, CUT = "hang", "cut"

Answering = Callable[[bytes, bytes], AttemptResult]

_RATES = (
    "ratelimit-limit: 100000\r\nratelimit-interval: 100\r\n"
    "ratelimit-remaining: 99990\r\nratelimit-reset: {reset}\r\n"
)
_SERVER = "Server: openresty\r\nConnection: keep-alive\r\n"


def reply(body: bytes, status: str = "200 OK", kind: str = "text/plain;charset=UTF-8") -> bytes:
    """Wrap a body."""
    reset = int(time.time() * 1000) + 100
    head = (
        f"HTTP/1.1 {status}\r\n{_SERVER}{_RATES.format(reset=reset)}"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def ids_of(body: bytes) -> bytes:
    """Find the ids in a request, as they were written."""
    at = body.index(b'"', body.index(b":", body.index(b'"order_id"'))) + 1
    return body[at : body.index(b'"', at)]


def success(path: bytes, body: bytes) -> AttemptResult:
    """Say that all went well; to a call that names nothing, tell the time."""
    if not body:
        return reply(b'{"status":"ok","ts":1767323045000}')
    ids = ids_of(body)
    if path.startswith(b"/v5"):
        data = b'"data":{"order_id":"' + ids + b'","client_order_id":""}'
        return reply(b'{"code":200,"message":"Success",' + data + b',"ts":1767323045000}')
    data = b'"data":{"errors":[],"successes":"' + ids + b'"}'
    return reply(b'{"status":"ok",' + data + b',"ts":1767323045000}')


class Traffic:
    """What the server saw: its latest requests, each with the connections opened until then."""

    def __init__(self) -> None:
        self.connections = 0
        self.arrivals: deque[tuple[float, int]] = deque(maxlen=1000)

    def report(self) -> dict[str, Any]:
        """Tell; times are the system's monotonic clock when a request had come in whole."""
        return {"connections": self.connections, "arrivals": list(self.arrivals)}


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, answering: Answering, traffic: Traffic) -> None:
        self._answering = answering
        self._traffic = traffic
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._traffic.connections += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            length = _length(head)
            if len(self._buffer) < end + 4 + length:
                return
            path = self._buffer[:end].split(b" ", 2)[1].partition(b"?")[0]
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(path, body)

    def _answer(self, path: bytes, body: bytes) -> None:
        self._traffic.arrivals.append((time.monotonic(), self._traffic.connections))
        answer = self._answering(path, body)
        if isinstance(answer, bytes):
            self.transport.write(answer)
        elif answer == CUT:
            self.transport.write(reply(b"{" + b" " * 200)[:-100])
            self.transport.close()


def _length(head: bytes) -> int:
    at = head.find(b"content-length:") + 15
    return int(head[at : (head + b"\r\n").index(b"\r\n", at)]) if at > 14 else 0


async def listen(
    answering: Answering, traffic: Traffic, context: ssl.SSLContext | None = None
) -> str:
    """Serve on a free port; return the base URL."""
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(answering, traffic), "127.0.0.1", 0, ssl=context, backlog=1024
    )
    port = server.sockets[0].getsockname()[1]
    return f"{'https' if context else 'http'}://127.0.0.1:{port}"
