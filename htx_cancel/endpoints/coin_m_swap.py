"""Coin-M perpetual swaps: ``client.coin_m_swap``, paths under ``/swap-api/v1``."""

from functools import partial

from htx_cancel.endpoints.row import (
    BOTH_IDS,
    DIRECTION,
    DIRECTION_AND_OFFSET,
    FIVE_PER_SECOND,
    PAGE_URL,
    Catalogue,
    Countdown,
    Endpoint,
    Query,
)

_cancel = partial(Endpoint, pool="coin_m_swap_trade")
#: Strategy orders (trigger, TP/SL and trailing orders): by ids, and all of a contract.
_strategy = partial(_cancel, own_limit=FIVE_PER_SECOND, batch_size=10)
_all_strategy = partial(_cancel, own_limit=FIVE_PER_SECOND, filters=DIRECTION_AND_OFFSET)
_query = partial(Query, method="POST", pool="coin_m_swap_read", batch_size=50)
_list = partial(_query, paging="by_page")


def _page(number: str) -> str:
    return f"{PAGE_URL}{number}-77b6-11ed-9966-0242ac110003"


INFO = _query(path="/swap-api/v1/swap_order_info", page=_page("5d51a400"))
OPEN_ORDERS = _list(all_contracts=True, path="/swap-api/v1/swap_openorders", page=_page("5d51a6ad"))
OPEN_TRIGGER_ORDERS = _list(path="/swap-api/v1/swap_trigger_openorders", page=_page("5d51b225"))
OPEN_TPSL_ORDERS = _list(path="/swap-api/v1/swap_tpsl_openorders", page=_page("5d51b893"))
OPEN_TRAILING_ORDERS = _list(path="/swap-api/v1/swap_track_openorders", page=_page("5d51c0a2"))

CONTRACTS = Catalogue(
    path="/swap-api/v1/swap_contract_info", page=_page("5d516f96"), field="contract_code"
)

ORDERS = _cancel(
    name="coin_m_swap.cancel_orders",
    path="/swap-api/v1/swap_cancel",
    page=_page("5d51a18b"),
    batch_size=10,
    fields=BOTH_IDS,
    query=INFO,
)
ALL_ORDERS = _cancel(
    name="coin_m_swap.cancel_all_orders",
    path="/swap-api/v1/swap_cancelall",
    page=_page("5d51a25e"),
    filters=DIRECTION_AND_OFFSET,
    query=INFO,
)
TRIGGER_ORDERS = _strategy(
    name="coin_m_swap.cancel_trigger_orders",
    path="/swap-api/v1/swap_trigger_cancel",
    page=_page("5d51b077"),
    query=OPEN_TRIGGER_ORDERS,
)
ALL_TRIGGER_ORDERS = _all_strategy(
    name="coin_m_swap.cancel_all_trigger_orders",
    path="/swap-api/v1/swap_trigger_cancelall",
    page=_page("5d51b14a"),
    query=OPEN_TRIGGER_ORDERS,
)
TPSL_ORDERS = _strategy(
    name="coin_m_swap.cancel_tpsl_orders",
    path="/swap-api/v1/swap_tpsl_cancel",
    page=_page("5d51b532"),
    query=OPEN_TPSL_ORDERS,
)
ALL_TPSL_ORDERS = _all_strategy(
    name="coin_m_swap.cancel_all_tpsl_orders",
    path="/swap-api/v1/swap_tpsl_cancelall",
    page=_page("5d51b66b"),
    filters=DIRECTION,
    query=OPEN_TPSL_ORDERS,
)
TRAILING_ORDERS = _strategy(
    name="coin_m_swap.cancel_trailing_orders",
    path="/swap-api/v1/swap_track_cancel",
    page=_page("5d51be6e"),
    query=OPEN_TRAILING_ORDERS,
)
ALL_TRAILING_ORDERS = _all_strategy(
    name="coin_m_swap.cancel_all_trailing_orders",
    path="/swap-api/v1/swap_track_cancelall",
    page=_page("5d51bfd0"),
    query=OPEN_TRAILING_ORDERS,
)
COUNTDOWN = Countdown(
    path="/swap-api/v1/swap-cancel-after",
    page=f"{PAGE_URL}10000072-77b7-11ed-9966-0242ac110003",
    pool="coin_m_swap_trade",
)
