"""One cancel call under way: feed its batches, send each until it is settled, collect the results.

Rules:

* A failed batch is a value: no batch can end another, and nothing raises out of a call.
* A call settles whatever happens inside. An exception that is none of the exchange's, in a clock,
  a hook, a transport or in here, is reported once to the event loop's exception handler; what it
  struck is ``UNKNOWN`` if it may have left, else ``UNSENT``.
* One task feeds a call, and each request in flight has one: the feeder takes a token and starts a
  delivery; a delivery makes one attempt; what is to be tried again goes back to the feeder. The
  only batch of a call is delivered by the feeder itself. The deliveries of one moment start a few
  a turn of the event loop.
* What is tried again goes before what was never tried. While the exchange cannot be reached, new
  batches wait until one that was tried gets through.
* ``stop`` ends the feeding and the retries; what is in flight lands. A refusal of the whole account
  stops its call.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from random import random
from typing import TypeVar

from msgspec import Struct

from htx_cancel import hooks
from htx_cancel.attempt import SKEW, Sender, Unsigned
from htx_cancel.endpoints import Endpoint
from htx_cancel.errors import MAYBE_CLOCK, Meaning, NoAnswerError, NotSentError, TooLateError
from htx_cancel.limits.permit import Limiter, Permit, Priority
from htx_cancel.outcome import Finding, OrderResult, Source, Tally, call_result, order_result
from htx_cancel.retry import ALL, BatchState, RetryAction, RetryPolicy
from htx_cancel.wire import cancels
from htx_cancel.wire.cancels import CancelReply

#: Batches handled in one turn of the event loop where nothing else waits. So many begin to leave in
#: one, too: a window's whole burst would stall the loop for 10 ms.
PER_TURN = 10

UNSENT = call_result(Finding(Meaning.NOT_SENT), 0)
TOO_LATE = "the time was over before it could leave"
CANCELLED = "its task was cancelled"

OnBatch = Callable[[tuple[OrderResult, ...]], object]
T = TypeVar("T")


class JobSpec(Struct, frozen=True, gc=False):
    """What a call is to send."""

    endpoint: Endpoint
    contract_code: str
    batches: Sequence[tuple[str, ...]]
    field: str = "order_id"
    body: bytes = b""  #: of a call that names no ids

    @property
    def source(self) -> Source:
        """Where the outcome comes from."""
        return Source(self.endpoint.name, self.contract_code, self.field)


class Options(Struct, frozen=True):
    """On what terms a call is to be sent."""

    priority: Priority
    deadline: float | None
    on_batch: OnBatch | None


class Context(Struct, frozen=True):
    """What all calls of a client share."""

    sender: Sender
    limiter: Limiter
    policy: RetryPolicy
    charge_pools: bool


class Job:
    """A call under way. ``start`` it once; ``stop`` or ``abort`` it any time.

    ``done`` is for its one caller to await. That may be cancelled, and nothing else is then:
    ``tasks`` has what still runs. ``error`` is the refusal of the account that stopped it.
    """

    def __init__(
        self, spec: JobSpec, options: Options, context: Context, calls: "set[Job]"
    ) -> None:
        self.tally = Tally(len(spec.batches))
        self.whole = UNSENT
        self.error: Finding | None = None
        self._opens_at: float | None = None  # when what was too late could have left
        self._spec = spec
        self._options = options
        self._context = context
        self._deadline = inf if options.deadline is None else options.deadline
        self._budgets = spec.endpoint.budgets(charge_pools=context.charge_pools)
        self._limiter = context.limiter
        self._reconnect = context.sender.reconnect
        self._ticket = context.limiter.ticket()
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()  # those that wait for leave to send
        self._calls = calls  # those under way
        self._left = len(spec.batches)  # that are not settled
        self._fresh = 0  # the number of the first batch that was never tried
        self._fits = len(spec.batches)  # how many were to be tried
        self._retries: list[tuple[float, int, BatchState]] = []  # a heap: due, number
        self._ready: deque[tuple[BatchState, Permit]] = deque()  # may be sent
        self._wake: asyncio.Future[None] | None = None  # for which the feeder sleeps
        self._unreachable_since: float | None = None
        self._stopped = ""

    def start(self) -> None:
        """Begin; ``done`` is done when every batch is settled."""
        self._calls.add(self)
        try:
            self._spawn(self._feed(), self._lost_feeder)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a task factory of the user's
            hooks.report("a task could not be started", error)
            self._lost_feeder()
            self._calls.discard(self)

    def stop(self, why: str) -> None:
        """Send nothing more: what has not left is ``UNSENT``, what is in flight lands."""
        self._stopped = self._stopped or why
        for task in tuple(self._waiting):
            task.cancel()

    def abort(self, why: str) -> None:
        """Give up what is in flight as well: it is ``UNKNOWN``."""
        self.stop(why)
        for task in self.tasks - self._waiting:
            task.cancel()

    def retry_in(self) -> float | None:
        """Return in how many seconds the first of what was too late could leave."""
        return None if self._opens_at is None else max(0.0, self._opens_at - self._loop.time())

    # tasks

    def _spawn(self, work: Coroutine[object, object, None], lost: Callable[[], None]) -> None:
        """Start a task; ``lost`` is called if it ends in any way but its own."""
        try:
            task = self._loop.create_task(work)
        except BaseException:
            work.close()
            raise
        self.tasks.add(task)
        task.add_done_callback(partial(self._ended, lost))

    def _ended(self, lost: Callable[[], None], task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if task.cancelled():
            self._note_cancelled(task, asyncio.CancelledError())
            lost()
        elif (error := task.exception()) is not None:
            hooks.report("a task of a cancel call failed", error)
            lost()
        if not self.tasks and not self._left:
            self._calls.discard(self)

    def _lost_feeder(self) -> None:
        """Settle all that waited to be fed."""
        self._stopped = self._stopped or "it could not be sent, since an internal error occurred"
        while self._retries:
            self._settle(heapq.heappop(self._retries)[2])
        for number in range(self._fresh, self._fits):
            self._fresh = number + 1
            self._leave_out(number, Finding(Meaning.NOT_SENT, None, self._stopped))

    def _lost_delivery(self, batch: BatchState, permit: Permit) -> None:
        """Settle a batch whose delivery died."""
        if batch.settled:
            return
        if batch.left:
            permit.no_reply()
        else:
            permit.unsent()
        meaning = Meaning.NO_ANSWER if batch.left else Meaning.NOT_SENT
        words = self._stopped or "an internal error occurred"
        batch.take(_no_answer(meaning, words))
        self._settle(batch)

    async def _unless_stopped(self, wait: Awaitable[T]) -> T | None:
        """Wait, but no longer than until ``stop``; then return ``None``."""
        if self._stopped:
            if isinstance(wait, Coroutine):
                wait.close()
            return None
        me = _this_task()
        self._waiting.add(me)
        try:
            return await wait
        except asyncio.CancelledError as error:
            self._note_cancelled(me, error)
            return None
        finally:
            self._waiting.discard(me)

    def _note_cancelled(self, task: "asyncio.Task[None]", error: asyncio.CancelledError) -> None:
        """Stop, since a task was cancelled; report it if nobody asked for that."""
        if not task.cancelling():
            hooks.report("a task of a cancel call was cancelled from inside", error)
        self._stopped = self._stopped or CANCELLED

    # the feeder

    async def _feed(self) -> None:
        """Start an attempt for each batch as soon as the budgets allow, until all are settled."""
        if self._options.deadline is not None:
            await self._drop_what_is_too_late(self._options.deadline)
        while self._left and not self._stopped:
            now = self._loop.time()
            if why := self._why_not(now):
                await self._drop(why)
            elif not self._is_work(now):
                await self._sleep()
            elif (permit := self._permit_now() or await self._permit()) is not None:
                batch = self._next()
                if self._left == 1:
                    await self._deliver(batch, permit)
                    if self._left:
                        await self._breathe()  # a delivery that fails at once awaits nothing
                    continue
                self._ready.append((batch, permit))
                if len(self._ready) == 1:
                    self._loop.call_soon(self._begin)
        if self._stopped:
            await self._drop(self._stopped)

    def _why_not(self, now: float) -> str:
        """Say why what waits cannot be sent any more, if so."""
        if not self._retries and self._fresh == self._fits:
            return ""  # nothing waits
        if now >= self._deadline:
            return TOO_LATE
        if now >= self._reach_by:
            return f"the exchange could not be reached for {self._context.policy.max_elapsed:g} s"
        return ""

    @property
    def _reach_by(self) -> float:
        """When the exchange must have been reached, in loop time."""
        if not self._reconnect.unreachable:
            self._unreachable_since = None
        if self._unreachable_since is None:
            return inf
        return self._unreachable_since + self._context.policy.max_elapsed

    def _is_work(self, now: float) -> bool:
        """Say whether a batch may be sent now, if there is a token for it."""
        if self._retries and self._retries[0][0] <= now:
            return True
        if self._fresh == self._fits:
            return False
        held_back = self._reconnect.unreachable and self._left > self._fits - self._fresh
        return not held_back

    def _next(self) -> BatchState:
        """Take the batch that is sent next: one that is due again, else one never tried."""
        now = self._loop.time()
        if not self._reconnect.unreachable:
            self._unreachable_since = None
        if self._retries and self._retries[0][0] <= now:
            batch = heapq.heappop(self._retries)[2]
            if batch.action is not RetryAction.WAIT_FOR_BUDGET and self._unreachable_since is None:
                batch.began += now - batch.due  # it waited its turn
            return batch
        number, self._fresh = self._fresh, self._fresh + 1
        began = now if self._unreachable_since is None else self._unreachable_since
        return BatchState(self._spec.batches[number], number, began)

    async def _sleep(self) -> None:
        """Wait until a batch is due again, comes back, or the last one is settled."""
        self._wake = self._loop.create_future()
        timer = None
        if self._retries:
            due = min(self._retries[0][0], self._deadline, self._reach_by)
            timer = self._loop.call_at(due, self._rouse)
        self._reconnect.sleepers[self._on_reachable] = self._options.priority
        try:
            await self._unless_stopped(self._wake)
        finally:
            self._wake = None
            del self._reconnect.sleepers[self._on_reachable]
            if timer is not None:
                timer.cancel()

    def _on_reachable(self) -> None:
        """Let what never left be tried again at once: the exchange can be reached again."""
        now = self._loop.time()
        for _, _, batch in self._retries:
            if not batch.left:
                batch.due = min(batch.due, now)
        self._retries = [(batch.due, number, batch) for _, number, batch in self._retries]
        heapq.heapify(self._retries)
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _permit_now(self) -> Permit | None:
        """Take a permit if there is one and nothing more is to be asked."""
        if self._options.deadline is not None or self._reconnect.unreachable:
            return None
        return self._limiter.acquire_now(
            self._budgets, priority=self._options.priority, ticket=self._ticket
        )

    async def _permit(self) -> Permit | None:
        """Wait until an attempt may be made and for the budgets; ``None`` if it came to nothing."""
        waited = self._reconnect.unreachable
        if waited and not await self._may_reconnect():
            return None
        acquire = self._limiter.acquire(
            self._budgets,
            priority=self._options.priority,
            ticket=self._ticket,
            backlog=self._fits - self._fresh + len(self._retries),
            deadline=self._options.deadline,
        )
        try:
            permit = await self._unless_stopped(acquire)
        except TooLateError as error:
            self._note_wait(error.wait)
            await self._drop(f"too late: {error}")
            return None
        if permit is not None and not waited and self._reconnect.unreachable:
            permit.unsent()
            return None
        return permit

    async def _may_reconnect(self) -> bool:
        """Wait for leave to try to reach the exchange, as long as that makes sense."""
        if self._unreachable_since is None:
            self._unreachable_since = self._loop.time()
        limit = min(self._reach_by, self._deadline)
        with suppress(TimeoutError):
            await self._unless_stopped(self._reconnect_by(limit))
        return not self._stopped and self._loop.time() < limit

    async def _reconnect_by(self, limit: float) -> None:
        async with asyncio.timeout_at(limit):
            await self._reconnect.wait(self._options.priority)

    # what is not sent

    async def _drop_what_is_too_late(self, deadline: float) -> None:
        """Say at once which batches cannot leave before the deadline."""
        priority = self._options.priority
        fits = self._limiter.fits(self._budgets, deadline=deadline, priority=priority)
        if fits < self._fits:
            wait = self._limiter.wait(self._budgets, count=fits + 1, priority=priority)
            self._note_wait(wait)
            numbers, self._fits = range(fits, self._fits), fits
            await self._drop_batches(numbers, f"too late: its turn is {wait:.3f} s away")

    def _note_wait(self, wait: float) -> None:
        """Note when what is too late could leave."""
        opens_at = self._loop.time() + wait
        self._opens_at = min(opens_at, self._opens_at or inf)

    async def _drop(self, why: str) -> None:
        """Settle all that is not in flight."""
        while self._retries:
            self._settle(heapq.heappop(self._retries)[2])
        numbers, self._fresh = range(self._fresh, self._fits), self._fits
        await self._drop_batches(numbers, why)

    async def _drop_batches(self, numbers: Iterable[int], why: str) -> None:
        """Settle batches as not sent, in slices."""
        finding = Finding(Meaning.NOT_SENT, None, why)
        left = iter(numbers)
        try:
            for done, number in enumerate(left, 1):
                self._leave_out(number, finding)
                if done % PER_TURN == 0:
                    await self._breathe()
        finally:
            for number in left:
                self._leave_out(number, finding)

    async def _breathe(self) -> None:
        """Let others run; an abort in between changes nothing, since all is settled soon anyway."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            self._note_cancelled(_this_task(), error)

    def _leave_out(self, number: int, finding: Finding) -> None:
        """Settle a batch as not sent."""
        ids = self._spec.batches[number]
        if ids == (ALL,):
            self.whole = call_result(finding, 0)
            ids = ()
        self._note(number, tuple([order_result(key, finding, 0) for key in ids]))

    # deliveries

    def _begin(self) -> None:
        """Start some deliveries, and the others in the next turns of the event loop."""
        for _ in range(len(self._ready) if self._stopped else min(PER_TURN, len(self._ready))):
            batch, permit = self._ready.popleft()
            lost = partial(self._lost_delivery, batch, permit)
            if self._stopped:
                lost()
                continue
            try:
                self._spawn(self._deliver(batch, permit), lost)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a task factory of the user's
                hooks.report("a task could not be started", error)
                lost()
        if self._ready:
            self._loop.call_soon(self._begin)

    async def _deliver(self, batch: BatchState, permit: Permit) -> None:
        """Make one attempt; settle the batch, or give it back to be tried again."""
        try:
            batch.action = await self._attempt(batch, permit)
            self._decide(batch)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not cost an answer
            hooks.report("an attempt failed", error)
            self._lost_delivery(batch, permit)

    async def _attempt(self, batch: BatchState, permit: Permit) -> RetryAction:
        """Send once; whatever happens becomes an answer."""
        spec, sender = self._spec, self._context.sender
        body = spec.body or cancels.encode(spec.contract_code, spec.field, batch.pending)
        unsigned = Unsigned("POST", spec.endpoint.path, body)
        batch.left = True
        try:
            attempt = batch.failures + 1
            reply, stamp = await sender.send(unsigned, permit, self._options.deadline, attempt)
        except NotSentError as error:
            batch.left = False
            answer = _no_answer(Meaning.NOT_SENT, str(error))
        except NoAnswerError as error:
            answer = _no_answer(Meaning.NO_ANSWER, str(error))
        except asyncio.CancelledError as error:
            if _this_task().cancelling():
                self._stopped = self._stopped or CANCELLED
                answer = _no_answer(Meaning.NO_ANSWER, self._stopped)
            else:
                hooks.report("the transport raised", error)
                answer = _no_answer(Meaning.NO_ANSWER, type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a foreign transport may raise anything
            hooks.report("the transport raised", error)
            answer = _no_answer(Meaning.NO_ANSWER, type(error).__name__)
        else:
            answer = cancels.decode(reply.status, reply.body, spec.endpoint, spec.field)
            answer = self._judge(answer, permit, stamp)
        action = batch.take(answer)
        if action is RetryAction.RESYNC_CLOCK and batch.server_time is not None:
            sender.resync(batch.server_time)
        return action

    def _judge(self, answer: CancelReply, permit: Permit, stamp: float) -> CancelReply:
        """Tell the limiter of a refusal for the rate, and stop at one of the whole account."""
        whole, told = answer.whole, answer.server_time
        if answer.rate_limited:
            permit.refused()
        elif answer.account_wide:
            late = told is not None and abs(told - stamp) > SKEW
            if late and whole.code in MAYBE_CLOCK:
                clock = Finding(Meaning.CLOCK, whole.code, whole.message)
                return CancelReply(clock, answer.named, told)
            self.error = self.error or whole
            self.stop(f"the exchange refused the account: {whole.code} {whole.message}")
        return answer

    def _decide(self, batch: BatchState) -> None:
        """Settle a batch, or let it be tried again when its pause is over."""
        policy, pause, action = self._context.policy, 0.0, batch.action
        now, urgent = self._loop.time(), self._options.priority is Priority.URGENT
        if action is RetryAction.BACKOFF:
            batch.failures += 1
            pause = policy.backoff(batch.failures, random(), urgent=urgent)  # noqa: S311 - no secret
        batch.attempt_count += action is not RetryAction.WAIT_FOR_BUDGET and (
            batch.left or not self._reconnect.unreachable
        )
        batch.due = now + pause
        if (
            action is RetryAction.STOP
            or self._stopped
            or policy.max_attempts == 1
            or batch.attempt_count > policy.max_attempts
            or batch.due >= self._deadline
            or batch.due - batch.began >= policy.max_elapsed
        ):
            self._settle(batch)
            return
        heapq.heappush(self._retries, (batch.due, batch.number, batch))
        self._rouse()

    # results

    def _settle(self, batch: BatchState) -> None:
        """Take the results of a batch that was tried."""
        batch.settled = True
        if batch.is_whole:
            self.whole = call_result(*batch.whole())
        self._note(batch.number, batch.results())

    def _note(self, number: int, results: tuple[OrderResult, ...]) -> None:
        """Take the results of a batch, and tell the caller."""
        self.tally.put(number, results)
        self._left -= 1
        try:
            if self._options.on_batch is not None:
                hooks.call("on_batch", self._options.on_batch, results)
        finally:
            if self._left == 0 or self._reconnect.unreachable:
                self._rouse()
            if self._left == 0 and not self.done.done():
                self.done.set_result(None)


def _this_task() -> "asyncio.Task[None]":
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker: only tasks ask
    return task


def _no_answer(meaning: Meaning, words: str) -> CancelReply:
    return CancelReply(Finding(meaning, None, words), {})
