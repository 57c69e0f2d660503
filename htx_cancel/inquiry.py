"""Ask the exchange about the orders of one source, in rounds with growing pauses.

Rules:

* A query that fails says nothing; the next round asks again.
* Each round takes a new turn: an order that stays open does not keep others from being asked about.
* v5 looks for an order in one margin mode at a time, in cross unless told otherwise: it does not
  exist only if neither mode has it.
* A list of open orders can lose one between two pages when orders before it go. So it is read from
  the last page to the first, and an order counts as gone when two rounds in a row did not list it
  (one round is enough where the list has one page).
* A refusal of the whole account ends the questions, unless a wrong clock explains it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

from msgspec import Struct

from htx_cancel import hooks
from htx_cancel.attempt import Sender
from htx_cancel.endpoints import QUERIES, Query
from htx_cancel.limits.permit import Permit, Priority
from htx_cancel.listing import Lister, QueryBatch
from htx_cancel.results import OrderResult, Source
from htx_cancel.retry import RetryPolicy
from htx_cancel.status import Finding, OrderState
from htx_cancel.wire import queries
from htx_cancel.wire.cancels import CLIENT_IDS

#: The message of an order that was asked for by client order id and not found.
BY_CLIENT_ID = (
    "not found by client order id, which HTX looks up for 8 hours only, in multi-asset mode not"
    " after the order ended: the order may be live"
)

#: Of a query by ids: the next round asks again.
ONCE = RetryPolicy(max_attempts=1)


class Asker(Struct, frozen=True):
    """For whom the questions are asked, and on what call."""

    sender: Sender
    priority: Priority
    deadline: float  #: loop time
    tell: Callable[[tuple[OrderResult, ...]], None]  #: what became final


class Inquiry(ABC):
    """The questions about the orders of one source. ``run`` it once, in a task of its own."""

    def __init__(self, source: Source, query: Query, asker: Asker) -> None:
        self.pending: dict[str, OrderResult] = {}  #: what is not final
        self._known: dict[str, OrderState | None] = {}
        self._source = source
        self._query = query
        self._sender = asker.sender
        self._tell = asker.tell
        self._call = asker.sender.call_context((query.budget,), asker.priority, asker.deadline)
        self._lister = Lister(asker.sender, query, source.field, self._call)

    async def run(self) -> None:
        """Ask until every state is final, or the time is over."""
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
        """The refusal of the account that ended the questions."""
        return self._lister.refused

    def confirmed(self, result: OrderResult) -> OrderResult:
        """Return a result with what was learned of its order by now."""
        if result.order_id not in self._known:
            return result
        not_found = BY_CLIENT_ID if self._source.field in CLIENT_IDS else ""
        return result.confirmed(self._known[result.order_id], not_found)

    @abstractmethod
    async def _round(self) -> None:
        """Ask once about every order that is pending."""

    def _pause(self, rounds: int) -> float:
        """Return twice the last pause, but no more than a quarter of the time that is left."""
        first = self._sender.policy.backoff_initial
        left = self._call.deadline - asyncio.get_running_loop().time()
        return max(first, min(first * 2.0 ** min(rounds, 60), left / 4))

    def _learn(self, states: Mapping[str, OrderState | None]) -> None:
        """Take what was told; ``None`` says that there is no such order."""
        final = []
        for key, state in states.items():
            if key in self.pending:
                self._known[key] = state
                if state is None or state.final:
                    before = self.pending.pop(key)
                    after = self.confirmed(before)
                    if after != before:
                        final.append(after)
        if final:
            self._tell(tuple(final))

    def _ended(self) -> bool:
        """Say whether nothing more is to be asked."""
        return self.refused is not None or hooks.cancelled()


class ById(Inquiry):
    """Asks for orders by their ids."""

    def __init__(self, source: Source, query: Query, asker: Asker) -> None:
        super().__init__(source, query, asker)
        self._call.policy = ONCE

    async def _round(self) -> None:
        ids = list(self.pending)
        *others, last = self._query.variants
        for variant in others:
            ids = await self._ask_all(ids, variant)
        await self._ask_all(ids, last, last=True)

    async def _ask_all(
        self, ids: Iterable[str], variant: Mapping[str, str], *, last: bool = False
    ) -> list[str]:
        """Ask for every order, as many at once as the budgets allow; return who is not found."""
        left, missing = iter(ids), list[str]()
        async with asyncio.TaskGroup() as group:
            while batch := tuple(islice(left, self._query.batch_size)):
                permit = None if self._ended() else await self._lister.permit()
                if permit is None:
                    break
                work = self._ask_some(batch, variant, permit, None if last else missing)
                task = group.create_task(work)
                task.add_done_callback(partial(_give_back, permit))  # if it was never begun
        return missing

    async def _ask_some(
        self,
        ids: Sequence[str],
        variant: Mapping[str, str],
        permit: Permit,
        missing: list[str] | None,
    ) -> None:
        """Ask for some orders; add to ``missing`` who is not found, or learn that, too."""
        query, field = self._query, self._source.field
        params = {**queries.params(query, self._source.contract_code, field, ids), **variant}
        states = await self._lister.ask(QueryBatch(query, field, params), permit)
        found = {key: states.of[key] for key in ids if states.of.get(key) is not None}
        absent = [key for key in ids if key not in states.of] if states.complete else []
        if missing is None:
            found.update(dict.fromkeys(absent))
        else:
            missing.extend(absent)
        self._learn(found)


class ByList(Inquiry):
    """Reads the list of open orders: whoever is not there is gone."""

    def __init__(self, source: Source, query: Query, asker: Asker) -> None:
        super().__init__(source, query, asker)
        self._absences: dict[str, int] = {}  # in how many rounds in a row it was not listed

    async def _round(self) -> None:
        listed: dict[str, OrderState | None] = {}
        pages = 0
        for variant in self._query.variants:
            found = await self._lister.read(self._source.contract_code, variant)
            if self._lister.failed is not None:
                return
            pages = max(pages, len(found))
            for page in found:
                listed.update(page.of)
        if "" in listed and self._source.field not in CLIENT_IDS:
            return  # a row without an id may be any order's
        enough = 1 if pages == 1 else 2
        states: dict[str, OrderState | None] = {}
        for key in self.pending:
            self._absences[key] = 0 if key in listed else self._absences.get(key, 0) + 1
            if key in listed:
                states[key] = listed[key]
            elif self._absences[key] >= enough:
                states[key] = OrderState.GONE
        self._learn(states)


def inquiry(source: Source, asker: Asker) -> Inquiry:
    """Return the questions that fit a source."""
    query = QUERIES[source.endpoint]
    return (ByList if query.listed else ById)(source, query, asker)


def _give_back(permit: Permit, _task: "asyncio.Task[None]") -> None:
    permit.unsent()
