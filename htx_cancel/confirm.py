"""Ask the exchange what became of orders, until all is final or the time is over.

Rules:

* Only results that a query can settle are asked about: accepted, unknown, canceling.
* A query that fails says nothing; the next round asks again.
* Each round takes a new turn: an order that stays open does not keep others from being asked about.
* A list of open orders can lose one between two pages when orders before it go. So it is read from
  the last page to the first, and an order counts as gone when two rounds in a row did not list it
  (one round is enough where the list has one page).
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice

from htx_cancel import orders
from htx_cancel.call import SLICE, Road
from htx_cancel.endpoints import QUERIES
from htx_cancel.errors import TooLateError
from htx_cancel.orders import States
from htx_cancel.outcome import OrderResult, OrderState, Outcome, Tally
from htx_cancel.permit import Permit, Priority
from htx_cancel.sender import Errand


class Confirmation:
    """One ``confirm`` under way."""

    def __init__(
        self, outcome: Outcome, road: Road, *, priority: Priority, deadline: float
    ) -> None:
        self._outcome = outcome
        self._source = outcome.parts[0].source
        self._query = QUERIES[self._source.endpoint]
        self._road = road
        self._priority = priority
        self._deadline = deadline
        self._turn = road.limiter.turn()
        self._loop = asyncio.get_running_loop()
        #: What is known by now; ``None`` for an order that the exchange does not have.
        self._known: dict[str, OrderState | None] = {}
        self._pending: dict[str, int] = {}  # id, and in how many rounds it was not listed
        self._stopped = False

    def stop(self) -> None:
        """Ask no more, and return what is known."""
        self._stopped = True

    async def run(self) -> Outcome:
        """Ask in rounds with growing pauses; return the outcome with what was told."""
        await self._collect()
        rounds = 0
        while self._pending and not self._stopped:
            self._turn = self._road.limiter.turn()
            await (self._sweep() if self._query.paged else self._ask_by_ids())
            pause = self._pause(rounds)
            if not self._pending or self._loop.time() + pause >= self._deadline:
                break
            rounds += 1
            await asyncio.sleep(pause)
        return await self._rebuild()

    def _pause(self, rounds: int) -> float:
        """Return twice the last pause, but no more than a quarter of the time that is left."""
        first = self._road.policy.first_pause
        left = self._deadline - self._loop.time()
        return max(first, min(first * 2.0 ** min(rounds, 60), left / 4))

    async def _collect(self) -> None:
        for number, batch in enumerate(self._outcome.parts[0].batches, 1):
            self._pending.update((it.order_id, 0) for it in batch if it.unsettled)
            if number % SLICE == 0:
                await asyncio.sleep(0)

    async def _ask_by_ids(self) -> None:
        """Ask once for every pending order, as many at once as the budgets allow."""
        pending = iter(list(self._pending))
        async with asyncio.TaskGroup() as group:
            while ids := tuple(islice(pending, self._query.batch_size)):
                permit = await self._permit()
                if permit is None:
                    return
                group.create_task(self._ask(ids, permit))

    async def _ask(self, ids: Sequence[str], permit: Permit) -> None:
        query, source = self._query, self._source
        params = orders.ask(source.contract_code, source.field, ids)
        if query.method == "GET":
            errand = Errand("GET", query.path, params=params)
        else:
            errand = Errand("POST", query.path, orders.encode(params))
        states = await self._send(errand, permit)
        for key in ids:
            if key in states.of:
                self._learn(key, states.of[key])
            elif states.complete:
                self._learn(key, None, missing=True)

    def _learn(self, key: str, state: OrderState | None, *, missing: bool = False) -> None:
        if state is not None or missing:
            self._known[key] = state
        if missing or (state is not None and state.final):
            self._pending.pop(key, None)

    async def _sweep(self) -> None:
        """Read all open orders of the contract, once, and learn from who is not among them."""
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
        for key, absences in list(self._pending.items()):
            if key in listed:
                self._pending[key] = 0
                self._learn(key, listed[key])
            elif absences + 1 >= enough:
                self._learn(key, OrderState.GONE)
            else:
                self._pending[key] = absences + 1

    async def _page(self, number: int) -> States | None:
        """Read one page, with as many tries as a batch has."""
        body = orders.ask_page(self._query, self._source.contract_code, number)
        for tries in range(1, self._road.policy.attempts + 1):
            permit = await self._permit()
            if permit is None:
                return None
            states = await self._send(Errand("POST", self._query.path, body), permit)
            if states.complete:
                return states
            left = self._deadline - self._loop.time()
            await asyncio.sleep(max(0.0, min(self._road.policy.pause(tries, 1.0), left)))
        return None

    async def _permit(self) -> Permit | None:
        if self._stopped:
            return None
        try:
            return await self._road.limiter.acquire(
                (self._query.pool,),
                priority=self._priority,
                turn=self._turn,
                deadline=self._deadline,
            )
        except TooLateError:
            return None

    async def _send(self, errand: Errand, permit: Permit) -> States:
        try:
            reply = await self._road.sender.send(errand, permit, self._deadline)
        except Exception:  # noqa: BLE001 - a foreign transport may raise anything
            return States({})
        states = orders.read(reply.status, reply.body, self._query, self._source.field)
        if states.rate_limited:
            permit.refused()
        if states.clock is not None:
            self._road.sender.resync(states.clock)
        return states

    async def _rebuild(self) -> Outcome:
        """Return the outcome with what was told, in slices."""
        batches = self._outcome.parts[0].batches
        tally = Tally(len(batches))
        for number, batch in enumerate(batches):
            tally.put(number, tuple(self._told(batch)))
            if number % SLICE == 0:
                await asyncio.sleep(0)
        return self._outcome.with_parts([tally.part(self._source)], tally.counts)

    def _told(self, batch: Iterable[OrderResult]) -> Iterable[OrderResult]:
        for result in batch:
            if result.order_id in self._known:
                yield result.confirmed(self._known[result.order_id])
            else:
                yield result
