"""Send one request until its answer is final: the only attempt loop, for cancels and queries.

Rules:

* Exceptions end here: whatever a transport, a clock or a host raises becomes an answer. The only
  exception that leaves is the cancellation of the task that runs a batch.
* Each attempt chooses a host, signs with the current time, sends, and passes the result on to the
  budgets and the host. The wall clock is read only for the timestamps of signatures.
* A call's deadline is divided among the attempts of a batch, so that a lost reply leaves time for a
  retry: the first may take a quarter of the time left, the second half of the time left then, the
  third all of it. No attempt is given up before ``PATIENCE`` round trips have passed, or while the
  round trip is unknown.
* A request that was not sent because no connection could be made costs no token.
* A host is not blamed if the deadline was too near, or if a reused connection was unusable.
* A refusal of the account that a wrong clock may explain is retried with the exchange's clock.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
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
from htx_cancel.retry import SETTLEMENT_BACKOFF, RetryAction, RetryPolicy
from htx_cancel.status import Finding
from htx_cancel.wire.codes import MAYBE_CLOCK, Meaning
from htx_cancel.wire.envelope import AttemptResult
from htx_cancel.wire.transport import Reply, Request, Transport

PATIENCE = 3  #: round trips for which an attempt is never given up
SHARES = (0.25, 0.5)  #: of the time left, for the first attempts of a batch
SKEW = 60.0  #: seconds by which a timestamp must be wrong to explain a refused signature
ROUNDING = 1e-6  #: seconds
TOO_LATE = "the call's timeout ended before the request could be sent"
CANCELLED = "the call's task was cancelled"


class CallContext(Struct):
    """What the requests of one call have in common."""

    budgets: tuple[str, ...]
    priority: Priority
    ticket: int  #: the call's place in the queues of the budgets
    began: float  #: loop time
    deadline: float  #: loop time
    policy: RetryPolicy
    stopped: str = ""  #: why nothing more may be sent
    reported: set[type[BaseException]] = set()  #: types of exceptions, reported once each


class Sender:
    """Signs requests and sends them over one transport to one or several hosts."""

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
        self._clock_offset = 0.0  # seconds to add to the wall clock for the exchange's clock

    def call_context(
        self, budgets: tuple[str, ...], priority: Priority, deadline: float
    ) -> CallContext:
        """Begin a call at the end of the queue. ``deadline`` is loop time."""
        return CallContext(
            budgets=budgets,
            priority=priority,
            ticket=self.budgets.ticket(),
            began=asyncio.get_running_loop().time(),
            deadline=deadline,
            policy=self.policy,
        )

    async def permit(self, call: CallContext) -> Permit | None:
        """Wait for a permit to send one request; return ``None`` if none is free in time."""
        try:
            return (await self.permits(call))[0]
        except (TooLateError, NotSentError):
            return None

    async def permits(self, call: CallContext, most: int = 1) -> list[Permit]:
        """Wait until a request may be sent; return from one to ``most`` permits.

        Raises ``TooLateError`` if no token is free in time, and ``NotSentError`` if the exchange
        cannot be reached in time.
        """
        while True:
            reconnecting = self.reconnect.unreachable
            if reconnecting:
                await self._wait_to_reconnect(call)
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
        """Return the loop time at which the call gives up if the exchange is still unreachable."""
        if not self.reconnect.unreachable:
            return call.deadline
        unreachable_since = max(self.reconnect.since, call.began)
        return min(unreachable_since + call.policy.max_elapsed, call.deadline)

    async def _wait_to_reconnect(self, call: CallContext) -> None:
        limit = self.reach_by(call)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(limit):
                await self.reconnect.wait(call.priority)
        if asyncio.get_running_loop().time() >= limit:
            unreachable = f"the exchange was unreachable for {call.policy.max_elapsed:g} s"
            raise NotSentError(TOO_LATE if limit == call.deadline else unreachable)

    async def run(self, batch: Batch, permit: Permit, call: CallContext) -> None:
        """Send a batch until its answer is final or no retry is allowed."""
        action = await self._attempt(batch, permit, call)
        while action is not RetryAction.STOP:
            retry_permit = await self._retry_permit(batch, action, call)
            if retry_permit is None:
                return
            action = await self._attempt(batch, retry_permit, call)

    async def _retry_permit(
        self, batch: Batch, action: RetryAction, call: CallContext
    ) -> Permit | None:
        """Wait until a retry may be sent; return ``None`` if none is allowed."""
        if call.stopped or hooks.cancelled():  # a transport may have swallowed the cancellation
            return None
        loop = asyncio.get_running_loop()
        backoff = self._backoff(batch, action, call)
        limit = call.deadline if batch.left else self.reach_by(call)
        if backoff is None or loop.time() + backoff >= limit:
            return None
        if batch.left:
            await asyncio.sleep(backoff)
        else:
            await self.reconnect.sleep(backoff, call.priority)
        queued_at = loop.time()
        permit = await self.permit(call)
        if permit is not None and batch.left and action is RetryAction.BACKOFF:
            batch.began += loop.time() - queued_at  # ``max_elapsed`` excludes time in the queue
        return permit

    def _backoff(self, batch: Batch, action: RetryAction, call: CallContext) -> float | None:
        """Count the attempt; return the seconds to wait, or ``None`` if no retry is allowed."""
        now, policy = asyncio.get_running_loop().time(), call.policy
        if policy.max_attempts == 1:
            return None
        if action is RetryAction.WAIT_FOR_SETTLEMENT:
            limit = batch.began + policy.max_elapsed if call.deadline == inf else call.deadline
            return SETTLEMENT_BACKOFF if now + SETTLEMENT_BACKOFF < limit else None
        backoff = 0.0
        if action is RetryAction.BACKOFF:
            batch.failures += 1
            urgent = call.priority is Priority.URGENT
            backoff = policy.backoff(batch.failures, random(), urgent=urgent)  # noqa: S311 - no secret
        if action is not RetryAction.WAIT_FOR_BUDGET:
            batch.counted += batch.left or not self.reconnect.unreachable
        if batch.counted >= policy.max_attempts:
            return None
        return backoff if now + backoff < batch.began + policy.max_elapsed else None

    async def _attempt(self, batch: Batch, permit: Permit, call: CallContext) -> RetryAction:
        """Spend a permit on one attempt; return what to do next."""
        batch.begin(asyncio.get_running_loop().time())
        try:
            return batch.record(await self._ask(batch, permit, call.deadline))
        except (Exception, asyncio.CancelledError) as error:
            cancelled = isinstance(error, asyncio.CancelledError) and hooks.cancelled()
            batch.left = not isinstance(error, NotSentError)
            action = batch.record(_failure(error, batch, call, cancelled=cancelled))
            if cancelled:
                raise
            return action
        finally:
            batch.in_flight = False
            permit.unsent()  # ignored if the permit has ended

    async def _ask(self, batch: Batch, permit: Permit, deadline: float) -> AttemptResult:
        """Send once; return what the reply means."""
        reply, timestamp = await self._send(batch, permit, deadline)
        answer = batch.read(reply.status, reply.body)
        whole, server_time = answer.whole, answer.server_time
        if whole.meaning is Meaning.ACCEPTED:
            return answer
        if answer.rate_limited:
            permit.refused()
        if answer.account_wide:
            skewed = server_time is not None and abs(server_time - timestamp) > SKEW
            if skewed and whole.code in MAYBE_CLOCK:
                whole = Finding(Meaning.CLOCK, whole.code, whole.message)
                answer = AttemptResult(whole, server_time, answer.named)
            else:
                batch.refused = whole
        if whole.meaning is Meaning.CLOCK and server_time is not None:
            self._adopt_clock(server_time)
        return answer

    def _adopt_clock(self, server_time: float) -> None:
        """Sign with the exchange's clock from now on."""
        try:
            self._clock_offset = server_time - self._wall_clock()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's clock
            hooks.report("wall_clock raised", error)

    async def _send(self, batch: Batch, permit: Permit, deadline: float) -> tuple[Reply, float]:
        """Send once; return the reply and the timestamp that was signed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        timeout = min(self._request_timeout, deadline - began)
        if timeout <= 0:
            raise NotSentError(TOO_LATE)
        self.prober.probe_due_hosts(began)
        host = self.hosts.choose()
        target, timestamp = self._sign(host, batch)
        if loop.time() > permit.valid_until:
            host.release()
            raise NotSentError("the request's permit had expired")
        request = Request(batch.method, host.origin, target, batch.body())
        reconnecting = self.reconnect.begin()
        try:
            if deadline == inf or batch.failures >= len(SHARES):
                reply = await self._transport.send(request, timeout=timeout)
            else:
                share = (deadline - began) * SHARES[batch.failures]
                reply = await self._send_within(request, share, timeout)
            permit.sent(host.origin, reply.left_at)
            permit.replied(reply.headers, timestamp + loop.time() - began)
            self.reconnect.succeed()
            if reply.status >= 500:
                host.fail(began, loop.time())
            else:
                host.answer(began)
        except TransportError as error:
            self._note_failure(error, permit, host, began, timeout)
            raise
        except BaseException:
            permit.no_reply()
            host.release()
            raise
        finally:
            self.reconnect.end(reconnecting)
        return reply, timestamp

    def _sign(self, host: Host, batch: Batch) -> tuple[str, float]:
        """Return the signed target of a request, and its timestamp."""
        try:
            timestamp = self._wall_clock() + self._clock_offset
            return host.signer.target(batch.method, batch.path, timestamp, batch.params), timestamp
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's clock
            host.release()
            hooks.report("wall_clock raised", error)
            message = f"the request could not be signed: {type(error).__name__}"
            raise NotSentError(message) from None

    def _note_failure(
        self, error: TransportError, permit: Permit, host: Host, began: float, timeout: float
    ) -> None:
        """Pass a failed attempt on to the budgets, the host and the pacing of reconnections."""
        now = asyncio.get_running_loop().time()
        too_near = timeout < self._request_timeout and now - began >= timeout - ROUNDING
        blamed = not too_near and not isinstance(error, StaleConnectionError)
        left = not isinstance(error, NotSentError)
        if left:
            permit.no_reply()
            self.reconnect.succeed()
        elif blamed:
            self.reconnect.fail()
        if blamed:
            host.fail(began, now, silent=left)
        else:
            host.release()

    async def _send_within(self, request: Request, share: float, timeout: float) -> Reply:
        """Send; after ``share`` seconds give up as soon as ``PATIENCE`` round trips have passed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        timer: asyncio.TimerHandle

        def give_up_if_late() -> None:
            nonlocal timer
            late_at = began + PATIENCE * self.budgets.round_trip
            if began < late_at <= loop.time():
                scope.reschedule(loop.time())
            elif began < late_at < began + timeout:
                timer = loop.call_at(late_at, give_up_if_late)

        timer = loop.call_at(began + share, give_up_if_late)
        try:
            async with asyncio.timeout(None) as scope:
                return await self._transport.send(request, timeout=timeout)
        except TimeoutError:
            if not scope.expired():
                raise
            waited = loop.time() - began
            message = f"no reply within {waited:.3g} s of the {timeout:.3g} s allowed"
            raise NoAnswerError(message) from None
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Stop pacing and probing, and close the transport."""
        self.reconnect.close()
        await self.prober.close()
        await self._transport.close()


def _failure(
    error: BaseException, batch: Batch, call: CallContext, *, cancelled: bool
) -> AttemptResult:
    """Turn an exception into an answer; report it unless a transport should raise it."""
    kind = type(error)
    message = str(error)
    if cancelled:
        message = call.stopped or CANCELLED
    elif not isinstance(error, TransportError):
        message = kind.__name__
        if kind not in call.reported:
            call.reported.add(kind)
            hooks.report("an attempt failed", error)
    meaning = Meaning.NO_ANSWER if batch.left else Meaning.NOT_SENT
    return AttemptResult(Finding(meaning, None, message))
