"""One request, sent until its answer stands: the one attempt loop, for cancels and queries alike.

Rules:

* Exceptions end here: whatever a transport, a clock or a host does becomes an answer. Only the
  cancellation of the task that runs a batch leaves.
* Each attempt chooses a host, signs now, sends, and tells the budgets and the hosts what came of
  it. The wall clock is read to stamp a signature, and nowhere else.
* A call's deadline is shared out among its attempts, so that a lost reply leaves time for another:
  the first may take a quarter of the time that is left, the second half of what is left then, the
  third all. None is given up before the exchange has had ``PATIENCE`` round trips, and none as
  long as nobody knows how long a round trip is.
* A request that was not sent since its connection could not be made costs no token.
* A host is not blamed for a deadline that was too near, nor for a kept connection that was not fit.
* A refusal of the account that a wrong clock may explain is tried again with the exchange's clock.
"""

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from random import random

from msgspec import Struct

from htx_cancel import hooks
from htx_cancel.batch import Batch
from htx_cancel.errors import (
    NoAnswerError,
    NotSentError,
    StaleConnectionError,
    TooLateError,
    TransportError,
)
from htx_cancel.hosts import Host, Hosts
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import Permit, Priority
from htx_cancel.limits.reconnect import Reconnect
from htx_cancel.probe import Prober
from htx_cancel.retry import RetryAction, RetryPolicy
from htx_cancel.status import Finding
from htx_cancel.wire.codes import MAYBE_CLOCK, Meaning
from htx_cancel.wire.envelope import AttemptResult
from htx_cancel.wire.transport import Reply, Request, Transport

PATIENCE = 3  #: round trips that an attempt may take at the least
SHARES = (0.25, 0.5)  #: of the time that is left, for the first attempts of a batch
SKEW = 60.0  #: seconds between a stamp and the exchange's clock that explain a refused signature
ROUNDING = 1e-6  #: seconds
TOO_LATE = "the time was over before it could leave"
CANCELLED = "its task was cancelled"


class CallContext(Struct):
    """What the requests of one call have in common."""

    budgets: tuple[str, ...]
    priority: Priority
    ticket: int  #: their place in the queue before the budgets
    began: float  #: loop time
    deadline: float  #: loop time
    policy: RetryPolicy
    stopped: str = ""  #: why nothing is to be sent any more
    reported: set[type[BaseException]] = set()  #: what was raised and told of, once


class Sender:
    """Signs and sends over one transport, to one or several hosts."""

    def __init__(
        self,
        transport: Transport,
        hosts: Sequence[Host],
        budgets: Budgets,
        policy: RetryPolicy,
        *,
        request_timeout: float,
        wall_clock: Callable[[], float],
    ) -> None:
        self.hosts = Hosts(hosts)
        self.budgets = budgets
        self.policy = policy
        self.reconnect = Reconnect()
        self.prober = Prober(transport, self.hosts, budgets, request_timeout)
        self._transport = transport
        self._request_timeout = request_timeout
        self._wall_clock = wall_clock
        self._ahead = 0.0  # the exchange's clock, before ours

    def call_context(
        self, budgets: tuple[str, ...], priority: Priority, deadline: float
    ) -> CallContext:
        """Begin a call: it has the next place in the queue. ``deadline`` is loop time."""
        return CallContext(
            budgets=budgets,
            priority=priority,
            ticket=self.budgets.ticket(),
            began=asyncio.get_running_loop().time(),
            deadline=deadline,
            policy=self.policy,
        )

    async def permit(self, call: CallContext) -> Permit | None:
        """Wait for leave to send one request; ``None`` if that cannot be in time."""
        try:
            return (await self.permits(call))[0]
        except (TooLateError, NotSentError):
            return None

    async def permits(self, call: CallContext, most: int = 1) -> list[Permit]:
        """Wait for leave to send; return at least one permit, and no more than ``most``.

        Raises ``TooLateError`` if the budgets have no token in time, and ``NotSentError`` if the
        exchange cannot be reached in time.
        """
        while True:
            reconnecting = self.reconnect.unreachable
            if reconnecting:
                await self._may_reconnect(call)
            permits = await self.budgets.acquire_some(
                call.budgets,
                1 if reconnecting else most,
                priority=call.priority,
                ticket=call.ticket,
                deadline=call.deadline,
            )
            if reconnecting or not self.reconnect.unreachable:
                return permits
            for permit in permits:
                permit.unsent()

    def reach_by(self, call: CallContext) -> float:
        """Say until when the exchange must have been reached, in loop time."""
        if not self.reconnect.unreachable:
            return call.deadline
        elapsed = max(self.reconnect.since, call.began) + call.policy.max_elapsed
        return min(elapsed, call.deadline)

    async def _may_reconnect(self, call: CallContext) -> None:
        """Wait until an attempt to reach the exchange may be made."""
        limit, loop = self.reach_by(call), asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(limit):
                await self.reconnect.wait(call.priority)
        except TimeoutError:
            pass
        if loop.time() >= limit:
            seconds = f"{call.policy.max_elapsed:g} s"
            unreachable = f"the exchange could not be reached for {seconds}"
            raise NotSentError(TOO_LATE if limit == call.deadline else unreachable)

    async def run(self, batch: Batch, permit: Permit, call: CallContext) -> None:
        """Send a batch until its answer stands, or until there is to be no other attempt."""
        leave: Permit | None = permit
        while leave is not None:
            action = await self.attempt(batch, leave, call)
            leave = None if action is RetryAction.STOP else await self._again(batch, action, call)

    async def _again(self, batch: Batch, action: RetryAction, call: CallContext) -> Permit | None:
        """Wait until another attempt may be made; ``None`` if there is to be none."""
        loop = asyncio.get_running_loop()
        backoff = batch.retry_in(
            action,
            loop.time(),
            call.policy,
            deadline=call.deadline,
            urgent=call.priority is Priority.URGENT,
            reachable=not self.reconnect.unreachable,
            chance=random(),  # noqa: S311 - no secret
        )
        limit = call.deadline if batch.left else self.reach_by(call)
        if backoff is None or loop.time() + backoff >= limit:
            return None
        if call.stopped or hooks.cancelled():  # a transport may not let itself be cancelled
            return None
        if batch.left:
            await asyncio.sleep(backoff)
        else:
            await self.reconnect.sleep(backoff, call.priority)
        asked = loop.time()
        permit = await self.permit(call)
        if permit is not None and batch.left and action is RetryAction.BACKOFF:
            batch.began += loop.time() - asked  # it waited its turn
        return permit

    async def attempt(self, batch: Batch, permit: Permit, call: CallContext) -> RetryAction:
        """Spend a permit on one attempt; say what is to be done next."""
        batch.begin(asyncio.get_running_loop().time())
        try:
            return batch.take(await self._ask(batch, permit, call.deadline))
        except (Exception, asyncio.CancelledError) as error:
            ended = isinstance(error, asyncio.CancelledError) and hooks.cancelled()
            batch.left = not isinstance(error, NotSentError)
            action = batch.take(_failure(error, batch, call, ended=ended))
            if ended:
                raise
            return action
        finally:
            batch.in_flight = False
            permit.unsent()  # if nobody has said what became of it

    async def _ask(self, batch: Batch, permit: Permit, deadline: float) -> AttemptResult:
        """Send once; return what the reply says."""
        reply, stamp = await self._send(batch, permit, deadline)
        answer = batch.read(reply.status, reply.body)
        whole, told = answer.whole, answer.server_time
        if whole.meaning is Meaning.ACCEPTED:
            return answer
        if answer.rate_limited:
            permit.refused()
        skewed = told is not None and abs(told - stamp) > SKEW
        if answer.account_wide and whole.code in MAYBE_CLOCK and skewed:
            answer = AttemptResult(
                Finding(Meaning.CLOCK, whole.code, whole.message), told, answer.named
            )
        elif answer.account_wide:
            batch.refused = whole
        if answer.whole.meaning is Meaning.CLOCK and told is not None:
            self._resync(told)
        return answer

    def _resync(self, server_time: float) -> None:
        """Sign with the exchange's clock from now on."""
        try:
            self._ahead = server_time - self._wall_clock()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's clock
            hooks.report("wall_clock raised", error)

    async def _send(self, batch: Batch, permit: Permit, deadline: float) -> tuple[Reply, float]:
        """Send once; return the reply and the stamp that was signed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        timeout = min(self._request_timeout, deadline - began)
        if timeout <= 0:
            raise NotSentError(TOO_LATE)
        self.prober.ask_due(began)
        host = self.hosts.choose()
        target, stamp = self._sign(host, batch)
        if loop.time() > permit.valid_until:
            host.release()
            raise NotSentError("its permit was no longer valid")
        request = Request(batch.method, host.origin, target, batch.body())
        reconnecting = self.reconnect.begin()
        try:
            if deadline == inf or batch.failures >= len(SHARES):
                reply = await self._transport.send(request, timeout=timeout)
            else:
                patience = (deadline - began) * SHARES[batch.failures]
                reply = await self._send_for(request, timeout, patience)
        except TransportError as error:
            too_near = loop.time() - began >= timeout - ROUNDING and timeout < self._request_timeout
            self._failed(error, permit, host, began, too_near=too_near)
            raise
        except BaseException:
            permit.no_reply()
            host.release()
            raise
        finally:
            self.reconnect.end(reconnecting)
        permit.sent(host.origin, reply.left_at)
        permit.replied(reply.headers, stamp + loop.time() - began)
        self.reconnect.succeed()
        if reply.status >= 500:
            host.fail(began, loop.time())
        else:
            host.answer(began)
        return reply, stamp

    def _sign(self, host: Host, batch: Batch) -> tuple[str, float]:
        try:
            stamp = self._wall_clock() + self._ahead
            return host.signer.target(batch.method, batch.path, stamp, batch.params), stamp
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's clock
            host.release()
            hooks.report("wall_clock raised", error)
            raise NotSentError(f"it could not be signed: {type(error).__name__}") from None

    def _failed(
        self, error: TransportError, permit: Permit, host: Host, began: float, *, too_near: bool
    ) -> None:
        """Tell the budgets, the hosts and those who reconnect of an attempt that failed.

        ``too_near`` was a deadline that ended it before anybody could be blamed.
        """
        blamed = not too_near and not isinstance(error, StaleConnectionError)
        left = not isinstance(error, NotSentError)
        if left:
            permit.no_reply()
            self.reconnect.succeed()
        elif blamed:
            self.reconnect.fail()
        if blamed:
            host.fail(began, asyncio.get_running_loop().time(), answers=not left)
        else:
            host.release()

    async def _send_for(self, request: Request, timeout: float, patience: float) -> Reply:
        """Send, and give up early if the exchange is known to answer sooner than that."""
        loop = asyncio.get_running_loop()
        began = loop.time()

        def look() -> None:
            enough = began + PATIENCE * self.budgets.round_trip
            if began < enough <= loop.time():
                scope.reschedule(loop.time())
            elif began < enough < began + timeout:
                checks.append(loop.call_at(enough, look))

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

    async def close(self) -> None:
        """Close the transport; no host is asked any more."""
        self.reconnect.close()
        await self.prober.close()
        await self._transport.close()


def _failure(
    error: BaseException, batch: Batch, call: CallContext, *, ended: bool
) -> AttemptResult:
    """Turn what was raised into an answer; what is none of a transport's own is reported."""
    kind = type(error)
    words = str(error)
    if ended:
        words = call.stopped or CANCELLED
    elif not isinstance(error, TransportError):
        words = kind.__name__
        if kind not in call.reported:
            call.reported.add(kind)
            hooks.report("an attempt failed", error)
    return AttemptResult(
        Finding(Meaning.NO_ANSWER if batch.left else Meaning.NOT_SENT, None, words)
    )
