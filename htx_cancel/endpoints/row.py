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

import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from htx_cancel import arguments

PAGE_URL = "https://www.htx.com/en-us/opend/newApiPages/?id="
PAGE_OF_2021 = "https://huobiapi.github.io/docs/dm/v1/en/"  #: where no newer one is known


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
    "coin_m_futures_trade": Limit(36, 3.0),
    "usdt_m_trade": Limit(72, 3.0),
    "coin_m_swap_read": Limit(36, 3.0),
    "coin_m_futures_read": Limit(36, 3.0),
    "usdt_m_read": Limit(72, 3.0),
}

_DELIVERED = re.compile(r"(.+?)\d{6}")  # a contract with the day of its delivery: BTC261225

FIVE = Limit(5, 1.0)  #: of each call for trigger, TP/SL and trailing orders
DIRECTION = ("direction",)
DIRECTION_AND_OFFSET = ("direction", "offset")
BOTH_IDS = ("order_id", "client_order_id")


def named(contract_code: str, *, by_symbol: bool) -> dict[str, str]:
    """Return the parameter that names a contract, or its coin where a call takes that."""
    if not contract_code:
        return {}
    if not by_symbol:
        return {"contract_code": contract_code}
    contract = _DELIVERED.fullmatch(contract_code)
    return {"symbol": contract[1] if contract else contract_code}


class Query(Struct, frozen=True):
    """One call that tells the state of orders, by their ids or as a list of those that are open.

    Trailing, trigger and TP/SL orders have no query by id: an order that is not among the open ones
    is gone, and no query says whether it was canceled or triggered.
    """

    method: str
    path: str
    page: str  #: where the exchange describes it
    pool: str  #: its product's read pool
    own: Limit | None = None  #: the limit of its own, where its page states one
    batch_size: int = 1  #: ids a request, or orders a page
    listed: Literal["", "by_page", "by_id"] = ""  #: how a list is paged; ``""`` where it takes ids
    by_symbol: bool = False  #: whether it names a coin and not a contract
    everywhere: bool = False  #: whether a list may name no contract, and is of all then
    variants: tuple[Mapping[str, str], ...] = ({},)  #: parameters to ask with, one after another

    @property
    def budget(self) -> str:
        """The budget that one request charges."""
        return self.pool if self.own is None else self.path


class Catalogue(Struct, frozen=True):
    """A public call that tells which contracts there are."""

    path: str
    page: str  #: where the exchange describes it
    field: str  #: what its rows name that the lists of orders take


class Countdown(Struct, frozen=True):
    """The call that arms, renews and disarms the countdown of a product.

    When a countdown ends, the exchange cancels the open plain orders of its product. Its page tells
    no limit of its own, so it charges the product's trade pool.
    """

    path: str
    page: str  #: where the exchange describes it
    pool: str  #: its product's trade pool
    as_text: bool = False  #: whether its ``on_off`` is a text; the page of v5 is not established
    envelope: Literal["v1", "v5"] = "v1"  #: the shape it answers in; either is understood


class Endpoint(Struct, frozen=True):
    """One cancel call of the exchange."""

    name: str  #: the client's method for it
    path: str
    page: str  #: where the exchange describes it
    pool: str  #: its product's trade pool
    query: Query  #: what tells the state of its orders
    own: Limit | None = None  #: the limit of its own, where its page states one
    batch_size: int = 0  #: ids a request; 0 where the call takes none
    ids_as: Literal["text", "list", "objects"] = "text"  #: joined by commas, a list, or in objects
    path_of_one: str = ""  #: the path for a single id, where that is another; it takes a text
    fields: tuple[str, ...] = ("order_id",)  #: the ids it takes
    filters: tuple[str, ...] = ()  #: what narrows a call that takes no ids
    by_symbol: bool = False  #: whether it names a coin and not a contract
    envelope: Literal["v1", "v5"] = "v1"  #: the shape it answers in; either is understood

    @property
    def client_ids(self) -> bool:
        """Whether it takes client order ids."""
        return len(self.fields) > 1

    def budgets(self, *, charge_pools: bool = False) -> tuple[str, ...]:
        """Name the budgets that one request charges."""
        if self.own is None:
            return (self.pool,)
        return (self.path, self.pool) if charge_pools else (self.path,)
