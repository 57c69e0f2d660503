"""Read a request's parameters, or refuse them as HTX does.

Rules that we chose where the pages say nothing:

* A body is one JSON object, or a list of objects for algo cancels, and every value has the type
  that its page gives, else 1030; an id may be a number instead of a text. A GET has its parameters
  in the query.
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

_MAX_CLIENT_ID = 2**63 - 1
_CHOICES = {
    "direction": ("buy", "sell"),
    "offset": ("open", "close"),
    "side": ("buy", "sell"),
    "position_side": ("long", "short", "both"),
    "contract_type": tuple(EXPIRIES),
}
_MARGIN_MODES = ("cross", "isolated")
_IDS = (*ORDER_IDS, *ALGO_IDS)
_MAX_PAGE_SIZE = 50
_MAX_LIMIT = 100
Body = dict[str, Any] | list[dict[str, Any]]
_decode: Callable[[bytes], Body] = msgspec.json.Decoder(Body).decode


class Parameters(msgspec.Struct, frozen=True):
    """The parameters of a call."""

    contract_code: str  #: a coin if the call names a coin, ``""`` if it names nothing
    ids: tuple[str, ...] = ()
    by_client_id: bool = False
    margin_mode: str = ""  #: the only mode that a query finds; ``""`` for both
    filters: dict[str, str] = {}  #: narrow a cancel-all or a list
    page: tuple[int, int] = (1, 20)  #: a list's page number and page size
    after: str = ""  #: the id after which a list continues
    algo_type: str = ""


def read(interface: Interface, request: HttpRequest) -> Parameters:
    """Return a request's parameters; raise ``Refused``."""
    body = _read_body(interface, request)
    fields = _fields(interface, body)
    name = "symbol" if interface.by_symbol else "contract_code"
    contract_code = _text(interface, fields, name).upper()
    if not contract_code and not interface.anywhere:
        raise contract_refusal(interface, given=False)
    mode = _margin_mode(interface, fields)
    if interface.max_ids:
        name, ids = _ids(interface, body, fields)
        by_client_id = name == interface.ids[-1] and interface.client_ids
        return Parameters(contract_code, ids, by_client_id=by_client_id, margin_mode=mode)
    if interface.reads and not interface.paged:
        algo_type = _algo_type(interface, fields)
        page = (1, _positive(interface, fields, "limit", 10, _MAX_LIMIT))
        after = _text(interface, fields, "from")
        return Parameters(
            contract_code, margin_mode=mode, page=page, after=after, algo_type=algo_type
        )
    filters = {
        name: value
        for name in interface.filters
        if (value := _choice(interface, fields, name, _CHOICES.get(name, ())))
    }
    if not interface.reads:
        return Parameters(contract_code, filters=filters)
    number = _positive(interface, fields, "page_index", 1)
    size = _positive(interface, fields, "page_size", 20, _MAX_PAGE_SIZE)
    return Parameters(contract_code, filters=filters, page=(number, size))


def ids_in(request: HttpRequest) -> tuple[str, ...]:
    """Return the ids in a request; none if the body cannot be decoded."""
    try:
        body = _body(request, b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
    ids: list[str] = []
    for fields in body if isinstance(body, list) else [body]:
        given = next((fields[name] for name in _IDS if fields.get(name)), "")
        ids += map(str, given) if isinstance(given, list) else filter(None, str(given).split(","))
    return tuple(ids)


def fields_of(interface: Interface, request: HttpRequest) -> dict[str, Any]:
    """Return the fields of a request; raise ``Refused``."""
    return _fields(interface, _read_body(interface, request))


def _read_body(interface: Interface, request: HttpRequest) -> Body:
    try:
        return _body(request, b"{}" if interface.anywhere else b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise refusal(interface, 1030) from None


def _body(request: HttpRequest, default: bytes) -> Body:
    if request.method == "GET":
        return dict(parse_qsl(request.target.partition("?")[2]))
    return _decode(request.body or default)


def _fields(interface: Interface, body: Body) -> dict[str, Any]:
    """Return a body's fields; for a list those of its first object, which all share a contract."""
    if isinstance(body, list) != (interface.ids_as == "objects") or body == []:
        raise refusal(interface, 1030)
    if not isinstance(body, list):
        return body
    if len({item.get("contract_code") for item in body}) > 1:
        raise refusal(interface, 1067, "contract_code")
    return body[0]


def _text(interface: Interface, fields: dict[str, Any], name: str) -> str:
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
    value = _text(interface, fields, name)
    if value and choices and value not in choices:
        raise refusal(interface, 1067, name)
    return value


def _margin_mode(interface: Interface, fields: dict[str, Any]) -> str:
    if not interface.margin_mode:
        return ""
    return _choice(interface, fields, "margin_mode", _MARGIN_MODES) or _MARGIN_MODES[0]


def _algo_type(interface: Interface, fields: dict[str, Any]) -> str:
    if interface.kind != "v5_algo":
        return ""
    algo_type = _choice(interface, fields, "type", ALGO_TYPES)
    if not algo_type:
        raise refusal(interface, 1066, "type")
    return algo_type


def _positive(
    interface: Interface, fields: dict[str, Any], name: str, default: int, maximum: int = 10**9
) -> int:
    """Return an integer of at least 1, given as a number or as text."""
    given = str(fields.get(name) or default)
    if not _is_digits(given) or not 1 <= int(given) <= maximum:
        raise refusal(interface, 1067, name)
    return int(given)


def _ids(interface: Interface, body: Body, fields: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the name of the field with the ids, and the ids."""
    name = next((name for name in interface.ids if fields.get(name)), "")
    if not name:
        raise refusal(interface, 1066, interface.ids[0])
    if interface.ids_as == "objects":
        ids = tuple(_text(interface, item, name) for item in body if isinstance(item, dict))
    elif interface.ids_as == "list":
        if not isinstance(fields[name], list):
            raise refusal(interface, 1030)
        ids = tuple(_text(interface, {name: given_id}, name) for given_id in fields[name])
    else:
        given = _text(interface, fields, name)
        ids = tuple(given.split(",")) if interface.max_ids > 1 else (given,)
    if len(ids) > interface.max_ids:
        raise refusal(interface, 1052)
    by_client_id = name == ORDER_IDS[1]
    if not all(map(_is_client_id if by_client_id else _is_digits, ids)):
        raise refusal(interface, 1065 if by_client_id else 1067, name)
    return name, ids


def _is_digits(given: str) -> bool:
    return given.isascii() and given.isdigit()


def _is_client_id(given: str) -> bool:
    return (
        _is_digits(given)
        and len(given) <= len(str(_MAX_CLIENT_ID))
        and 1 <= int(given) <= _MAX_CLIENT_ID
    )
