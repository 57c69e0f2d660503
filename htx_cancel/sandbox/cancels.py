"""The calls that cancel, carried out on the book."""

from collections.abc import Sequence
from typing import Any

from htx_cancel.sandbox.book import Book
from htx_cancel.sandbox.lifecycle import Order
from htx_cancel.sandbox.parameters import Wanted
from htx_cancel.sandbox.rules import Interface
from htx_cancel.sandbox.texts import NOT_FOUND, refusal, text


def cancel(book: Book, interface: Interface, wanted: Wanted, now: float) -> dict[str, Any]:
    """Return what a call of the interface tells in its data; raise ``Refused``."""
    if interface.max_ids == 0:
        return _cancel_all(book, interface, wanted, now)
    if interface.max_ids == 1:
        return _cancel_one(book, interface, wanted, now)
    orders = [(given_id, _find(book, interface, wanted, given_id)) for given_id in wanted.ids]
    return _cancel_list(book, interface, wanted, orders, now)


def _cancel_all(book: Book, interface: Interface, wanted: Wanted, now: float) -> dict[str, Any]:
    orders = [
        (order.order_id, order)
        for order in book.open(interface.kind, wanted.contract_code)
        if all(getattr(order, name) == word for name, word in wanted.chosen.items())
    ]
    if not orders:
        raise refusal(interface, 1051, outcome="refused")
    return _cancel_list(book, interface, wanted, orders, now)


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


def _cancel_list(
    book: Book,
    interface: Interface,
    wanted: Wanted,
    orders: Sequence[tuple[str, Order | None]],
    now: float,
) -> dict[str, Any]:
    """Cancel orders one by one; each is named by the id with which it was asked for."""
    codes = [(given_id, book.cancel(order, now)) for given_id, order in orders]
    errors = [
        {
            "order_id": given_id,
            "err_code": code,
            "err_msg": text(interface.envelope, code, wanted.contract_code, "API"),
        }
        for given_id, code in codes
        if code is not None
    ]
    successes = ",".join(given_id for given_id, code in codes if code is None)
    return {"errors": errors, "successes": successes}
