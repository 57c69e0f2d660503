"""The exchange's interfaces and limits, in a reading of its pages independent of the client's.

Rules:

* A call that one of its budgets refuses charges none of them, or all with ``count_refused``.
* The rate headers describe the interface's own window if it has one, else its product's pool
  of trade or of read calls.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from htx_cancel.sandbox.windows import WINDOWS, Budget, Window, WindowRule, WindowState

Envelope = Literal["v1", "v5"]
Kind = Literal["swap", "swap_trigger", "swap_trailing", "linear_trigger", "v5"]
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
    the orders of that mode only.
    """

    path: str
    method: Method = "POST"
    reads: bool = False
    kind: Kind
    envelope: Envelope = "v1"
    max_ids: int
    client_ids: bool = False
    margin_mode: bool = False
    own: Budget | None = None
    unknown_contract: int

    @property
    def pool(self) -> Budget:
        """The budget that this product's calls of the same sort share."""
        product = PRODUCTS[self.kind]
        return product.read_pool if self.reads else product.pool


_COINS = ("BTC", "ETH", "LTC", "XRP", "BCH", "TRX", "ADA", "DOT", "LINK", "DOGE")
COIN_M = Product(
    "coin_m_swap",
    Budget("coin_m_swap_trade", 36, 3),
    Budget("coin_m_swap_read", 36, 3),
    frozenset(f"{coin}-USD" for coin in _COINS),
)
USDT_M = Product(
    "usdt_m",
    Budget("usdt_m_trade", 72, 3),
    Budget("usdt_m_read", 72, 3),
    frozenset(f"{coin}-USDT" for coin in _COINS),
)
PRODUCTS: Mapping[Kind, Product] = {
    "swap": COIN_M,
    "swap_trigger": COIN_M,
    "swap_trailing": COIN_M,
    "linear_trigger": USDT_M,
    "v5": USDT_M,
}


def _five_a_second(
    path: str, *, kind: Kind, max_ids: int, unknown_contract: int, reads: bool = False
) -> Interface:
    return Interface(
        path=path,
        reads=reads,
        kind=kind,
        max_ids=max_ids,
        own=Budget(path, 5, 1),
        unknown_contract=unknown_contract,
    )


#: The calls that cancel.
INTERFACES: Mapping[str, Interface] = {
    row.path: row
    for row in (
        Interface(
            path="/swap-api/v1/swap_cancel",
            kind="swap",
            max_ids=10,
            client_ids=True,
            unknown_contract=1014,
        ),
        _five_a_second(
            "/swap-api/v1/swap_trigger_cancel",
            kind="swap_trigger",
            max_ids=10,
            unknown_contract=1014,
        ),
        _five_a_second(
            "/swap-api/v1/swap_track_cancel",
            kind="swap_trailing",
            max_ids=10,
            unknown_contract=1014,
        ),
        _five_a_second(
            "/swap-api/v1/swap_track_cancelall",
            kind="swap_trailing",
            max_ids=0,
            unknown_contract=1014,
        ),
        _five_a_second(
            "/linear-swap-api/v1/swap_trigger_cancel",
            kind="linear_trigger",
            max_ids=20,
            unknown_contract=1332,
        ),
        Interface(
            path="/v5/trade/cancel_order",
            kind="v5",
            envelope="v5",
            max_ids=1,
            client_ids=True,
            unknown_contract=1067,
        ),
    )
}

#: The calls that ask what became of orders.
QUERIES: Mapping[str, Interface] = {
    row.path: row
    for row in (
        Interface(
            path="/swap-api/v1/swap_order_info",
            reads=True,
            kind="swap",
            max_ids=50,
            client_ids=True,
            unknown_contract=1014,
        ),
        Interface(
            path="/swap-api/v1/swap_trigger_openorders",
            reads=True,
            kind="swap_trigger",
            max_ids=0,
            unknown_contract=1014,
        ),
        Interface(
            path="/swap-api/v1/swap_track_openorders",
            reads=True,
            kind="swap_trailing",
            max_ids=0,
            unknown_contract=1014,
        ),
        _five_a_second(
            "/linear-swap-api/v1/swap_trigger_openorders",
            reads=True,
            kind="linear_trigger",
            max_ids=0,
            unknown_contract=1332,
        ),
        Interface(
            path="/v5/trade/order",
            method="GET",
            reads=True,
            kind="v5",
            envelope="v5",
            max_ids=1,
            client_ids=True,
            margin_mode=True,
            unknown_contract=1067,
        ),
    )
}

#: Every signed call.
ROUTES: Mapping[str, Interface] = {**INTERFACES, **QUERIES}

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
