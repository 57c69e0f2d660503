"""Public requests, which change nothing: to open connections, and to ask if a host is there."""

import asyncio
from collections.abc import Coroutine

from htx_cancel import hooks
from htx_cancel.errors import StaleConnectionError, TransportError
from htx_cancel.hosts import Host, Hosts
from htx_cancel.limits.limiter import Budgets
from htx_cancel.wire.transport import Request, Transport

ATTEMPTS = 3  #: of a public request that has to be answered
PROBES = 10  #: that follow to each host that answered, one after another

#: A public call that changes nothing and counts against no private budget.
TIMESTAMP = "/api/v1/timestamp"


class Prober:
    """Sends public requests, in tasks of its own."""

    def __init__(
        self, transport: Transport, hosts: Hosts, budgets: Budgets, request_timeout: float
    ) -> None:
        self._transport = transport
        self._hosts = hosts
        self._budgets = budgets
        self._request_timeout = request_timeout
        self._tasks: set[asyncio.Task[None]] = set()

    def ask_due(self, now: float) -> None:
        """Ask the hosts whose cooldown is over whether they are there again."""
        for host in self._hosts.to_ask(now):
            self._start(self._ask(host), "a host could not be asked")

    async def _ask(self, host: Host) -> None:
        began = asyncio.get_running_loop().time()
        there = False
        try:
            there = await self._greet(host.origin)
        finally:
            if there:
                host.on_trial = False
            else:
                host.fail(began, asyncio.get_running_loop().time())

    async def warm_up(self, connections: int, *, timeout: float | None = None) -> int:
        """Open connections to every host; return how many answered in time.

        A few requests one after another follow, which show the round trip at its quietest.
        """
        answered: list[str] = []

        async def greet(origin: str) -> None:
            if await self._greet(origin, learn=True):
                answered.append(origin)

        async def warm_up() -> None:
            await asyncio.gather(
                *(greet(host.origin) for host in self._hosts.all for _ in range(connections))
            )
            for origin in dict.fromkeys(answered):
                for _ in range(PROBES):
                    if not await self._greet(origin, learn=True, probe=True):
                        break

        task = self._start(warm_up(), "the exchange could not be warmed up")
        try:
            await asyncio.wait({task}, timeout=timeout)
        finally:
            task.cancel()
            await asyncio.wait({task})
        return len(answered)

    async def _greet(self, origin: str, *, learn: bool = False, probe: bool = False) -> bool:
        """Send a public request; say whether the host answered it."""
        request = Request("GET", origin, TIMESTAMP)
        try:
            reply = await self._transport.send(request, timeout=self._request_timeout)
        except TransportError:
            return False
        except Exception as error:  # noqa: BLE001 - a foreign transport may raise anything
            hooks.report("the transport raised", error)
            return False
        if reply.status >= 500:
            return False
        if learn and reply.left_at is not None:
            trip = asyncio.get_running_loop().time() - reply.left_at
            self._budgets.learn_round_trip(origin, trip, probe=probe)
        return True

    async def get(self, path: str, deadline: float) -> bytes | None:
        """Return what the exchange tells the public; ``None`` if not in three attempts, in time."""
        loop = asyncio.get_running_loop()
        for _ in range(ATTEMPTS):
            left = deadline - loop.time()
            body = await self._get(path, min(self._request_timeout, left)) if left > 0 else None
            if body is not None:
                return body
        return None

    async def _get(self, path: str, timeout: float) -> bytes | None:
        """Ask once; a host that had its time and does not answer is to blame."""
        loop = asyncio.get_running_loop()
        host, began, failed = self._hosts.choose(), loop.time(), False
        try:
            reply = await self._transport.send(Request("GET", host.origin, path), timeout=timeout)
        except TransportError as error:
            too_near = timeout < self._request_timeout and loop.time() - began >= timeout
            failed = not too_near and not isinstance(error, StaleConnectionError)
        except Exception as error:  # noqa: BLE001 - a foreign transport may raise anything
            hooks.report("the transport raised", error)
        else:
            failed = reply.status >= 500
            return reply.body if reply.status == 200 else None
        finally:
            host.fail(began, loop.time()) if failed else host.release()
        return None

    def _start(self, work: Coroutine[object, object, None], what: str) -> "asyncio.Task[None]":
        """Start a task that ends with the client; a failure of it is reported."""

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if (error := hooks.failure(task)) is not None:
                hooks.report(what, error)

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    async def close(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
