"""The exchange's interfaces and limits, in a reading of its pages independent of the client's.

Rules:

* A call that one of its budgets refuses charges none of them, or all with ``count_refused``.
* The rate headers describe the interface's own window if it has one, else its product's pool
  of trade or of read calls.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal, cast

from msgspec import Struct

from htx_cancel.sandbox.windows import WINDOWS, Budget, Window, WindowRule, WindowState

Envelope = Literal["v1", "v5"]
Kind = Literal[
    "swap",
    "swap_trigger",
    "swap_tpsl",
    "swap_trailing",
    "futures",
    "futures_trigger",
    "futures_tpsl",
    "futures_trailing",
    "linear",
    "linear_trigger",
    "linear_tpsl",
    "linear_trailing",
    "cross",
    "cross_trigger",
    "cross_tpsl",
    "cross_trailing",
    "v5",
    "v5_algo",
]
Method = Literal["GET", "POST"]
MarginMode = Literal["cross", "isolated"]
State = Literal["open", "canceling", "canceled", "partially_canceled", "filled"]
Limits = bool | Mapping[str, tuple[int, float]]


class Product(Struct, frozen=True):
    """A product line: the budgets that its trade and its read calls share, and what it trades."""

    name: str
    pool: Budget
    read_pool: Budget
    contracts: frozenset[str]


class Interface(Struct, frozen=True, kw_only=True):
    """One path.

    ``max_ids`` is 0 where a call names no orders. ``margin_mode`` says that it takes one, and finds
    the orders of that mode only. ``ids`` names what it knows orders by, and ``ids_as`` how they
    come; ``filters`` narrow a call that names none, or a list, and ``anywhere`` says that it needs
    no contract. ``by_symbol`` calls name a coin. A list is ``paged``, or goes on after an id.
    One that ``counts_down`` arms or disarms the countdown at whose end orders of these kinds go.
    """

    path: str
    method: Method = "POST"
    reads: bool = False
    kind: Kind
    envelope: Envelope = "v1"
    max_ids: int
    ids: tuple[str, ...] = ("order_id",)
    ids_as: Literal["text", "list", "objects", "object"] = "text"
    filters: tuple[str, ...] = ()
    anywhere: bool = False
    by_symbol: bool = False
    paged: bool = True
    margin_mode: bool = False
    counts_down: tuple[Kind, ...] = ()
    own: Budget | None = None
    unknown_contract: int

    @property
    def client_ids(self) -> bool:
        """Whether it knows orders by the ids that the client gave them, too."""
        return len(self.ids) > 1

    @property
    def pool(self) -> Budget:
        """The budget that this product's calls of the same sort share."""
        product = PRODUCTS[self.kind]
        return product.read_pool if self.reads else product.pool


_COINS = ("BTC", "ETH", "LTC", "XRP", "BCH", "TRX", "ADA", "DOT", "LINK", "DOGE")
#: The days of delivery, by the type of contract.
EXPIRIES = {
    "this_week": "260102",
    "next_week": "260109",
    "quarter": "260327",
    "next_quarter": "260626",
}
SWAP = Product(
    "coin_m_swap",
    Budget("coin_m_swap_trade", 36, 3),
    Budget("coin_m_swap_read", 36, 3),
    frozenset(f"{coin}-USD" for coin in _COINS),
)
FUTURES = Product(
    "coin_m_futures",
    Budget("coin_m_futures_trade", 36, 3),
    Budget("coin_m_futures_read", 36, 3),
    frozenset(f"{coin}{day}" for coin in _COINS for day in EXPIRIES.values()),
)
USDT_M = Product(
    "usdt_m",
    Budget("usdt_m_trade", 72, 3),
    Budget("usdt_m_read", 72, 3),
    frozenset(f"{coin}-USDT" for coin in _COINS),
)
#: The products that speak v1: the kind of their plain orders, what they start their paths with, and
#: what they call an unknown contract.
_V1: tuple[tuple[Kind, Product, str, int], ...] = (
    ("swap", SWAP, "/swap-api/v1/swap_", 1014),
    ("futures", FUTURES, "/api/v1/contract_", 1013),
    ("linear", USDT_M, "/linear-swap-api/v1/swap_", 1332),
    ("cross", USDT_M, "/linear-swap-api/v1/swap_cross_", 1332),
)
_SORTS = ("trigger", "tpsl", "trailing")
PRODUCTS: Mapping[Kind, Product] = {
    **{kind: product for kind, product, _, _ in _V1},
    **{cast("Kind", f"{kind}_{sort}"): product for kind, product, _, _ in _V1 for sort in _SORTS},
    "v5": USDT_M,
    "v5_algo": USDT_M,
}
ORDER_IDS = ("order_id", "client_order_id")
ALGO_IDS = ("algo_id", "algo_client_order_id")
#: How many ids a cancel takes, where that is not ten.
_MORE_IDS = {"linear": 25, "cross": 25, "linear_trigger": 20}
ALGO_TYPES = ("trigger", "tpsl", "tp", "sl", "trailing_stop")


def _v1_cancels() -> Iterator[Interface]:
    """List the calls of v1 that cancel: by ids and all at once, of four sorts of orders."""
    for plain, _, start, unknown in _V1:
        by_symbol = plain == "futures"
        narrower = ("contract_code", "contract_type") if by_symbol else ()
        yield Interface(
            path=f"{start}cancel",
            kind=plain,
            max_ids=_MORE_IDS.get(plain, 10),
            ids=ORDER_IDS,
            by_symbol=by_symbol,
            unknown_contract=unknown,
        )
        yield Interface(
            path=f"{start}cancelall",
            kind=plain,
            max_ids=0,
            filters=(*narrower, "direction", "offset"),
            by_symbol=by_symbol,
            unknown_contract=unknown,
        )
        for sort in _SORTS:
            kind = cast("Kind", f"{plain}_{sort}")
            path = f"{start}{sort.replace('trailing', 'track')}_cancel"
            yield Interface(
                path=path,
                kind=kind,
                max_ids=_MORE_IDS.get(kind, 10),
                by_symbol=by_symbol,
                own=Budget(path, 5, 1),
                unknown_contract=unknown,
            )
            yield Interface(
                path=f"{path}all",
                kind=kind,
                max_ids=0,
                filters=(*narrower, "direction", *(() if sort == "tpsl" else ("offset",))),
                by_symbol=by_symbol,
                own=Budget(f"{path}all", 5, 1),
                unknown_contract=unknown,
            )


def _v1_queries() -> Iterator[Interface]:
    """List the calls of v1 that tell of orders: by ids, and lists of those that are open."""
    for plain, _, start, unknown in _V1:
        by_symbol = plain == "futures"
        yield Interface(
            path=f"{start}order_info",
            reads=True,
            kind=plain,
            max_ids=50,
            ids=ORDER_IDS,
            by_symbol=by_symbol,
            unknown_contract=unknown,
        )
        yield Interface(
            path=f"{start}openorders",
            reads=True,
            kind=plain,
            max_ids=0,
            anywhere=True,
            by_symbol=by_symbol,
            unknown_contract=unknown,
        )
        for sort in _SORTS:
            kind = cast("Kind", f"{plain}_{sort}")
            path = f"{start}{sort.replace('trailing', 'track')}_openorders"
            yield Interface(
                path=path,
                reads=True,
                kind=kind,
                max_ids=0,
                filters=("contract_code",) if by_symbol else (),
                anywhere=plain == "cross",
                by_symbol=by_symbol,
                own=Budget(path, 5, 1) if kind == "linear_trigger" else None,
                unknown_contract=unknown,
            )


_v5 = partial(Interface, kind="v5", envelope="v5", unknown_contract=1067)

#: The calls that cancel.
INTERFACES: Mapping[str, Interface] = {
    row.path: row
    for row in (
        *_v1_cancels(),
        _v5(path="/v5/trade/cancel_order", max_ids=1, ids=ORDER_IDS),
        _v5(path="/v5/trade/cancel_batch_orders", max_ids=10, ids=ORDER_IDS, ids_as="list"),
        _v5(
            path="/v5/trade/cancel_all_orders",
            max_ids=0,
            filters=("side", "position_side"),
            anywhere=True,
        ),
        Interface(
            path="/v5/algo/cancel_orders",
            kind="v5_algo",
            envelope="v5",
            max_ids=10,
            ids=ALGO_IDS,
            ids_as="objects",
            unknown_contract=1067,
        ),
    )
}

#: The calls that ask what became of orders.
QUERIES: Mapping[str, Interface] = {
    row.path: row
    for row in (
        *_v1_queries(),
        _v5(
            path="/v5/trade/order",
            method="GET",
            reads=True,
            max_ids=1,
            ids=ORDER_IDS,
            margin_mode=True,
        ),
        _v5(
            path="/v5/trade/order/opens",
            method="GET",
            reads=True,
            max_ids=0,
            anywhere=True,
            paged=False,
            margin_mode=True,
        ),
        Interface(
            path="/v5/algo/order/opens",
            method="GET",
            reads=True,
            kind="v5_algo",
            envelope="v5",
            max_ids=0,
            ids=ALGO_IDS,
            anywhere=True,
            paged=False,
            unknown_contract=1067,
        ),
    )
}

_countdown = partial(Interface, max_ids=0, anywhere=True, unknown_contract=0)

#: The calls that arm and disarm a countdown.
COUNTDOWNS: Mapping[str, Interface] = {
    row.path: row
    for row in (
        _countdown(path="/swap-api/v1/swap-cancel-after", kind="swap", counts_down=("swap",)),
        _countdown(path="/api/v1/contract-cancel-after", kind="futures", counts_down=("futures",)),
        _countdown(
            path="/linear-swap-api/v1/linear-cancel-after",
            kind="linear",
            counts_down=("linear", "cross"),
        ),
        _countdown(path="/v5/trade/cancel-after", kind="v5", counts_down=("v5",), envelope="v5"),
    )
}


def covers(named: str, contract_code: str) -> bool:
    """Say whether a call that names a contract, a coin, or nothing, is about a contract."""
    return named in ("", contract_code, contract_code.removesuffix(day_of(contract_code)))


def day_of(contract_code: str) -> str:
    """Return the day of a contract's delivery, such as ``260327``; empty for a swap."""
    return contract_code[-6:] if contract_code[-6:].isdigit() else ""


#: Every signed call.
ROUTES: Mapping[str, Interface] = {**INTERFACES, **QUERIES, **COUNTDOWNS}

#: The public calls that tell which contracts a product has.
CATALOGUES: Mapping[str, Product] = {
    "/swap-api/v1/swap_contract_info": SWAP,
    "/api/v1/contract_contract_info": FUTURES,
    "/linear-swap-api/v1/swap_contract_info": USDT_M,
}

#: The public call that tells the exchange's clock.
TIMESTAMP = "/api/v1/timestamp"


class Rules:
    """Which calls are let in, and when.

    ``limits`` gives other numbers by a budget's name or a path (which then has a window of its
    own); ``False`` enforces none. ``charge_pools`` lets interfaces with a window of their own
    charge their product's pool too.
    """

    def __init__(
        self,
        *,
        window: WindowRule = "first",
        charge_pools: bool = False,
        count_refused: bool = False,
        limits: Limits = True,
    ) -> None:
        self.charge_pools = charge_pools
        self.count_refused = count_refused
        self._charged: dict[str, tuple[Window, ...]] = {}
        if limits is not False:
            self._open(WINDOWS[window], {} if limits is True else limits)

    def _open(self, make: type[Window], limits: Mapping[str, tuple[int, float]]) -> None:
        pools = {row.pool.name: row.pool for row in ROUTES.values()}
        if unknown := limits.keys() - pools.keys() - ROUTES.keys():
            raise ValueError(f"no such budget or path: {', '.join(sorted(unknown))}")
        changed = {name: Budget(name, *numbers) for name, numbers in limits.items()}
        shared = {name: make(changed.get(name, pool)) for name, pool in pools.items()}
        for path, row in ROUTES.items():
            pool, own = shared[row.pool.name], changed.get(path, row.own)
            rest = (pool,) if self.charge_pools else ()
            self._charged[path] = (pool,) if own is None else (make(own), *rest)

    def admit(self, path: str, now: float) -> WindowState | None:
        """Let one call in if all its budgets have room; None where no limit is enforced."""
        windows = self._charged.get(path)
        if windows is None:
            return None
        admitted = all(window.room(now) for window in windows)
        if admitted or self.count_refused:
            for window in windows:
                window.charge(now)
        return windows[0].state(now, admitted=admitted)
