"""Coin-M delivery futures: ``client.coin_m_futures``, paths under ``/api/v1``.

These calls take a coin, such as ``BTC``. A cancel by ids finds the ids in any contract of the coin.
A cancel of all narrows to a contract, such as ``BTC261225``, if one is given. The new pages of the
cancel calls are not known, so these rows have the URLs of the old pages.
"""

from functools import partial

from htx_cancel.endpoints.row import (
    BOTH_IDS,
    FIVE_PER_SECOND,
    OLD_PAGE_URL,
    PAGE_URL,
    Catalogue,
    Countdown,
    Endpoint,
    Query,
)

_TPSL_FILTERS = ("contract_code", "contract_type", "direction")
_ALL_FILTERS = (*_TPSL_FILTERS, "offset")
_cancel = partial(Endpoint, pool="coin_m_futures_trade", by_symbol=True)
#: Strategy orders (trigger, TP/SL and trailing orders): by ids, and all of a contract.
_strategy = partial(_cancel, own_limit=FIVE_PER_SECOND, batch_size=10)
_all_strategy = partial(_cancel, own_limit=FIVE_PER_SECOND, filters=_ALL_FILTERS)
_query = partial(Query, method="POST", pool="coin_m_futures_read", batch_size=50, by_symbol=True)
_list = partial(_query, paging="by_page")


def _page(section: str) -> str:
    return f"{OLD_PAGE_URL}#{section}"


INFO = _query(path="/api/v1/contract_order_info", page=_page("get-information-of-an-order"))
OPEN_ORDERS = _list(
    all_contracts=True,
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
    filters=_ALL_FILTERS,
    query=INFO,
)
TRIGGER_ORDERS = _strategy(
    name="coin_m_futures.cancel_trigger_orders",
    path="/api/v1/contract_trigger_cancel",
    page=_page("cancel-trigger-order"),
    query=OPEN_TRIGGER_ORDERS,
)
ALL_TRIGGER_ORDERS = _all_strategy(
    name="coin_m_futures.cancel_all_trigger_orders",
    path="/api/v1/contract_trigger_cancelall",
    page=_page("cancel-all-trigger-orders"),
    query=OPEN_TRIGGER_ORDERS,
)
TPSL_ORDERS = _strategy(
    name="coin_m_futures.cancel_tpsl_orders",
    path="/api/v1/contract_tpsl_cancel",
    page=_page("cancel-a-take-profit-and-stop-loss-order"),
    query=OPEN_TPSL_ORDERS,
)
ALL_TPSL_ORDERS = _all_strategy(
    name="coin_m_futures.cancel_all_tpsl_orders",
    path="/api/v1/contract_tpsl_cancelall",
    page=_page("cancel-all-take-profit-and-stop-loss-orders"),
    filters=_TPSL_FILTERS,
    query=OPEN_TPSL_ORDERS,
)
TRAILING_ORDERS = _strategy(
    name="coin_m_futures.cancel_trailing_orders",
    path="/api/v1/contract_track_cancel",
    page=_page("cancel-a-trailing-order"),
    query=OPEN_TRAILING_ORDERS,
)
ALL_TRAILING_ORDERS = _all_strategy(
    name="coin_m_futures.cancel_all_trailing_orders",
    path="/api/v1/contract_track_cancelall",
    page=_page("cancel-all-trailing-orders"),
    query=OPEN_TRAILING_ORDERS,
)
COUNTDOWN = Countdown(
    path="/api/v1/contract-cancel-after", page=OLD_PAGE_URL, pool="coin_m_futures_trade"
)
