"""What the soak does: cancels of every sort, and listings, each judged by the exchange's book."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

from msgspec import Struct

from htx_cancel import CancelAllOutcome, CancelClient, CancelStatus, OrderRef, Outcome, arguments
from htx_cancel.endpoints import BUDGETS, ENDPOINTS, LISTS, Endpoint
from htx_cancel.sandbox import Exchange, Order
from htx_cancel.sandbox.rules import ALGO_TYPES, EXPIRIES, PRODUCTS, Kind, covers
from htx_cancel.sandbox.seeding import KINDS

#: The call by ids for each kind of orders.
BY_IDS: dict[Kind, Endpoint] = {
    KINDS[row.name]: row for row in ENDPOINTS.values() if row.batch_size
}
#: The calls that name no ids, and what each can be narrowed by.
ALL: dict[str, tuple[Kind, tuple[str, ...]]] = {
    **{it.name: (KINDS[it.name], it.filters) for it in ENDPOINTS.values() if not it.batch_size},
    "usdt_m.cancel_all_algo_orders": ("v5_algo", ()),
}
ACCOUNT_WIDE = "usdt_m.cancel_all_account_orders"
#: The orders that this call takes; nothing else is on this side.
OF_ACCOUNT_WIDE = {"position_side": "short"}

CONTRACTS_OF_A_KIND = 60
MOST_IN_A_CALL = 400
SHARE_OF_ALL = 0.1  #: of the calls; these name no ids
SHARE_OF_MIXED = 0.15
LOTS_OF_A_MIXTURE = 3

Call = Callable[..., Awaitable[Outcome]]


def shares() -> dict[Kind, float]:
    """Say how many orders of each kind the limits let through in a second.

    Kinds that share a budget have equal parts of its requests, and what is confirmed by ids is
    cancelled no faster than that goes.
    """
    charged = Counter(row.budgets() for row in BY_IDS.values())
    found = {}
    for kind, row in BY_IDS.items():
        cancel, ask = BUDGETS[row.budgets()[0]], BUDGETS[row.query.budget]
        rate = row.batch_size * cancel.calls / cancel.seconds / charged[row.budgets()]
        asked = row.query.batch_size * ask.calls / ask.seconds
        found[kind] = rate if row.query.paging else min(rate, asked)
    return found


def contract(kind: Kind, coin: str, expiry: str = "quarter") -> str:
    """Name a contract of a coin, as the kind's product does."""
    product = PRODUCTS[kind].name
    if product == "coin_m_futures":
        return coin + EXPIRIES[expiry]
    return f"{coin}-USD" if product == "coin_m_swap" else f"{coin}-USDT"


class Desk(Protocol):
    """For whom the work is done."""

    dice: random.Random
    exchange: Exchange
    orders: dict[str, Order]  #: by the id that is named in a call
    wrong: Counter[str]
    listings: Counter[str]

    async def cancel(self, client: CancelClient, call: Call, ids: Iterable[str]) -> None:
        """Make a call by ids, perhaps go away in the middle, and else confirm."""

    async def confirm(self, client: CancelClient, outcome: Outcome) -> None:
        """Ask what became of an outcome's orders."""


class Lot(Struct, frozen=True):
    """Orders of one kind and contract, and the ids to name them by."""

    kind: Kind
    contract_code: str
    ids: list[str]
    by_client_id: bool = False

    @property
    def row(self) -> Endpoint:
        """The call for them."""
        return BY_IDS[self.kind]

    def refs(self) -> Iterator[OrderRef]:
        """Make a reference to each order."""
        product, _, kind = self.row.name.partition(".cancel_")
        name = "client_order_id" if self.by_client_id else "order_id"
        for order_id in self.ids:
            yield OrderRef(product, kind, self.contract_code, **{name: order_id})


class ByIds(Struct, frozen=True):
    """A call by ids of one kind and contract."""

    lot: Lot

    async def run(self, client: CancelClient, desk: Desk) -> None:
        """Make it; v5 orders one by one, now and then."""
        lot = self.lot
        one_by_one = {"one_by_one": True} if lot.kind == "v5" and desk.dice.random() < 0.1 else {}
        field = f"{lot.row.fields[lot.by_client_id]}s"
        method = attrgetter(lot.row.name)(client)
        given: Any = {field: lot.ids, **one_by_one}
        await desk.cancel(client, partial(method, lot.contract_code, **given), lot.ids)


class Mixed(Struct, frozen=True):
    """A call for orders of several kinds."""

    lots: list[Lot]

    async def run(self, client: CancelClient, desk: Desk) -> None:
        """Make it, in any order."""
        refs = [ref for lot in self.lots for ref in lot.refs()]
        desk.dice.shuffle(refs)
        await desk.cancel(client, partial(client.cancel, refs), [ref.id for ref in refs])


class All(Struct, frozen=True):
    """A call that names no ids, and the orders of which some fit it: no other call names them."""

    name: str
    contract_code: str
    filters: dict[str, str]
    orders: list[Order]

    def fits(self, order: Order) -> bool:
        """Say whether the call is about an order."""
        expiry = self.filters.get("contract_type")
        return (
            covers(self.contract_code, order.contract_code)
            and (expiry is None or order.contract_code.endswith(EXPIRIES[expiry]))
            and self.filters.get("direction", order.direction) == order.direction
            and self.filters.get("side", order.direction) == order.direction
            and self.filters.get("offset", order.offset) == order.offset
            and self.filters.get("position_side", order.position_side) == order.position_side
        )

    async def run(self, client: CancelClient, desk: Desk) -> None:
        """Make it; hold what it says of itself and of each order against the book."""
        timeout = desk.dice.uniform(1.0, 30.0) if desk.dice.random() < 0.1 else None
        given = [self.contract_code] if self.contract_code else []
        outcome: CancelAllOutcome = await attrgetter(self.name)(client)(
            *given, **self.filters, timeout=timeout
        )
        took = [order.instructed for order in self.orders if self.fits(order)]
        status, wrong = outcome.call.status, desk.wrong
        done = status in (CancelStatus.ACCEPTED, CancelStatus.NOT_FOUND)
        if self.name in ENDPOINTS:
            wrong["a cancel of all that was taken left some"] += done and not all(took)
            unsent = status in (CancelStatus.UNSENT, CancelStatus.REJECTED)
            wrong["a cancel of all that was not taken took some"] += unsent and any(took)
        else:
            named = {result.order_id for result in outcome}
            mine = {order.order_id for order in self.orders}
            wrong["a cancel of all that were listed left some"] += done and named != mine
        others = (order for order in self.orders if not self.fits(order))
        wrong["a filter let others through"] += any(order.instructed for order in others)
        for result in outcome:
            desk.orders[result.order_id] = order = desk.exchange.book[result.order_id]
            wrong["an order that the call is not about"] += not self.fits(order)
        await desk.confirm(client, outcome)


class Look(Struct, frozen=True):
    """A listing, of a contract or of the whole account."""

    name: str
    contract_code: str | None

    @property
    def kind(self) -> Kind:
        """The kind of orders that it lists."""
        return KINDS[self.name.replace(".open_", ".cancel_")]

    def there(self, exchange: Exchange) -> set[str]:
        """List what is open, after the book."""
        return {it.order_id for it in exchange.book.open(self.kind, self.contract_code or "")}

    async def run(self, client: CancelClient, desk: Desk) -> None:
        """Make it; if it is complete, nothing is missing that was open all the time."""
        timeout = desk.dice.uniform(0.5, 20.0) if desk.dice.random() < 0.2 else None
        before = self.there(desk.exchange)
        listed = await attrgetter(self.name)(client)(self.contract_code, timeout=timeout)
        desk.listings["complete" if listed.complete else "not complete"] += 1
        found = {order.order_id for order in listed}
        lost = (before & self.there(desk.exchange)) - found
        desk.wrong["a complete listing that misses an order"] += listed.complete and bool(lost)
        for order in map(desk.exchange.book.__getitem__, found):
            there = covers(self.contract_code or "", order.contract_code)
            desk.wrong["an order of another list"] += order.kind != self.kind or not there
        desk.wrong["listed twice"] += len(found) != len(listed)


Work = ByIds | Mixed | All | Look


class Dealer:
    """Puts orders into the book and deals them out to calls of 1 to ``MOST_IN_A_CALL``."""

    def __init__(self, exchange: Exchange, dice: random.Random) -> None:
        self.orders: dict[str, Order] = {}  #: that are named in calls, by the id that names them
        self.others: list[Order] = []  #: that no call names
        self._exchange = exchange
        self._dice = dice

    def deal(self, count: int) -> list[Work]:
        """Deal out so many orders, of every kind."""
        lots, work = list[Lot](), list[Work]()
        parts = shares()
        for kind, share in parts.items():
            left = round(count * share / sum(parts.values()))
            while left > 0:
                size = min(left, self._dice.randint(1, MOST_IN_A_CALL))
                if self._dice.random() < SHARE_OF_ALL:
                    work.append(self._all(kind, size))
                else:
                    lots.append(self._lot(kind, size))
                left -= size
        self._dice.shuffle(lots)
        several = int(len(lots) * SHARE_OF_MIXED)
        for first in range(0, several, LOTS_OF_A_MIXTURE):
            work.append(Mixed(lots[first : min(first + LOTS_OF_A_MIXTURE, several)]))
        work += map(ByIds, lots[several:])
        work += self._looks(len(work) // 10)
        self._dice.shuffle(work)
        return work

    def _lot(self, kind: Kind, size: int) -> Lot:
        code = contract(kind, f"C{self._dice.randrange(CONTRACTS_OF_A_KIND)}", self._expiry())
        by_client_id = BY_IDS[kind].client_ids and self._dice.random() < 0.2
        orders = [self._order(kind, code) for _ in range(size)]
        ids = [str(it.client_order_id) if by_client_id else it.order_id for it in orders]
        self.orders.update(zip(ids, orders, strict=True))
        return Lot(kind, code, ids, by_client_id)

    def _all(self, kind: Kind, size: int) -> All:
        """Deal out orders of one coin of which some fit a filter."""
        name = self._dice.choice([name for name, (its, _) in ALL.items() if its == kind])
        coin = f"A{len(self._exchange.book)}"
        fixed = OF_ACCOUNT_WIDE if name == ACCOUNT_WIDE else {}
        orders = [
            self._order(kind, contract(kind, coin, self._expiry()), **fixed) for _ in range(size)
        ]
        filters = {
            each: self._dice.choice(arguments.FILTERS[each])
            for each in ALL[name][1]
            if each in arguments.FILTERS and self._dice.random() < 0.5
        }
        if name == ACCOUNT_WIDE:
            return All(name, "", {**filters, **fixed}, orders)
        codes = [orders[0].contract_code]
        if PRODUCTS[kind].name == "coin_m_futures":
            codes.append(coin)
        return All(name, self._dice.choice(codes), filters, orders)

    def _looks(self, count: int) -> Iterator[Look]:
        """Deal out listings: one of the account for each list, the others of a contract."""
        for name in LISTS:
            yield Look(name, None)
            for _ in range(max(1, count // len(LISTS))):
                coin = f"C{self._dice.randrange(CONTRACTS_OF_A_KIND)}"
                kind = Look(name, None).kind
                yield Look(name, contract(kind, coin, self._expiry()))

    def place(self) -> None:
        """Place an order of another's, that nobody here cancels."""
        kind = self._dice.choice(list(BY_IDS))
        coin = f"C{self._dice.randrange(CONTRACTS_OF_A_KIND)}"
        self.others.append(self._order(kind, contract(kind, coin, self._expiry())))

    def _expiry(self) -> str:
        return self._dice.choice(list(EXPIRIES))

    def _order(self, kind: Kind, code: str, **given: Any) -> Order:
        """Put an order into the book."""
        if kind == "v5_algo":
            given["algo_type"] = self._dice.choice(ALGO_TYPES)
        if kind == "v5":
            given["margin_mode"] = self._dice.choice(("cross", "isolated"))
            given.setdefault("position_side", self._dice.choice(("long", "both")))
        return self._exchange.book.add(
            kind,
            code,
            client_order_id=10**9 + len(self._exchange.book),
            direction=self._dice.choice(("buy", "sell")),
            offset=self._dice.choice(("open", "close")),
            **given,
        )
