"""Coin-M delivery futures: ``client.coin_m_futures``, paths under ``/api/v1``.

These calls name a coin, such as ``BTC``. A cancel by ids finds them in any of its contracts; a
cancel of all narrows to a contract, such as ``BTC261225``, where one was given. No source knows the
new pages of the cancel calls, so the rows name the old ones.
"""

from functools import partial

from htx_cancel.endpoints.row import (
    BOTH_IDS,
    FIVE,
    PAGE_OF_2021,
    PAGE_URL,
    Catalogue,
    Countdown,
    Endpoint,
    Query,
)

_NARROWER = ("contract_code", "contract_type", "direction")
_NARROWEST = (*_NARROWER, "offset")
_cancel = partial(Endpoint, pool="coin_m_futures_trade", by_symbol=True)
_list = partial(
    Query,
    method="POST",
    pool="coin_m_futures_read",
    batch_size=50,
    listed="by_page",
    by_symbol=True,
)


def _page(section: str) -> str:
    return f"{PAGE_OF_2021}#{section}"


INFO = Query(
    method="POST",
    path="/api/v1/contract_order_info",
    page=_page("get-information-of-an-order"),
    pool="coin_m_futures_read",
    batch_size=50,
    by_symbol=True,
)
OPEN_ORDERS = _list(
    everywhere=True,
    path="/api/v1/contract_openorders",
    page=PAGE_URL + "28c317fb-77ae-11ed-9966-0242ac110003",
)
OPEN_TRIGGER_ORDERS = _list(
    path="/api/v1/contract_trigger_openorders", page=_page("query-trigger-order-open-orders")
)
OPEN_TPSL_ORDERS = _list(
    path="/api/v1/contract_tpsl_openorders",
    page=_page("query-open-take-profit-and-stop-loss-orders"),
)
OPEN_TRAILING_ORDERS = _list(
    path="/api/v1/contract_track_openorders",
    page=_page("current-unfilled-trailing-order-acquisition"),
)

CONTRACTS = Catalogue(
    path="/api/v1/contract_contract_info",
    page=PAGE_URL + "28c2d918-77ae-11ed-9966-0242ac110003",
    field="symbol",
)

ORDERS = _cancel(
    name="coin_m_futures.cancel_orders",
    path="/api/v1/contract_cancel",
    page=_page("cancel-an-order"),
    batch_size=10,
    fields=BOTH_IDS,
    query=INFO,
)
ALL_ORDERS = _cancel(
    name="coin_m_futures.cancel_all_orders",
    path="/api/v1/contract_cancelall",
    page=_page("cancel-all-orders"),
    filters=_NARROWEST,
    query=INFO,
)
TRIGGER_ORDERS = _cancel(
    name="coin_m_futures.cancel_trigger_orders",
    path="/api/v1/contract_trigger_cancel",
    page=_page("cancel-trigger-order"),
    own=FIVE,
    batch_size=10,
    query=OPEN_TRIGGER_ORDERS,
)
ALL_TRIGGER_ORDERS = _cancel(
    name="coin_m_futures.cancel_all_trigger_orders",
    path="/api/v1/contract_trigger_cancelall",
    page=_page("cancel-all-trigger-orders"),
    own=FIVE,
    filters=_NARROWEST,
    query=OPEN_TRIGGER_ORDERS,
)
TPSL_ORDERS = _cancel(
    name="coin_m_futures.cancel_tpsl_orders",
    path="/api/v1/contract_tpsl_cancel",
    page=_page("cancel-a-take-profit-and-stop-loss-order"),
    own=FIVE,
    batch_size=10,
    query=OPEN_TPSL_ORDERS,
)
ALL_TPSL_ORDERS = _cancel(
    name="coin_m_futures.cancel_all_tpsl_orders",
    path="/api/v1/contract_tpsl_cancelall",
    page=_page("cancel-all-take-profit-and-stop-loss-orders"),
    own=FIVE,
    filters=_NARROWER,
    query=OPEN_TPSL_ORDERS,
)
TRAILING_ORDERS = _cancel(
    name="coin_m_futures.cancel_trailing_orders",
    path="/api/v1/contract_track_cancel",
    page=_page("cancel-a-trailing-order"),
    own=FIVE,
    batch_size=10,
    query=OPEN_TRAILING_ORDERS,
)
ALL_TRAILING_ORDERS = _cancel(
    name="coin_m_futures.cancel_all_trailing_orders",
    path="/api/v1/contract_track_cancelall",
    page=_page("cancel-all-trailing-orders"),
    own=FIVE,
    filters=_NARROWEST,
    query=OPEN_TRAILING_ORDERS,
)
COUNTDOWN = Countdown(
    path="/api/v1/contract-cancel-after",
    page=PAGE_OF_2021,
    pool="coin_m_futures_trade",
)
ROWS = (
    ORDERS,
    ALL_ORDERS,
    TRIGGER_ORDERS,
    ALL_TRIGGER_ORDERS,
    TPSL_ORDERS,
    ALL_TPSL_ORDERS,
    TRAILING_ORDERS,
    ALL_TRAILING_ORDERS,
)
