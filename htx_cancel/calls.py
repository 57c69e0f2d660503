"""Check a method's arguments, run its call or list, and return the result.

Every method of the products calls ``CallRunner``, which alone knows the calls in progress.
"""

import asyncio
import weakref
from collections.abc import Iterable, Mapping
from math import inf
from typing import TypeVar

from msgspec.structs import replace

from htx_cancel import arguments, endpoints, listing, mixed
from htx_cancel.attempt import Sender
from htx_cancel.batch import Form
from htx_cancel.endpoints import Endpoint
from htx_cancel.errors import ClientClosedError, InvalidTypeError, WrongLoopError
from htx_cancel.job import Job, JobSpec
from htx_cancel.limits.permit import Priority
from htx_cancel.options import CallOptions, OnBatch, Options, ReadOptions
from htx_cancel.orders import OpenOrder, OpenOrders, OrderRef
from htx_cancel.outcome import CancelAllOutcome, Outcome
from htx_cancel.results import CallResult, OrderResult, Source, refusal
from htx_cancel.status import CancelStatus
from htx_cancel.wire import cancels

CLOSED = "the client was closed"
FREED_PER_TURN = 5_000  #: results of a discarded outcome that are freed in a turn of the loop

IdsOfField = tuple[str, Iterable[str | int]]  #: the name of an id field, and its ids
AnyOutcome = TypeVar("AnyOutcome", bound=Outcome)


class CallRunner:
    """Runs a client's calls, and tracks those in progress."""

    def __init__(self, sender: Sender) -> None:
        self.jobs: set[Job] = set()  #: cancel calls in progress
        self.lists: set[asyncio.Task[OpenOrders]] = set()  #: lists in progress
        self.closed = False
        self._sender = sender
        self._forms: dict[str, Form] = {}  # by path
        self._loop: asyncio.AbstractEventLoop | None = None  # the loop of the first call

    def options(
        self,
        *,
        priority: Priority = Priority.ROUTINE,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Options:
        """Check the client's state and the options that every call takes."""
        self.check_open()
        deadline = inf
        if timeout is not None:
            deadline = asyncio.get_running_loop().time() + arguments.seconds("timeout", timeout)
        arguments.callback("on_batch", on_batch)
        if not isinstance(priority, Priority):
            raise InvalidTypeError(f"priority must be a Priority, got {priority!r}")
        return Options(priority, deadline, on_batch)

    def check_open(self) -> None:
        """Raise ``ClientClosedError`` after the end, ``WrongLoopError`` in a second event loop."""
        if self.closed:
            raise ClientClosedError("this client was closed; make a new one")
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise WrongLoopError("CancelClient must be used in one event loop, got a second one")
        self._loop = loop
        self._sender.budgets.check_loop()

    async def by_ids(
        self, endpoint: Endpoint, contract_code: str, ids: IdsOfField, unchecked: CallOptions
    ) -> Outcome:
        """Check every id, then cancel the orders."""
        options = self.options(**unchecked)
        return await self._by_ids(endpoint, contract_code, ids, options)

    async def _by_ids(
        self, endpoint: Endpoint, contract_code: str, ids: IdsOfField, options: Options
    ) -> Outcome:
        arguments.contract_code(contract_code)
        field, values = ids
        form = self._forms.setdefault(endpoint.path, Form(endpoint.batch_size))
        batches = await _batches(field, values, form.size)
        spec = JobSpec(endpoint, contract_code, batches, form, field)
        return await self._run(Outcome, spec, options)

    async def all(
        self,
        endpoint: Endpoint,
        contract_code: str | None,
        filters: Mapping[str, str | None],
        unchecked: CallOptions,
    ) -> CancelAllOutcome:
        """Send one request that names no ids; ``None`` stands for every contract."""
        options = self.options(**unchecked)
        code = "" if contract_code is None else arguments.contract_code(contract_code)
        body = cancels.encode_all(endpoint, code, filters)
        spec = JobSpec(endpoint, code, [()], Form(0), body=body)
        return await self._run(CancelAllOutcome, spec, options)

    async def all_listed(
        self, product: str, kind: str, contract_code: str, unchecked: CallOptions
    ) -> CancelAllOutcome:
        """List the open orders of a contract, then cancel them by their ids."""
        options = self.options(**unchecked)
        arguments.contract_code(contract_code)
        orders = await self._list(product, kind, contract_code, options)
        outcome = await self._mixed(orders, options)
        if not orders.complete:
            status = CancelStatus.UNKNOWN
        else:
            status = CancelStatus.ACCEPTED if orders else CancelStatus.NOT_FOUND
        cancelled = CancelAllOutcome(
            outcome.parts,
            outcome.counts,
            error=outcome.error,
            retry_in=outcome.retry_in,
            calls=(CallResult(status, message="; ".join(orders.missing)),),
        )
        return free_in_slices(cancelled)

    async def open(
        self, product: str, kind: str, contract_code: str | None, unchecked: ReadOptions
    ) -> OpenOrders:
        """List open orders; ``None`` stands for every contract."""
        options = self.options(**unchecked)
        if contract_code is not None:
            arguments.contract_code(contract_code)
        return await self._list(product, kind, contract_code, options)

    async def _list(
        self, product: str, kind: str, contract_code: str | None, options: Options
    ) -> OpenOrders:
        reading = listing.Listing(
            self._sender, product, kind, priority=options.priority, deadline=options.deadline
        )
        task = asyncio.get_running_loop().create_task(reading.run(contract_code))
        self.lists.add(task)
        task.add_done_callback(self.lists.discard)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        return reading.result(CLOSED) if task.cancelled() else task.result()

    async def mixed(
        self, orders: Iterable[OpenOrder | OrderRef], unchecked: CallOptions
    ) -> Outcome:
        """Cancel any orders, each in the call that fits it, all calls concurrently."""
        return free_in_slices(await self._mixed(orders, self.options(**unchecked)))

    async def _mixed(self, orders: Iterable[OpenOrder | OrderRef], options: Options) -> Outcome:
        keys = await mixed.keys_of(orders)
        calls = [
            self._by_ids(
                endpoints.ENDPOINTS[source.endpoint],
                source.contract_code,
                (source.field, ids),
                _naming_source(options, source),
            )
            for source, ids in (await mixed.grouped(keys)).items()
        ]
        return await mixed.joined(keys, await asyncio.gather(*calls))

    async def _run(self, kind: type[AnyOutcome], spec: JobSpec, options: Options) -> AnyOutcome:
        """Run a call; if the caller is cancelled, requests in flight still get their replies."""
        job = Job(spec, options, self._sender, self.jobs)
        if self.closed:
            job.stop(CLOSED)
        if spec.batches:
            job.start()
            try:
                await job.done
            except asyncio.CancelledError:
                job.stop("the awaiting task was cancelled")
                raise
        outcome = kind(
            [job.tally.part(spec.source)],
            job.tally.counts,
            error=refusal(job.error),
            retry_in=job.retry_in(),
            calls=job.calls,
        )
        return free_in_slices(outcome)


def _naming_source(options: Options, source: Source) -> Options:
    """Return options whose ``on_batch`` gets results that name their source."""
    on_batch = options.on_batch
    if on_batch is None:
        return options
    return replace(
        options,
        on_batch=lambda results: on_batch(
            tuple([replace(result, source=source) for result in results])
        ),
    )


def free_in_slices(outcome: AnyOutcome) -> AnyOutcome:
    """Have the results freed in slices once nobody holds the outcome; return the outcome.

    Freeing 100,000 results at once would block the event loop for 8 ms.
    """
    if len(outcome) > FREED_PER_TURN:
        batches = [batch for part in outcome.parts for batch in part.batches]
        weakref.finalize(outcome, _free, asyncio.get_running_loop(), batches).atexit = False
    return outcome


def _free(loop: asyncio.AbstractEventLoop, batches: list[tuple[OrderResult, ...]]) -> None:
    freed = 0
    while batches and freed < FREED_PER_TURN:
        freed += len(batches.pop())
    if batches and not loop.is_closed():
        loop.call_soon_threadsafe(_free, loop, batches)


async def _batches(field: str, ids: Iterable[str | int], size: int) -> list[tuple[str, ...]]:
    """Check ids and cut them into batches, with pauses for the event loop."""
    batches = []
    for batch in arguments.batches(ids, field, size):
        if batch:
            batches.append(batch)
        else:
            await asyncio.sleep(0)
    return batches
