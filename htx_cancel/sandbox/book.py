"""The orders of the sandbox, and the truth about each of them."""

import math
from collections import defaultdict, deque
from itertools import chain, count
from typing import Literal, cast, get_args

from msgspec.structs import replace

from htx_cancel.sandbox.lifecycle import Ending, Lifecycle, Order
from htx_cancel.sandbox.rules import PRODUCTS, Kind, MarginMode, Product, State, covers
from htx_cancel.sandbox.texts import ENTRY_OPEN, NOT_FOUND, STATE_CODES

#: Ids that are made have 19 digits, and no float can tell one from the next.
_FIRST_ID = 1_100_000_000_000_000_001


class Book:
    """Every order by its ids; ``lifecycle`` says when a cancel takes effect, and how.

    Its lists show what was open ``list_lag`` seconds ago.
    """

    def __init__(self, lifecycle: Lifecycle | None = None, list_lag: float = 0.0) -> None:
        self._lifecycle = Lifecycle() if lifecycle is None else lifecycle
        self._pending: deque[Order] = deque()
        self._orders: dict[str, Order] = {}
        self._by_client_id: dict[tuple[Kind, str], Order] = {}
        self._index: defaultdict[Kind, dict[str, list[Order]]] = defaultdict(dict)
        self._contracts: set[tuple[str, str]] = set()
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
        """Add an order, under an id of its own if none is given.

        ``refusal`` is the code with which its cancel is refused, ``ending`` what it ends as if its
        cancel is accepted; without one that is drawn. ``margin_mode`` is that of a v5 order.
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
        return next(made for made in map(str, self._ids) if made not in self._orders)

    def _file(self, order: Order) -> None:
        if order.order_id in self._orders:
            raise ValueError(f"there is an order {order.order_id} already")
        self._orders[order.order_id] = order
        if order.client_order_id is not None:
            self._by_client_id[order.kind, order.client_order_id] = order
        self._index[order.kind].setdefault(order.contract_code, []).append(order)
        self._contracts.add((PRODUCTS[order.kind].name, order.contract_code))

    def lists(self, product: Product, contract_code: str) -> bool:
        """Return whether a product trades a contract, or any order of the book is in it."""
        named = (product.name, contract_code)
        if contract_code in product.contracts or named in self._contracts:
            return True
        traded = chain(
            product.contracts, (code for name, code in self._contracts if name == product.name)
        )
        return any(covers(contract_code, code) for code in traded)

    def contracts(self, product: Product) -> list[str]:
        """Return the contracts of a product: those that it trades, and those of its orders."""
        others = {code for name, code in self._contracts if name == product.name}
        return sorted(product.contracts | others)

    def find(
        self, kind: Kind, contract_code: str, given_id: str, *, by_client_id: bool = False
    ) -> Order | None:
        """Return the order that an id means to an interface of this kind; None if it has none."""
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
        """Return the open orders, in the order in which they were added to each contract."""
        return [
            order
            for contracts in (self._index.values() if kind is None else [self._index[kind]])
            for code, orders in contracts.items()
            if covers(contract_code, code)
            for order in orders
            if order.state in states
        ]

    def listed(self, kind: Kind, contract_code: str) -> list[Order]:
        """Return what a list of open orders shows: those that were open a while ago."""
        then = self._now - self.list_lag
        return [
            order if order.state in ("open", "canceling") else replace(order, state="open")
            for order in self.open(kind, contract_code, states=get_args(State))
            if order.added_at <= then
            and (order.state in ("open", "canceling") or order.ends_at > then)
        ]

    def cancel(self, order: Order | None, now: float) -> int | None:
        """Take a cancel; return the code with which that is refused, None if it is not."""
        if order is None:
            return NOT_FOUND
        if order.state != "open":
            return STATE_CODES[order.state]
        if order.entry and self._orders[order.entry].state in ("open", "canceling"):
            return ENTRY_OPEN
        if order.refusal is None and self._lifecycle.accept(order, now):
            self._pending.append(order)
        return order.refusal

    def fire(self, order: Order) -> Order | None:
        """Let an open strategy order trigger: it is gone, and a plain order is there instead."""
        if order.state != "open":
            return None
        order.state, order.ends_at = "filled", self._now
        plain = cast("Kind", order.kind.partition("_")[0])
        return self.add(
            plain, order.contract_code, direction=order.direction, margin_mode=order.margin_mode
        )

    def sweep(self, kinds: tuple[Kind, ...], now: float) -> None:
        """Let the open orders of some kinds end at a time, canceled by the exchange itself."""
        self.advance(now)
        for kind in kinds:
            for order in self.open(kind):
                order.state, order.ends_at = "canceled", now

    def advance(self, now: float = math.inf) -> None:
        """Let every accepted cancel that is due take effect; without a time, all of them."""
        self._now = max(self._now, now) if now < math.inf else self._now
        while self._pending and self._pending[0].ends_at <= now:
            self._pending.popleft().end()

    def verdict(self, order_id: str | int) -> State | Literal["missing"]:
        """Return the one true word about an id at the last ``advance``, whatever was replied."""
        order = self._orders.get(str(order_id))
        return "missing" if order is None else order.state
