"""Read the state of orders out of a query's reply.

Rules:

* A query that failed says nothing. One that succeeded, or says that it knows none of its orders,
  says of each order that it leaves out that the exchange does not have it.
* A list of open orders says of an order that it leaves out that it is not open any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from htx_cancel.endpoints import Query
from htx_cancel.outcome import ACCEPTED, Finding, OrderState
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import (
    AttemptResult,
    id_of,
    json_object,
    not_htx,
    server_time,
    verdict,
)

#: The numbers of coin-M orders and the words of v5 orders. What is not here says nothing.
STATES: dict[object, OrderState] = {
    **dict.fromkeys((1, 2, 3, 4, "new", "partially_filled"), OrderState.OPEN),
    **dict.fromkeys((5, "partially_canceled"), OrderState.PARTIALLY_CANCELED),
    **dict.fromkeys((6, "filled"), OrderState.FILLED),
    **dict.fromkeys((7, "canceled"), OrderState.CANCELED),
    **dict.fromkeys((10, "rejected"), OrderState.GONE),
    11: OrderState.CANCELING,
}

#: Of trailing and trigger orders: all that is listed is open but what is being canceled.
_LISTED_CANCELING = 9


class OrderStates(AttemptResult, frozen=True):
    """What a reply tells.

    ``of`` holds the orders it names, ``None`` for a state that is not known here. Where it is
    ``complete``, an order that was asked for and is not named does not exist, or is not open.
    """

    of: Mapping[str, OrderState | None] = {}
    complete: bool = False
    pages: int = 1


def params(contract_code: str, field: str, ids: Iterable[str]) -> dict[str, str]:
    """Make the parameters of a query by ids."""
    return {"contract_code": contract_code, field: ",".join(ids)}


def encode_page(contract_code: str, page: int, size: int) -> bytes:
    """Make the body of a query for a page of open orders, counted from 1."""
    return encode({"contract_code": contract_code, "page_index": page, "page_size": size})


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
        none_of_them = whole.meaning is Meaning.NOT_FOUND and not query.paged
        return OrderStates(whole, told, complete=none_of_them)
    data = reply.get("data")
    if query.paged:
        return _page(data, told)
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


def _page(data: object, told: float | None) -> OrderStates:
    page = data if isinstance(data, dict) else {}
    orders, pages = page.get("orders"), page.get("total_page")
    if not isinstance(orders, list) or not isinstance(pages, int):
        return OrderStates(Finding(Meaning.UNREADABLE, None, "no page of orders"), told)
    states = {
        _id(item, "order_id"): OrderState.CANCELING
        if item.get("status") == _LISTED_CANCELING
        else OrderState.OPEN
        for item in orders
        if isinstance(item, dict)
    }
    return OrderStates(ACCEPTED, told, of=states, complete=True, pages=max(pages, 1))


def _id(item: dict[str, Any], field: str) -> str:
    text = item.get("order_id_str") if field == "order_id" else None
    return id_of(text) or id_of(item.get(field))
