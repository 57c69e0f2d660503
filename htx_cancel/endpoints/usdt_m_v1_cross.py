"""USDT-M contracts in cross margin, of accounts that were not moved to v5.

``client.usdt_m_v1_cross``, paths under ``/linear-swap-api/v1``.
"""

from functools import partial

from htx_cancel.endpoints.row import (
    BOTH_IDS,
    DIRECTION,
    DIRECTION_AND_OFFSET,
    FIVE_PER_SECOND,
    PAGE_URL,
    Endpoint,
    Query,
)

_cancel = partial(Endpoint, pool="usdt_m_trade")
#: Strategy orders (trigger, TP/SL and trailing orders): by ids, and all of a contract.
_strategy = partial(_cancel, own_limit=FIVE_PER_SECOND, batch_size=10)
_all_strategy = partial(_cancel, own_limit=FIVE_PER_SECOND, filters=DIRECTION_AND_OFFSET)
_query = partial(Query, method="POST", pool="usdt_m_read", batch_size=50)
_list = partial(_query, paging="by_page")


def _page(number: str) -> str:
    return f"{PAGE_URL}{number}-77b5-11ed-9966-0242ac110003"


INFO = _query(
    path="/linear-swap-api/v1/swap_cross_order_info",
    page="https://huobiapi.github.io/docs/usdt_swap/v1/en/",
)
OPEN_ORDERS = _list(
    all_contracts=True,
    path="/linear-swap-api/v1/swap_cross_openorders",
    page=_page("8cb858fe"),
)
OPEN_TRIGGER_ORDERS = _list(
    all_contracts=True,
    path="/linear-swap-api/v1/swap_cross_trigger_openorders",
    page=_page("8cb874fd"),
)
OPEN_TPSL_ORDERS = _list(
    all_contracts=True,
    path="/linear-swap-api/v1/swap_cross_tpsl_openorders",
    page=_page("8cb880ff"),
)
OPEN_TRAILING_ORDERS = _list(
    all_contracts=True,
    path="/linear-swap-api/v1/swap_cross_track_openorders",
    page=_page("8cb89614"),
)

ORDERS = _cancel(
    name="usdt_m_v1_cross.cancel_orders",
    path="/linear-swap-api/v1/swap_cross_cancel",
    page=_page("8cb84bb2"),
    batch_size=25,
    fields=BOTH_IDS,
    query=INFO,
)
ALL_ORDERS = _cancel(
    name="usdt_m_v1_cross.cancel_all_orders",
    path="/linear-swap-api/v1/swap_cross_cancelall",
    page=_page("8cb84ea6"),
    filters=DIRECTION_AND_OFFSET,
    query=INFO,
)
TRIGGER_ORDERS = _strategy(
    name="usdt_m_v1_cross.cancel_trigger_orders",
    path="/linear-swap-api/v1/swap_cross_trigger_cancel",
    page=_page("8cb87056"),
    query=OPEN_TRIGGER_ORDERS,
)
ALL_TRIGGER_ORDERS = _all_strategy(
    name="usdt_m_v1_cross.cancel_all_trigger_orders",
    path="/linear-swap-api/v1/swap_cross_trigger_cancelall",
    page=_page("8cb872c3"),
    query=OPEN_TRIGGER_ORDERS,
)
TPSL_ORDERS = _strategy(
    name="usdt_m_v1_cross.cancel_tpsl_orders",
    path="/linear-swap-api/v1/swap_cross_tpsl_cancel",
    page=_page("8cb87c9e"),
    query=OPEN_TPSL_ORDERS,
)
ALL_TPSL_ORDERS = _all_strategy(
    name="usdt_m_v1_cross.cancel_all_tpsl_orders",
    path="/linear-swap-api/v1/swap_cross_tpsl_cancelall",
    page=_page("8cb87edb"),
    filters=DIRECTION,
    query=OPEN_TPSL_ORDERS,
)
TRAILING_ORDERS = _strategy(
    name="usdt_m_v1_cross.cancel_trailing_orders",
    path="/linear-swap-api/v1/swap_cross_track_cancel",
    page=_page("8cb8902c"),
    query=OPEN_TRAILING_ORDERS,
)
ALL_TRAILING_ORDERS = _all_strategy(
    name="usdt_m_v1_cross.cancel_all_trailing_orders",
    path="/linear-swap-api/v1/swap_cross_track_cancelall",
    page=_page("8cb89359"),
    query=OPEN_TRAILING_ORDERS,
)
