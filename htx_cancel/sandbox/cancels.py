"""The calls that cancel, carried out on the book."""

from typing import Any

from htx_cancel.sandbox.book import Book
from htx_cancel.sandbox.lifecycle import Order
from htx_cancel.sandbox.parameters import Wanted
from htx_cancel.sandbox.rules import EXPIRIES, ORDER_IDS, Interface
from htx_cancel.sandbox.texts import NOT_FOUND, refusal, text

Codes = list[tuple[str, Order | None, int | None]]


def cancel(book: Book, interface: Interface, wanted: Wanted, now: float) -> object:
    """Return what a call of the interface tells in its data; raise ``Refused``."""
    if interface.max_ids == 1:
        return _cancel_one(book, interface, wanted, now)
    orders = (
        [(given_id, _find(book, interface, wanted, given_id)) for given_id in wanted.ids]
        if interface.max_ids
        else [(order.order_id, order) for order in _chosen(book, interface, wanted)]
    )
    if not orders:
        raise refusal(interface, 1051, outcome="refused")
    codes = [(given_id, order, book.cancel(order, now)) for given_id, order in orders]
    return (_in_v5 if interface.envelope == "v5" else _in_v1)(interface, wanted, codes)


def _chosen(book: Book, interface: Interface, wanted: Wanted) -> list[Order]:
    return [
        order
        for order in book.open(interface.kind, wanted.contract_code)
        if all(_matches(order, name, word) for name, word in wanted.chosen.items())
    ]


def _matches(order: Order, name: str, word: str) -> bool:
    if name == "contract_type":
        return order.contract_code.endswith(EXPIRIES[word])
    if name == "contract_code":
        return order.contract_code == word.upper()
    return bool(getattr(order, "direction" if name == "side" else name) == word)


def _cancel_one(book: Book, interface: Interface, wanted: Wanted, now: float) -> dict[str, Any]:
    order = _find(book, interface, wanted, wanted.ids[0])
    code = book.cancel(order, now)
    if order is None or code is not None:
        words = (wanted.contract_code, "API")
        raise refusal(interface, code or NOT_FOUND, *words, outcome="refused")
    return {"order_id": order.order_id, "client_order_id": order.client_order_id or order.order_id}


def _find(book: Book, interface: Interface, wanted: Wanted, given_id: str) -> Order | None:
    return book.find(
        interface.kind, wanted.contract_code, given_id, by_client_id=wanted.by_client_id
    )


def _in_v1(interface: Interface, wanted: Wanted, codes: Codes) -> dict[str, Any]:
    """Name each order by the id with which it was asked for."""
    errors = [
        {"order_id": given_id, "err_code": code, "err_msg": _words(interface, wanted, code)}
        for given_id, _, code in codes
        if code is not None
    ]
    successes = ",".join(given_id for given_id, _, code in codes if code is None)
    return {"errors": errors, "successes": successes}


def _in_v5(interface: Interface, wanted: Wanted, codes: Codes) -> list[dict[str, Any]]:
    """Tell of each order in an item, in no order: the last one first."""
    order_id, client_id = interface.ids if interface.client_ids else ORDER_IDS
    return [
        {
            "code": code or 200,
            "message": "Success" if code is None else _words(interface, wanted, code),
            order_id: order.order_id if order else _named(given_id, asked=not wanted.by_client_id),
            client_id: (order.client_order_id or order.order_id)
            if order
            else _named(given_id, asked=wanted.by_client_id),
        }
        for given_id, order, code in reversed(codes)
    ]


def _named(given_id: str, *, asked: bool) -> str | None:
    return given_id if asked else None


def _words(interface: Interface, wanted: Wanted, code: int) -> str:
    return text(interface.envelope, code, wanted.contract_code, "API")
