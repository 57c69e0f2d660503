"""``cancel_everything``: cancel all open orders, and prove that none is open.

Rules:

* First send the exchange's own cancel-all calls, for all products and kinds at the same time. Then
  list each product, cancel the listed orders by their ids, and list it again.
* A kind is proved empty by two complete listings without an order, ``APART`` seconds apart, with no
  listing of an order between them. A product whose proof is older than ``FRESH`` seconds when the
  last product is proved is listed once more.
* The plain orders of a product are listed after its other kinds, because a trigger order that fires
  becomes a plain order.
* A refusal, such as "no orders to cancel", proves nothing. Nor does a list that could not be read.
* The report names everything that is not proved when the timeout ends, with the reason.
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
    has_contract,
    list_kind,
)
from htx_cancel.errors import ClientClosedError, InvalidTypeError, InvalidValueError
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import Priority
from htx_cancel.options import CallOptions
from htx_cancel.orders import OpenOrder, OpenOrders, OrderRef
from htx_cancel.outcome import Outcome
from htx_cancel.status import CancelStatus

APART = 0.25  #: seconds between two listings of a product, because lists lag behind
PATIENCE = 3.0  #: seconds for a cancel after its wait for a token; a settlement may take longer
FRESH = 1.0  #: seconds for which a proof holds while other products are not proved
RESEND = 1.0  #: seconds after which an accepted order that is still listed is cancelled again


class Remaining(Struct, frozen=True):
    """An order that may be open, and why.

    Args:
        contract_code: the order's contract.
        order_id: the exchange's id.
        reason: for example the refusal of its cancel, or that the last listing showed it.
    """

    contract_code: str
    order_id: str
    reason: str


class KindReport(Struct, frozen=True):
    """The result of ``cancel_everything`` for one kind of orders of one product.

    Args:
        product: for example ``coin_m_swap``.
        kind: for example ``trigger_orders``.
        proved: whether two complete listings after the last cancel showed no order.
        accepted: the number of orders whose cancel was accepted.
        appeared: the number of orders that were first listed after the first listing.
        remaining: the orders of the last listing, which may be open.
        why: why it is not proved, for example a list that could not be read; empty if it is.
    """

    product: str
    kind: str
    proved: bool = False
    accepted: int = 0
    appeared: int = 0
    remaining: tuple[Remaining, ...] = ()
    why: str = "the orders were not listed"


class EverythingReport(Struct, frozen=True):
    """What ``cancel_everything`` did, and what it proved.

    Args:
        proved: whether every kind of every product is proved empty at about the same time: within
            1 second, or the time that one listing of all of them takes. It may be false although
            each kind was proved, because they were proved at different times.
        kinds: one report for each kind of each product.
        unchecked: the products and kinds that were not to be cancelled, for example
            ``usdt_m.tpsl_orders``.
        seconds: the duration in seconds.
    """

    proved: bool
    kinds: tuple[KindReport, ...]
    unchecked: tuple[str, ...]
    seconds: float

    @property
    def remaining(self) -> tuple[Remaining, ...]:
        """All orders that may be open."""
        return tuple(order for kind in self.kinds for order in kind.remaining)


OnProgress = Callable[[EverythingReport], None]


class Client(Protocol):
    """What this module needs of the client, besides the methods of its products."""

    budgets: Budgets

    def cancel(
        self, orders: Iterable[OpenOrder | OrderRef], **options: Unpack[CallOptions]
    ) -> Coroutine[object, object, Outcome]:
        """Cancel orders of any products and kinds."""


class _Kind:
    """What is known of one kind of orders of one product."""

    def __init__(self, product: str, name: str) -> None:
        self.product = product
        self.name = name
        listed_as = list_kind(product, name)
        self.list_method = f"{product}.open_{listed_as}"  #: the client's method that lists it
        self.by_ids = ENDPOINTS[f"{product}.cancel_{listed_as}"]  #: the call that cancels by ids
        self.listed = OpenOrders((), missing=("the orders were not listed",))
        self.empty_listings = 0  #: complete listings without an order since the last with one
        self.empty_at = -inf  #: loop time of the last complete listing without an order
        self._types = ALGO_TYPES[name] if listed_as == "algo_orders" else ("",)
        self._seen: set[str] | None = None  # ids that were ever listed; None before any listing
        self._appeared = 0
        self._accepted: set[str] = set()
        self._ended_at: dict[str, float] = {}  # loop time at which an id was accepted or closed
        self._reasons: dict[str, str] = {}

    @property
    def proved(self) -> bool:
        """Whether two complete listings showed no order."""
        return self.empty_listings >= 2

    def record_listing(self, listed: OpenOrders, now: float) -> None:
        orders = {order.order_id: order for order in listed if order.type in self._types}
        if self._seen is not None:
            self._appeared += len(orders.keys() - self._seen)
        self._seen = (self._seen or set()) | orders.keys()
        if orders:
            self.empty_listings = 0
        elif listed.complete:
            self.empty_listings += 1
            self.empty_at = now
        if not listed.complete:  # the orders of the last listing may still be open
            orders |= {order.order_id: order for order in self.listed}
        self.listed = OpenOrders(
            list(orders.values()), missing=listed.missing, refused=listed.refused
        )

    def record_cancel(self, outcome: Outcome, now: float) -> None:
        for result in outcome:
            if result.status in (CancelStatus.ACCEPTED, CancelStatus.CLOSED):
                self._ended_at[result.order_id] = now
            if result.status is CancelStatus.ACCEPTED:
                self._accepted.add(result.order_id)
                reason = "the cancel was accepted, but the order is still listed"
            else:
                code = "" if result.code is None else f"{result.code} "
                reason = f"{result.status}: {code}{result.message}".strip()
            self._reasons[result.order_id] = reason

    def orders_to_cancel(self, now: float) -> list[OpenOrder]:
        """Return the listed orders, except those accepted or closed within ``RESEND`` seconds."""
        ended_at = self._ended_at
        return [each for each in self.listed if now - ended_at.get(each.order_id, -inf) >= RESEND]

    def report(self) -> KindReport:
        remaining = [
            Remaining(
                order.contract_code,
                order.order_id,
                self._reasons.get(order.order_id, "the last listing showed the order"),
            )
            for order in self.listed
        ]
        why = "; ".join(self.listed.missing) or (
            "orders are still listed" if remaining else "only one listing showed no order"
        )
        return KindReport(
            self.product,
            self.name,
            proved=self.proved,
            accepted=len(self._accepted),
            appeared=self._appeared,
            remaining=tuple(remaining),
            why="" if self.proved else why,
        )


class _Product:
    """What is known of one product."""

    def __init__(self, name: str, contracts: Sequence[str] | None, kinds: Iterable[str]) -> None:
        self.name = name
        self.contracts = contracts  #: the contracts to cancel; ``None`` means all
        self.kinds = [_Kind(name, kind) for kind in kinds]
        self.begun = False  #: whether its cancel-all calls were sent

    @property
    def refused(self) -> bool:
        """Whether the exchange refuses this product to the account."""
        return all(kind.listed.refused for kind in self.kinds)

    @property
    def proved(self) -> bool:
        return all(kind.proved for kind in self.kinds)

    @property
    def empty_at(self) -> float:
        """Loop time of the oldest of its kinds' last complete listings without an order."""
        return min(kind.empty_at for kind in self.kinds)


class Everything:
    """One running ``cancel_everything``.

    ``contracts`` has the products to cancel, each with its contracts; ``None`` means all contracts.
    """

    def __init__(
        self,
        client: Client,
        contracts: Mapping[str, Sequence[str] | None],
        kinds: Sequence[str],
        *,
        all_contracts: Callable[[str], Awaitable[list[str] | None]],
        deadline: float,
        on_progress: OnProgress | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._all_contracts = all_contracts
        self._began = self._loop.time()
        self._deadline = deadline
        self._on_progress = on_progress
        self._products = [_Product(product, codes, kinds) for product, codes in contracts.items()]

    async def run(self) -> EverythingReport:
        """Cancel until everything is proved empty, or until the timeout; return the report."""
        while self._time_left() > 0:
            await self._for_each(self._usable(), self._clear)
            now = self._loop.time()
            stale = [each for each in self._usable() if each.empty_at < now - FRESH]
            await self._for_each(stale, self._list_and_cancel)
            usable = self._usable()
            listed_again = all(product.empty_at >= now for product in stale)
            if listed_again and all(product.proved for product in usable):
                return self.report(proved=len(usable) == len(self._products))
        return self.report()

    async def _for_each(
        self, products: Iterable[_Product], work: Callable[[_Product], Awaitable[None]]
    ) -> None:
        """Run ``work`` for several products concurrently; a failure of one stops no other."""

        async def guarded(product: _Product) -> None:
            try:
                await work(product)
            except ClientClosedError:
                self._deadline = -inf
            except Exception as error:  # noqa: BLE001 - must not affect the other products
                hooks.report("cancel_everything failed", error)

        await asyncio.gather(*map(guarded, products))

    def _usable(self) -> list[_Product]:
        return [product for product in self._products if not product.refused]

    def _time_left(self) -> float:
        return self._deadline - self._loop.time()

    def _timeout(self, seconds: float = inf) -> float:
        """Return a timeout of ``seconds``, cut to the time left and above 0."""
        return max(min(seconds, self._time_left()), 0.001)

    def _timeout_of_cancel(self, budgets: tuple[str, ...], requests: int) -> float:
        """Return the timeout of a cancel that has to wait for ``requests`` tokens."""
        wait = self._client.budgets.wait(budgets, count=requests, priority=Priority.URGENT)
        return self._timeout(wait + PATIENCE)

    def report(self, *, proved: bool = False) -> EverythingReport:
        """Return what is known by now."""
        kinds = tuple(kind.report() for product in self._products for kind in product.kinds)
        checked = {(kind.product, kind.kind) for kind in kinds}
        unchecked = tuple(
            f"{product}.{name}"
            for product in ALL_PRODUCTS
            for name in ALL_KINDS
            if (product, name) not in checked
        )
        return EverythingReport(proved, kinds, unchecked, self._loop.time() - self._began)

    async def _clear(self, product: _Product) -> None:
        """Cancel and list a product until it is proved empty, or until the timeout."""
        wait = product.begun
        if not product.begun:
            await self._send_cancel_alls(product)
        while self._time_left() > 0 and not (product.refused or product.proved):
            if wait:
                await asyncio.sleep(min(APART, self._time_left()))
            wait = True
            await self._list_and_cancel(product)

    async def _send_cancel_alls(self, product: _Product) -> None:
        """Send the cancel-all calls of all kinds of a product."""
        contracts: Sequence[str | None] | None = product.contracts
        if contracts is None and product.name == "usdt_m":
            contracts = [None]  # this product has one call for all contracts
        elif contracts is None:
            contracts = await self._all_contracts(product.name) or []
        product.begun = True
        await asyncio.gather(*(self._cancel_all(kind, contracts) for kind in product.kinds))

    async def _cancel_all(self, kind: _Kind, contracts: Sequence[str | None]) -> None:
        """Send the cancel-all calls of a kind, if the exchange has such calls."""
        if self._time_left() <= 0:
            return
        calls = []
        for number, contract in enumerate(contracts, 1):
            scope = "all_account" if contract is None else "all"
            row = ENDPOINTS.get(f"{kind.product}.cancel_{scope}_{kind.name}")
            if row is None:
                continue
            timeout = self._timeout_of_cancel(row.budgets(), number)
            method = attrgetter(row.name)(self._client)
            given = [] if contract is None else [contract]
            calls.append(method(*given, timeout=timeout, priority=Priority.URGENT))
        for outcome in await asyncio.gather(*calls):
            kind.record_cancel(outcome, self._loop.time())

    async def _list_and_cancel(self, product: _Product) -> None:
        """List all kinds of a product, the plain orders last, and cancel the listed orders.

        It does nothing if the timeout has passed.
        """
        if self._time_left() <= 0:
            return
        by_method: dict[str, list[_Kind]] = {}
        for kind in product.kinds:
            by_method.setdefault(kind.list_method, []).append(kind)
        plain = by_method.pop(f"{product.name}.open_orders", [])
        contracts: Sequence[str | None] = product.contracts or [None]
        await asyncio.gather(*(self._list(kinds, contracts) for kinds in by_method.values()))
        if plain:
            await self._list(plain, contracts)
        if self._time_left() > 0:
            await self._cancel_listed(product)
        if self._on_progress is not None:
            hooks.call("on_progress", self._on_progress, self.report())

    async def _list(self, kinds: Sequence[_Kind], contracts: Sequence[str | None]) -> None:
        """Read the list that contains these kinds, for each contract, or for all if ``None``."""
        method = attrgetter(kinds[0].list_method)(self._client)
        lists: list[OpenOrders] = [
            await method(contract, timeout=self._timeout(), priority=Priority.URGENT)
            for contract in contracts
        ]
        whole = OpenOrders(
            [order for orders in lists for order in orders],
            missing=tuple(missing for orders in lists for missing in orders.missing),
            refused=all(orders.refused for orders in lists),
        )
        for kind in kinds:
            kind.record_listing(whole, self._loop.time())

    async def _cancel_listed(self, product: _Product) -> None:
        """Cancel the listed orders by their ids.

        The timeout of a kind covers the requests of all kinds that share its budget.
        """
        now = self._loop.time()
        due = [(kind, orders) for kind in product.kinds if (orders := kind.orders_to_cancel(now))]
        requests: Counter[tuple[str, ...]] = Counter()
        for kind, orders in due:
            per_contract = Counter(order.contract_code for order in orders).values()
            size = kind.by_ids.batch_size
            requests[kind.by_ids.budgets()] += sum(-(-count // size) for count in per_contract)
        calls = []
        for kind, orders in due:
            budgets = kind.by_ids.budgets()
            timeout = self._timeout_of_cancel(budgets, requests[budgets])
            calls.append(self._cancel_kind(kind, orders, timeout))
        await asyncio.gather(*calls)

    async def _cancel_kind(self, kind: _Kind, orders: Sequence[OpenOrder], timeout: float) -> None:
        outcome = await self._client.cancel(orders, timeout=timeout, priority=Priority.URGENT)
        kind.record_cancel(outcome, self._loop.time())


def by_product(
    contracts: Iterable[str] | None, products: Sequence[str]
) -> Mapping[str, Sequence[str] | None]:
    """Return the products that have these contracts, with the contracts of each.

    ``None`` stands for all contracts, of every product.
    """
    if contracts is None:
        return dict.fromkeys(products)
    if isinstance(contracts, str) or not isinstance(contracts, Iterable):
        raise InvalidTypeError(f"contracts must be several contract codes, got {contracts!r}")
    found: dict[str, list[str]] = {}
    for code in dict.fromkeys(map(arguments.contract_code, contracts)):
        fitting = [product for product in products if has_contract(product, code)]
        if not fitting:
            raise InvalidValueError(f"contracts must be of {', '.join(products)}, got {code!r}")
        for product in fitting:
            found.setdefault(product, []).append(code)
    if not found:
        raise InvalidValueError("contracts must be one or more contract codes, got none")
    return {product: found[product] for product in products if product in found}
