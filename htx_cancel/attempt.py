"""One attempt: choose a host, sign now, send, and tell the budget what came of it.

Rules:

* The wall clock is read to stamp a signature, and nowhere else.
* A call's deadline is shared out among its attempts, so that a lost reply leaves time for another:
  the first may take a quarter of the time that is left, the second half of what is left then, the
  third all. None is given up before the exchange has had ``PATIENCE`` round trips, and none as
  long as nobody knows how long a round trip is.
* A request that was not sent since its connection could not be made costs no token.
* A host is not blamed for a deadline that was too near, nor for a kept connection that was not fit.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

from msgspec import Struct

from htx_cancel import hooks
from htx_cancel.errors import (
    NoAnswerError,
    NotSentError,
    StaleConnectionError,
    TransportError,
)
from htx_cancel.hosts import Host, Hosts
from htx_cancel.limits.permit import Limiter, Permit
from htx_cancel.limits.reconnect import Reconnect
from htx_cancel.wire.transport import Reply, Request, Transport

PATIENCE = 3  #: round trips that an attempt may take at the least
SHARES = (0.25, 0.5)  #: of the time that is left, for the first attempts of a batch
SKEW = 60.0  #: seconds between a stamp and the exchange's clock that explain a refused signature
ROUNDING = 1e-6  #: seconds
PROBES = 10  #: that follow to each host that answered, one after another

#: A public call that changes nothing and counts against no private budget.
TIMESTAMP = "/api/v1/timestamp"


class Unsigned(Struct, frozen=True, gc=False):
    """Method, path, body and parameters of a request, before a host is chosen."""

    method: str
    path: str
    body: bytes = b""
    params: Mapping[str, str] | None = None


class Sender:
    """Signs and sends over one transport, to one or several hosts."""

    def __init__(
        self,
        transport: Transport,
        hosts: Sequence[Host],
        limiter: Limiter,
        *,
        request_timeout: float,
        wall_clock: Callable[[], float],
    ) -> None:
        self.hosts = Hosts(hosts)
        self.reconnect = Reconnect()
        self._transport = transport
        self._limiter = limiter
        self._request_timeout = request_timeout
        self._wall_clock = wall_clock
        self._ahead = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def resync(self, server_epoch: float) -> None:
        """Sign with the exchange's clock from now on."""
        try:
            self._ahead = server_epoch - self._wall_clock()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's clock
            hooks.report("wall_clock raised", error)

    async def send(
        self, unsigned: Unsigned, permit: Permit, deadline: float | None, attempt: int = 1
    ) -> tuple[Reply, float]:
        """Spend the permit on one attempt; return the reply and the stamp that was signed.

        Raises ``NotSentError`` or ``NoAnswerError``, or what a transport of the user's raises.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        timeout = self._request_timeout
        if deadline is not None:
            timeout = min(timeout, deadline - began)
        if timeout <= 0:
            permit.unsent()
            raise NotSentError("the time was over before it could leave")
        host = self._choose(began)
        permit.host = host.origin
        target, stamp = self._sign(host, unsigned, permit)
        request = Request(unsigned.method, host.origin, target, unsigned.body)
        reconnecting = self.reconnect.begin()
        try:
            if deadline is None or attempt > len(SHARES):
                reply = await self._transport.send(request, timeout=timeout)
            else:
                patience = (deadline - began) * SHARES[attempt - 1]
                reply = await self._send_for(request, timeout, patience)
        except TransportError as error:
            in_time = loop.time() - began < timeout - ROUNDING or timeout == self._request_timeout
            self._blame(error, permit, host, began, in_time=in_time)
            raise
        except BaseException:
            permit.no_reply()
            host.release()
            raise
        finally:
            self.reconnect.end(reconnecting)
        permit.left_at = reply.left_at
        permit.replied(reply.headers, stamp + loop.time() - began)
        self.reconnect.succeed()
        if reply.status >= 500:
            host.fail(began, loop.time())
        else:
            host.answer(began)
        return reply, stamp

    def _blame(
        self, error: TransportError, permit: Permit, host: Host, began: float, *, in_time: bool
    ) -> None:
        """Tell the budgets, the hosts and those who reconnect of a request that failed.

        Not ``in_time`` are those that a deadline ended which was too near to blame anybody.
        """
        blamed = in_time and not isinstance(error, StaleConnectionError)
        sent = not isinstance(error, NotSentError)
        if sent:
            permit.no_reply()
            self.reconnect.succeed()
        else:
            permit.unsent()
            if blamed:
                self.reconnect.fail()
        if blamed:
            host.fail(began, asyncio.get_running_loop().time(), answers=not sent)
        else:
            host.release()

    def _sign(self, host: Host, unsigned: Unsigned, permit: Permit) -> tuple[str, float]:
        try:
            stamp = self._wall_clock() + self._ahead
            return host.signer.target(unsigned.method, unsigned.path, stamp, unsigned.params), stamp
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's clock
            permit.unsent()
            host.release()
            hooks.report("wall_clock raised", error)
            raise NotSentError(f"it could not be signed: {type(error).__name__}") from None

    async def _send_for(self, request: Request, timeout: float, patience: float) -> Reply:
        """Send, and give up early if the exchange is known to answer sooner than that."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        limit = began + timeout

        def look() -> None:
            trip = self._limiter.round_trip
            if trip and began + PATIENCE * trip <= loop.time():
                scope.reschedule(loop.time())
            elif trip and began + PATIENCE * trip < limit:
                checks.append(loop.call_at(began + PATIENCE * trip, look))

        checks = [loop.call_at(began + patience, look)]
        try:
            async with asyncio.timeout(None) as scope:
                return await self._transport.send(request, timeout=timeout)
        except TimeoutError:
            if not scope.expired():
                raise
            waited = loop.time() - began
            raise NoAnswerError(f"no reply within {waited:.3g} s, of {timeout:.3g} s") from None
        finally:
            for check in checks:
                check.cancel()

    # hosts

    def _choose(self, now: float) -> Host:
        for host in self.hosts.to_ask(now):
            self._start(self._ask(host), "a host could not be asked")
        return self.hosts.choose()

    def _start(self, work: Coroutine[object, object, None], failure: str) -> "asyncio.Task[None]":
        """Start a task that ends with the sender; a failure of it is reported."""

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if not task.cancelled():
                error = task.exception()
            else:  # a transport may raise CancelledError though nobody cancelled the task
                error = None if task.cancelling() else asyncio.CancelledError()
            if error is not None:
                hooks.report(failure, error)

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    async def _ask(self, host: Host) -> None:
        """Ask a host whether it is there again."""
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
        """Open connections to every host with public calls; return how many answered in time.

        A few calls one after another follow, which show the round trip at its quietest.
        """
        answered: list[str] = []

        async def greet(origin: str) -> None:
            if await self._greet(origin, learn=True):
                answered.append(origin)

        async def warm_up() -> None:
            await asyncio.gather(
                *(greet(host.origin) for host in self.hosts.all for _ in range(connections))
            )
            for origin in dict.fromkeys(answered):
                for _ in range(PROBES):
                    if not await self._greet(origin, learn=True, alone=True):
                        break

        task = self._start(warm_up(), "the exchange could not be warmed up")
        try:
            await asyncio.wait({task}, timeout=timeout)
        finally:
            task.cancel()
            await asyncio.wait({task})
        return len(answered)

    async def _greet(self, origin: str, *, learn: bool = False, alone: bool = False) -> bool:
        """Send a public request; say whether the host answered it."""
        request = Request("GET", origin, TIMESTAMP)
        try:
            reply = await self._transport.send(request, timeout=self._request_timeout)
        except (NotSentError, NoAnswerError):
            return False
        except Exception as error:  # noqa: BLE001 - a foreign transport may raise anything
            hooks.report("the transport raised", error)
            return False
        if reply.status >= 500:
            return False
        if learn and reply.left_at is not None:
            trip = asyncio.get_running_loop().time() - reply.left_at
            self._limiter.learn_trip(origin, trip, alone=alone)
        return True

    async def close(self) -> None:
        """Close the transport; no host is asked any more."""
        self.reconnect.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._transport.close()
