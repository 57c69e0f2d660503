"""Read lists of open orders: all pages, all variants, and each contract if the list requires one.

Rules:

* A listing names every list that it could not read to its end, and is complete if there is none.
* A list by pages is read from the last page to the first, because orders that end meanwhile move
  the others to earlier pages. New orders move them to later pages: if the first page, which is read
  again at the end, has an order that no other page had, the list is read again. After
  ``MOST_READINGS`` readings it counts as not read to its end.
* A list that continues after an id is read in the order of the ids. If a page comes a second time,
  the list was not read to its end, and neither was a list with fewer orders than its own count.
* If the exchange has no list of all contracts, or refuses a list because it names no contract, each
  contract is listed separately.
"""

import asyncio
from collections.abc import Mapping, Sequence

from htx_cancel.attempt import CallContext, Sender
from htx_cancel.batch import Batch
from htx_cancel.endpoints import CATALOGUES, LISTS, Query
from htx_cancel.errors import InvalidValueError
from htx_cancel.limits.permit import Permit, Priority
from htx_cancel.orders import OpenOrder, OpenOrders
from htx_cancel.retry import RETRY, RetryAction
from htx_cancel.status import Finding
from htx_cancel.wire import queries
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import AttemptResult
from htx_cancel.wire.queries import OrderStates

#: The codes with which the exchange refuses a list that names no contract.
NEEDS_CONTRACT = frozenset({1013, 1014, 1066})

MOST_READINGS = 3  #: of a list that changes while its pages are read

#: The finding of a query that was never sent.
_NOT_SENT = Finding(Meaning.NOT_SENT, None, "the query could not be sent in time")

_CHANGED = Finding(Meaning.UNREADABLE, None, "orders were added while the pages were read")
_STUCK = Finding(Meaning.UNREADABLE, None, "the list returned the same page twice")
_TOO_FEW = Finding(Meaning.UNREADABLE, None, "the list has fewer orders than its own count")


class QueryBatch(Batch):
    """One query, and the states that its reply has."""

    def __init__(self, query: Query, field: str, parameters: Mapping[str, str | int]) -> None:
        super().__init__(query.path)
        self.method = query.method
        self.states = OrderStates(_NOT_SENT)
        self._query = query
        self._field = field
        self._parameters = parameters

    @property
    def params(self) -> Mapping[str, str]:
        """The parameters of the URL; none if the query is a POST."""
        if self.method == "POST":
            return {}
        return {name: str(value) for name, value in self._parameters.items()}

    def body(self) -> bytes:
        """Return the body; empty if the query is a GET."""
        return queries.encode(self._parameters) if self.method == "POST" else b""

    def read(self, status: int, body: bytes) -> AttemptResult:
        """Decode a reply."""
        return queries.decode(status, body, self._query, self._field)

    def record(self, answer: AttemptResult) -> RetryAction:
        """Store the states of an attempt; return what to do next."""
        self.states = answer if isinstance(answer, OrderStates) else OrderStates(answer.whole)
        return self._next_action({RETRY[answer.whole.meaning]}, answer)


class Lister:
    """Reads the pages of one list, and sends single queries of the same row."""

    def __init__(self, sender: Sender, query: Query, field: str, call: CallContext) -> None:
        self.refused: Finding | None = None  #: the refusal of the account, if a query met one
        self.failed: Finding | None = None  #: why the last ``read`` is not complete
        self._sender = sender
        self._query = query
        self._field = field
        self._call = call

    async def read(self, contract_code: str, variant: Mapping[str, str]) -> list[OrderStates]:
        """Return the pages in the order of reading, up to one that fails and sets ``failed``."""
        self.failed = None
        pages: list[OrderStates] = []
        next_pages = ["1" if self._query.paging == "by_page" else ""]
        while next_pages:
            page = await self._page(contract_code, variant, next_pages.pop())
            if page.next_after and any(page.next_after == earlier.next_after for earlier in pages):
                self.failed = _STUCK
            if self.failed is not None:
                break
            pages.append(page)
            if page.next_after:
                next_pages = [page.next_after]
            elif len(pages) == 1 < page.pages:  # popped from the end: the last page comes next
                next_pages = [str(number) for number in range(1, page.pages + 1)]
        return pages

    async def _page(self, contract_code: str, variant: Mapping[str, str], page: str) -> OrderStates:
        parameters = {**queries.page_params(self._query, contract_code, page), **variant}
        batch = QueryBatch(self._query, self._field, parameters)
        permit = await self._sender.permit(self._call)
        if permit is not None:
            await self.ask(batch, permit)
        if not batch.states.complete:
            self.failed = batch.states.whole
        return batch.states

    async def ask(self, batch: QueryBatch, permit: Permit) -> OrderStates:
        """Send one query, with the attempts of its policy; return the states of its reply."""
        await self._sender.run(batch, permit, self._call)
        self.refused = self.refused or batch.refused
        return batch.states


class Listing:
    """Lists the open orders of one kind of a product. Call ``run`` once."""

    def __init__(
        self, sender: Sender, product: str, kind: str, *, priority: Priority, deadline: float
    ) -> None:
        self._sender = sender
        self._product = product
        self._kind = kind
        self._query = LISTS[f"{product}.open_{kind}"]
        self._priority = priority
        self._deadline = deadline
        self._orders: dict[str, OpenOrder] = {}
        self._missing: list[str] = []
        self._refused: list[bool] = []  # by list that was read: whether the account was refused
        self._walked = False

    async def run(self, contract_code: str | None) -> OpenOrders:
        """List the orders of a contract; ``None`` stands for the whole account."""
        if contract_code is not None:
            await self._read(contract_code)
        elif not self._query.all_contracts or not await self._read(""):
            await self._walk()
        return self.result()

    def result(self, why_ended: str = "") -> OpenOrders:
        """Return the orders that are known by now; ``why_ended`` makes the list incomplete."""
        if why_ended:
            self._miss("", why_ended)
        return OpenOrders(
            list(self._orders.values()),
            missing=tuple(self._missing),
            refused=bool(self._refused) and all(self._refused),
            walked=self._walked,
        )

    async def _read(self, contract_code: str) -> bool:
        """Read all variants of the list; return ``False`` if the list requires a contract."""
        budgets = (self._query.budget,)
        call = self._sender.call_context(budgets, self._priority, self._deadline)
        variants = self._query.variants
        readings = (self._read_variant(contract_code, variant, call) for variant in variants)
        return all(await asyncio.gather(*readings))

    async def _read_variant(
        self, contract_code: str, variant: Mapping[str, str], call: CallContext
    ) -> bool:
        lister = Lister(self._sender, self._query, "order_id", call)
        for _ in range(MOST_READINGS):
            pages = await lister.read(contract_code, variant)
            for page in pages:
                self._add(contract_code, variant, page)
            failed = lister.failed or _incomplete(pages)
            if failed is not _CHANGED:
                break
        if failed is not None:
            if not contract_code and failed.code in NEEDS_CONTRACT:
                return False
            code = "" if failed.code is None else f"{failed.code} "
            self._miss(" ".join([contract_code, *variant.values()]), f"{code}{failed.message}")
        self._refused.append(lister.refused is not None)
        return True

    def _add(self, contract_code: str, variant: Mapping[str, str], page: OrderStates) -> None:
        """Add the orders of a page; an algo order without a known type gets the type asked for."""
        only = queries.contract_of_coin(self._query, contract_code)
        types = [each.get("type") for each in self._query.variants]
        for row in page.rows:
            typed = row if row.get("type") in types else {**row, **variant}
            order = queries.open_order(self._product, self._kind, typed)
            if not _is_valid(order):
                self._miss(contract_code, "an order was listed without a valid contract or id")
            elif only not in ("", order.contract_code.upper()):
                continue
            elif self._orders.setdefault(order.order_id, order).type != order.type:
                self._miss(contract_code, "an order was listed under two types")

    def _miss(self, part: str, why: str) -> None:
        self._missing.append(f"{part.strip() or 'the list'}: {why}".strip())

    async def _walk(self) -> None:
        """List each contract of the product separately."""
        self._walked = True
        codes = await contracts(self._sender, self._deadline, self._product)
        if codes is None:
            self._miss("", "the contracts could not be listed")
            return
        async with asyncio.TaskGroup() as group:
            for contract_code in codes:
                group.create_task(self._read(contract_code))


def _is_valid(order: OpenOrder) -> bool:
    """Return whether the order's contract and id can be sent in a cancel."""
    try:
        return bool(order.ref)
    except InvalidValueError:
        return False


def _incomplete(pages: Sequence[OrderStates]) -> Finding | None:
    """Return why pages are not the whole list; of several pages, the last is the first again."""
    *before, last = pages
    if last.pages > 1 and not queries.ids([last]) <= queries.ids(before):
        return _CHANGED
    return _TOO_FEW if len(queries.ids(pages)) < last.min_orders else None


async def contracts(sender: Sender, deadline: float, product: str) -> list[str] | None:
    """List the contracts of a product, or its coins if lists take coins; ``None`` if unknown."""
    if product not in CATALOGUES:
        return None
    catalogue = CATALOGUES[product]
    body = await sender.prober.get(catalogue.path, deadline)
    return None if body is None else queries.contracts(body, catalogue.field)
