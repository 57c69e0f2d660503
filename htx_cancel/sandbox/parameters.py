"""A request to what it asks for, or to the refusal that HTX gives.

Rules, where the pages are silent:

* A body is one JSON object, and every value has the type that its page gives, else 1030; an id
  may be a number instead of a text. A GET has its parameters in the query.
* A null or empty value counts as absent.
* An order_id is digits, else 1067; a client_order_id is an integer of 63 bits, else 1065.
"""

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from htx_cancel.sandbox.messages import HttpRequest
from htx_cancel.sandbox.rules import Interface
from htx_cancel.sandbox.texts import contract_refusal, refusal

_MOST_CLIENT_ID = 2**63 - 1
_FILTERS = {"direction": ("buy", "sell"), "offset": ("open", "close")}
_MARGIN_MODES = ("cross", "isolated")
_IDS = ("order_id", "client_order_id")
_MOST_PER_PAGE = 50
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Wanted(msgspec.Struct, frozen=True):
    """What a call asks for.

    ``chosen`` narrows a call that names no orders, ``page`` a list, and ``margin_mode`` a query
    that finds the orders of one mode only.
    """

    contract_code: str
    ids: tuple[str, ...] = ()
    by_client_id: bool = False
    margin_mode: str = ""
    chosen: dict[str, str] = {}
    page: tuple[int, int] = (1, 20)


def read(interface: Interface, request: HttpRequest) -> Wanted:
    """Return what a request asks for; raise ``Refused``."""
    try:
        fields = _fields(request)
    except msgspec.DecodeError:
        raise refusal(interface, 1030) from None
    contract_code = _words(interface, fields, "contract_code").upper()
    if not contract_code:
        raise contract_refusal(interface, given=False)
    if interface.max_ids:
        name, ids = _ids(interface, fields)
        mode = _margin_mode(interface, fields)
        return Wanted(contract_code, ids, by_client_id=name == _IDS[1], margin_mode=mode)
    if interface.reads:
        return Wanted(contract_code, page=_page(interface, fields))
    chosen = {
        name: word
        for name, words in _FILTERS.items()
        if (word := _choice(interface, fields, name, words))
    }
    return Wanted(contract_code, chosen=chosen)


def asked(request: HttpRequest) -> tuple[str, ...]:
    """Return the ids that a request names, as far as it can be read."""
    try:
        fields = _fields(request)
    except msgspec.DecodeError:
        return ()
    words = fields.get("order_id") or fields.get("client_order_id")
    return tuple(str(words).split(",")) if words else ()


def _fields(request: HttpRequest) -> dict[str, Any]:
    if request.method == "GET":
        return dict(parse_qsl(request.target.partition("?")[2]))
    return _decode(request.body)


def _words(interface: Interface, fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if name in _IDS and type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise refusal(interface, 1030)
    return value


def _choice(
    interface: Interface, fields: dict[str, Any], name: str, choices: tuple[str, ...]
) -> str:
    word = _words(interface, fields, name)
    if word and word not in choices:
        raise refusal(interface, 1067, name)
    return word


def _margin_mode(interface: Interface, fields: dict[str, Any]) -> str:
    """Return the one mode whose orders are found, cross if none is given; empty finds both."""
    if not interface.margin_mode:
        return ""
    return _choice(interface, fields, "margin_mode", _MARGIN_MODES) or _MARGIN_MODES[0]


def _page(interface: Interface, fields: dict[str, Any]) -> tuple[int, int]:
    index = _whole(interface, fields, "page_index", 1)
    size = _whole(interface, fields, "page_size", 20)
    if size > _MOST_PER_PAGE:
        raise refusal(interface, 1067, "page_size")
    return index, size


def _whole(interface: Interface, fields: dict[str, Any], name: str, default: int) -> int:
    """Return a number of at least 1, given as a number or as text."""
    given = str(fields.get(name) or default)
    if not _is_order_id(given) or int(given) < 1:
        raise refusal(interface, 1067, name)
    return int(given)


def _ids(interface: Interface, fields: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    name = "order_id"
    words = _words(interface, fields, name)
    if not words and interface.client_ids:
        name = "client_order_id"
        words = _words(interface, fields, name)
    if not words:
        raise refusal(interface, 1066, "order_id")
    ids = tuple(words.split(",")) if interface.max_ids > 1 else (words,)
    if len(ids) > interface.max_ids:
        raise refusal(interface, 1052)
    if not all(map(_is_client_id if name == "client_order_id" else _is_order_id, ids)):
        raise refusal(interface, 1065 if name == "client_order_id" else 1067, name)
    return name, ids


def _is_order_id(given_id: str) -> bool:
    return given_id.isascii() and given_id.isdigit()


def _is_client_id(given_id: str) -> bool:
    return (
        _is_order_id(given_id)
        and len(given_id) <= len(str(_MOST_CLIENT_ID))
        and 1 <= int(given_id) <= _MOST_CLIENT_ID
    )
