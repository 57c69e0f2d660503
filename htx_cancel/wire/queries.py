"""Encode queries, and decode the states of orders from their replies.

Rules:

* A reply that failed says nothing.
* If a query by ids succeeds, or finds none of its orders, each order that the reply leaves out
  does not exist.
* An order that a list of open orders leaves out is not open any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from htx_cancel.endpoints import Query
from htx_cancel.endpoints.row import contract_parameter
from htx_cancel.orders import OpenOrder
from htx_cancel.status import ACCEPTED, Finding, OrderState
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import (
    AttemptResult,
    id_of,
    json_object,
    not_htx,
    server_time,
    text_of,
    verdict,
)

#: The states of coin-M orders (numbers) and of v5 orders (words). Any other state says nothing.
STATES: dict[object, OrderState] = {
    **dict.fromkeys((1, 2, 3, 4, "new", "partially_filled", "active"), OrderState.OPEN),
    **dict.fromkeys((5, "partially_canceled"), OrderState.PARTIALLY_CANCELED),
    **dict.fromkeys((6, "filled"), OrderState.FILLED),
    **dict.fromkeys((7, "canceled"), OrderState.CANCELED),
    **dict.fromkeys((10, "rejected"), OrderState.GONE),
    11: OrderState.CANCELING,
}

#: The status of an order in a list of open orders whose cancel is under way: 11 of plain orders,
#: 9 of other orders.
_LISTED_CANCELING = (9, 11)

#: The fields with the price at which an order triggers, or from which a trailing order trails.
_TRIGGER_PRICES = ("trigger_price", "active_price", "tp_trigger_price", "sl_trigger_price")

#: The status of a contract that was delisted (0) or delivered (8).
_OVER = (0, 8)

_NO_LIST = Finding(Meaning.UNREADABLE, None, "the reply has no list of orders")
_NO_LAST_ID = Finding(Meaning.UNREADABLE, None, "the page is full, but its last order has no id")


class OrderStates(AttemptResult, frozen=True):
    """What a reply says of orders.

    ``states`` has the state of each order that the reply names, ``None`` for a state that we do not
    know. If ``complete``, an order that was asked for and is not in ``states`` does not exist, or
    is not open any more.
    """

    states: Mapping[str, OrderState | None] = {}
    complete: bool = False
    pages: int = 1  #: how many pages the list has, if it counts them
    min_orders: int = 0  #: how many orders the list has at least, by its own count
    rows: Sequence[Mapping[str, Any]] = ()  #: the rows of a list, as received
    next_after: str = ""  #: the id that the next page of a list follows; ``""`` if no page follows


def id_params(query: Query, contract_code: str, field: str, ids: Iterable[str]) -> dict[str, str]:
    """Return the parameters of a query by ids."""
    return {**contract_parameter(contract_code, by_symbol=query.by_symbol), field: ",".join(ids)}


def page_params(query: Query, contract_code: str, page: str) -> dict[str, str | int]:
    """Return the parameters of a query for a page of open orders.

    ``page`` is the page's number, counted from 1, or the last id of the previous page.
    """
    contract = contract_parameter(contract_code, by_symbol=query.by_symbol)
    if query.paging == "by_page":
        return {**contract, "page_index": int(page), "page_size": query.batch_size}
    after = {"from": page, "direct": "next"} if page else {}
    return {**contract, **after, "limit": str(query.batch_size)}


def contract_of_coin(query: Query, contract_code: str) -> str:
    """Return the contract to filter by if the query names only its coin, else ``""``."""
    asked = contract_parameter(contract_code, by_symbol=query.by_symbol)
    return "" if contract_code in asked.values() else contract_code.upper()


def encode(given: Mapping[str, str | int]) -> bytes:
    """Return the body of a query that is a POST."""
    return msgspec.json.encode(given)


def decode(status: int, body: bytes, query: Query, field: str) -> OrderStates:
    """Decode a reply. Never raises."""
    reply = json_object(body)
    if reply is None:
        return OrderStates(not_htx(status, "no JSON object"))
    time = server_time(reply)
    whole = verdict(reply, status, "v5" if query.method == "GET" else "v1", query.path)
    if whole.meaning is not Meaning.ACCEPTED:
        none_exists = whole.meaning is Meaning.NOT_FOUND and not query.paging
        return OrderStates(whole, time, complete=none_exists)
    data = reply.get("data")
    if query.paging == "by_page":
        return _numbered_page(data, time, field)
    if query.paging == "by_id":
        return _page_by_id(data, time, query, field)
    if isinstance(data, list):
        return OrderStates(whole, time, states=_states(data, field), complete=True)
    return OrderStates(whole, time, states=_states([data], field))


def _states(items: Sequence[object], field: str) -> dict[str, OrderState | None]:
    states = {}
    for item in items:
        if isinstance(item, dict):
            state = item.get("state", item.get("status"))
            states[_id(item, field)] = STATES.get(state) if isinstance(state, str | int) else None
    return states


def _numbered_page(data: object, time: float | None, field: str) -> OrderStates:
    page = data if isinstance(data, dict) else {}
    rows, pages = _rows(page.get("orders")), page.get("total_page")
    if rows is None or not isinstance(pages, int):
        return OrderStates(_NO_LIST, time)
    size = page.get("total_size")
    least = max(size if isinstance(size, int) else 0, pages if pages > 1 else 0)
    states = _open(rows, field)
    return OrderStates(
        ACCEPTED,
        time,
        states=states,
        complete=True,
        pages=max(pages, 1),
        min_orders=least,
        rows=rows,
    )


def _page_by_id(data: object, time: float | None, query: Query, field: str) -> OrderStates:
    rows = _rows(data)
    if rows is None:
        return OrderStates(_NO_LIST, time)
    full = len(rows) >= query.batch_size
    last = id_of(rows[-1].get("id")) if full else ""
    if full and not last:
        return OrderStates(_NO_LAST_ID, time, states=_open(rows, field), rows=rows)
    return OrderStates(
        ACCEPTED, time, states=_open(rows, field), complete=True, rows=rows, next_after=last
    )


def ids(pages: Iterable[OrderStates]) -> set[str]:
    """Return the ids of all orders that pages list."""
    return {_id(row, "order_id") for page in pages for row in page.rows}


def _rows(items: object) -> list[dict[str, Any]] | None:
    """Return the rows of a list; ``None`` if it is no list, or an item is no object."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    return items


def _open(rows: Sequence[Mapping[str, Any]], field: str) -> dict[str, OrderState | None]:
    return {
        _id(row, field): OrderState.CANCELING
        if row.get("status") in _LISTED_CANCELING
        else OrderState.OPEN
        for row in rows
    }


def open_order(product: str, kind: str, row: Mapping[str, Any]) -> OpenOrder:
    """Return the order of a list's row; its ``order_id`` is ``""`` if the row has none."""
    algo = kind == "algo_orders"
    prices = ("price",) if kind == "orders" else _TRIGGER_PRICES
    created = _decimal(row, "created_at", "created_time")
    state = row.get("state", row.get("status"))
    return OpenOrder(
        product,
        kind,
        text_of(row, "contract_code"),
        _id(row, "algo_id" if algo else "order_id"),
        id_of(row.get("algo_client_order_id" if algo else "client_order_id")) or None,
        direction=text_of(row, "direction", "side"),
        price=_decimal(row, *prices),
        volume=_decimal(row, "volume"),
        filled=_decimal(row, "trade_volume"),
        created=None if created is None else float(created) / 1000,
        state="" if state is None else str(state),
        type=text_of(row, "type") if algo else "",
    )


def _decimal(row: Mapping[str, Any], *names: str) -> Decimal | None:
    """Return the first of these fields that holds a finite number, as a number or as text."""
    for name in names:
        with suppress(InvalidOperation):
            number = Decimal(str(row.get(name)))
            if number.is_finite():
                return number
    return None


def contracts(body: bytes, field: str) -> list[str] | None:
    """Return the contracts, or coins, that the exchange trades; ``None`` if the reply names none.

    Contracts that were delisted or delivered are left out.
    """
    rows = _rows((json_object(body) or {}).get("data"))
    if not rows or not all(text_of(row, field) for row in rows):
        return None
    listed = [row for row in rows if row.get("contract_status") not in _OVER]
    return list(dict.fromkeys(text_of(row, field) for row in listed)) or None


def _id(item: Mapping[str, Any], field: str) -> str:
    as_text = item.get("order_id_str") if field == "order_id" else None
    return id_of(as_text) or id_of(item.get(field))
