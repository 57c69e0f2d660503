"""Coin-M perpetual swaps: ``client.coin_m_swap``, paths under ``/swap-api/v1``."""

from htx_cancel.endpoints.row import PAGE_URL, Endpoint, Limit, Query


def _list(name: str, page: str) -> Query:
    """Return the query that lists open orders of a kind."""
    return Query(
        method="POST",
        path=f"/swap-api/v1/{name}",
        page=PAGE_URL + page,
        pool="coin_m_swap_read",
        batch_size=50,
        paged=True,
    )


ORDERS = Endpoint(
    name="coin_m_swap.cancel_orders",
    path="/swap-api/v1/swap_cancel",
    page=PAGE_URL + "5d51a18b-77b6-11ed-9966-0242ac110003",
    pool="coin_m_swap_trade",
    batch_size=10,
    client_ids=True,
    query=Query(
        method="POST",
        path="/swap-api/v1/swap_order_info",
        page=PAGE_URL + "5d51a400-77b6-11ed-9966-0242ac110003",
        pool="coin_m_swap_read",
        batch_size=50,
    ),
)
_TRAILING = _list("swap_track_openorders", "5d51c0a2-77b6-11ed-9966-0242ac110003")
TRAILING_ORDERS = Endpoint(
    name="coin_m_swap.cancel_trailing_orders",
    path="/swap-api/v1/swap_track_cancel",
    page=PAGE_URL + "5d51be6e-77b6-11ed-9966-0242ac110003",
    pool="coin_m_swap_trade",
    own=Limit(5, 1.0),
    batch_size=10,
    query=_TRAILING,
)
TRIGGER_ORDERS = Endpoint(
    name="coin_m_swap.cancel_trigger_orders",
    path="/swap-api/v1/swap_trigger_cancel",
    page=PAGE_URL + "5d51b077-77b6-11ed-9966-0242ac110003",
    pool="coin_m_swap_trade",
    own=Limit(5, 1.0),
    batch_size=10,
    query=_list("swap_trigger_openorders", "5d51b225-77b6-11ed-9966-0242ac110003"),
)
ALL_TRAILING_ORDERS = Endpoint(
    name="coin_m_swap.cancel_all_trailing_orders",
    path="/swap-api/v1/swap_track_cancelall",
    page=PAGE_URL + "5d51bfd0-77b6-11ed-9966-0242ac110003",
    pool="coin_m_swap_trade",
    own=Limit(5, 1.0),
    query=_TRAILING,
)
ROWS = (ORDERS, TRIGGER_ORDERS, TRAILING_ORDERS, ALL_TRAILING_ORDERS)
