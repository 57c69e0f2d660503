"""USDT-M contracts: ``client.usdt_m``, paths under ``/v5``.

Trigger, TP/SL and trailing orders are all algo orders in v5.
"""

from functools import partial

from msgspec.structs import replace

from htx_cancel.endpoints.row import BOTH_IDS, PAGE_URL, Countdown, Endpoint, Query

_PAGE = PAGE_URL + "8cb89359-77b5-11ed-9966-"
_SIDES = ("side", "position_side")
_cancel = partial(Endpoint, pool="usdt_m_trade", envelope="v5")
_query = partial(Query, method="GET", pool="usdt_m_read")
_list = partial(_query, all_contracts=True, batch_size=100, paging="by_id")

#: Without a margin mode the queries of plain orders cover cross orders only.
_MODES: tuple[dict[str, str], ...] = ({}, {"margin_mode": "isolated"})
_TYPES = tuple({"type": kind} for kind in ("trigger", "tpsl", "tp", "sl", "trailing_stop"))

INFO = _query(path="/v5/trade/order", page=_PAGE + "196a8401f83", variants=_MODES)
OPEN_ORDERS = _list(path="/v5/trade/order/opens", page=_PAGE + "19589587da5", variants=_MODES)
OPEN_ALGO_ORDERS = _list(path="/v5/algo/order/opens", page=_PAGE + "19b9754d736", variants=_TYPES)

ORDERS = _cancel(
    name="usdt_m.cancel_orders",
    path="/v5/trade/cancel_batch_orders",
    single_id_path="/v5/trade/cancel_order",
    page=_PAGE + "195894d0de8",
    batch_size=10,
    ids_as="list",
    fields=BOTH_IDS,
    query=INFO,
)
ORDERS_ONE_BY_ONE = replace(
    ORDERS,
    path="/v5/trade/cancel_order",
    single_id_path="",
    page=_PAGE + "1958947efe6",
    batch_size=1,
    ids_as="text",
)
ALL_ORDERS = _cancel(
    name="usdt_m.cancel_all_orders",
    path="/v5/trade/cancel_all_orders",
    page=_PAGE + "195894f0cf6",
    filters=_SIDES,
    query=INFO,
)
ALL_ACCOUNT_ORDERS = _cancel(
    name="usdt_m.cancel_all_account_orders",
    path="/v5/trade/cancel_all_orders",
    page=_PAGE + "195894f0cf6",
    filters=_SIDES,
    query=OPEN_ORDERS,  # its reply does not name the orders' contracts
)
ALGO_ORDERS = _cancel(
    name="usdt_m.cancel_algo_orders",
    path="/v5/algo/cancel_orders",
    page=_PAGE + "19b935d4997",
    batch_size=10,
    ids_as="objects",
    fields=("algo_id", "algo_client_order_id"),
    query=OPEN_ALGO_ORDERS,
)
COUNTDOWN = Countdown(
    path="/v5/trade/cancel-after",
    page=_PAGE + "19b72307cbb",
    pool="usdt_m_trade",
    as_text=True,
    envelope="v5",
)
