"""One cancel call under way: send its batches and collect their results.

Rules:

* A failed batch is a value: no batch can end another, and nothing raises out of a call.
* A call settles whatever happens inside. An exception that does not come from the exchange, in a
  clock, a callback, a transport or this module, is reported once to the event loop's exception
  handler. The ids that it affects are ``UNKNOWN`` if their request may have left, else ``UNSENT``.
* One task, the feeder, takes permits and starts a delivery for each batch: a task that attempts the
  batch until it is settled. If all other batches are settled, the feeder delivers the last one
  itself. Deliveries that may start at the same time start in order, a few in each turn of the event
  loop.
* All attempts of a call have the call's one ticket: its retries go before the batches of calls that
  began later. While the exchange is unreachable, new batches wait until a tried one gets through.
* ``stop`` ends the feeding and the retries; requests in flight are still answered. A refusal of the
  whole account stops the call.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from math import inf

from msgspec import Struct

from htx_cancel import hooks
from htx_cancel.attempt import CANCELLED, TOO_LATE, Sender
from htx_cancel.batch import CancelAll, CancelBatch, Form
from htx_cancel.endpoints import Endpoint
from htx_cancel.errors import NotSentError, TooLateError
from htx_cancel.limits.permit import Permit
from htx_cancel.options import Options
from htx_cancel.outcome import Tally
from htx_cancel.results import CallResult, Source
from htx_cancel.status import Finding
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import AttemptResult

#: Deliveries started, and batches dropped, in one turn of the event loop. A whole window's burst
#: in one turn would stall the loop for 10 ms.
PER_TURN = 10

BROKEN = "an internal error kept the request from being sent"

AnyBatch = CancelBatch | CancelAll


class JobSpec(Struct, frozen=True, gc=False):
    """What a call sends."""

    endpoint: Endpoint
    contract_code: str
    batches: Sequence[tuple[str, ...]]
    form: Form
    field: str = "order_id"
    body: bytes = b""  #: only for a call that names no ids

    @property
    def source(self) -> Source:
        """The source of the results."""
        return Source(self.endpoint.name, self.contract_code, self.field)

    def batch(self, number: int) -> AnyBatch:
        """Return a new batch."""
        if self.body:
            return CancelAll(self.endpoint, self.body)
        ids = self.batches[number]
        return CancelBatch(
            self.endpoint, self.contract_code, self.field, ids, number=number, form=self.form
        )


class Delivery(Struct, gc=False):
    """A batch with the permit for its first attempt."""

    batch: AnyBatch
    permit: Permit


class Job:
    """A call under way. ``start`` it once; ``stop`` or ``abort`` it at any time.

    Its one caller awaits ``done``. Cancelling that wait cancels nothing else: the tasks in
    ``tasks`` go on. ``error`` is the refusal of the account that stopped the call.
    """

    def __init__(self, spec: JobSpec, options: Options, sender: Sender, jobs: "set[Job]") -> None:
        self._loop = asyncio.get_running_loop()
        self.tally = Tally(len(spec.batches))
        self.calls: tuple[CallResult, ...] = ()
        self.error: Finding | None = None
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.tasks: dict[asyncio.Task[None], Delivery | None] = {}  #: running, by task
        self._spec = spec
        self._on_batch = options.on_batch
        self._sender = sender
        self._call = sender.call_context(
            spec.endpoint.budgets(charge_pools=sender.budgets.charge_pools),
            options.priority,
            options.deadline,
        )
        self._jobs = jobs  # all that are under way
        self._fed = 0  # batches that got a permit: the first ones
        self._kept = len(spec.batches)  # batches that were not dropped: the last ones are dropped
        self._settled: set[int] = set()  # numbers of batches
        self._retry_at = inf  # loop time at which the first batch that is too late could leave
        self._ready: deque[Delivery] = deque()  # to be started

    def start(self) -> None:
        """Begin to send; ``done`` is set when every batch is settled."""
        self._jobs.add(self)
        self._spawn(self._feed(), None)

    def stop(self, reason: str) -> None:
        """Send nothing more. What was not sent is ``UNSENT``; replies in flight still count."""
        self._call.stopped = self._call.stopped or reason
        for task, delivery in self.tasks.items():
            if delivery is None or not delivery.batch.in_flight:
                task.cancel()

    def abort(self) -> None:
        """After ``stop``, give up what is in flight as well: it is ``UNKNOWN``."""
        for task in self.tasks:
            task.cancel()

    def retry_in(self) -> float | None:
        """Return the seconds until the first batch that was too late could leave."""
        return None if self._retry_at == inf else max(0.0, self._retry_at - self._loop.time())

    # tasks

    def _spawn(self, work: Coroutine[object, object, None], delivery: Delivery | None) -> None:
        """Start a delivery, or the feeder if there is none."""
        try:
            task = self._loop.create_task(work)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's task factory
            work.close()
            hooks.report("a task could not be started", error)
            self._clean_up(delivery)
            return
        self.tasks.setdefault(task, delivery)  # an eager feeder may already deliver
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        delivery = self.tasks.pop(task)
        if task.cancelled():  # perhaps before its first step
            self._call.stopped = self._call.stopped or CANCELLED
        if (error := hooks.failure(task)) is not None:
            hooks.report("a task of a cancel call failed", error)
        self._clean_up(delivery)

    def _clean_up(self, delivery: Delivery | None) -> None:
        """Settle what a task left behind: something only if it failed or never began."""
        reason = self._call.stopped or BROKEN
        if delivery is None:
            while self._kept > self._fed:
                self._drop_one(reason)
        elif delivery.batch.number not in self._settled:
            delivery.permit.unsent()
            self._settle_unsent(delivery.batch, reason)
        if not self.tasks and self._is_settled:
            self._jobs.discard(self)

    # the feeder

    async def _feed(self) -> None:
        """Start a delivery for each batch as soon as the budgets allow."""
        reason = ""
        try:
            await self._drop_late_batches()
            while self._fed < self._kept and not self._call.stopped:
                await self._feed_some()
        except asyncio.CancelledError as error:
            self._cancelled(error)
        except TooLateError as error:
            self._note_wait(error.wait)
            reason = f"too late: {error}"
        except NotSentError as error:
            reason = str(error)
        if self._kept > self._fed:
            await self._drop(self._fed, reason or self._call.stopped)

    async def _feed_some(self) -> None:
        """Wait for permits and start as many deliveries; deliver the last batch here."""
        feeder = hooks.this_task()
        if self._sender.reconnect.unreachable and (others := self.tasks.keys() - {feeder}):
            timeout = self._sender.reach_by(self._call) - self._loop.time()
            if timeout > 0:
                await asyncio.wait(others, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                return
        permits = await self._sender.permits(self._call, self._kept - self._fed)
        first, self._fed = self._fed, self._fed + len(permits)
        if len(self._settled) + 1 == len(self._spec.batches):
            self.tasks[feeder] = delivery = Delivery(self._spec.batch(first), permits[0])
            await self._deliver(delivery)
            return
        idle = not self._ready
        batches = map(self._spec.batch, range(first, self._fed))
        self._ready.extend(map(Delivery, batches, permits))
        if idle:
            self._start_some()

    async def _drop_late_batches(self) -> None:
        """Drop the batches that cannot leave before the deadline."""
        call, budgets = self._call, self._sender.budgets
        if call.deadline == inf:
            return
        if self._loop.time() >= call.deadline:
            await self._drop(0, TOO_LATE)
        in_time = budgets.fits(call.budgets, deadline=call.deadline, priority=call.priority)
        if in_time < self._kept:
            wait = budgets.wait(call.budgets, count=in_time + 1, priority=call.priority)
            self._note_wait(wait)
            await self._drop(in_time, f"too late: its turn would come in {wait:.3f} s")

    def _note_wait(self, wait: float) -> None:
        self._retry_at = self._loop.time() + wait

    async def _drop(self, keep: int, reason: str) -> None:
        """Settle all batches but the first ``keep`` as unsent, from the last, in slices."""
        while self._kept > keep:
            self._drop_one(reason)
            if self._kept % PER_TURN == 0:
                await asyncio.sleep(0)

    def _drop_one(self, reason: str) -> None:
        self._kept -= 1
        self._settle_unsent(self._spec.batch(self._kept), reason)

    def _cancelled(self, error: asyncio.CancelledError) -> None:
        """Stop the call; report the error unless somebody cancelled the task."""
        if not hooks.cancelled():
            hooks.report("a task of a cancel call was cancelled from inside", error)
        self._call.stopped = self._call.stopped or CANCELLED

    # deliveries

    def _start_some(self) -> None:
        """Start some deliveries, and the others in later turns of the event loop."""
        for _ in range(min(PER_TURN, len(self._ready))):
            delivery = self._ready.popleft()
            if self._call.stopped:
                self._clean_up(delivery)
            else:
                self._spawn(self._deliver(delivery), delivery)
        if self._ready:
            self._loop.call_soon(self._start_some)

    async def _deliver(self, delivery: Delivery) -> None:
        """Attempt a batch until its answer is final, and settle it."""
        batch = delivery.batch
        try:
            await self._sender.run(batch, delivery.permit, self._call)
        except asyncio.CancelledError as error:
            self._cancelled(error)
        if batch.refused is not None and self.error is None:
            self.error = batch.refused
            code, message = batch.refused.code, batch.refused.message
            self.stop(f"the exchange refused the account: {code} {message}")
        self._settle(batch)

    def _settle(self, batch: AnyBatch) -> None:
        """Record the results of a batch once, and pass them to ``on_batch``."""
        if batch.number in self._settled:
            return
        self._settled.add(batch.number)
        results = batch.results()
        self.tally.put(batch.number, results)
        if isinstance(batch, CancelAll):
            self.calls = (batch.call(),)
        if self._is_settled and not self.done.done():
            self.done.set_result(None)
        if self._on_batch is not None:
            hooks.call("on_batch", self._on_batch, results)

    def _settle_unsent(self, batch: AnyBatch, reason: str) -> None:
        """Settle a batch that is not sent any more; what its attempts found out counts."""
        batch.record(AttemptResult(Finding(Meaning.NOT_SENT, None, reason)))
        self._settle(batch)

    @property
    def _is_settled(self) -> bool:
        return len(self._settled) == len(self._spec.batches)
