"""Connections and what a reply suffers on them: held back, reset, cut or dripped."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from htx_cancel.sandbox.faults import Fault
from htx_cancel.sandbox.messages import HttpResponse

_DROPS = 8
#: A socket that is closed with this option resets its connection.
_RESET = struct.pack("ii", 1, 0)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connections(web.Server):
    """An HTTP server that knows, while it waits, when a connection goes."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, access_log=None)
        self._waiting: dict[web.RequestHandler, asyncio.Future[None]] = {}
        self._released = False

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """End what waits on this connection."""
        super().connection_lost(handler, exc)
        _end(self._waiting.get(handler))

    async def wait(self, request: web.BaseRequest, seconds: float | None = None) -> None:
        """Wait so long, or until the request's connection is lost or everything is released."""
        if self._released or request.transport is None:
            return
        lost = asyncio.get_running_loop().create_future()
        self._waiting[request.protocol] = lost
        await asyncio.wait({lost}, timeout=seconds)
        del self._waiting[request.protocol]

    def release(self) -> None:
        """End every wait, now and from now on."""
        self._released = True
        for lost in self._waiting.values():
            _end(lost)

    def abort(self) -> None:
        """Close every connection without another word."""
        for handler in self.connections:
            if handler.transport is not None:
                handler.transport.abort()

    async def deliver(
        self, request: web.BaseRequest, reply: HttpResponse | None, fault: Fault
    ) -> web.StreamResponse:
        """Bring a reply, or as much of it as the fault leaves."""
        if reply is None or fault.delivery in ("hang", "reset"):
            _break(request, reset=fault.delivery != "hang")
            return web.Response()
        if fault.delivery == "whole":
            return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
        stream = web.StreamResponse(status=reply.status, headers=reply.headers)
        stream.content_length = len(reply.body)
        with suppress(ConnectionError):
            await stream.prepare(request)
            await self._pour(request, stream, reply.body, fault)
        return stream

    async def _pour(
        self, request: web.BaseRequest, stream: web.StreamResponse, body: bytes, fault: Fault
    ) -> None:
        if fault.delivery == "cut":
            await stream.write(body[: len(body) // 2])
            request.protocol.close()
            return
        size = len(body) // _DROPS + 1
        for start in range(0, len(body), size):
            await stream.write(body[start : start + size])
            await self.wait(request, fault.seconds / _DROPS)


def _end(lost: asyncio.Future[None] | None) -> None:
    if lost is not None and not lost.done():
        lost.set_result(None)


def _break(request: web.BaseRequest, *, reset: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    line = transport.get_extra_info("socket")
    if reset:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
