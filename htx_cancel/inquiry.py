"""Query the states of the orders of one source, in rounds with growing pauses.

Rules:

* A query that fails changes nothing; the next round queries the order again.
* Each round takes a new place in the queue, so that orders that stay open do not delay others.
* v5 looks for an order in one margin mode per query, in cross by default. An order is not found
  only if neither mode has it.
* A list of open orders can lose an order between two pages when orders before it end. So the pages
  are read from the last to the first, and an order counts as gone when two rounds in a row did not
  list it; one round is enough if the list has one page.
* A refusal of the whole account ends the queries, unless a wrong clock explains the refusal.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

from htx_cancel import hooks
from htx_cancel.attempt import CallContext, Sender
from htx_cancel.endpoints import QUERIES, Query
from htx_cancel.limits.permit import Permit, Priority
from htx_cancel.listing import Lister, QueryBatch
from htx_cancel.results import OrderResult, Source
from htx_cancel.retry import RetryPolicy
from htx_cancel.status import Finding, OrderState
from htx_cancel.wire import queries
from htx_cancel.wire.cancels import CLIENT_IDS

#: The message of an order that a query by client order id did not find.
NOT_FOUND_BY_CLIENT_ID = (
    "not found by client order id: HTX finds orders by these ids for 8 hours only, and in"
    " multi-asset mode not after the order ended, so the order may be live"
)

#: The retry policy of a query by ids, because the next round repeats the query.
NO_RETRY = RetryPolicy(max_attempts=1)


#: A function that gets the results that became final.
Notify = Callable[[tuple[OrderResult, ...]], None]


class Inquiry(ABC):
    """The queries for the orders of one source. Fill ``pending``, then call ``run`` once."""

    def __init__(
        self, source: Source, query: Query, sender: Sender, call: CallContext, notify: Notify
    ) -> None:
        self.pending: dict[str, OrderResult] = {}  #: results without a final state, by id
        self._states: dict[str, OrderState | None] = {}  # that were found; ``None``: no such order
        self._source = source
        self._query = query
        self._sender = sender
        self._call = call
        self._notify = notify
        self._lister = Lister(sender, query, source.field, call)

    async def run(self) -> None:
        """Query in rounds until every state is final or the deadline leaves no time."""
        loop, rounds = asyncio.get_running_loop(), 0
        while self.pending:
            self._call.ticket, self._call.began = self._sender.budgets.ticket(), loop.time()
            await self._round()
            pause = self._pause(rounds)
            if not self.pending or loop.time() + pause >= self._call.deadline or self._ended():
                return
            rounds += 1
            await asyncio.sleep(pause)

    @property
    def refused(self) -> Finding | None:
        """The refusal of the account that ended the queries."""
        return self._lister.refused

    def confirmed(self, result: OrderResult) -> OrderResult:
        """Return a result with the state of its order that is known by now."""
        if result.order_id not in self._states:
            return result
        not_found = NOT_FOUND_BY_CLIENT_ID if self._source.field in CLIENT_IDS else ""
        return result.confirmed(self._states[result.order_id], not_found)

    @abstractmethod
    async def _round(self) -> None:
        """Query every pending order once."""

    def _pause(self, rounds: int) -> float:
        """Return twice the last pause, but at most a quarter of the time that is left."""
        first = self._sender.policy.backoff_initial
        left = self._call.deadline - asyncio.get_running_loop().time()
        return max(first, min(first * 2.0 ** min(rounds, 60), left / 4))

    def _learn(self, states: Mapping[str, OrderState | None]) -> None:
        """Store states by id, ``None`` for no such order; notify of results that became final."""
        final = []
        for order_id, state in states.items():
            if order_id in self.pending:
                self._states[order_id] = state
                if state is None or state.final:
                    before = self.pending.pop(order_id)
                    after = self.confirmed(before)
                    if after != before:
                        final.append(after)
        if final:
            self._notify(tuple(final))

    def _ended(self) -> bool:
        return self.refused is not None or hooks.cancelled()


class ById(Inquiry):
    """Queries by ids."""

    async def _round(self) -> None:
        ids = list(self.pending)
        for variant in self._query.variants:
            ids = await self._query_all(ids, variant)

    async def _query_all(self, ids: Iterable[str], variant: Mapping[str, str]) -> list[str]:
        """Query all orders, as many at once as the budgets allow; return the ids not found."""
        left, missing = iter(ids), list[str]()
        async with asyncio.TaskGroup() as group:
            while batch := tuple(islice(left, self._query.batch_size)):
                permit = None if self._ended() else await self._sender.permit(self._call)
                if permit is None:
                    break
                task = group.create_task(self._query_batch(batch, variant, permit, missing))
                task.add_done_callback(partial(_release, permit))  # if the task never started
        return missing

    async def _query_batch(
        self,
        ids: Sequence[str],
        variant: Mapping[str, str],
        permit: Permit,
        missing: list[str],
    ) -> None:
        """Query one batch and store its states; add the ids that were not found to ``missing``."""
        query, field = self._query, self._source.field
        params = {**queries.id_params(query, self._source.contract_code, field, ids), **variant}
        states = await self._lister.ask(QueryBatch(query, field, params), permit)
        found = {key: states.states[key] for key in ids if states.states.get(key) is not None}
        absent = [key for key in ids if key not in states.states] if states.complete else []
        missing.extend(absent)
        if variant == query.variants[-1]:
            found.update(dict.fromkeys(absent))
        self._learn(found)


class ByList(Inquiry):
    """Queries by the list of open orders: an order that is not listed is gone."""

    _absences: Mapping[str, int] = {}  # by id: the last rounds in a row that did not list it

    async def _round(self) -> None:
        listed: dict[str, OrderState | None] = {}
        most_pages = 0
        for variant in self._query.variants:
            pages = await self._lister.read(self._source.contract_code, variant)
            if self._lister.failed is not None:
                return
            most_pages = max(most_pages, len(pages))
            for page in pages:
                listed.update(page.states)
        if "" in listed and self._source.field not in CLIENT_IDS:
            return  # a row without an id may be any order's
        self._absences = {
            order_id: self._absences.get(order_id, 0) + 1
            for order_id in self.pending
            if order_id not in listed
        }
        enough = 1 if most_pages == 1 else 2
        gone = [order_id for order_id, rounds in self._absences.items() if rounds >= enough]
        self._learn({**listed, **dict.fromkeys(gone, OrderState.GONE)})


def inquiry(
    source: Source, sender: Sender, priority: Priority, deadline: float, notify: Notify
) -> Inquiry:
    """Return the inquiry for a source. ``deadline`` is loop time."""
    query = QUERIES[source.endpoint]
    call = sender.call_context((query.budget,), priority, deadline)
    if query.paging:
        return ByList(source, query, sender, call, notify)
    call.policy = NO_RETRY
    return ById(source, query, sender, call, notify)


def _release(permit: Permit, _task: "asyncio.Task[None]") -> None:
    permit.unsent()
