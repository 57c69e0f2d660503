"""Cancel everything that is open, and prove that nothing is.

Rules:

* First the exchange's own cancel-all calls, of all products and kinds at the same time. Then each
  product is listed, what is left is cancelled by its ids, and it is listed again.
* A kind is proved empty by two complete listings without an order, ``APART`` seconds apart, and
  none with one in between; a product that was proved long before the last one is listed once more.
  Plain orders are listed after the others of their product: a trigger order that fires becomes a
  plain one.
* A refusal, such as "no orders to cancel", proves nothing; nor does a list that could not be read.
* What is not proved when the time is over is named, with the reason.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from math import inf
from operator import attrgetter
from typing import Protocol, Unpack

from msgspec import Struct

from htx_cancel import arguments, hooks
from htx_cancel.endpoints import (
    ALGO_TYPES,
    ALL_KINDS,
    ALL_PRODUCTS,
    ENDPOINTS,
    Endpoint,
    has_contract,
    list_of,
)
from htx_cancel.errors import ClientClosedError, InvalidTypeError, InvalidValueError
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import Priority
from htx_cancel.options import CallOptions
from htx_cancel.orders import OpenOrder, OpenOrders, OrderRef
from htx_cancel.outcome import Outcome
from htx_cancel.status import CancelStatus

APART = 0.25  #: seconds from one empty listing to the next: lists lag behind
PATIENCE = 3.0  #: seconds for a cancel beyond its turn: a contract in settlement may take longer
FRESH = 1.0  #: seconds for which a proof holds while other products are not proved
RESEND = 1.0  #: seconds after which an accepted order that is still listed is cancelled again


class Remaining(Struct, frozen=True):
    """An order that may be open, and why.

    Args:
        contract_code: its contract.
        order_id: its id.
        reason: such as a refusal of its cancel, or that it appeared since.
    """

    contract_code: str
    order_id: str
    reason: str


class KindReport(Struct, frozen=True):
    """What became of one kind of orders of one product.

    Args:
        product: such as ``coin_m_swap``.
        kind: such as ``trigger_orders``.
        proved: whether it was listed twice, completely, without an order, after the last cancel.
        accepted: the number of orders whose cancel was accepted, or that were closed by then.
        appeared: the number of orders that were first listed after the first listing.
        remaining: what was listed last, and may be open.
        why: what else keeps it from being proved, such as a list that could not be read.
    """

    product: str
    kind: str
    proved: bool = False
    accepted: int = 0
    appeared: int = 0
    remaining: tuple[Remaining, ...] = ()
    why: str = "it was not listed"


class EverythingReport(Struct, frozen=True):
    """What ``cancel_everything`` did, and what it proved.

    Args:
        proved: whether all that was asked for is proved empty, of every product at about the same
            time: within ``FRESH`` seconds, or the time that one listing of all of them takes. It
            may be false though each kind was proved, at different times.
        kinds: one report for each kind of each product.
        unchecked: the products and kinds that it was not asked to cancel, such as
            ``usdt_m.tpsl_orders``.
        seconds: how long it took.
    """

    proved: bool
    kinds: tuple[KindReport, ...]
    unchecked: tuple[str, ...]
    seconds: float

    @property
    def remaining(self) -> tuple[Remaining, ...]:
        """All that may be open."""
        return tuple(each for kind in self.kinds for each in kind.remaining)


OnProgress = Callable[[EverythingReport], None]


class Client(Protocol):
    """What is needed of the client, beside the methods of its products."""

    budgets: Budgets

    def cancel(
        self, orders: Iterable[OpenOrder | OrderRef], **options: Unpack[CallOptions]
    ) -> Coroutine[object, object, Outcome]:
        """Cancel a mixed list of orders."""


class Kind:
    """One kind of orders of one product, and what is known of it."""

    def __init__(self, product: str, name: str) -> None:
        self.product = product
        self.name = name
        self.listed = OpenOrders((), missing=("it was not listed",))
        self.empty = 0  #: complete listings without an order, since the last one with an order
        self.empty_at = -inf  #: when the last of them was made, in loop time
        self._seen: set[str] | None = None  # ids that were ever listed; ``None`` before the first
        self._appeared = 0
        self._accepted: set[str] = set()
        self._ended: dict[str, float] = {}  # accepted or closed: when, in loop time
        self._reasons: dict[str, str] = {}

    @property
    def row(self) -> Endpoint | None:
        """The call that cancels all of it in a contract, if there is one."""
        return ENDPOINTS.get(f"{self.product}.cancel_all_{self.name}")

    @property
    def method(self) -> str:
        """The client's method that lists it."""
        return f"{self.product}.open_{list_of(self.product, self.name)}"

    def take(self, listed: OpenOrders, now: float) -> None:
        """Take a listing."""
        types = ALGO_TYPES[self.name] if self.method.endswith("algo_orders") else ("",)
        orders = {order.order_id: order for order in listed if order.type in types}
        if self._seen is not None:
            self._appeared += len(orders.keys() - self._seen)
        self._seen = (self._seen or set()) | orders.keys()
        if orders:
            self.empty = 0
        elif listed.complete:
            self.empty, self.empty_at = self.empty + 1, now
        if not listed.complete:  # what was open before may still be
            orders |= {order.order_id: order for order in self.listed}
        self.listed = OpenOrders(
            list(orders.values()), missing=listed.missing, refused=listed.refused
        )

    def told(self, outcome: Outcome, now: float) -> None:
        """Take what became of a cancel."""
        for result in outcome:
            if result.status in (CancelStatus.ACCEPTED, CancelStatus.CLOSED):
                self._ended[result.order_id] = now
            if result.status is CancelStatus.ACCEPTED:
                self._accepted.add(result.order_id)
                self._reasons.pop(result.order_id, None)
            else:
                code = "" if result.code is None else f"{result.code} "
                self._reasons[result.order_id] = f"{result.status}: {code}{result.message}".strip()

    def due(self, now: float) -> list[OpenOrder]:
        """List what is to be cancelled: it was not, or so long ago that it should be gone."""
        return [
            order for order in self.listed if now - self._ended.get(order.order_id, -inf) >= RESEND
        ]

    def report(self) -> KindReport:
        """Say what is known."""
        proved = self.empty >= 2
        why = "; ".join(self.listed.missing) or (
            "orders are listed" if self.listed else "it was listed as empty only once"
        )
        return KindReport(
            self.product,
            self.name,
            proved=proved,
            accepted=len(self._accepted),
            appeared=self._appeared,
            remaining=tuple(map(self._remaining, self.listed)),
            why="" if proved else why,
        )

    def _remaining(self, order: OpenOrder) -> Remaining:
        accepted = "its cancel was accepted, and it is still listed"
        known = accepted if order.order_id in self._accepted else "it was listed just now"
        reason = self._reasons.get(order.order_id, known)
        return Remaining(order.contract_code, order.order_id, reason)


class Everything:
    """One ``cancel_everything`` under way."""

    def __init__(
        self,
        client: Client,
        scope: Mapping[str, Sequence[str]],
        contracts: Mapping[str, Sequence[str]] | None,
        *,
        all_contracts: Callable[[str], Awaitable[list[str] | None]],
        deadline: float,
        on_progress: OnProgress | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._contracts = contracts
        self._all_contracts = all_contracts
        self._began = self._loop.time()
        self._deadline = deadline
        self._on_progress = on_progress
        self._kinds = {
            product: [Kind(product, name) for name in names] for product, names in scope.items()
        }
        self._codes: dict[str, list[str | None]] = {}
        self._looked: set[str] = set()  # products that were listed, or should have been

    async def run(self) -> EverythingReport:
        """Cancel all of it; return what was proved."""
        while self._left() > 0:
            await self._each(self._clean, self._there())
            now = self._loop.time()
            stale = [it for it in self._there() if self._empty_since(it) < now - FRESH]
            await self._each(self._look, stale)
            if all(map(self._proved, self._there())) and all(
                self._empty_since(product) >= now for product in stale
            ):
                return self.report(proved=len(self._there()) == len(self._kinds))
        return self.report()

    async def _each(self, work: Callable[[str], Awaitable[None]], products: Iterable[str]) -> None:
        """Do something for some products at the same time; none can end another."""

        async def guarded(product: str) -> None:
            try:
                await work(product)
            except ClientClosedError:
                self._deadline = -inf
            except Exception as error:  # noqa: BLE001 - ours or not, it must not cost the others
                hooks.report("cancel_everything failed", error)

        await asyncio.gather(*map(guarded, products))

    def _there(self) -> list[str]:
        """Name the products that this account may use."""
        return [
            product
            for product, kinds in self._kinds.items()
            if not all(kind.listed.refused for kind in kinds)
        ]

    def _empty_since(self, product: str) -> float:
        """Say when the kind of a product was listed as empty whose last such listing is oldest."""
        return min(kind.empty_at for kind in self._kinds[product])

    def _proved(self, product: str) -> bool:
        return all(kind.empty >= 2 for kind in self._kinds[product])

    def report(self, *, proved: bool = False) -> EverythingReport:
        """Say what is known by now."""
        kinds = tuple(kind.report() for kinds in self._kinds.values() for kind in kinds)
        checked = {(kind.product, kind.kind) for kind in kinds}
        unchecked = tuple(
            f"{product}.{name}"
            for product in ALL_PRODUCTS
            for name in ALL_KINDS
            if (product, name) not in checked
        )
        return EverythingReport(proved, kinds, unchecked, self._loop.time() - self._began)

    async def _cancel_product(self, product: str) -> None:
        """Send the cancel-all calls of a product."""
        self._codes[product] = codes = await self._find_codes(product)
        await asyncio.gather(*(self._cancel_all(kind, codes) for kind in self._kinds[product]))

    async def _clean(self, product: str) -> None:
        """Cancel and list until a product is proved empty, or the time is over."""
        if product not in self._codes:
            await self._cancel_product(product)
        while self._left() > 0 and product in self._there() and not self._proved(product):
            if product in self._looked:
                await asyncio.sleep(min(APART, self._left()))
            await self._look(product)

    def _left(self) -> float:
        return self._deadline - self._loop.time()

    def _within(self, seconds: float) -> float:
        """Return a timeout of so many seconds, or of the time that is left; it may be over."""
        return max(min(seconds, self._left()), 0.001)

    async def _find_codes(self, product: str) -> list[str | None]:
        """List the contracts to cancel; ``None`` is for all of them in one call."""
        if self._contracts is not None:
            return list(self._contracts.get(product, ()))
        if product == "usdt_m":
            return [None]
        return list(await self._all_contracts(product) or ())

    async def _cancel_all(self, kind: Kind, codes: Sequence[str | None]) -> None:
        """Send the cancel-all calls of a kind, where there are such calls."""
        row = kind.row
        if row is None or self._left() <= 0:
            return
        calls = []
        for number, code in enumerate(codes, 1):
            whole = f"{kind.product}.cancel_all_account_{kind.name}"
            method = attrgetter(row.name if code is not None else whole)(self._client)
            wait = self._client.budgets.wait(row.budgets(), count=number, priority=Priority.URGENT)
            given = [] if code is None else [code]
            timeout = self._within(wait + PATIENCE)
            calls.append(method(*given, timeout=timeout, priority=Priority.URGENT))
        for outcome in await asyncio.gather(*calls):
            kind.told(outcome, self._loop.time())

    async def _look(self, product: str) -> None:
        """List all kinds of a product, the plain orders last, and cancel what is there."""
        self._looked.add(product)
        kinds, codes = self._kinds[product], self._codes.get(product, ())
        plain = [kind for kind in kinds if kind.name == "orders"]
        others = [kind for kind in kinds if kind.name != "orders"]
        methods = dict.fromkeys(kind.method for kind in others)
        await asyncio.gather(*(self._list(method, others, codes) for method in methods))
        for kind in plain:
            await self._list(kind.method, plain, codes)
        if self._left() > 0:
            await self._cancel(product)
        if self._on_progress is not None:
            hooks.call("on_progress", self._on_progress, self.report())

    async def _list(self, method: str, kinds: Iterable[Kind], codes: Sequence[str | None]) -> None:
        """Read a list, of all contracts or of those named, for the kinds that are in it."""
        orders: list[OpenOrder] = []
        missing: list[str] = []
        refused = True
        for code in [None] if self._contracts is None else codes:
            read = attrgetter(method)(self._client)
            timeout = self._within(inf)
            listed: OpenOrders = await read(code, timeout=timeout, priority=Priority.URGENT)
            orders += listed
            missing += listed.missing
            refused = refused and listed.refused
        whole = OpenOrders(orders, missing=tuple(missing), refused=refused)
        for kind in kinds:
            if kind.method == method:
                kind.take(whole, self._loop.time())

    async def _cancel(self, product: str) -> None:
        """Cancel by ids; a kind has the time that all take which share its budget."""
        now = self._loop.time()
        due = {kind: orders for kind in self._kinds[product] if (orders := kind.due(now))}
        requests: Counter[tuple[str, ...]] = Counter()
        for orders in due.values():
            row = _row_of(orders)
            of_contracts = Counter(order.contract_code for order in orders).values()
            requests[row.budgets()] += sum(-(-count // row.batch_size) for count in of_contracts)
        calls = []
        for kind, orders in due.items():
            names = _row_of(orders).budgets()
            wait = self._client.budgets.wait(names, count=requests[names], priority=Priority.URGENT)
            calls.append(self._cancel_kind(kind, orders, wait + PATIENCE))
        await asyncio.gather(*calls)

    async def _cancel_kind(self, kind: Kind, orders: Sequence[OpenOrder], seconds: float) -> None:
        timeout = self._within(seconds)
        outcome = await self._client.cancel(orders, timeout=timeout, priority=Priority.URGENT)
        kind.told(outcome, self._loop.time())


def _row_of(orders: Sequence[OpenOrder]) -> Endpoint:
    """Return the call that cancels orders of one kind."""
    return ENDPOINTS[orders[0].ref.method]


def scope(products: Iterable[str], kinds: Iterable[str]) -> dict[str, list[str]]:
    """Check which kinds of which products are to be cancelled."""
    found = {}
    names = arguments.some("kinds", kinds, ALL_KINDS)
    for product in arguments.some("products", products, ALL_PRODUCTS):
        found[product] = names
    return found


def by_product(contracts: Iterable[str], products: Iterable[str]) -> dict[str, list[str]]:
    """Sort contracts by the product that has them, by their form."""
    if isinstance(contracts, str) or not isinstance(contracts, Iterable):
        raise InvalidTypeError(f"contracts must be several contract codes, got {contracts!r}")
    found: dict[str, list[str]] = {product: [] for product in products}
    for code in dict.fromkeys(map(arguments.contract_code, contracts)):
        fitting = [product for product in found if has_contract(product, code)]
        if not fitting:
            raise InvalidValueError(f"contracts must be of {', '.join(found)}, got {code!r}")
        for product in fitting:
            found[product].append(code)
    if not any(found.values()):
        raise InvalidValueError("contracts must be one or more contract codes, got none")
    return {product: codes for product, codes in found.items() if codes}
