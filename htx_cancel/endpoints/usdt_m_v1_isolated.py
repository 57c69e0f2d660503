"""USDT-M contracts in isolated margin, of accounts that were not moved to v5.

``client.usdt_m_v1_isolated``, paths under ``/linear-swap-api/v1``.
"""

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

_cancel = partial(Endpoint, pool="usdt_m_trade")
#: Strategy orders (trigger, TP/SL and trailing orders): by ids, and all of a contract.
_strategy = partial(_cancel, own_limit=FIVE_PER_SECOND, batch_size=10)
_all_strategy = partial(_cancel, own_limit=FIVE_PER_SECOND, filters=DIRECTION_AND_OFFSET)
_query = partial(Query, method="POST", pool="usdt_m_read", batch_size=50)
_list = partial(_query, paging="by_page")


def _page(number: str) -> str:
    return f"{PAGE_URL}{number}-77b5-11ed-9966-0242ac110003"


INFO = _query(
    path="/linear-swap-api/v1/swap_order_info",
    page="https://huobiapi.github.io/docs/usdt_swap/v1/en/",
)
OPEN_ORDERS = _list(
    all_contracts=True, path="/linear-swap-api/v1/swap_openorders", page=_page("8cb85791")
)
OPEN_TRIGGER_ORDERS = _list(
    path="/linear-swap-api/v1/swap_trigger_openorders",
    page=_page("8cb873a8"),
    own_limit=FIVE_PER_SECOND,
)
OPEN_TPSL_ORDERS = _list(path="/linear-swap-api/v1/swap_tpsl_openorders", page=_page("8cb87fb0"))
OPEN_TRAILING_ORDERS = _list(
    path="/linear-swap-api/v1/swap_track_openorders", page=_page("8cb894b7")
)

CONTRACTS = Catalogue(
    path="/linear-swap-api/v1/swap_contract_info",
    page="https://huobiapi.github.io/docs/usdt_swap/v1/en/",
    field="contract_code",
)

ORDERS = _cancel(
    name="usdt_m_v1_isolated.cancel_orders",
    path="/linear-swap-api/v1/swap_cancel",
    page=_page("8cb84a62"),
    batch_size=25,
    fields=BOTH_IDS,
    query=INFO,
)
ALL_ORDERS = _cancel(
    name="usdt_m_v1_isolated.cancel_all_orders",
    path="/linear-swap-api/v1/swap_cancelall",
    page=_page("8cb84dae"),
    filters=DIRECTION_AND_OFFSET,
    query=INFO,
)
TRIGGER_ORDERS = _strategy(
    name="usdt_m_v1_isolated.cancel_trigger_orders",
    path="/linear-swap-api/v1/swap_trigger_cancel",
    page=_page("8cb86f61"),
    batch_size=20,
    query=OPEN_TRIGGER_ORDERS,
)
ALL_TRIGGER_ORDERS = _all_strategy(
    name="usdt_m_v1_isolated.cancel_all_trigger_orders",
    path="/linear-swap-api/v1/swap_trigger_cancelall",
    page=_page("8cb87161"),
    query=OPEN_TRIGGER_ORDERS,
)
TPSL_ORDERS = _strategy(
    name="usdt_m_v1_isolated.cancel_tpsl_orders",
    path="/linear-swap-api/v1/swap_tpsl_cancel",
    page=_page("8cb87bc0"),
    query=OPEN_TPSL_ORDERS,
)
ALL_TPSL_ORDERS = _all_strategy(
    name="usdt_m_v1_isolated.cancel_all_tpsl_orders",
    path="/linear-swap-api/v1/swap_tpsl_cancelall",
    page=_page("8cb87d94"),
    filters=DIRECTION,
    query=OPEN_TPSL_ORDERS,
)
TRAILING_ORDERS = _strategy(
    name="usdt_m_v1_isolated.cancel_trailing_orders",
    path="/linear-swap-api/v1/swap_track_cancel",
    page=_page("8cb88f2c"),
    query=OPEN_TRAILING_ORDERS,
)
ALL_TRAILING_ORDERS = _all_strategy(
    name="usdt_m_v1_isolated.cancel_all_trailing_orders",
    path="/linear-swap-api/v1/swap_track_cancelall",
    page=_page("8cb8924f"),
    query=OPEN_TRAILING_ORDERS,
)
COUNTDOWN = Countdown(
    path="/linear-swap-api/v1/linear-cancel-after",
    page=f"{PAGE_URL}10000068-77b7-11ed-9966-0242ac110003",
    pool="usdt_m_trade",
)
