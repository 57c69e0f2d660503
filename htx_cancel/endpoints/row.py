"""The row types of the endpoint table: everything that differs between two calls of the exchange.

Rules of the table:

* Each number is written here once. The sandbox has its own reading of the exchange's pages, and a
  test compares the two.
* A row's name is the client's method that calls it, such as ``coin_m_swap.cancel_orders``.
* A row names the limit that its page states (``own_limit``) and its product's trade pool
  (``pool``). No source says whether a call with its own limit also counts against the pool; headers
  captured from such a call described its own window only (5 per 1000 ms). We choose: such a call
  charges its own budget, and also the pool if ``Budgets`` were made with ``charge_pools=True``.
* A budget's name is the name of a pool, or the path of the call that has a limit of its own.
"""

import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from htx_cancel import arguments

PAGE_URL = "https://www.htx.com/en-us/opend/newApiPages/?id="
OLD_PAGE_URL = "https://huobiapi.github.io/docs/dm/v1/en/"  #: of 2021, if no newer page is known


class Limit(Struct, frozen=True):
    """A rate limit as the exchange states it: ``calls`` requests per ``seconds``.

    Args:
        calls: the most requests in any window, 1 or more.
        seconds: the length of the window in seconds, above 0.

    Raises:
        InvalidTypeError: if ``calls`` is not a whole number, or ``seconds`` not a number.
        InvalidValueError: if one of them is out of range.
    """

    calls: int
    seconds: float

    def __post_init__(self) -> None:
        """Check both numbers."""
        arguments.count("calls", self.calls)
        arguments.seconds("seconds", self.seconds)


#: The pools of the products, per UID; all keys of a UID share them. The coin-M pages that state a
#: number say 36 trade calls per 3 s (the page of swap_cancel states none); the v5 page says 72 for
#: all USDT-M contracts. Read calls have pools of their own, of the same sizes.
POOLS: dict[str, Limit] = {
    "coin_m_swap_trade": Limit(36, 3.0),
    "coin_m_futures_trade": Limit(36, 3.0),
    "usdt_m_trade": Limit(72, 3.0),
    "coin_m_swap_read": Limit(36, 3.0),
    "coin_m_futures_read": Limit(36, 3.0),
    "usdt_m_read": Limit(72, 3.0),
}

_DELIVERY = re.compile(r"(.+?)\d{6}")  # a contract with its delivery date, such as BTC261225

FIVE_PER_SECOND = Limit(5, 1.0)  #: the limit of each call for trigger, TP/SL and trailing orders
DIRECTION = ("direction",)
DIRECTION_AND_OFFSET = ("direction", "offset")
BOTH_IDS = ("order_id", "client_order_id")


def contract_parameter(contract_code: str, *, by_symbol: bool) -> dict[str, str]:
    """Return the parameter that names a contract, or its coin if the call takes a coin."""
    if not contract_code:
        return {}
    if not by_symbol:
        return {"contract_code": contract_code}
    contract = _DELIVERY.fullmatch(contract_code)
    return {"symbol": contract[1] if contract else contract_code}


class Query(Struct, frozen=True):
    """A call that returns the state of orders: by their ids, or as a list of open orders.

    Trailing, trigger and TP/SL orders have no query by id: an order that is not in the list of open
    orders is gone, and no query says whether it was canceled or triggered.
    """

    method: str
    path: str
    page: str  #: URL of the exchange's description
    pool: str  #: the product's read pool
    own_limit: Limit | None = None  #: the call's own limit, if its page states one
    batch_size: int = 1  #: ids per request, or orders per page of a list
    paging: Literal["", "by_page", "by_id"] = ""  #: how a list is paged; ``""`` if it takes ids
    by_symbol: bool = False  #: whether it takes a coin, not a contract
    all_contracts: bool = False  #: whether a list without a contract covers all contracts
    variants: tuple[Mapping[str, str], ...] = ({},)  #: extra parameters; each needs a request

    @property
    def budget(self) -> str:
        """The budget that one request charges."""
        return self.pool if self.own_limit is None else self.path


class Catalogue(Struct, frozen=True):
    """A public call that lists a product's contracts."""

    path: str
    page: str  #: URL of the exchange's description
    field: str  #: the field of its rows that the lists of open orders take


class Countdown(Struct, frozen=True):
    """The call that arms, renews and disarms the countdown of a product.

    When a countdown ends, the exchange cancels the product's open plain orders. Its page states no
    limit, so the call charges the product's trade pool.
    """

    path: str
    page: str  #: URL of the exchange's description
    pool: str  #: the product's trade pool
    as_text: bool = False  #: whether ``on_off`` is a string; the page of v5 does not settle it
    envelope: Literal["v1", "v5"] = "v1"  #: the shape of its replies; both shapes are understood


class Endpoint(Struct, frozen=True):
    """A call that cancels orders."""

    name: str  #: the client's method for it
    path: str
    page: str  #: URL of the exchange's description
    pool: str  #: the product's trade pool
    query: Query  #: returns the state of its orders
    own_limit: Limit | None = None  #: the call's own limit, if its page states one
    batch_size: int = 0  #: ids per request; 0 if the call takes no ids
    ids_as: Literal["text", "list", "objects"] = "text"  #: comma-separated text, list, or objects
    single_id_path: str = ""  #: a separate path for a single id, if there is one; takes text
    fields: tuple[str, ...] = ("order_id",)  #: the id fields it takes
    filters: tuple[str, ...] = ()  #: the filters of a call that takes no ids
    by_symbol: bool = False  #: whether it takes a coin, not a contract
    envelope: Literal["v1", "v5"] = "v1"  #: the shape of its replies; both shapes are understood

    @property
    def client_ids(self) -> bool:
        """Whether it takes client order ids."""
        return len(self.fields) > 1

    def budgets(self, *, charge_pools: bool = False) -> tuple[str, ...]:
        """Return the names of the budgets that one request charges."""
        if self.own_limit is None:
            return (self.pool,)
        return (self.path, self.pool) if charge_pools else (self.path,)
