"""Send public requests, which change nothing: open connections, probe hosts, read public data."""

import asyncio
from collections.abc import Coroutine
from functools import partial

from htx_cancel import hooks
from htx_cancel.errors import NotSentError, StaleConnectionError, TransportError
from htx_cancel.hosts import Host, Hosts
from htx_cancel.limits.limiter import Budgets
from htx_cancel.wire.transport import Reply, Request, Transport

ATTEMPTS = 3  #: of ``Prober.get``
SEQUENTIAL_REQUESTS = 10  #: to each host that answered a warm-up

#: A public call that changes nothing and counts against no private budget.
TIMESTAMP = "/api/v1/timestamp"


class Prober:
    """Sends public requests, probes and warm-ups in tasks of its own."""

    def __init__(
        self, transport: Transport, hosts: Hosts, budgets: Budgets, request_timeout: float
    ) -> None:
        self._transport = transport
        self._hosts = hosts
        self._budgets = budgets
        self._request_timeout = request_timeout
        self._tasks: set[asyncio.Task[None]] = set()

    def probe_due_hosts(self, now: float) -> None:
        """Probe the hosts whose cooldown has ended."""
        for host in self._hosts.due_probes(now):
            probe = self._probe(host)
            try:
                task = self._start(probe, "a probe failed")
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's task factory
                probe.close()
                host.end_probe(answered=False)
                hooks.report("a probe could not be started", error)
            else:
                task.add_done_callback(partial(_end_probe, host))

    async def _probe(self, host: Host) -> None:
        loop = asyncio.get_running_loop()
        began, reply, silent = loop.time(), None, False
        try:
            reply = await self._send(host.origin, TIMESTAMP, self._request_timeout)
        except TransportError as error:
            silent = not isinstance(error, NotSentError)
        answered = reply is not None and reply.status < 500
        if not answered:
            host.fail(began, loop.time(), silent=silent)
        host.end_probe(answered=answered)

    async def warm_up(self, connections: int, *, timeout: float | None = None) -> int:
        """Open connections to every host; return how many answered in time.

        A few sequential requests follow, which measure the round trip without a burst.
        """
        answered: list[str] = []

        async def connect(origin: str) -> None:
            if await self._measure(origin):
                answered.append(origin)

        async def warm_up() -> None:
            await asyncio.gather(
                *(connect(host.origin) for host in self._hosts.all for _ in range(connections))
            )
            for origin in dict.fromkeys(answered):
                for _ in range(SEQUENTIAL_REQUESTS):
                    if not await self._measure(origin, sequential=True):
                        break

        task = self._start(warm_up(), "the warm-up failed")
        try:
            await asyncio.wait({task}, timeout=timeout)
        finally:
            task.cancel()
            await asyncio.wait({task})
        return len(answered)

    async def _measure(self, origin: str, *, sequential: bool = False) -> bool:
        """Learn the round trip to a host from one request; return whether the host answered."""
        try:
            reply = await self._send(origin, TIMESTAMP, self._request_timeout)
        except TransportError:
            return False
        if reply is None or reply.status >= 500:
            return False
        if reply.left_at is not None:
            round_trip = asyncio.get_running_loop().time() - reply.left_at
            self._budgets.learn_round_trip(origin, round_trip, sequential=sequential)
        return True

    async def _send(self, origin: str, path: str, timeout: float) -> Reply | None:
        """Send a public request; return ``None`` if the transport raised a foreign exception."""
        try:
            return await self._transport.send(Request("GET", origin, path), timeout=timeout)
        except TransportError:
            raise
        except Exception as error:  # noqa: BLE001 - a foreign transport may raise anything
            hooks.report("the transport raised", error)
            return None

    async def get(self, path: str, deadline: float) -> bytes | None:
        """Return the body of a public reply; ``None`` after three failures or at the deadline."""
        loop = asyncio.get_running_loop()
        for _ in range(ATTEMPTS):
            time_left = deadline - loop.time()
            if time_left <= 0:
                break
            body = await self._get(path, min(self._request_timeout, time_left))
            if body is not None:
                return body
        return None

    async def _get(self, path: str, timeout: float) -> bytes | None:
        """Send a public request once; blame the host unless the deadline was too near."""
        loop = asyncio.get_running_loop()
        host, began = self._hosts.choose(), loop.time()
        reply, blamed, silent = None, False, False
        try:
            reply = await self._send(host.origin, path, timeout)
            blamed = reply is not None and reply.status >= 500
        except TransportError as error:
            too_near = timeout < self._request_timeout and loop.time() - began >= timeout
            blamed = not too_near and not isinstance(error, StaleConnectionError)
            silent = not isinstance(error, NotSentError)
        finally:
            if blamed:
                host.fail(began, loop.time(), silent=silent)
            else:
                host.release()
        return reply.body if reply is not None and reply.status == 200 else None

    def _start(self, work: Coroutine[object, object, None], failed: str) -> "asyncio.Task[None]":
        """Start a task that ``close`` ends; report its failure with the message ``failed``."""

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if (error := hooks.failure(task)) is not None:
                hooks.report(failed, error)

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    async def close(self) -> None:
        """Cancel all probes and warm-ups."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _end_probe(host: Host, _task: "asyncio.Task[None]") -> None:
    """End a probe that was cancelled."""
    host.end_probe(answered=False)
