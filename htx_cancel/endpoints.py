"""The table: everything that differs between two cancel calls, as data.

Rules of the table:

* A number stands here once. The sandbox holds a second reading of the pages, and a test compares.
* A budget is named after the interface it belongs to, or after the pool of a product.
* A row names the budget its page states (``interface``) and its product's trade pool (``pool``).
  No source says whether a call that has a limit of its own also counts against the pool; headers
  captured from such a call described its own window only (5 per 1000 ms). We choose: such a call
  charges its own budget, and the pool too where the client was made with ``charge_pools=True``.
"""

from typing import Literal

from msgspec import Struct

from htx_cancel import arguments

PAGE_URL = "https://www.htx.com/en-us/opend/newApiPages/?id="


class Limit(Struct, frozen=True):
    """A budget's size as the exchange states it: ``calls`` per ``seconds``."""

    calls: int
    seconds: float

    def __post_init__(self) -> None:
        """Refuse what no exchange could mean."""
        arguments.whole("calls", self.calls)
        arguments.seconds("seconds", self.seconds)


class Endpoint(Struct, frozen=True):
    """One cancel call of the exchange."""

    name: str  #: the path's last part
    path: str
    page: str  #: where the exchange describes it
    pool: str  #: its product's trade budget
    interface: str | None = None  #: the budget of its own, where its page states one
    batch_size: int = 0  #: ids a call; 0 where the call takes none
    client_ids: bool = False  #: whether it takes ``client_order_id``
    envelope: Literal["v1", "v5"] = "v1"  #: the shape it answers in; either is understood

    def budgets(self, *, charge_pools: bool = False) -> tuple[str, ...]:
        """Name the budgets that one call charges."""
        if self.interface is None:
            return (self.pool,)
        return (self.interface, self.pool) if charge_pools else (self.interface,)


#: Every budget, as the pages state it. Per UID; keys of one UID share it.
BUDGETS: dict[str, Limit] = {
    # Coin-M pages that state a number say 36 trade calls per 3 s; swap_cancel's states none.
    "coin_m_swap_trade": Limit(36, 3.0),
    # The v5 page: 72 trade calls per 3 s, shared by all USDT-M contracts.
    "usdt_m_trade": Limit(72, 3.0),
    # Reading has pools of its own, of the same sizes.
    "coin_m_swap_read": Limit(36, 3.0),
    "usdt_m_read": Limit(72, 3.0),
    # The page of this list states a limit of its own; the trailing orders' list states none.
    "linear_swap_trigger_openorders": Limit(5, 1.0),
    "swap_track_cancel": Limit(5, 1.0),
    "swap_track_cancelall": Limit(5, 1.0),
    "linear_swap_trigger_cancel": Limit(5, 1.0),
}

SWAP_CANCEL = Endpoint(
    name="swap_cancel",
    path="/swap-api/v1/swap_cancel",
    page=PAGE_URL + "5d51a18b-77b6-11ed-9966-0242ac110003",
    pool="coin_m_swap_trade",
    batch_size=10,
    client_ids=True,
)
SWAP_TRACK_CANCEL = Endpoint(
    name="swap_track_cancel",
    path="/swap-api/v1/swap_track_cancel",
    page=PAGE_URL + "5d51be6e-77b6-11ed-9966-0242ac110003",
    pool="coin_m_swap_trade",
    interface="swap_track_cancel",
    batch_size=10,
)
SWAP_TRACK_CANCELALL = Endpoint(
    name="swap_track_cancelall",
    path="/swap-api/v1/swap_track_cancelall",
    page=PAGE_URL + "5d51bfd0-77b6-11ed-9966-0242ac110003",
    pool="coin_m_swap_trade",
    interface="swap_track_cancelall",
)
LINEAR_SWAP_TRIGGER_CANCEL = Endpoint(
    name="linear_swap_trigger_cancel",
    path="/linear-swap-api/v1/swap_trigger_cancel",
    page=PAGE_URL + "8cb86f61-77b5-11ed-9966-0242ac110003",
    pool="usdt_m_trade",
    interface="linear_swap_trigger_cancel",
    batch_size=20,
)
V5_CANCEL_ORDER = Endpoint(
    name="v5_cancel_order",
    path="/v5/trade/cancel_order",
    page=PAGE_URL + "8cb89359-77b5-11ed-9966-1958947efe6",
    pool="usdt_m_trade",
    batch_size=1,
    client_ids=True,
    envelope="v5",
)


class Query(Struct, frozen=True):
    """One call that tells the state of orders."""

    method: str
    path: str
    page: str
    pool: str  #: the budget it charges
    batch_size: int  #: ids a call, or orders a page
    paged: bool = False  #: whether it lists open orders and takes no ids


#: How to learn what became of the orders of a cancel endpoint.
#:
#: Trailing and trigger orders have no query by id: an order that is not among the open ones is
#: gone, and no query says whether it was canceled or triggered. The v5 query has a parameter for
#: the margin mode, cross where it is left out, and finds the orders of that mode only.
QUERIES: dict[str, Query] = {
    "swap_cancel": Query(
        method="POST",
        path="/swap-api/v1/swap_order_info",
        page=PAGE_URL + "5d51a400-77b6-11ed-9966-0242ac110003",
        pool="coin_m_swap_read",
        batch_size=50,
    ),
    "swap_track_cancel": Query(
        method="POST",
        path="/swap-api/v1/swap_track_openorders",
        page=PAGE_URL + "5d51c0a2-77b6-11ed-9966-0242ac110003",
        pool="coin_m_swap_read",
        batch_size=50,
        paged=True,
    ),
    "linear_swap_trigger_cancel": Query(
        method="POST",
        path="/linear-swap-api/v1/swap_trigger_openorders",
        page=PAGE_URL + "8cb873a8-77b5-11ed-9966-0242ac110003",
        pool="linear_swap_trigger_openorders",
        batch_size=50,
        paged=True,
    ),
    "v5_cancel_order": Query(
        method="GET",
        path="/v5/trade/order",
        page=PAGE_URL + "8cb89359-77b5-11ed-9966-196a8401f83",
        pool="usdt_m_read",
        batch_size=1,
    ),
}
QUERIES["swap_track_cancelall"] = QUERIES["swap_track_cancel"]

#: By name, for whoever reads endpoints out of a file.
ENDPOINTS: dict[str, Endpoint] = {
    row.name: row
    for row in (
        SWAP_CANCEL,
        SWAP_TRACK_CANCEL,
        SWAP_TRACK_CANCELALL,
        LINEAR_SWAP_TRIGGER_CANCEL,
        V5_CANCEL_ORDER,
    )
}
