"""A request to what it asks for, or to the refusal that HTX gives.

Rules, where the pages are silent:

* A body is one JSON object, of algo cancels a list of objects, and every value has the type that
  its page gives, else 1030; an id may be a number instead of a text. A GET has its parameters in
  the query.
* A null or empty value counts as absent.
* An order_id is digits, else 1067; a client_order_id is an integer of 63 bits, else 1065.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from htx_cancel.sandbox.messages import HttpRequest
from htx_cancel.sandbox.rules import ALGO_IDS, ALGO_TYPES, EXPIRIES, ORDER_IDS, Interface
from htx_cancel.sandbox.texts import contract_refusal, refusal

_MOST_CLIENT_ID = 2**63 - 1
_WORDS = {
    "direction": ("buy", "sell"),
    "offset": ("open", "close"),
    "side": ("buy", "sell"),
    "position_side": ("long", "short", "both"),
    "contract_type": tuple(EXPIRIES),
}
_MARGIN_MODES = ("cross", "isolated")
_IDS = (*ORDER_IDS, *ALGO_IDS)
_MOST_PER_PAGE = 50
_MOST_AFTER_AN_ID = 100
Body = dict[str, Any] | list[dict[str, Any]]
_decode: Callable[[bytes], Body] = msgspec.json.Decoder(Body).decode


class Wanted(msgspec.Struct, frozen=True):
    """What a call asks for.

    ``contract_code`` is a coin where a call names that, and empty where it names none. ``chosen``
    narrows a call that names no orders, or a list, ``page`` a list, ``after`` one that goes on
    after an id, and ``margin_mode`` a query that finds the orders of one mode only.
    """

    contract_code: str
    ids: tuple[str, ...] = ()
    by_client_id: bool = False
    margin_mode: str = ""
    chosen: dict[str, str] = {}
    page: tuple[int, int] = (1, 20)
    after: str = ""
    algo_type: str = ""


def read(interface: Interface, request: HttpRequest) -> Wanted:
    """Return what a request asks for; raise ``Refused``."""
    body = _read_body(interface, request)
    fields = _fields(interface, body)
    name = "symbol" if interface.by_symbol else "contract_code"
    contract_code = _words(interface, fields, name).upper()
    if not contract_code and not interface.anywhere:
        raise contract_refusal(interface, given=False)
    mode = _margin_mode(interface, fields)
    if interface.max_ids:
        name, ids = _ids(interface, body, fields)
        by_client_id = name == interface.ids[-1] and interface.client_ids
        return Wanted(contract_code, ids, by_client_id=by_client_id, margin_mode=mode)
    if interface.reads and not interface.paged:
        kind = _algo_type(interface, fields)
        size = _whole(interface, fields, "limit", 10, _MOST_AFTER_AN_ID)
        after = _words(interface, fields, "from")
        return Wanted(contract_code, margin_mode=mode, page=(1, size), after=after, algo_type=kind)
    chosen = {
        name: word
        for name in interface.filters
        if (word := _choice(interface, fields, name, _WORDS.get(name, ())))
    }
    page = _page(interface, fields) if interface.reads else (1, 20)
    return Wanted(contract_code, chosen=chosen, page=page)


def asked(request: HttpRequest) -> tuple[str, ...]:
    """Return the ids that a request names, as far as it can be read."""
    try:
        body = _body(request, b"{}")
    except msgspec.DecodeError:
        return ()
    ids: list[str] = []
    for fields in body if isinstance(body, list) else [body]:
        words = next((fields[name] for name in _IDS if fields.get(name)), "")
        ids += map(str, words) if isinstance(words, list) else filter(None, str(words).split(","))
    return tuple(ids)


def fields_of(interface: Interface, request: HttpRequest) -> dict[str, Any]:
    """Return the fields of a request; raise ``Refused``."""
    return _fields(interface, _read_body(interface, request))


def _read_body(interface: Interface, request: HttpRequest) -> Body:
    """Return what a request gives; raise ``Refused`` if that cannot be read."""
    try:
        return _body(request, b"{}" if interface.anywhere else b"")
    except msgspec.DecodeError:
        raise refusal(interface, 1030) from None


def _body(request: HttpRequest, nothing: bytes) -> Body:
    """Return what a request gives: an object, or a list of objects."""
    if request.method == "GET":
        return dict(parse_qsl(request.target.partition("?")[2]))
    return _decode(request.body or nothing)


def _fields(interface: Interface, body: Body) -> dict[str, Any]:
    """Return the fields of a body; of a list those of the first, whose contract all must share."""
    if not isinstance(body, list):
        if interface.ids_as == "objects":
            raise refusal(interface, 1030)
        return dict(body)
    if interface.ids_as != "objects" or not body:
        raise refusal(interface, 1030)
    if len({each.get("contract_code") for each in body}) > 1:
        raise refusal(interface, 1067, "contract_code")
    return dict(body[0])


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
    if word and choices and word not in choices:
        raise refusal(interface, 1067, name)
    return word


def _margin_mode(interface: Interface, fields: dict[str, Any]) -> str:
    """Return the one mode whose orders are found, cross if none is given; empty finds both."""
    if not interface.margin_mode:
        return ""
    return _choice(interface, fields, "margin_mode", _MARGIN_MODES) or _MARGIN_MODES[0]


def _page(interface: Interface, fields: dict[str, Any]) -> tuple[int, int]:
    index = _whole(interface, fields, "page_index", 1)
    return index, _whole(interface, fields, "page_size", 20, _MOST_PER_PAGE)


def _algo_type(interface: Interface, fields: dict[str, Any]) -> str:
    if interface.kind != "v5_algo":
        return ""
    kind = _choice(interface, fields, "type", ALGO_TYPES)
    if not kind:
        raise refusal(interface, 1066, "type")
    return kind


def _whole(
    interface: Interface, fields: dict[str, Any], name: str, default: int, most: int = 10**9
) -> int:
    """Return a number of at least 1, given as a number or as text."""
    given = str(fields.get(name) or default)
    if not _is_order_id(given) or not 1 <= int(given) <= most:
        raise refusal(interface, 1067, name)
    return int(given)


def _ids(interface: Interface, body: Body, fields: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the field that names the orders, and the ids in it."""
    name = next((name for name in interface.ids if fields.get(name)), "")
    if not name:
        raise refusal(interface, 1066, interface.ids[0])
    if interface.ids_as == "objects":
        ids = tuple(_words(interface, each, name) for each in body if isinstance(each, dict))
    elif interface.ids_as == "list":
        if not isinstance(fields[name], list):
            raise refusal(interface, 1030)
        ids = tuple(_words(interface, {name: each}, name) for each in fields[name])
    else:
        words = _words(interface, fields, name)
        ids = tuple(words.split(",")) if interface.max_ids > 1 else (words,)
    if len(ids) > interface.max_ids:
        raise refusal(interface, 1052)
    by_client_id = name == ORDER_IDS[1]
    if not all(map(_is_client_id if by_client_id else _is_order_id, ids)):
        raise refusal(interface, 1065 if by_client_id else 1067, name)
    return name, ids


def _is_order_id(given_id: str) -> bool:
    return given_id.isascii() and given_id.isdigit()


def _is_client_id(given_id: str) -> bool:
    return (
        _is_order_id(given_id)
        and len(given_id) <= len(str(_MOST_CLIENT_ID))
        and 1 <= int(given_id) <= _MOST_CLIENT_ID
    )
