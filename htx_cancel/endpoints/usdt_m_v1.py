"""USDT-M contracts of accounts that were not moved to v5: paths under ``/linear-swap-api/v1``."""

from htx_cancel.endpoints.row import PAGE_URL, Endpoint, Limit, Query

ISOLATED_TRIGGER_ORDERS = Endpoint(
    name="usdt_m_v1_isolated.cancel_trigger_orders",
    path="/linear-swap-api/v1/swap_trigger_cancel",
    page=PAGE_URL + "8cb86f61-77b5-11ed-9966-0242ac110003",
    pool="usdt_m_trade",
    own=Limit(5, 1.0),
    batch_size=20,
    query=Query(
        method="POST",
        path="/linear-swap-api/v1/swap_trigger_openorders",
        page=PAGE_URL + "8cb873a8-77b5-11ed-9966-0242ac110003",
        pool="usdt_m_read",
        own=Limit(5, 1.0),
        batch_size=50,
        paged=True,
    ),
)
ROWS = (ISOLATED_TRIGGER_ORDERS,)
