"""Read the state of orders out of a query's reply.

Rules:

* A query that failed says nothing. One that succeeded, or says that it knows none of its orders,
  says of each order that it leaves out that the exchange does not have it.
* A list of open orders says of an order that it leaves out that it is not open any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from htx_cancel.endpoints import Query
from htx_cancel.endpoints.row import named
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

#: The numbers of coin-M orders and the words of v5 orders. What is not here says nothing.
STATES: dict[object, OrderState] = {
    **dict.fromkeys((1, 2, 3, 4, "new", "partially_filled", "active"), OrderState.OPEN),
    **dict.fromkeys((5, "partially_canceled"), OrderState.PARTIALLY_CANCELED),
    **dict.fromkeys((6, "filled"), OrderState.FILLED),
    **dict.fromkeys((7, "canceled"), OrderState.CANCELED),
    **dict.fromkeys((10, "rejected"), OrderState.GONE),
    11: OrderState.CANCELING,
}

#: In a list of open orders: what is being canceled, of plain and of other orders.
_LISTED_CANCELING = (9, 11)


#: The prices at which an order triggers; of a trailing order the one from which it trails.
_TRIGGER_PRICES = ("trigger_price", "active_price", "tp_trigger_price", "sl_trigger_price")

#: The status of a contract that is not listed any more, or was delivered.
_OVER = (0, 8)

_NO_LIST = Finding(Meaning.UNREADABLE, None, "no list of orders")
_NO_WAY_ON = Finding(Meaning.UNREADABLE, None, "a full page, and no id to go on after")


class OrderStates(AttemptResult, frozen=True):
    """What a reply tells.

    ``of`` holds the orders it names, ``None`` for a state that is not known here. Where it is
    ``complete``, an order that was asked for and is not named does not exist, or is not open.
    """

    of: Mapping[str, OrderState | None] = {}
    complete: bool = False
    pages: int = 1  #: of a list that counts them
    least: int = 0  #: how many orders such a list has, by its own count
    rows: Sequence[Mapping[str, Any]] = ()  #: of a list, as they came
    last: str = ""  #: what the next page of a list comes after; ``""`` if there is none


def params(query: Query, contract_code: str, field: str, ids: Iterable[str]) -> dict[str, str]:
    """Make the parameters of a query by ids."""
    return {**named(contract_code, by_symbol=query.by_symbol), field: ",".join(ids)}


def page_params(query: Query, contract_code: str, page: str) -> dict[str, str | int]:
    """Make the parameters of a query for a page of open orders.

    ``page`` is its number, counted from 1, or the last id of the page before it.
    """
    contract = named(contract_code, by_symbol=query.by_symbol)
    if query.listed == "by_page":
        return {**contract, "page_index": int(page), "page_size": query.batch_size}
    after = {"from": page, "direct": "next"} if page else {}
    return {**contract, **after, "limit": str(query.batch_size)}


def contract_of_coin(query: Query, contract_code: str) -> str:
    """Return the only contract that is meant by a query that names its coin; ``""`` if all are."""
    asked = named(contract_code, by_symbol=query.by_symbol)
    return "" if contract_code in asked.values() else contract_code.upper()


def encode(given: Mapping[str, str | int]) -> bytes:
    """Make the body of a query that is a POST."""
    return msgspec.json.encode(given)


def decode(status: int, body: bytes, query: Query, field: str) -> OrderStates:
    """Read a reply. Never raises."""
    reply = json_object(body)
    if reply is None:
        return OrderStates(not_htx(status, "no JSON object"))
    told = server_time(reply)
    whole = verdict(reply, status, "v5" if query.method == "GET" else "v1", query.path)
    if whole.meaning is not Meaning.ACCEPTED:
        none_of_them = whole.meaning is Meaning.NOT_FOUND and not query.listed
        return OrderStates(whole, told, complete=none_of_them)
    data = reply.get("data")
    if query.listed == "by_page":
        return _page(data, told, field)
    if query.listed == "by_id":
        return _rows(data, told, query, field)
    if isinstance(data, list):
        return OrderStates(whole, told, of=_states(data, field), complete=True)
    return OrderStates(whole, told, of=_states([data], field))


def _states(items: Sequence[object], field: str) -> dict[str, OrderState | None]:
    states = {}
    for item in items:
        if isinstance(item, dict):
            word = item.get("state", item.get("status"))
            states[_id(item, field)] = STATES.get(word) if isinstance(word, str | int) else None
    return states


def _page(data: object, told: float | None, field: str) -> OrderStates:
    page = data if isinstance(data, dict) else {}
    rows, pages = _all_rows(page.get("orders")), page.get("total_page")
    if rows is None or not isinstance(pages, int):
        return OrderStates(_NO_LIST, told)
    size = page.get("total_size")
    least = max(size if isinstance(size, int) else 0, pages if pages > 1 else 0)
    states = _open(rows, field)
    return OrderStates(
        ACCEPTED, told, of=states, complete=True, pages=max(pages, 1), least=least, rows=rows
    )


def _rows(data: object, told: float | None, query: Query, field: str) -> OrderStates:
    rows = _all_rows(data)
    if rows is None:
        return OrderStates(_NO_LIST, told)
    full = len(rows) >= query.batch_size
    last = id_of(rows[-1].get("id")) if full else ""
    if full and not last:
        return OrderStates(_NO_WAY_ON, told, of=_open(rows, field), rows=rows)
    return OrderStates(ACCEPTED, told, of=_open(rows, field), complete=True, rows=rows, last=last)


def ids(pages: Iterable[OrderStates]) -> set[str]:
    """Return the ids of all orders that pages list."""
    return {_id(row, "order_id") for page in pages for row in page.rows}


def _all_rows(items: object) -> list[dict[str, Any]] | None:
    """Return the rows of a list; ``None`` if it is none, or has what is no row."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    return items


def _open(rows: Sequence[Mapping[str, Any]], field: str) -> dict[str, OrderState | None]:
    """Read a list of open orders: each is open, or its cancel is under way."""
    return {
        _id(row, field): OrderState.CANCELING
        if row.get("status") in _LISTED_CANCELING
        else OrderState.OPEN
        for row in rows
    }


def open_order(product: str, kind: str, row: Mapping[str, Any]) -> OpenOrder:
    """Read a row of a list of open orders; its id is empty if it names none."""
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
    """Return the first of these fields that is a number, or a text that is one."""
    for name in names:
        given = row.get(name)
        if isinstance(given, str | int | float) and not isinstance(given, bool):
            with suppress(InvalidOperation):
                number = Decimal(str(given))
                if number.is_finite():
                    return number
    return None


def contracts(body: bytes, field: str) -> list[str] | None:
    """Read which contracts, or coins, there are; ``None`` if the reply names none."""
    rows = _all_rows((json_object(body) or {}).get("data"))
    if not rows or not all(text_of(row, field) for row in rows):
        return None
    there = [row for row in rows if row.get("contract_status") not in _OVER]
    return list(dict.fromkeys(text_of(row, field) for row in there)) or None


def _id(item: Mapping[str, Any], field: str) -> str:
    text = item.get("order_id_str") if field == "order_id" else None
    return id_of(text) or id_of(item.get(field))
