"""The table: everything that differs between two calls of the exchange, a file a product.

``ENDPOINTS`` has every cancel call by its name, ``BUDGETS`` every limit by its name.
"""

from htx_cancel.endpoints import coin_m_swap, usdt_m, usdt_m_v1
from htx_cancel.endpoints.row import POOLS, Endpoint, Limit, Query

__all__ = ["BUDGETS", "ENDPOINTS", "QUERIES", "Endpoint", "Limit", "Query"]

ENDPOINTS: dict[str, Endpoint] = {
    row.name: row for rows in (coin_m_swap.ROWS, usdt_m.ROWS, usdt_m_v1.ROWS) for row in rows
}

#: How to learn what became of the orders of a cancel call, by its name.
QUERIES: dict[str, Query] = {row.name: row.query for row in ENDPOINTS.values()}

BUDGETS: dict[str, Limit] = {
    **POOLS,
    **{row.path: row.own for row in ENDPOINTS.values() if row.own is not None},
    **{row.path: row.own for row in QUERIES.values() if row.own is not None},
}
