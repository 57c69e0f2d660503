"""Execute the calls that cancel on the book."""

from typing import Any

from htx_cancel.sandbox.book import Book
from htx_cancel.sandbox.lifecycle import Order
from htx_cancel.sandbox.parameters import Parameters
from htx_cancel.sandbox.rules import EXPIRIES, ORDER_IDS, Interface
from htx_cancel.sandbox.texts import NOT_FOUND, refusal, text

#: For each order of a call: the id in the request, the order if it exists, and the code that
#: refuses the cancel, ``None`` if it is accepted.
Codes = list[tuple[str, Order | None, int | None]]


def cancel(book: Book, interface: Interface, parameters: Parameters, now: float) -> object:
    """Execute a call; return the reply's data, or raise ``Refused``."""
    if interface.max_ids == 1:
        return _cancel_one(book, interface, parameters, now)
    orders = (
        [(given_id, _find(book, interface, parameters, given_id)) for given_id in parameters.ids]
        if interface.max_ids
        else [(order.order_id, order) for order in _filtered(book, interface, parameters)]
    )
    if not orders:
        raise refusal(interface, 1051, outcome="refused")
    codes = [(given_id, order, book.cancel(order, now)) for given_id, order in orders]
    return (_in_v5 if interface.envelope == "v5" else _in_v1)(interface, parameters, codes)


def _filtered(book: Book, interface: Interface, parameters: Parameters) -> list[Order]:
    return [
        order
        for order in book.open(interface.kind, parameters.contract_code)
        if all(_matches(order, name, value) for name, value in parameters.filters.items())
    ]


def _matches(order: Order, name: str, value: str) -> bool:
    if name == "contract_type":
        return order.contract_code.endswith(EXPIRIES[value])
    if name == "contract_code":
        return order.contract_code == value.upper()
    return bool(getattr(order, "direction" if name == "side" else name) == value)


def _cancel_one(
    book: Book, interface: Interface, parameters: Parameters, now: float
) -> dict[str, Any]:
    order = _find(book, interface, parameters, parameters.ids[0])
    code = book.cancel(order, now)
    if order is None or code is not None:
        words = (parameters.contract_code, "API")
        raise refusal(interface, code or NOT_FOUND, *words, outcome="refused")
    return {"order_id": order.order_id, "client_order_id": order.client_order_id or order.order_id}


def _find(book: Book, interface: Interface, parameters: Parameters, given_id: str) -> Order | None:
    return book.find(
        interface.kind, parameters.contract_code, given_id, by_client_id=parameters.by_client_id
    )


def _in_v1(interface: Interface, parameters: Parameters, codes: Codes) -> dict[str, Any]:
    """Return v1 data, which names each order by its id in the request."""
    errors = [
        {"order_id": given_id, "err_code": code, "err_msg": _text(interface, parameters, code)}
        for given_id, _, code in codes
        if code is not None
    ]
    successes = ",".join(given_id for given_id, _, code in codes if code is None)
    return {"errors": errors, "successes": successes}


def _in_v5(interface: Interface, parameters: Parameters, codes: Codes) -> list[dict[str, Any]]:
    """Return v5 data: an item for each order, the last one first, because v5 keeps no order."""
    names = interface.ids if interface.client_ids else ORDER_IDS
    items = []
    for given_id, order, code in reversed(codes):
        ids: tuple[str | None, ...] = (given_id, None)
        if order is not None:
            ids = (order.order_id, order.client_order_id or order.order_id)
        elif parameters.by_client_id:
            ids = (None, given_id)
        message = "Success" if code is None else _text(interface, parameters, code)
        item = {"code": code or 200, "message": message}
        items.append(item | dict(zip(names, ids, strict=True)))
    return items


def _text(interface: Interface, parameters: Parameters, code: int) -> str:
    return text(interface.envelope, code, parameters.contract_code, "API")
