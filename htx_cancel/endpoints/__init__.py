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
from htx_cancel.endpoints.row import POOLS, Catalogue, Countdown, Endpoint, Limit, Query

__all__ = [
    "BUDGETS",
    "CATALOGUES",
    "COUNTDOWNS",
    "ENDPOINTS",
    "LISTS",
    "QUERIES",
    "Catalogue",
    "Countdown",
    "Endpoint",
    "Limit",
    "Query",
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
