"""One cancel call under way: feed its batches, send each until it is settled, collect the results.

Rules:

* A failed batch is a value: no batch can end another, and nothing raises out of a call.
* The feeder takes one token at a time and starts one task for it, so a call of a million ids has
  no more tasks than requests in flight. It delivers the last batch itself. The tasks of one
  moment start a few a turn.
* ``stop`` ends the feeding and the retries; what is in flight lands.
* A leaky bucket over all calls of a client spreads the tries that are made again: a try that never
  left costs no token, so nothing else would keep many of them from knocking at a door that is down.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from math import inf
from random import random
from typing import TypeVar

from aiolimiter import AsyncLimiter
from msgspec import Struct

from htx_cancel import codec
from htx_cancel.codec import Answer
from htx_cancel.endpoints import Endpoint
from htx_cancel.errors import Meaning, NoAnswerError, NotSentError, TooLateError
from htx_cancel.outcome import Finding, OrderResult, Source, Tally, call_result, order_result
from htx_cancel.pages import Pages
from htx_cancel.permit import Limiter, Permit, Priority
from htx_cancel.retry import ALL, Again, Attempts, RetryPolicy
from htx_cancel.sender import Errand, Sender

#: Tries made again a second, over all calls of a client, and as many at once after a calm.
TRIES_AGAIN = 50.0

#: Batches handled in one turn of the event loop where nothing else waits. So many begin to leave in
#: one, too: a window's whole burst would stall the loop for 10 ms.
SLICE = 10

UNSENT = call_result(Finding(Meaning.NOT_SENT), 0)

OnBatch = Callable[[tuple[OrderResult, ...]], object]
T = TypeVar("T")


class Job(Struct, frozen=True, gc=False):
    """What a call is to send."""

    endpoint: Endpoint
    contract_code: str
    batches: Pages[str]  #: each is taken out when its turn comes
    field: str = "order_id"
    body: bytes = b""  #: of a call that names no ids

    @property
    def source(self) -> Source:
        """Where the outcome comes from."""
        return Source(self.endpoint.name, self.contract_code, self.field)


class Terms(Struct, frozen=True):
    """On what terms a call is to be sent."""

    priority: Priority
    deadline: float | None
    on_batch: OnBatch | None


class Road(Struct, frozen=True):
    """What all calls of a client share."""

    sender: Sender
    limiter: Limiter
    policy: RetryPolicy
    charge_pools: bool
    again: AsyncLimiter


class Call:
    """A call under way. ``start`` it once; ``stop`` or ``abort`` it any time.

    ``done`` is for its one caller to await. That may be cancelled, and nothing else is then:
    ``tasks`` has what still runs, and whether it waits for leave to send.
    """

    def __init__(self, job: Job, terms: Terms, road: Road, calls: "set[Call]") -> None:
        self.tally = Tally(len(job.batches))
        self.whole = UNSENT
        self._job = job
        self._terms = terms
        self._road = road
        self._budgets = job.endpoint.budgets(charge_pools=road.charge_pools)
        self._limiter = road.limiter
        self._turn = road.limiter.turn()
        self._left = len(job.batches)
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.tasks: dict[asyncio.Task[None], bool] = {}
        self._calls = calls  # those under way
        self._ready: deque[tuple[int, Permit]] = deque()  # may be sent
        self._stopped = ""

    def start(self) -> None:
        """Begin; ``done`` is done when every batch is settled."""
        self._calls.add(self)
        self._spawn(self._feed())

    def stop(self, why: str) -> None:
        """Send nothing more: what has not left is ``UNSENT``, what is in flight lands."""
        self._stopped = self._stopped or why
        self._cancel(waiting=True)

    def abort(self, why: str) -> None:
        """Give up what is in flight as well: it is ``UNKNOWN``."""
        self.stop(why)
        self._cancel(waiting=False)

    def _cancel(self, *, waiting: bool) -> None:
        for task, waits in self.tasks.items():
            if waits is waiting:
                task.cancel()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        self.tasks[self._loop.create_task(work)] = False

    async def _feed(self) -> None:
        """Start a delivery for each batch as soon as the budgets allow."""
        fits = len(self._job.batches)
        if self._terms.deadline is not None:
            fits = await self._drop_what_is_too_late(self._terms.deadline)
        for number in range(fits):
            permit, why = self._permit_now(), ""
            if permit is None:
                permit, why = await self._permit(backlog=fits - number)
            if permit is None:
                await self._drop(range(number, fits), why)
                break
            if number == fits - 1:
                await self._deliver(number, self._take(number), permit)
                return
            self._ready.append((number, permit))
            if len(self._ready) == 1:
                self._loop.call_soon(self._begin)
        del self.tasks[_this_task()]

    def _begin(self) -> None:
        """Start some deliveries, and the others in the next turns of the event loop."""
        ready = self._ready
        if self._stopped:
            finding = Finding(Meaning.NOT_SENT, None, self._stopped)
            while ready:
                number, permit = ready.popleft()
                permit.unsent()
                self._leave_out(number, finding)
        for _ in range(min(SLICE, len(ready))):
            number, permit = ready.popleft()
            self._spawn(self._deliver(number, self._take(number), permit))
        if ready:
            self._loop.call_soon(self._begin)

    def _take(self, number: int) -> tuple[str, ...]:
        """Take out a batch: its results will hold its ids."""
        return self._job.batches.swap(number, ())

    async def _drop_what_is_too_late(self, deadline: float) -> int:
        """Say at once which batches cannot leave before the deadline; return how many can."""
        total, priority = len(self._job.batches), self._terms.priority
        fits = self._limiter.fits(self._budgets, deadline=deadline, priority=priority)
        if fits < total:
            wait = self._limiter.wait(self._budgets, count=fits + 1, priority=priority)
            await self._drop(range(fits, total), f"too late: its turn is {wait:.3f} s away")
        return min(fits, total)

    async def _drop(self, numbers: Iterable[int], why: str) -> None:
        """Settle batches as not sent, in slices."""
        finding = Finding(Meaning.NOT_SENT, None, why)
        for done, number in enumerate(numbers, 1):
            self._leave_out(number, finding)
            if done % SLICE == 0:
                with suppress(asyncio.CancelledError):  # an abort: all is settled soon anyway
                    await asyncio.sleep(0)

    def _leave_out(self, number: int, finding: Finding) -> None:
        """Settle a batch as not sent."""
        batch = self._take(number)
        if batch == (ALL,):
            self.whole = call_result(finding, 0)
            batch = ()
        self._settle(number, tuple([order_result(key, finding, 0) for key in batch]))

    def _permit_now(self) -> Permit | None:
        """Take a permit if there is one and no more is to be asked."""
        if self._stopped or self._terms.deadline is not None:
            return None
        return self._limiter.acquire_now(self._budgets, turn=self._turn)

    async def _permit(self, *, backlog: int = 1) -> tuple[Permit | None, str]:
        """Wait for the budgets; without a permit, say why."""
        acquire = self._limiter.acquire(
            self._budgets,
            priority=self._terms.priority,
            turn=self._turn,
            backlog=backlog,
            deadline=self._terms.deadline,
        )
        try:
            permit = await self._unless_stopped(acquire)
        except TooLateError as error:
            return None, f"too late: {error}"
        return permit, self._stopped

    async def _unless_stopped(self, wait: Coroutine[object, object, T]) -> T | None:
        """Wait, but no longer than until ``stop``; then return ``None``."""
        if self._stopped:
            wait.close()
            return None
        me = _this_task()
        self.tasks[me] = True
        try:
            return await wait
        except asyncio.CancelledError:
            self._stopped = self._stopped or "its task was cancelled"
            return None
        finally:
            self.tasks[me] = False

    async def _deliver(self, number: int, batch: tuple[str, ...], permit: Permit) -> None:
        """Send one batch until each of its ids is settled, or may not be tried again."""
        attempts = Attempts(batch)
        again = await self._attempt(attempts, permit)
        while again is not Again.NEVER and self._road.policy.attempts > 1:
            next_permit = await self._permit_for_retry(again, attempts)
            if next_permit is None:
                break
            again = await self._attempt(attempts, next_permit)
        if batch == (ALL,):
            self.whole = call_result(*attempts.whole())
        self._settle(number, attempts.results())
        del self.tasks[_this_task()]

    async def _attempt(self, attempts: Attempts, permit: Permit) -> Again:
        """Send once; whatever happens becomes an answer."""
        job, began = self._job, self._loop.time()
        body = job.body or codec.encode(job.contract_code, job.field, attempts.pending)
        errand = Errand("POST", job.endpoint.path, body)
        try:
            reply = await self._road.sender.send(errand, permit, self._terms.deadline)
        except NotSentError as error:
            answer = _no_answer(Meaning.NOT_SENT, str(error))
        except NoAnswerError as error:
            answer = _no_answer(Meaning.NO_ANSWER, str(error))
        except asyncio.CancelledError:
            self._stopped = self._stopped or "its task was cancelled"
            answer = _no_answer(Meaning.NO_ANSWER, self._stopped)
        except Exception as error:  # noqa: BLE001 - a foreign transport may raise anything
            answer = _no_answer(Meaning.NO_ANSWER, type(error).__name__)
        else:
            answer = codec.decode(reply.status, reply.body, job.endpoint, job.field)
            if answer.rate_limited:
                permit.refused()
        again = attempts.take(answer)
        attempts.seconds += self._loop.time() - began
        if again is Again.RESYNC and attempts.server_time is not None:
            self._road.sender.resync(attempts.server_time)
        return again

    async def _permit_for_retry(self, again: Again, attempts: Attempts) -> Permit | None:
        """Pause as the policy says and take a new token, unless the batch had its share."""
        policy, pause = self._road.policy, 0.0
        if again is Again.PAUSE:
            pause = policy.pause(attempts.tries, random())  # noqa: S311 - hides nothing
        attempts.tries += again is not Again.BUDGET
        late = self._loop.time() + pause >= (self._terms.deadline or inf)
        if late or attempts.tries > policy.attempts or attempts.seconds + pause >= policy.seconds:
            return None
        began = self._loop.time()
        if again is not Again.BUDGET:
            await self._unless_stopped(self._rest(pause))
            attempts.seconds += self._loop.time() - began
        permit, _why = await self._permit()
        if again is Again.BUDGET:
            attempts.seconds += self._loop.time() - began
        return permit

    async def _rest(self, pause: float) -> None:
        """Pause, and let other batches that failed go first; no longer than the call lasts."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._terms.deadline):
                await asyncio.sleep(pause)
                await self._road.again.acquire()

    def _settle(self, number: int, results: tuple[OrderResult, ...]) -> None:
        """Take the results of a batch and tell the caller."""
        self.tally.put(number, results)
        self._left -= 1
        if self._terms.on_batch is not None:
            try:
                self._terms.on_batch(results)
            except Exception as error:  # noqa: BLE001 - the caller's code must not cost a batch
                context = {"message": "on_batch raised", "exception": error}
                self._loop.call_exception_handler(context)
        if self._left == 0:
            self._calls.discard(self)
            if not self.done.done():
                self.done.set_result(None)


def _this_task() -> "asyncio.Task[None]":
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker: only tasks ask
    return task


def _no_answer(meaning: Meaning, words: str) -> Answer:
    return Answer(Finding(meaning, None, words), {})
