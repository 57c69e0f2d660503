"""Serve the sandbox over sockets: HTTP/1.1 with aiohttp, on the wall clock."""

import asyncio
import socket
import ssl
import time
from typing import Self

from aiohttp import web

from htx_cancel.sandbox.connections import Connections
from htx_cancel.sandbox.delay import Delay
from htx_cancel.sandbox.exchange import Exchange
from htx_cancel.sandbox.faults import NO_FAULT, FaultPlan, respond
from htx_cancel.sandbox.messages import HttpRequest
from htx_cancel.sandbox.parameters import ids_in


class SandboxServer:
    """Serves an exchange as a context manager; ``delay`` and ``jitter`` are seconds, each way.

    Port 0 means any free port; ``base_url`` has the port inside the context. ``faults`` decides
    which requests have a fault. ``refused_connection`` resets the connection without executing the
    request, because the server sees a request only after it accepted the connection.
    """

    _connections: Connections
    _runner: web.ServerRunner
    _site: web.TCPSite

    def __init__(
        self,
        exchange: Exchange,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        delay: float = 0.0,
        jitter: float = 0.0,
        seed: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        faults: FaultPlan | None = None,
    ) -> None:
        self._exchange = exchange
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._delay = Delay(delay, jitter, seed)
        self._faults = FaultPlan() if faults is None else faults
        self._reserved: socket.socket | None = None

    @property
    def base_url(self) -> str:
        """The origin to send requests to."""
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        self._connections = Connections(self._handle)
        self._runner = web.ServerRunner(self._connections)
        await self._runner.setup()
        try:
            await self.up()
        except BaseException:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connections.release()
        self._free_port()
        await self._runner.cleanup()

    async def up(self) -> None:
        """Listen, after ``down`` on the same port; do nothing if the server listens already."""
        if self._runner.sites:
            return
        self._site = web.TCPSite(
            self._runner,
            self._host,
            self._port,
            ssl_context=self._ssl_context,
            backlog=1024,
        )
        self._free_port()
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def down(self) -> None:
        """Close all connections and refuse new ones until ``up``; do nothing if down already."""
        if not self._runner.sites:
            return
        await self._site.stop()
        self._reserved = _reserve_port(self._host, self._port)
        self._connections.abort()
        await asyncio.sleep(0)

    def _free_port(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        http = HttpRequest(
            method=request.method,
            host=request.headers.get("Host", ""),
            target=request.raw_path,
            headers=request.headers,
            body=await request.read(),
        )
        fault = self._faults.next(ids_in(http), http.path) or NO_FAULT
        await self._delay.travel()
        reply = respond(self._exchange, http, time.time(), fault)
        if fault.delivery == "hang":
            await self._connections.wait(request)
        elif fault.delivery == "whole" and fault.seconds:
            await self._connections.wait(request, fault.seconds)
        await self._delay.travel()
        return await self._connections.deliver(request, reply, fault)


def _reserve_port(host: str, port: int) -> socket.socket:
    """Bind a port without listening, so that no other process takes it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((host, port))
    return reserved
