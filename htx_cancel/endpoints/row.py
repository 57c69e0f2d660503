"""What differs between two calls, as data: the rows of the table, and the limits they name.

Rules of the table:

* A number stands here once. The sandbox holds a second reading of the pages, and a test compares.
* A row is named by the client's method that calls it, such as ``coin_m_swap.cancel_orders``.
* A row names the limit that its page states (``own``) and its product's trade pool (``pool``). No
  source says whether a call that has a limit of its own also counts against the pool; headers
  captured from such a call described its own window only (5 per 1000 ms). We choose: such a call
  charges its own budget, and the pool too where the client was made with ``charge_pools=True``.
* A budget is named by its product's pool, or by the path whose own it is.
"""

from typing import Literal

from msgspec import Struct

from htx_cancel import arguments

PAGE_URL = "https://www.htx.com/en-us/opend/newApiPages/?id="


class Limit(Struct, frozen=True):
    """A rate limit as the exchange states it.

    Args:
        calls: the most requests in any window.
        seconds: the length of the window.

    Raises:
        InvalidTypeError, InvalidValueError: for what no exchange could mean.
    """

    calls: int
    seconds: float

    def __post_init__(self) -> None:
        """Refuse what no exchange could mean."""
        arguments.whole("calls", self.calls)
        arguments.seconds("seconds", self.seconds)


#: The pools of the products, per UID; keys of one UID share them. The coin-M pages that state a
#: number say 36 trade calls per 3 s (swap_cancel's states none), the v5 page says 72 for all USDT-M
#: contracts. Reading has pools of its own, of the same sizes.
POOLS: dict[str, Limit] = {
    "coin_m_swap_trade": Limit(36, 3.0),
    "usdt_m_trade": Limit(72, 3.0),
    "coin_m_swap_read": Limit(36, 3.0),
    "usdt_m_read": Limit(72, 3.0),
}


class Query(Struct, frozen=True):
    """One call that tells the state of orders.

    Trailing and trigger orders have no query by id: an order that is not among the open ones is
    gone, and no query says whether it was canceled or triggered.
    """

    method: str
    path: str
    page: str  #: where the exchange describes it
    pool: str  #: its product's read pool
    own: Limit | None = None  #: the limit of its own, where its page states one
    batch_size: int = 1  #: ids a request, or orders a page
    paged: bool = False  #: whether it lists open orders and takes no ids
    modes: tuple[str, ...] = ()  #: the margin modes to ask in, one after another, after none

    @property
    def budget(self) -> str:
        """The budget that one request charges."""
        return self.pool if self.own is None else self.path


class Endpoint(Struct, frozen=True):
    """One cancel call of the exchange."""

    name: str  #: the client's method for it
    path: str
    page: str  #: where the exchange describes it
    pool: str  #: its product's trade pool
    query: Query  #: what tells the state of its orders
    own: Limit | None = None  #: the limit of its own, where its page states one
    batch_size: int = 0  #: ids a request; 0 where the call takes none
    client_ids: bool = False  #: whether it takes ``client_order_id``
    envelope: Literal["v1", "v5"] = "v1"  #: the shape it answers in; either is understood

    def budgets(self, *, charge_pools: bool = False) -> tuple[str, ...]:
        """Name the budgets that one request charges."""
        if self.own is None:
            return (self.pool,)
        return (self.path, self.pool) if charge_pools else (self.path,)
