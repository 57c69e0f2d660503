"""One cancel call under way: feed its batches to the sender, collect their results.

Rules:

* A failed batch is a value: no batch can end another, and nothing raises out of a call.
* A call settles whatever happens inside. An exception that is none of the exchange's, in a clock,
  a hook, a transport or in here, is reported once to the event loop's exception handler; what it
  struck is ``UNKNOWN`` if it may have left, else ``UNSENT``.
* One task feeds a call: it takes permits and starts a delivery for each batch, which is a task that
  attempts the batch until it is settled. The last batch is delivered by the feeder itself. The
  deliveries of one moment start a few a turn of the event loop.
* All attempts of a call have its one ticket: what is tried again goes before other calls' batches
  that came later. While the exchange cannot be reached, new batches wait until one that was tried
  gets through.
* ``stop`` ends the feeding and the retries; what is in flight lands. A refusal of the whole account
  stops its call.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
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

#: Batches handled in one turn of the event loop where nothing else waits. So many begin to leave in
#: one, too: a window's whole burst would stall the loop for 10 ms.
PER_TURN = 10

BROKEN = "it could not be sent, since an internal error occurred"

AnyBatch = CancelBatch | CancelAll


class JobSpec(Struct, frozen=True, gc=False):
    """What a call is to send."""

    endpoint: Endpoint
    contract_code: str
    batches: Sequence[tuple[str, ...]]
    form: Form
    field: str = "order_id"
    body: bytes = b""  #: of a call that names no ids

    @property
    def source(self) -> Source:
        """Where the outcome comes from."""
        return Source(self.endpoint.name, self.contract_code, self.field)

    def batch(self, number: int) -> AnyBatch:
        """Return a batch that was never tried."""
        if self.body:
            return CancelAll(self.endpoint, self.body)
        ids = self.batches[number]
        return CancelBatch(
            self.endpoint, self.contract_code, self.field, ids, number=number, form=self.form
        )


class Job:
    """A call under way. ``start`` it once; ``stop`` or ``abort`` it any time.

    ``done`` is for its one caller to await. That may be cancelled, and nothing else is then:
    ``tasks`` has what still runs. ``error`` is the refusal of the account that stopped it.
    """

    def __init__(self, spec: JobSpec, options: Options, sender: Sender, jobs: "set[Job]") -> None:
        self._loop = asyncio.get_running_loop()
        self.tally = Tally(len(spec.batches))
        self.calls: tuple[CallResult, ...] = ()
        self.error: Finding | None = None
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.tasks: dict[asyncio.Task[None], AnyBatch | None] = {}  #: and what each delivers
        self._spec = spec
        self._on_batch = options.on_batch
        self._sender = sender
        self._call = sender.call_context(
            spec.endpoint.budgets(charge_pools=sender.budgets.charge_pools),
            options.priority,
            options.deadline,
        )
        self._jobs = jobs  # those under way
        self._fed = 0  # batches that were given a permit, from the first on
        self._kept = len(spec.batches)  # batches that are to be fed; those behind were dropped
        self._settled: set[int] = set()
        self._opens_at = inf  # when what was too late could have left
        self._ready: deque[tuple[AnyBatch, Permit]] = deque()

    def start(self) -> None:
        """Begin; ``done`` is done when every batch is settled."""
        self._jobs.add(self)
        self._spawn(self._feed(), None, self._lost_feeder)

    def stop(self, why: str) -> None:
        """Send nothing more: what has not left is ``UNSENT``, what is in flight lands."""
        self._call.stopped = self._call.stopped or why
        me = asyncio.current_task()
        for task, batch in tuple(self.tasks.items()):
            if task is not me and (batch is None or not batch.in_flight):
                task.cancel()

    def abort(self, why: str) -> None:
        """Give up what is in flight as well: it is ``UNKNOWN``."""
        self.stop(why)
        for task in self.tasks:
            task.cancel()

    def retry_in(self) -> float | None:
        """Return in how many seconds the first of what was too late could leave."""
        return None if self._opens_at == inf else max(0.0, self._opens_at - self._loop.time())

    # tasks

    def _spawn(
        self,
        work: Coroutine[object, object, None],
        batch: AnyBatch | None,
        lost: Callable[[], None],
    ) -> None:
        """Start a task; ``lost`` is called if it does not come to its end."""
        try:
            task = self._loop.create_task(work)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a task factory of the user's
            work.close()
            hooks.report("a task could not be started", error)
            self._lose(batch, lost)
            return
        self.tasks.setdefault(task, batch)  # the first step may have been made, and have set it
        task.add_done_callback(partial(self._ended, lost))

    def _ended(self, lost: Callable[[], None], task: "asyncio.Task[None]") -> None:
        batch = self.tasks.pop(task)
        if (error := hooks.failure(task)) is not None:
            hooks.report("a task of a cancel call failed", error)
        if error is not None or task.cancelled():
            self._lose(batch, lost)
        elif not self.tasks and self._is_settled:
            self._jobs.discard(self)

    def _lose(self, batch: AnyBatch | None, lost: Callable[[], None]) -> None:
        """Settle what a task leaves behind that did not come to its end."""
        lost()
        if batch is not None:
            if batch.began == inf:
                batch.take(_unsent(self._call.stopped or BROKEN))
            self._settle(batch)
        if not self.tasks and self._is_settled:
            self._jobs.discard(self)

    def _lost_feeder(self) -> None:
        """Settle all that was not fed."""
        self._call.stopped = self._call.stopped or BROKEN
        while self._kept > self._fed:
            self._drop_one(self._call.stopped)

    # the feeder

    async def _feed(self) -> None:
        """Start a delivery for each batch as soon as the budgets allow."""
        try:
            await self._drop_what_is_too_late()
            while self._fed < self._kept and not self._call.stopped:
                await self._feed_some()
        except asyncio.CancelledError as error:
            self._cancelled(error)
        except TooLateError as error:
            self._note_wait(error.wait)
            await self._drop(self._fed, f"too late: {error}")
        except NotSentError as error:
            await self._drop(self._fed, str(error))
        if self._call.stopped:
            await self._drop(self._fed, self._call.stopped)

    async def _feed_some(self) -> None:
        """Wait for permits and start as many deliveries; deliver the last batch here."""
        me = hooks.this_task()
        if self._sender.reconnect.unreachable and (others := self.tasks.keys() - {me}):
            timeout = self._sender.reach_by(self._call) - self._loop.time()
            if timeout > 0:
                await asyncio.wait(others, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                return
        permits = await self._sender.permits(self._call, self._kept - self._fed)
        first, self._fed = self._fed, self._fed + len(permits)
        if len(self._settled) + 1 == len(self._spec.batches):
            self.tasks[me] = batch = self._spec.batch(first)
            await self._deliver(batch, permits[0])
            return
        idle = not self._ready
        self._ready.extend(
            zip(map(self._spec.batch, range(first, self._fed)), permits, strict=True)
        )
        if idle:
            self._begin()

    async def _drop_what_is_too_late(self) -> None:
        """Say at once which batches cannot leave before the deadline."""
        call, budgets = self._call, self._sender.budgets
        if call.deadline == inf:
            return
        if self._loop.time() >= call.deadline:
            await self._drop(0, TOO_LATE)
        fits = budgets.fits(call.budgets, deadline=call.deadline, priority=call.priority)
        if fits < self._kept:
            wait = budgets.wait(call.budgets, count=fits + 1, priority=call.priority)
            self._note_wait(wait)
            await self._drop(fits, f"too late: its turn is {wait:.3f} s away")

    def _note_wait(self, wait: float) -> None:
        """Note when what is too late could leave."""
        self._opens_at = min(self._loop.time() + wait, self._opens_at)

    async def _drop(self, keep: int, why: str) -> None:
        """Settle as not sent, in slices and from the last, all batches but the first ones."""
        while self._kept > keep:
            self._drop_one(why)
            if self._kept % PER_TURN == 0:
                await asyncio.sleep(0)

    def _drop_one(self, why: str) -> None:
        self._kept -= 1
        batch = self._spec.batch(self._kept)
        batch.take(_unsent(why))
        self._settle(batch)

    def _cancelled(self, error: asyncio.CancelledError) -> None:
        """Stop, since a task was cancelled; report it if nobody asked for that."""
        if not hooks.cancelled():
            hooks.report("a task of a cancel call was cancelled from inside", error)
        self._call.stopped = self._call.stopped or CANCELLED

    # deliveries

    def _begin(self) -> None:
        """Start some deliveries, and the others in the next turns of the event loop."""
        for _ in range(min(PER_TURN, len(self._ready))):
            batch, permit = self._ready.popleft()
            if self._call.stopped:
                self._lose(batch, permit.unsent)
            else:
                self._spawn(self._deliver(batch, permit), batch, permit.unsent)
        if self._ready:
            self._loop.call_soon(self._begin)

    async def _deliver(self, batch: AnyBatch, permit: Permit) -> None:
        """Attempt a batch until its answer stands, and settle it."""
        try:
            await self._sender.run(batch, permit, self._call)
        except asyncio.CancelledError as error:
            self._cancelled(error)
        if batch.refused is not None and self.error is None:
            self.error = batch.refused
            code, message = batch.refused.code, batch.refused.message
            self.stop(f"the exchange refused the account: {code} {message}")
        self._settle(batch)

    def _settle(self, batch: AnyBatch) -> None:
        """Take the results of a batch, once, and tell the caller."""
        if batch.number in self._settled:
            return
        self._settled.add(batch.number)
        results = batch.results()
        self.tally.put(batch.number, results)
        if isinstance(batch, CancelAll):
            self.calls = (batch.call(),)
        try:
            if self._on_batch is not None:
                hooks.call("on_batch", self._on_batch, results)
        finally:
            if self._is_settled and not self.done.done():
                self.done.set_result(None)

    @property
    def _is_settled(self) -> bool:
        return len(self._settled) == len(self._spec.batches)


def _unsent(why: str) -> AttemptResult:
    return AttemptResult(Finding(Meaning.NOT_SENT, None, why))
