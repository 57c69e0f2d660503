"""The table: everything that differs between two calls of the exchange, a file a product.

``ENDPOINTS`` has every cancel call by its name, ``BUDGETS`` every limit by its name.
"""

from itertools import chain

from htx_cancel.endpoints import (
    coin_m_futures,
    coin_m_swap,
    usdt_m,
    usdt_m_v1_cross,
    usdt_m_v1_isolated,
)
from htx_cancel.endpoints.kinds import (
    ALGO_TYPES,
    ALL_KINDS,
    ALL_PRODUCTS,
    KINDS,
    LEGACY,
    PRODUCTS,
    PROTECTIVE,
    has_contract,
)
from htx_cancel.endpoints.row import POOLS, Catalogue, Countdown, Endpoint, Limit, Query

__all__ = [
    "ALGO_TYPES",
    "ALL_KINDS",
    "ALL_PRODUCTS",
    "BUDGETS",
    "CATALOGUES",
    "COUNTDOWNS",
    "ENDPOINTS",
    "KINDS",
    "LEGACY",
    "LISTS",
    "PRODUCTS",
    "PROTECTIVE",
    "QUERIES",
    "Catalogue",
    "Countdown",
    "Endpoint",
    "Limit",
    "Query",
    "has_contract",
    "list_of",
]

_PRODUCTS = (coin_m_swap, coin_m_futures, usdt_m, usdt_m_v1_isolated, usdt_m_v1_cross)

ENDPOINTS: dict[str, Endpoint] = {
    row.name: row for row in chain.from_iterable(product.ROWS for product in _PRODUCTS)
}

#: How to learn what became of the orders of a cancel call, by its name.
QUERIES: dict[str, Query] = {row.name: row.query for row in ENDPOINTS.values()}

#: The lists of open orders, by the client's method that reads them.
LISTS: dict[str, Query] = {
    f"{product.__name__.rpartition('.')[2]}.{name.lower()}": row
    for product in _PRODUCTS
    for name, row in vars(product).items()
    if name.startswith("OPEN_")
}


def list_of(product: str, kind: str) -> str:
    """Name the kind under which the client lists orders of this one: v5 has one list for more."""
    return kind if f"{product}.open_{kind}" in LISTS else "algo_orders"


#: What tells which contracts there are, by product, where not all calls can do without; the two
#: margin modes of v1 have one together.
CATALOGUES: dict[str, Catalogue] = {
    "coin_m_swap": coin_m_swap.CONTRACTS,
    "coin_m_futures": coin_m_futures.CONTRACTS,
    "usdt_m_v1_isolated": usdt_m_v1_isolated.CONTRACTS,
    "usdt_m_v1_cross": usdt_m_v1_isolated.CONTRACTS,
}

#: The countdowns, by product; the two margin modes of v1 have one together.
COUNTDOWNS: dict[str, Countdown] = {
    "coin_m_swap": coin_m_swap.COUNTDOWN,
    "coin_m_futures": coin_m_futures.COUNTDOWN,
    "usdt_m": usdt_m.COUNTDOWN,
    "usdt_m_v1_isolated": usdt_m_v1_isolated.COUNTDOWN,
    "usdt_m_v1_cross": usdt_m_v1_isolated.COUNTDOWN,
}

BUDGETS: dict[str, Limit] = {
    **POOLS,
    **{row.path: row.own for row in ENDPOINTS.values() if row.own is not None},
    **{row.path: row.own for row in LISTS.values() if row.own is not None},
}
