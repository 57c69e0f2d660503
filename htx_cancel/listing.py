"""Read lists of open orders: every page, every variant, and every contract where one is required.

Rules:

* Complete or honest: a page that could not be read makes the listing say so.
* A list by pages is read from the last page to the first, since orders that end meanwhile move the
  others to earlier pages. New orders move them to later ones: where the first page, which is read
  again at the end, shows an order that no other page did, the list is read again, and after
  ``MOST_READINGS`` it says so.
* A list that goes on after an id is read in the order of the ids. One that does not go on, since
  the next page is not another one, could not be read.
* A list that names fewer orders than it counts was not read to its end.
* Where the exchange has no list of all contracts, or refuses it for want of one, the contracts are
  asked one by one.
"""

import asyncio
from collections.abc import Mapping, Sequence

from htx_cancel.attempt import CallContext, Sender
from htx_cancel.batch import Batch
from htx_cancel.endpoints import CATALOGUES, LISTS, Query
from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.limits.permit import Permit, Priority
from htx_cancel.orders import OpenOrder, OpenOrders
from htx_cancel.retry import RETRY, RetryAction
from htx_cancel.status import Finding
from htx_cancel.wire import queries
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import AttemptResult
from htx_cancel.wire.queries import OrderStates

#: How the exchange refuses a list that names no contract.
NEEDS_CONTRACT = frozenset({1013, 1014, 1066})

MOST_READINGS = 3  #: of a list that changes while its pages are read

#: What is said of a list for which there was no time, or no way to the exchange.
NOT_ASKED = Finding(Meaning.NOT_SENT, None, "it could not be asked in time")

_CHANGED = Finding(Meaning.UNREADABLE, None, "orders came while its pages were read")
_STUCK = Finding(Meaning.UNREADABLE, None, "it does not go on after its first pages")
_TOO_FEW = Finding(Meaning.UNREADABLE, None, "it lists fewer orders than it counts")
_NO_TYPE = Finding(Meaning.UNREADABLE, None, "an order is listed as of two types")
_NO_NAMES = Finding(Meaning.UNREADABLE, None, "an order without a contract, or an id")


class QueryBatch(Batch):
    """One query, and what its reply told."""

    def __init__(self, query: Query, field: str, given: Mapping[str, str | int]) -> None:
        super().__init__(query.path)
        self.method = query.method
        self.states = OrderStates(NOT_ASKED)
        self._query = query
        self._field = field
        self._given = given

    @property
    def params(self) -> Mapping[str, str]:
        """What is asked, where it is a GET."""
        return {name: str(it) for name, it in self._given.items()} if self.method == "GET" else {}

    def body(self) -> bytes:
        """Return what is asked, where it is a POST."""
        return queries.encode(self._given) if self.method == "POST" else b""

    def read(self, status: int, body: bytes) -> AttemptResult:
        """Read a reply."""
        return queries.decode(status, body, self._query, self._field)

    def take(self, answer: AttemptResult) -> RetryAction:
        """Take what an attempt told."""
        self.states = answer if isinstance(answer, OrderStates) else OrderStates(answer.whole)
        return self._one_of({RETRY[answer.whole.meaning]} - {RetryAction.STOP}, answer)


class Lister:
    """Reads one list, and makes single queries of its kind."""

    def __init__(self, sender: Sender, query: Query, field: str, call: CallContext) -> None:
        self.refused: Finding | None = None  #: the refusal of the account that ended it
        self.failed: Finding | None = None  #: why a page could not be read
        self._sender = sender
        self._query = query
        self._field = field
        self._call = call

    async def read(self, contract_code: str, variant: Mapping[str, str]) -> list[OrderStates]:
        """Read every page; ``failed`` says why one of them could not be read."""
        self.failed = None
        pages: list[OrderStates] = []
        left = iter(["1" if self._query.listed == "by_page" else ""])
        while (which := next(left, None)) is not None:
            page = await self._page(contract_code, variant, which)
            if page.last and any(page.last == each.last for each in pages):
                self.failed = _STUCK
            if self.failed is not None:
                break
            pages.append(page)
            if page.last:
                left = iter([page.last])
            elif len(pages) == 1 < page.pages:  # the last page next, the first one last
                left = map(str, range(page.pages, 0, -1))
        return pages

    async def _page(self, contract_code: str, variant: Mapping[str, str], page: str) -> OrderStates:
        """Read one page, with as many attempts as a batch has."""
        permit = await self.permit()
        if permit is None:
            self.failed = NOT_ASKED
            return OrderStates(self.failed)
        given = {**queries.page_params(self._query, contract_code, page), **variant}
        states = await self.ask(QueryBatch(self._query, self._field, given), permit)
        if not states.complete:
            self.failed = states.whole
        return states

    async def permit(self) -> Permit | None:
        """Take the budget's next token; ``None`` if that cannot be in time."""
        return await self._sender.permit(self._call)

    async def ask(self, batch: QueryBatch, permit: Permit) -> OrderStates:
        """Send one query; one that fails says nothing."""
        await self._sender.run(batch, permit, self._call)
        self.refused = self.refused or batch.refused
        return batch.states


class Listing:
    """The open orders of one kind of a product. ``read`` or ``walk``, and then take ``result``."""

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
        self._refused: list[bool] = []  # whether the account was, of each list that was asked
        self._walked = False

    async def run(self, contract_code: str | None) -> OpenOrders:
        """List those of a contract, or of the whole account."""
        if contract_code is not None:
            await self.read(contract_code)
        elif not self._query.everywhere or not await self.read(""):
            await self.walk()
        return self.result()

    def result(self, why: str = "") -> OpenOrders:
        """Return what was read by now; ``why`` it was ended, if it was."""
        if why:
            self._miss("", Finding(Meaning.NOT_SENT, None, why))
        orders = list(self._orders.values())
        missing = tuple(self._missing)
        refused = bool(self._refused) and all(self._refused)
        return OpenOrders(orders, missing=missing, refused=refused, walked=self._walked)

    async def read(self, contract_code: str) -> bool:
        """Read all variants of the list; ``False`` if it has to be asked for each contract."""
        budgets = (self._query.budget,)
        call = self._sender.call_context(budgets, self._priority, self._deadline)
        found = (self._variant(contract_code, it, call) for it in self._query.variants)
        return all(await asyncio.gather(*found))

    async def _variant(
        self, contract_code: str, variant: Mapping[str, str], call: CallContext
    ) -> bool:
        lister = Lister(self._sender, self._query, "order_id", call)
        for _ in range(MOST_READINGS):
            pages = await lister.read(contract_code, variant)
            for page in pages:
                self._add(contract_code, variant, page)
            failed = lister.failed or _doubt(pages)
            if failed is not _CHANGED:
                break
        if failed is not None:
            if not contract_code and failed.code in NEEDS_CONTRACT:
                return False
            self._miss(" ".join([contract_code, *variant.values()]), failed)
        self._refused.append(lister.refused is not None)
        return True

    def _add(self, contract_code: str, variant: Mapping[str, str], page: OrderStates) -> None:
        """Take the orders of a page; an algo order without a known type is of the one asked for."""
        only = queries.contract_of_coin(self._query, contract_code)
        types = [each.get("type") for each in self._query.variants]
        for row in page.rows:
            typed = row if row.get("type") in types else {**row, **variant}
            order = queries.open_order(self._product, self._kind, typed)
            if not _has_names(order):
                self._miss(contract_code, _NO_NAMES)
            elif only not in ("", order.contract_code.upper()):
                continue
            elif self._orders.setdefault(order.order_id, order).type != order.type:
                self._miss(contract_code, _NO_TYPE)

    def _miss(self, what: str, why: Finding) -> None:
        code = "" if why.code is None else f"{why.code} "
        self._missing.append(f"{what.strip() or 'the list'}: {code}{why.message}".strip())

    async def walk(self) -> None:
        """Ask for every contract by itself."""
        self._walked = True
        found = await contracts(self._sender, self._deadline, self._product)
        if found is None:
            self._miss("", Finding(Meaning.NO_ANSWER, None, "the contracts could not be listed"))
            return
        async with asyncio.TaskGroup() as group:
            for contract_code in found:
                group.create_task(self.read(contract_code))


def _has_names(order: OpenOrder) -> bool:
    """Say whether it can be cancelled by its names."""
    try:
        return bool(order.ref)
    except (InvalidTypeError, InvalidValueError):
        return False


def _doubt(pages: Sequence[OrderStates]) -> Finding | None:
    """Say why pages are not the whole list, whose first page is read first and last."""
    *before, last = pages
    if last.pages > 1 and not queries.ids([last]) <= queries.ids(before):
        return _CHANGED
    return _TOO_FEW if len(queries.ids(pages)) < last.least else None


async def contracts(sender: Sender, deadline: float, product: str) -> list[str] | None:
    """List the contracts of a product, or its coins where its lists take those."""
    catalogue = CATALOGUES.get(product)
    body = None if catalogue is None else await sender.prober.get(catalogue.path, deadline)
    if catalogue is None or body is None:
        return None
    return queries.contracts(body, catalogue.field)
