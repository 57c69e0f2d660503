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
* Every permit taken is given back, whatever a transport raises.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

from msgspec import Struct

from htx_cancel import hooks
from htx_cancel.attempt import SKEW, Unsigned
from htx_cancel.endpoints import QUERIES, Query
from htx_cancel.errors import TooLateError, TransportError
from htx_cancel.job import Context
from htx_cancel.limits.permit import Permit, Priority
from htx_cancel.outcome import Finding, OrderResult, OrderState, Source
from htx_cancel.wire import queries
from htx_cancel.wire.queries import OrderStates

#: The message of an order that was asked for by client order id and not found.
BY_CLIENT_ID = (
    "not found by client order id, which HTX looks up for 8 hours only, in multi-asset mode not"
    " after the order ended: the order may be live"
)

_NOTHING = OrderStates({})


class Asker(Struct, frozen=True):
    """For whom the questions are asked, and on what terms."""

    context: Context
    priority: Priority
    deadline: float  #: loop time
    tell: Callable[[tuple[OrderResult, ...]], None]  #: what became final


class Inquiry(ABC):
    """The questions about the orders of one source. ``run`` it once, in a task of its own."""

    def __init__(self, source: Source, query: Query, asker: Asker) -> None:
        self.pending: dict[str, OrderResult] = {}  #: what is not final
        self.refused: Finding | None = None  #: the refusal of the account that ended it
        self._known: dict[str, OrderState | None] = {}
        self._source = source
        self._query = query
        self._asker = asker
        self._ticket = 0
        self._failed = False

    async def run(self) -> None:
        """Ask until every state is final, or the time is over."""
        loop, rounds = asyncio.get_running_loop(), 0
        while self.pending:
            self._ticket = self._asker.context.limiter.ticket()
            await self._round()
            pause = self._pause(rounds)
            if not self.pending or loop.time() + pause >= self._asker.deadline or self._ended():
                return
            rounds += 1
            await asyncio.sleep(pause)

    def confirmed(self, result: OrderResult) -> OrderResult:
        """Return a result with what was learned of its order by now."""
        if result.order_id not in self._known:
            return result
        not_found = BY_CLIENT_ID if self._source.field == "client_order_id" else ""
        return result.confirmed(self._known[result.order_id], not_found)

    @abstractmethod
    async def _round(self) -> None:
        """Ask once about every order that is pending."""

    def _pause(self, rounds: int) -> float:
        """Return twice the last pause, but no more than a quarter of the time that is left."""
        first = self._asker.context.policy.backoff_initial
        left = self._asker.deadline - asyncio.get_running_loop().time()
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
            self._asker.tell(tuple(final))

    async def _permit(self) -> Permit | None:
        """Take the budget's next token; ``None`` if that cannot be in time."""
        if self._ended():
            return None
        try:
            async with asyncio.timeout_at(self._asker.deadline):
                await self._asker.context.sender.reconnect.wait(self._asker.priority)
            return await self._asker.context.limiter.acquire(
                (self._query.budget,),
                priority=self._asker.priority,
                ticket=self._ticket,
                deadline=self._asker.deadline,
            )
        except (TooLateError, TimeoutError):
            return None

    async def _send(self, unsigned: Unsigned, permit: Permit) -> OrderStates:
        """Send one query; whatever fails says nothing."""
        try:
            return await self._read(unsigned, permit)
        except TransportError:
            return _NOTHING
        except asyncio.CancelledError as error:
            if _cancelled():
                raise
            self._blame(error)
        except Exception as error:  # noqa: BLE001 - a foreign transport may raise anything
            self._blame(error)
        finally:
            permit.unsent()  # if nobody has said what became of it
        return _NOTHING

    async def _read(self, unsigned: Unsigned, permit: Permit) -> OrderStates:
        sender = self._asker.context.sender
        reply, stamp = await sender.send(unsigned, permit, self._asker.deadline)
        states = queries.read(reply.status, reply.body, self._query, self._source.field)
        if states.rate_limited:
            permit.refused()
        refused = states.refused
        if states.clock is not None and (refused is None or abs(states.clock - stamp) > SKEW):
            sender.resync(states.clock)
        else:
            self.refused = self.refused or refused
        return states

    def _ended(self) -> bool:
        """Say whether nothing more is to be asked."""
        return self.refused is not None or _cancelled()

    def _blame(self, error: BaseException) -> None:
        """Report what a transport raised; once, since every round may meet it."""
        if not self._failed:
            self._failed = True
            hooks.report("the transport raised", error)


class ById(Inquiry):
    """Asks for orders by their ids."""

    async def _round(self) -> None:
        ids = list(self.pending)
        modes = [{}, *({"margin_mode": mode} for mode in self._query.modes)]
        *others, last = modes
        for mode in others:
            ids = await self._ask_all(ids, mode)
        await self._ask_all(ids, last, last=True)

    async def _ask_all(
        self, ids: Iterable[str], mode: dict[str, str], *, last: bool = False
    ) -> list[str]:
        """Ask for every order, as many at once as the budgets allow; return who is not found."""
        left, missing = iter(ids), list[str]()
        async with asyncio.TaskGroup() as group:
            while batch := tuple(islice(left, self._query.batch_size)):
                permit = await self._permit()
                if permit is None:
                    break
                task = group.create_task(self._ask(batch, mode, permit, None if last else missing))
                task.add_done_callback(partial(_give_back, permit))  # if it was never begun
        return missing

    async def _ask(
        self,
        ids: Sequence[str],
        mode: dict[str, str],
        permit: Permit,
        missing: list[str] | None,
    ) -> None:
        """Ask for some orders; add to ``missing`` who is not found, or learn that, too."""
        query = self._query
        params = queries.ask(self._source.contract_code, self._source.field, ids) | mode
        if query.method == "GET":
            unsigned = Unsigned("GET", query.path, params=params)
        else:
            unsigned = Unsigned("POST", query.path, queries.encode(params))
        states = await self._send(unsigned, permit)
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
        first = await self._page(1)
        if first is None:
            return
        listed = dict(first.of)
        for number in range(first.pages, 1, -1):
            page = await self._page(number)
            if page is None:
                return
            listed.update(page.of)
        enough = 1 if first.pages == 1 else 2
        states: dict[str, OrderState | None] = {}
        for key in self.pending:
            self._absences[key] = 0 if key in listed else self._absences.get(key, 0) + 1
            if key in listed:
                states[key] = listed[key]
            elif self._absences[key] >= enough:
                states[key] = OrderState.GONE
        self._learn(states)

    async def _page(self, number: int) -> OrderStates | None:
        """Read one page, with as many attempts as a batch has."""
        policy, loop = self._asker.context.policy, asyncio.get_running_loop()
        body = queries.ask_page(self._query, self._source.contract_code, number)
        for attempt in range(1, policy.max_attempts + 1):
            permit = await self._permit()
            if permit is None:
                return None
            states = await self._send(Unsigned("POST", self._query.path, body), permit)
            if states.complete:
                return states
            left = self._asker.deadline - loop.time()
            await asyncio.sleep(max(0.0, min(policy.backoff(attempt, 1.0), left)))
        return None


def inquiry(source: Source, asker: Asker) -> Inquiry:
    """Return the questions that fit a source."""
    query = QUERIES[source.endpoint]
    return (ByList if query.paged else ById)(source, query, asker)


def _cancelled() -> bool:
    """Say whether this task was told to end; a transport may raise ``CancelledError`` by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _give_back(permit: Permit, _task: asyncio.Task[None]) -> None:
    permit.unsent()
