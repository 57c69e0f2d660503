"""The server's connections, and the faults that happen to a reply on its connection."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from htx_cancel.sandbox.faults import Fault
from htx_cancel.sandbox.messages import HttpResponse

_PIECES = 8  #: of a body that is sent slowly
#: The SO_LINGER value with which closing a socket resets its connection.
_RESET = struct.pack("ii", 1, 0)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connections(web.Server):
    """An HTTP server whose waits end when the connection is lost."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, access_log=None)
        self._waiting: dict[web.RequestHandler, asyncio.Future[None]] = {}
        self._released = False

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """End the wait on this connection."""
        super().connection_lost(handler, exc)
        _end(self._waiting.get(handler))

    async def wait(self, request: web.BaseRequest, seconds: float | None = None) -> None:
        """Wait until the time is over, the connection is lost, or ``release`` is called."""
        if self._released or request.transport is None:
            return
        lost = asyncio.get_running_loop().create_future()
        self._waiting[request.protocol] = lost
        await asyncio.wait({lost}, timeout=seconds)
        del self._waiting[request.protocol]

    def release(self) -> None:
        """End all waits, and every later wait at once."""
        self._released = True
        for lost in self._waiting.values():
            _end(lost)

    def abort(self) -> None:
        """Close every connection at once, without sending what is left."""
        for handler in self.connections:
            if handler.transport is not None:
                handler.transport.abort()

    async def deliver(
        self, request: web.BaseRequest, reply: HttpResponse | None, fault: Fault
    ) -> web.StreamResponse:
        """Send a reply, or the part of it that the fault lets through."""
        if reply is None or fault.delivery in ("hang", "reset"):
            _break(request, reset=fault.delivery != "hang")
            return web.Response()
        if fault.delivery == "whole":
            return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
        stream = web.StreamResponse(status=reply.status, headers=reply.headers)
        stream.content_length = len(reply.body)
        with suppress(ConnectionError):
            await stream.prepare(request)
            await self._write(request, stream, reply.body, fault)
        return stream

    async def _write(
        self, request: web.BaseRequest, stream: web.StreamResponse, body: bytes, fault: Fault
    ) -> None:
        if fault.delivery == "cut":
            await stream.write(body[: len(body) // 2])
            request.protocol.close()
            return
        size = len(body) // _PIECES + 1
        for start in range(0, len(body), size):
            await stream.write(body[start : start + size])
            await self.wait(request, fault.seconds / _PIECES)


def _end(lost: asyncio.Future[None] | None) -> None:
    if lost is not None and not lost.done():
        lost.set_result(None)


def _break(request: web.BaseRequest, *, reset: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    if reset:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
