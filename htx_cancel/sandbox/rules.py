"""The exchange's calls and rate limits, read from its pages independently of the client's table.

A new call needs one row here.

Rules:

* A call that one of its budgets refuses charges none of them, or all with ``count_refused``.
* The rate headers describe the call's own window if it has one, else its product's pool of trade
  or of read calls.
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
    """A product line: the budgets that its trade and its read calls share, and its contracts."""

    name: str
    pool: Budget
    read_pool: Budget
    contracts: frozenset[str]


class Interface(Struct, frozen=True, kw_only=True):
    """One signed call of the exchange."""

    path: str
    kind: Kind
    max_ids: int  #: 0 if the call names no orders
    unknown_contract: int  #: the code that refuses an unknown contract
    method: Method = "POST"
    envelope: Envelope = "v1"
    reads: bool = False  #: whether the call is a query
    ids: tuple[str, ...] = ("order_id",)  #: the fields that may hold ids
    ids_as: Literal["text", "list", "objects", "object"] = "text"
    filters: tuple[str, ...] = ()  #: the fields that narrow a cancel-all or a list
    anywhere: bool = False  #: whether the call may name no contract
    by_symbol: bool = False  #: whether the call names a coin, as ``symbol``
    paged: bool = True  #: whether a list has numbered pages; else it continues after an id
    margin_mode: bool = False  #: whether a query takes a margin mode, and finds only its orders
    counts_down: tuple[Kind, ...] = ()  #: the kinds of orders that a countdown cancels
    own: Budget | None = None  #: the budget of this call alone, if it has one

    @property
    def client_ids(self) -> bool:
        """Whether the call takes client order ids, too."""
        return len(self.ids) > 1

    @property
    def pool(self) -> Budget:
        """The budget that all trade calls, or all read calls, of the product share."""
        product = PRODUCTS[self.kind]
        return product.read_pool if self.reads else product.pool


_COINS = ("BTC", "ETH", "LTC", "XRP", "BCH", "TRX", "ADA", "DOT", "LINK", "DOGE")
#: The delivery day of each ``contract_type``.
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
#: The products with v1 calls: the kind of their plain orders, the start of their paths, and the
#: code that refuses an unknown contract.
_V1: tuple[tuple[Kind, Product, str, int], ...] = (
    ("swap", SWAP, "/swap-api/v1/swap_", 1014),
    ("futures", FUTURES, "/api/v1/contract_", 1013),
    ("linear", USDT_M, "/linear-swap-api/v1/swap_", 1332),
    ("cross", USDT_M, "/linear-swap-api/v1/swap_cross_", 1332),
)
#: The other kinds of v1 orders, and their names in paths.
_SORTS = {"trigger": "trigger", "tpsl": "tpsl", "trailing": "track"}
PRODUCTS: Mapping[Kind, Product] = {
    **{kind: product for kind, product, _, _ in _V1},
    **{cast("Kind", f"{kind}_{sort}"): product for kind, product, _, _ in _V1 for sort in _SORTS},
    "v5": USDT_M,
    "v5_algo": USDT_M,
}
ORDER_IDS = ("order_id", "client_order_id")
ALGO_IDS = ("algo_id", "algo_client_order_id")
#: The kinds whose cancel takes more than ten ids.
_MORE_IDS = {"linear": 25, "cross": 25, "linear_trigger": 20}
ALGO_TYPES = ("trigger", "tpsl", "tp", "sl", "trailing_stop")


def _v1_cancels() -> Iterator[Interface]:
    """List the v1 calls that cancel by ids, or cancel all, for each kind of orders."""
    for plain, _, start, unknown in _V1:
        by_symbol = plain == "futures"
        row = partial(Interface, by_symbol=by_symbol, unknown_contract=unknown)
        narrower = ("contract_code", "contract_type") if by_symbol else ()
        directions = (*narrower, "direction", "offset")
        max_ids = _MORE_IDS.get(plain, 10)
        yield row(path=f"{start}cancel", kind=plain, max_ids=max_ids, ids=ORDER_IDS)
        yield row(path=f"{start}cancelall", kind=plain, max_ids=0, filters=directions)
        for sort, name in _SORTS.items():
            kind = cast("Kind", f"{plain}_{sort}")
            path, path_of_all = f"{start}{name}_cancel", f"{start}{name}_cancelall"
            filters = directions[:-1] if sort == "tpsl" else directions
            max_ids = _MORE_IDS.get(kind, 10)
            yield row(path=path, kind=kind, max_ids=max_ids, own=Budget(path, 5, 1))
            own = Budget(path_of_all, 5, 1)
            yield row(path=path_of_all, kind=kind, max_ids=0, filters=filters, own=own)


def _v1_queries() -> Iterator[Interface]:
    """List the v1 calls that query orders by ids, or list open orders, for each kind."""
    for plain, _, start, unknown in _V1:
        by_symbol = plain == "futures"
        row = partial(Interface, reads=True, by_symbol=by_symbol, unknown_contract=unknown)
        yield row(path=f"{start}order_info", kind=plain, max_ids=50, ids=ORDER_IDS)
        yield row(path=f"{start}openorders", kind=plain, max_ids=0, anywhere=True)
        for sort, name in _SORTS.items():
            kind = cast("Kind", f"{plain}_{sort}")
            path = f"{start}{name}_openorders"
            yield row(
                path=path,
                kind=kind,
                max_ids=0,
                filters=("contract_code",) if by_symbol else (),
                anywhere=plain == "cross",
                own=Budget(path, 5, 1) if kind == "linear_trigger" else None,
            )


def _by_path(*rows: Interface) -> Mapping[str, Interface]:
    return {row.path: row for row in rows}


_v5 = partial(Interface, kind="v5", envelope="v5", unknown_contract=1067)
_v5_query = partial(_v5, method="GET", reads=True)
_countdown = partial(Interface, max_ids=0, anywhere=True, unknown_contract=0)

#: The calls that cancel.
INTERFACES: Mapping[str, Interface] = _by_path(
    *_v1_cancels(),
    _v5(path="/v5/trade/cancel_order", max_ids=1, ids=ORDER_IDS),
    _v5(path="/v5/trade/cancel_batch_orders", max_ids=10, ids=ORDER_IDS, ids_as="list"),
    _v5(
        path="/v5/trade/cancel_all_orders",
        max_ids=0,
        filters=("side", "position_side"),
        anywhere=True,
    ),
    _v5(path="/v5/algo/cancel_orders", kind="v5_algo", max_ids=10, ids=ALGO_IDS, ids_as="objects"),
)

#: The calls that query orders.
QUERIES: Mapping[str, Interface] = _by_path(
    *_v1_queries(),
    _v5_query(path="/v5/trade/order", max_ids=1, ids=ORDER_IDS, margin_mode=True),
    _v5_query(
        path="/v5/trade/order/opens", max_ids=0, anywhere=True, paged=False, margin_mode=True
    ),
    _v5_query(
        path="/v5/algo/order/opens",
        kind="v5_algo",
        max_ids=0,
        ids=ALGO_IDS,
        anywhere=True,
        paged=False,
    ),
)

#: The calls that arm and disarm a countdown.
COUNTDOWNS: Mapping[str, Interface] = _by_path(
    _countdown(path="/swap-api/v1/swap-cancel-after", kind="swap", counts_down=("swap",)),
    _countdown(path="/api/v1/contract-cancel-after", kind="futures", counts_down=("futures",)),
    _countdown(
        path="/linear-swap-api/v1/linear-cancel-after",
        kind="linear",
        counts_down=("linear", "cross"),
    ),
    _countdown(path="/v5/trade/cancel-after", kind="v5", counts_down=("v5",), envelope="v5"),
)


def covers(named: str, contract_code: str) -> bool:
    """Return whether a call that names a contract, a coin or nothing is about a contract."""
    return named in ("", contract_code, contract_code.removesuffix(day_of(contract_code)))


def day_of(contract_code: str) -> str:
    """Return a contract's delivery day, such as ``260327``; ``""`` for a swap."""
    return contract_code[-6:] if contract_code[-6:].isdigit() else ""


#: Every signed call.
ROUTES: Mapping[str, Interface] = {**INTERFACES, **QUERIES, **COUNTDOWNS}

#: The public calls that list a product's contracts.
CATALOGUES: Mapping[str, Product] = {
    "/swap-api/v1/swap_contract_info": SWAP,
    "/api/v1/contract_contract_info": FUTURES,
    "/linear-swap-api/v1/swap_contract_info": USDT_M,
}

#: The public call that returns the exchange's time.
TIMESTAMP = "/api/v1/timestamp"


class Rules:
    """The rate limits: which calls are admitted, and when.

    ``limits`` changes limits by a budget's name, or by a path, which then has its own window;
    ``False`` enforces none. With ``charge_pools``, calls with their own window charge their
    product's pool, too.
    """

    def __init__(
        self,
        *,
        window: WindowRule = "first",
        charge_pools: bool = False,
        count_refused: bool = False,
        limits: Limits = True,
    ) -> None:
        self._charge_pools = charge_pools
        self._count_refused = count_refused
        self._windows: dict[str, tuple[Window, ...]] = {}
        if limits is not False:
            self._add_windows(WINDOWS[window], {} if limits is True else limits)

    def _add_windows(self, make: type[Window], limits: Mapping[str, tuple[int, float]]) -> None:
        pools = {row.pool.name: row.pool for row in ROUTES.values()}
        if unknown := limits.keys() - pools.keys() - ROUTES.keys():
            got = ", ".join(sorted(unknown))
            raise ValueError(f"limits must name budgets or paths of the exchange, got {got}")
        changed = {name: Budget(name, *numbers) for name, numbers in limits.items()}
        shared = {name: make(changed.get(name, pool)) for name, pool in pools.items()}
        for path, row in ROUTES.items():
            pool, own = shared[row.pool.name], changed.get(path, row.own)
            rest = (pool,) if self._charge_pools else ()
            self._windows[path] = (pool,) if own is None else (make(own), *rest)

    def admit(self, path: str, now: float) -> WindowState | None:
        """Admit one call if all its budgets have room; ``None`` if no limit is enforced."""
        windows = self._windows.get(path)
        if windows is None:
            return None
        admitted = all(window.room(now) for window in windows)
        if admitted or self._count_refused:
            for window in windows:
                window.charge(now)
        return windows[0].state(now, admitted=admitted)
