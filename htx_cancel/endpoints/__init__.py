"""The endpoint table: everything that differs between two calls, one file per product.

To add a cancel call, add its row to the product's file here and its method to the product's file in
``htx_cancel.products``.
"""

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
    "list_kind",
]

_PRODUCTS = (coin_m_swap, coin_m_futures, usdt_m, usdt_m_v1_isolated, usdt_m_v1_cross)

#: Every call that cancels orders, by the client's method for it.
ENDPOINTS: dict[str, Endpoint] = {
    row.name: row
    for product in _PRODUCTS
    for row in vars(product).values()
    if isinstance(row, Endpoint) and row is not usdt_m.ORDERS_ONE_BY_ONE
}

#: The query for the state of the orders of a cancel call, by that call's name.
QUERIES: dict[str, Query] = {row.name: row.query for row in ENDPOINTS.values()}

#: The lists of open orders, by the client's method that reads them.
LISTS: dict[str, Query] = {
    f"{product.__name__.rpartition('.')[2]}.{name.lower()}": row
    for product in _PRODUCTS
    for name, row in vars(product).items()
    if name.startswith("OPEN_")
}


def list_kind(product: str, kind: str) -> str:
    """Return the kind whose list contains this kind: v5 lists all its algo orders together."""
    return kind if f"{product}.open_{kind}" in LISTS else "algo_orders"


#: The call that lists a product's contracts, for the products with a call that needs a contract.
#: Both margin modes of v1 have the same contracts.
CATALOGUES: dict[str, Catalogue] = {
    "coin_m_swap": coin_m_swap.CONTRACTS,
    "coin_m_futures": coin_m_futures.CONTRACTS,
    "usdt_m_v1_isolated": usdt_m_v1_isolated.CONTRACTS,
    "usdt_m_v1_cross": usdt_m_v1_isolated.CONTRACTS,
}

#: The countdowns, by product. Both margin modes of v1 share one countdown.
COUNTDOWNS: dict[str, Countdown] = {
    "coin_m_swap": coin_m_swap.COUNTDOWN,
    "coin_m_futures": coin_m_futures.COUNTDOWN,
    "usdt_m": usdt_m.COUNTDOWN,
    "usdt_m_v1_isolated": usdt_m_v1_isolated.COUNTDOWN,
    "usdt_m_v1_cross": usdt_m_v1_isolated.COUNTDOWN,
}

#: Every rate limit, by the name of its budget.
BUDGETS: dict[str, Limit] = {
    **POOLS,
    **{row.path: row.own_limit for row in ENDPOINTS.values() if row.own_limit is not None},
    **{row.path: row.own_limit for row in LISTS.values() if row.own_limit is not None},
}
