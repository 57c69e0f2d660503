"""USDT-M contracts: ``client.usdt_m``, paths under ``/v5``."""

from htx_cancel.endpoints.row import PAGE_URL, Endpoint, Query

ORDERS = Endpoint(
    name="usdt_m.cancel_orders",
    path="/v5/trade/cancel_order",
    page=PAGE_URL + "8cb89359-77b5-11ed-9966-1958947efe6",
    pool="usdt_m_trade",
    batch_size=1,
    client_ids=True,
    envelope="v5",
    query=Query(
        method="GET",
        path="/v5/trade/order",
        page=PAGE_URL + "8cb89359-77b5-11ed-9966-196a8401f83",
        pool="usdt_m_read",
        modes=("isolated",),  # without a mode it looks among cross orders
    ),
)
ROWS = (ORDERS,)
