"""The calls that ask what became of orders, answered from the book.

Rules, where the pages are silent:

* Ids that are not known are left out; if none is known the call is refused.
* A list without orders has one page, which is empty. A list by pages has the newest order first.
* An order whose cancel is under way is still in the list of open orders, and in v5, which has no
  word for it, still new or partially filled.
* A v5 list of algo orders goes on after a row's own ``id``, a small number which is not its
  ``algo_id``.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from htx_cancel.sandbox.book import Book
from htx_cancel.sandbox.lifecycle import Order
from htx_cancel.sandbox.parameters import Wanted
from htx_cancel.sandbox.rules import Interface, State
from htx_cancel.sandbox.texts import NONE_FOUND, NOT_FOUND, refusal
from htx_cancel.sandbox.windows import milliseconds

_PARTLY_FILLED = 4
#: An order's status in v1.
_STATUS: Mapping[State, int] = {
    "open": 3,
    "canceling": 11,
    "canceled": 7,
    "partially_canceled": 5,
    "filled": 6,
}
#: A trailing or trigger order's status, in the list of those that are open.
_OPEN_STATUS: Mapping[State, int] = {"open": 2, "canceling": 9}
#: An order's state in v5, where it is one of the ended ones.
_V5_STATE: Mapping[State, str] = {
    "canceled": "canceled",
    "partially_canceled": "partially_canceled",
    "filled": "filled",
}


def answer(book: Book, interface: Interface, wanted: Wanted) -> object:
    """Return what a question is answered with, as the data of a reply; raise ``Refused``."""
    if interface.max_ids == 0 and not interface.paged:
        return _after(book, interface, wanted)
    if interface.max_ids == 0:
        return _open_orders(book, interface, wanted)
    found = [
        order
        for each in wanted.ids
        if (
            order := book.find(
                interface.kind, wanted.contract_code, each, by_client_id=wanted.by_client_id
            )
        )
        and wanted.margin_mode in ("", order.margin_mode)
    ]
    if not found:
        code = NOT_FOUND if interface.max_ids == 1 else NONE_FOUND
        raise refusal(interface, code, outcome="refused")
    return _in_v5(found[0]) if interface.max_ids == 1 else [_in_v1(order) for order in found]


def _open_orders(book: Book, interface: Interface, wanted: Wanted) -> dict[str, Any]:
    narrower = wanted.chosen.get("contract_code", "").upper()
    live = [
        order
        for order in book.listed(interface.kind, wanted.contract_code)
        if narrower in ("", order.contract_code)
    ]
    live.sort(key=attrgetter("number"), reverse=True)
    index, size = wanted.page
    return {
        "orders": [_listed(order) for order in live[(index - 1) * size : index * size]],
        "total_page": max(1, -(-len(live) // size)),
        "current_page": index,
        "total_size": len(live),
    }


def _after(book: Book, interface: Interface, wanted: Wanted) -> list[dict[str, Any]]:
    """List open orders by the ids of their rows, from the one after the id that is given."""
    live = [
        order
        for order in book.listed(interface.kind, wanted.contract_code)
        if wanted.margin_mode in ("", order.margin_mode)
        and wanted.algo_type in ("", order.algo_type)
        and _row_id(order) > int(wanted.after or 0)
    ]
    live.sort(key=_row_id)
    return [_row(interface, order) for order in live[: wanted.page[1]]]


def _row_id(order: Order) -> int:
    return order.number if order.kind == "v5_algo" else int(order.order_id)


def _row(interface: Interface, order: Order) -> dict[str, Any]:
    if interface.kind == "v5":
        return {"id": str(_row_id(order)), **_in_v5(order)}
    return {
        "id": str(_row_id(order)),
        "algo_id": order.order_id,
        "algo_client_order_id": order.client_order_id,
        "type": order.algo_type,
        "state": "active",
        "contract_code": order.contract_code,
        "side": order.direction,
        "position_side": order.position_side,
        "margin_mode": order.margin_mode,
        "volume": str(order.volume),
        "order_source": "api",
        "created_time": str(milliseconds(order.placed_at)),
    } | _v5_waits_for(order)


def _v5_waits_for(order: Order) -> dict[str, str]:
    """Tell at which price a v5 algo order is triggered."""
    price = str(order.price)
    if order.algo_type == "trigger":
        return {"trigger_price": price}
    if order.algo_type == "trailing_stop":
        callback = {"callback_rate": "0.05", "order_price_type": "formula_price"}
        return {"active_price": price, **callback}
    sides = ("tp", "sl") if order.algo_type == "tpsl" else (order.algo_type,)
    prices = {f"{side}_trigger_price": price for side in sides}
    return {**prices, **{f"{side}_type": "market" for side in sides}}


def _basics(order: Order) -> dict[str, Any]:
    return {
        "symbol": order.contract_code.partition("-")[0].rstrip("0123456789"),
        "contract_code": order.contract_code,
        "order_id": int(order.order_id),
        "order_id_str": order.order_id,
        "volume": order.volume,
        "direction": order.direction,
        "offset": order.offset,
        "order_source": "api",
        "created_at": milliseconds(order.placed_at),
    }


def _listed(order: Order) -> dict[str, Any]:
    sort = order.kind.partition("_")[2]
    if not sort:
        return _in_v1(order)
    return _basics(order) | _waits_for(sort, order) | {"status": _OPEN_STATUS[order.state]}


def _waits_for(sort: str, order: Order) -> dict[str, Any]:
    """Tell at which price an order is triggered."""
    if sort == "trailing":
        callback = {"callback_rate": 0.05, "is_active": 0, "order_price_type": "formula_price"}
        return {"active_price": order.price, **callback}
    triggered = {"trigger_type": "ge", "trigger_price": order.price}
    if sort == "trigger":
        return {**triggered, "order_price": order.price, "order_price_type": "limit"}
    return {
        **triggered,
        "order_price": 0,
        "order_price_type": "optimal_5",
        "tpsl_order_type": "tp",
        "source_order_id": order.entry or None,
        "relation_tpsl_order_id": "-1",
    }


def _in_v1(order: Order) -> dict[str, Any]:
    partly = order.state == "open" and order.traded
    client_id = order.client_order_id
    return _basics(order) | {
        "client_order_id": None if client_id is None else int(client_id),
        "price": order.price,
        "order_price_type": "limit",
        "status": _PARTLY_FILLED if partly else _STATUS[order.state],
        "trade_volume": _traded(order),
        "canceled_at": milliseconds(order.ends_at) if order.canceled_by_us else 0,
        "canceled_source": "api" if order.canceled_by_us else "",
    }


def _in_v5(order: Order) -> dict[str, Any]:
    live = "partially_filled" if order.traded else "new"
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id or order.order_id,
        "contract_code": order.contract_code,
        "margin_mode": order.margin_mode,
        "side": order.direction,
        "position_side": order.position_side,
        "state": _V5_STATE.get(order.state, live),
        "type": "limit",
        "price": str(order.price),
        "created_time": str(milliseconds(order.placed_at)),
        "volume": str(order.volume),
        "trade_volume": str(_traded(order)),
        "order_source": "api",
    }


def _traded(order: Order) -> int:
    return order.volume if order.state == "filled" else order.traded
