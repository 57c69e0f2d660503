"""Answer queries from the book.

Rules that we chose where the pages say nothing:

* Unknown ids are left out; if no id is known, the call is refused.
* A list without orders has one empty page. A list with numbered pages has the newest order first.
* An order whose cancel is under way is still in the list of open orders. In v5, which has no state
  for it, the order is still new or partially filled.
* A v5 list of algo orders continues after a row's own ``id``, a small number that is not the
  ``algo_id``.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from htx_cancel.sandbox.book import Book
from htx_cancel.sandbox.lifecycle import Order
from htx_cancel.sandbox.parameters import Parameters
from htx_cancel.sandbox.rules import Interface, State
from htx_cancel.sandbox.texts import NONE_FOUND, NOT_FOUND, refusal
from htx_cancel.sandbox.windows import milliseconds

_PARTLY_FILLED = 4
#: The status of a plain v1 order.
_STATUS: Mapping[State, int] = {
    "open": 3,
    "canceling": 11,
    "canceled": 7,
    "partially_canceled": 5,
    "filled": 6,
}
#: The status of another v1 order, in a list of open orders.
_OPEN_STATUS: Mapping[State, int] = {"open": 2, "canceling": 9}


def answer(book: Book, interface: Interface, parameters: Parameters) -> object:
    """Answer a query; return the reply's data, or raise ``Refused``."""
    if interface.max_ids == 0:
        return (_page if interface.paged else _list_after)(book, interface, parameters)
    kind, code, by_client_id = interface.kind, parameters.contract_code, parameters.by_client_id
    orders = [book.find(kind, code, given, by_client_id=by_client_id) for given in parameters.ids]
    found = [order for order in orders if order and _in_mode(order, parameters)]
    if not found:
        refusing = NOT_FOUND if interface.max_ids == 1 else NONE_FOUND
        raise refusal(interface, refusing, outcome="refused")
    return _in_v5(found[0]) if interface.max_ids == 1 else [_in_v1(order) for order in found]


def _in_mode(order: Order, parameters: Parameters) -> bool:
    return parameters.margin_mode in ("", order.margin_mode)


def _page(book: Book, interface: Interface, parameters: Parameters) -> dict[str, Any]:
    """Return one page of a list of open orders that has numbered pages."""
    contract_code = parameters.filters.get("contract_code", "").upper()
    orders = [
        order
        for order in book.listed(interface.kind, parameters.contract_code)
        if contract_code in ("", order.contract_code)
    ]
    orders.sort(key=attrgetter("number"), reverse=True)
    number, size = parameters.page
    return {
        "orders": [_listed(order) for order in orders[(number - 1) * size : number * size]],
        "total_page": max(1, -(-len(orders) // size)),
        "current_page": number,
        "total_size": len(orders),
    }


def _list_after(book: Book, interface: Interface, parameters: Parameters) -> list[dict[str, Any]]:
    """Return the open orders whose rows follow the given id."""
    orders = [
        order
        for order in book.listed(interface.kind, parameters.contract_code)
        if _in_mode(order, parameters)
        and parameters.algo_type in ("", order.algo_type)
        and _row_id(order) > int(parameters.after or 0)
    ]
    orders.sort(key=_row_id)
    return [_row(order) for order in orders[: parameters.page[1]]]


def _row_id(order: Order) -> int:
    return order.number if order.kind == "v5_algo" else int(order.order_id)


def _row(order: Order) -> dict[str, Any]:
    row_id = {"id": str(_row_id(order))}
    if order.kind == "v5":
        return row_id | _in_v5(order)
    return {
        **row_id,
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
        **_v5_trigger(order),
    }


def _v5_trigger(order: Order) -> dict[str, str]:
    price = str(order.price)
    if order.algo_type == "trigger":
        return {"trigger_price": price}
    if order.algo_type == "trailing_stop":
        return {
            "active_price": price,
            "callback_rate": "0.05",
            "order_price_type": "formula_price",
        }
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
    """Return an order's row in a v1 list of open orders."""
    sort = order.kind.partition("_")[2]
    if not sort:
        return _in_v1(order)
    return _basics(order) | _trigger(sort, order) | {"status": _OPEN_STATUS[order.state]}


def _trigger(sort: str, order: Order) -> dict[str, Any]:
    if sort == "trailing":
        return {
            "active_price": order.price,
            "callback_rate": 0.05,
            "is_active": 0,
            "order_price_type": "formula_price",
        }
    trigger = {"trigger_type": "ge", "trigger_price": order.price}
    if sort == "trigger":
        return {**trigger, "order_price": order.price, "order_price_type": "limit"}
    return {
        **trigger,
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
        "state": live if order.state in ("open", "canceling") else order.state,
        "type": "limit",
        "price": str(order.price),
        "created_time": str(milliseconds(order.placed_at)),
        "volume": str(order.volume),
        "trade_volume": str(_traded(order)),
        "order_source": "api",
    }


def _traded(order: Order) -> int:
    return order.volume if order.state == "filled" else order.traded
