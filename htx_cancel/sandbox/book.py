"""The orders of the sandbox and their true states."""

import math
from collections import defaultdict, deque
from collections.abc import Set as AbstractSet
from itertools import count
from typing import Literal, cast, get_args

from msgspec.structs import replace

from htx_cancel.sandbox.lifecycle import Ending, Lifecycle, Order
from htx_cancel.sandbox.rules import PRODUCTS, Kind, MarginMode, Product, State, covers
from htx_cancel.sandbox.texts import ENTRY_OPEN, NOT_FOUND, STATE_CODES

#: Ids made here have 19 digits: as floats, neighbours would be equal.
_FIRST_ID = 1_100_000_000_000_000_001
_LIVE: tuple[State, ...] = ("open", "canceling")


class Book:
    """Every order by its ids; ``lifecycle`` decides when a cancel takes effect, and how.

    Lists show what was open ``list_lag`` seconds ago.
    """

    def __init__(self, lifecycle: Lifecycle | None = None, list_lag: float = 0.0) -> None:
        self._lifecycle = Lifecycle() if lifecycle is None else lifecycle
        self._pending: deque[Order] = deque()
        self._orders: dict[str, Order] = {}
        self._by_client_id: dict[tuple[Kind, str], Order] = {}
        self._index: defaultdict[Kind, dict[str, list[Order]]] = defaultdict(dict)
        self._contracts: defaultdict[str, set[str]] = defaultdict(set)  # by product
        self._ids = count(_FIRST_ID)
        self._now = -math.inf
        self.list_lag = list_lag

    def __len__(self) -> int:
        return len(self._orders)

    def __getitem__(self, order_id: str | int) -> Order:
        return self._orders[str(order_id)]

    def add(
        self,
        kind: Kind,
        contract_code: str,
        *,
        order_id: str | int | None = None,
        client_order_id: str | int | None = None,
        direction: str = "buy",
        offset: str = "open",
        state: State = "open",
        refusal: int | None = None,
        volume: int = 10,
        traded: int = 0,
        ending: Ending | None = None,
        margin_mode: MarginMode = "cross",
        position_side: str = "both",
        algo_type: str = "trigger",
        entry: str = "",
        price: float = 100_000.0,
        placed_at: float = 1767225600.0,
    ) -> Order:
        """Add an order, with a new id if none is given.

        ``refusal`` is the code that refuses a cancel of this order. ``ending`` is how the order
        ends if a cancel is accepted; by default it is drawn. Only v5 orders have a ``margin_mode``.
        """
        order = Order(
            kind=kind,
            contract_code=contract_code.upper(),
            order_id=self._new_id() if order_id is None else str(order_id),
            client_order_id=None if client_order_id is None else str(client_order_id),
            direction=direction,
            offset=offset,
            state=state,
            refusal=refusal,
            volume=volume,
            traded=traded,
            ending=ending,
            margin_mode=margin_mode,
            position_side=position_side,
            algo_type=algo_type,
            entry=entry,
            added_at=self._now,
            price=price,
            placed_at=placed_at,
            number=len(self._orders) + 1,
        )
        self._file(order)
        return order

    def _new_id(self) -> str:
        return next(new for new in map(str, self._ids) if new not in self._orders)

    def _file(self, order: Order) -> None:
        if order.order_id in self._orders:
            raise ValueError(f"order {order.order_id} already exists")
        self._orders[order.order_id] = order
        if order.client_order_id is not None:
            self._by_client_id[order.kind, order.client_order_id] = order
        self._index[order.kind].setdefault(order.contract_code, []).append(order)
        self._contracts[PRODUCTS[order.kind].name].add(order.contract_code)

    def contracts(self, product: Product) -> AbstractSet[str]:
        """Return the contracts that a product trades, and those of its orders in the book."""
        return product.contracts | self._contracts[product.name]

    def knows_contract(self, product: Product, contract_code: str) -> bool:
        """Return whether a contract, or a coin, is one of a product's."""
        codes = self.contracts(product)
        return contract_code in codes or any(covers(contract_code, code) for code in codes)

    def find(
        self, kind: Kind, contract_code: str, given_id: str, *, by_client_id: bool = False
    ) -> Order | None:
        """Return the order of this kind and contract that has an id; ``None`` if there is none."""
        order = (
            self._by_client_id.get((kind, given_id)) if by_client_id else self._orders.get(given_id)
        )
        if order is None or order.kind != kind or not covers(contract_code, order.contract_code):
            return None
        return order

    def open(
        self,
        kind: Kind | None = None,
        contract_code: str = "",
        *,
        states: tuple[State, ...] = ("open",),
    ) -> list[Order]:
        """Return the orders in these states, in the order in which each contract's were added."""
        return [
            order
            for contracts in (self._index.values() if kind is None else [self._index[kind]])
            for code, orders in contracts.items()
            if covers(contract_code, code)
            for order in orders
            if order.state in states
        ]

    def listed(self, kind: Kind, contract_code: str) -> list[Order]:
        """Return what a list of open orders shows: the orders open ``list_lag`` seconds ago."""
        then = self._now - self.list_lag
        return [
            order if order.state in _LIVE else replace(order, state="open")
            for order in self.open(kind, contract_code, states=get_args(State))
            if order.added_at <= then and (order.state in _LIVE or order.ends_at > then)
        ]

    def cancel(self, order: Order | None, now: float) -> int | None:
        """Accept or refuse a cancel; return the code that refuses it, ``None`` if accepted."""
        if order is None:
            return NOT_FOUND
        if order.state != "open":
            return STATE_CODES[order.state]
        if order.entry and self._orders[order.entry].state in _LIVE:
            return ENTRY_OPEN
        if order.refusal is None and self._lifecycle.accept(order, now):
            self._pending.append(order)
        return order.refusal

    def trigger(self, order: Order) -> Order | None:
        """Trigger an open order: it is filled, and a new plain order replaces it."""
        if order.state != "open":
            return None
        order.state, order.ends_at = "filled", self._now
        plain = cast("Kind", order.kind.partition("_")[0])
        return self.add(
            plain, order.contract_code, direction=order.direction, margin_mode=order.margin_mode
        )

    def cancel_open(self, kinds: tuple[Kind, ...], now: float) -> None:
        """Cancel the open orders of these kinds, as the exchange does when a countdown ends."""
        for kind in kinds:
            for order in self.open(kind):
                order.state, order.ends_at = "canceled", now

    def advance(self, now: float = math.inf) -> None:
        """Apply every accepted cancel that is due at ``now``; by default all of them."""
        if now < math.inf:
            self._now = max(self._now, now)
        while self._pending and self._pending[0].ends_at <= now:
            self._pending.popleft().end()

    def verdict(self, order_id: str | int) -> State | Literal["missing"]:
        """Return an order's true state at the last ``advance``, whatever replies said."""
        order = self._orders.get(str(order_id))
        return "missing" if order is None else order.state
