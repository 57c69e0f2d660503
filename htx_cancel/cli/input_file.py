"""Read a file of orders into groups, and refuse with its line number what cannot be sent.

Rules:

* A file is CSV with a header, or one JSON object per line if its first character is ``{``.
* A row names its ``endpoint``, or ``product`` and ``kind`` as a list of open orders does. Without
  an ``endpoint`` a row needs an id: only an ``endpoint`` can name a cancel-all.
* Unknown columns are ignored. Filters of a cancel-all are ignored beside an id.
* A filter that the endpoint of a cancel-all does not take is refused.
* A row with both ids is cancelled by its ``order_id``.
* A float (``1.1E+18``) is refused: a spreadsheet has rounded the id, and the rounded number is the
  id of another order.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO

import msgspec
from msgspec import Struct

from htx_cancel import arguments
from htx_cancel.cli.groups import Filters, Group
from htx_cancel.endpoints import ENDPOINTS, Endpoint

_FLOAT = re.compile(r"[+-]?\d*(\d\.|\.\d|\d[eE][+-]?\d)\d*([eE][+-]?\d+)?", re.ASCII)

#: The endpoints that cancel by ids. Only these can be named by a product and a kind.
_BY_IDS = [name for name, endpoint in ENDPOINTS.items() if endpoint.batch_size]

#: Endpoint name, contract, field and filters.
_Key = tuple[str, str, str, Filters]


class BadInputError(Exception):
    """The input is bad; nothing was sent."""


class Row(Struct, frozen=True):
    """One row of a file."""

    endpoint: str = ""
    product: str = ""
    kind: str = ""
    contract_code: str = ""
    order_id: str | int | float | None = None
    client_order_id: str | int | float | None = None
    direction: str | None = None
    offset: str | None = None
    contract_type: str | None = None
    side: str | None = None
    position_side: str | None = None


def read(content: bytes) -> list[Group]:
    """Return the groups of a file; raise ``BadInputError`` for its first bad line."""
    found: dict[_Key, dict[str, None]] = {}
    for line, row in _rows(content):
        try:
            key, order_id = _checked(row)
        except (ValueError, TypeError) as error:
            raise BadInputError(f"line {line}: {error}") from None
        ids = found.setdefault(key, {})
        if order_id:
            ids[order_id] = None
    return [
        Group(ENDPOINTS[name], contract_code, field, tuple(ids), filters)
        for (name, contract_code, field, filters), ids in found.items()
    ]


def group_of_ids(
    product: str, kind: str, contract_code: str, field: str, ids: Iterable[str]
) -> Group:
    """Return the group of some ids; raise ``BadInputError`` for the first bad one."""
    try:
        endpoint = _endpoint_of_kind(product, kind)
        arguments.contract_code(contract_code)
        _id_field({field: ids}, endpoint)
        distinct = dict.fromkeys(_checked_id(field, order_id) for order_id in ids)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    return Group(endpoint, contract_code, field, tuple(distinct))


def _rows(content: bytes) -> Iterator[tuple[int, Row]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        got = content[error.start : error.start + 4]
        raise BadInputError(f"line {line}: text must be UTF-8, got {got!r}") from None
    if not text.strip():
        raise BadInputError("line 1: must be a CSV header or a JSON object, got an empty file")
    return _json_rows(text) if text.lstrip().startswith("{") else _csv_rows(text)


def _json_rows(text: str) -> Iterator[tuple[int, Row]]:
    decode = msgspec.json.Decoder(Row).decode
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, decode(line)
            except msgspec.DecodeError as error:
                raise BadInputError(f"line {number}: {error}") from None


def _csv_rows(text: str) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(StringIO(text, newline=""), restval="", strict=True)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        _check_header(names, reader.line_num)
        reader.fieldnames = names
        for cells in reader:
            if None in cells:
                got = len(names) + len(cells[None])
                rule = f"a row must have at most {len(names)} values, got {got}"
                raise BadInputError(f"line {reader.line_num}: {rule}")
            values = {name: value.strip() for name, value in cells.items()}
            if any(values.values()):
                known = {name: values[name] for name in Row.__struct_fields__ if name in values}
                yield reader.line_num, Row(**known)
    except csv.Error as error:
        raise BadInputError(f"line {reader.reader.line_num}: {error}") from None


def _check_header(names: list[str], line: int) -> None:
    if names.count("contract_code") != 1:
        rule = "name 'contract_code' once"
    elif "endpoint" not in names and not {"product", "kind"} <= set(names):
        rule = "name 'endpoint', or 'product' and 'kind'"
    elif len(set(names)) < len(names):
        rule = "name each column once"
    else:
        return
    raise BadInputError(f"line {line}: the header must {rule}, got {names!r}")


def _checked(row: Row) -> tuple[_Key, str]:
    """Return the key of the group that a row belongs to, and its id or ``""``."""
    endpoint = _endpoint(row)
    contract_code = _contract_code(row, endpoint)
    ids = {
        name: value
        for name, value in (("order_id", row.order_id), ("client_order_id", row.client_order_id))
        if value is not None and value != ""
    }
    if endpoint.batch_size:
        field = _id_field(ids, endpoint)
        return (endpoint.name, contract_code, field, ()), _checked_id(field, ids[field])
    if ids:
        raise ValueError(f"{endpoint.name} must have no id, got {' and '.join(ids)}")
    return (endpoint.name, contract_code, "", _filters(row, endpoint)), ""


def _endpoint(row: Row) -> Endpoint:
    if row.endpoint in ENDPOINTS:
        return ENDPOINTS[row.endpoint]
    if row.endpoint or not (row.product or row.kind):
        raise ValueError(f"endpoint must be one of {', '.join(ENDPOINTS)}, got {row.endpoint!r}")
    return _endpoint_of_kind(row.product, row.kind)


def _endpoint_of_kind(product: str, kind: str) -> Endpoint:
    name = f"{product}.cancel_{kind}"
    if name not in _BY_IDS:
        known = ", ".join(known_name.replace(".cancel_", " ") for known_name in _BY_IDS)
        raise ValueError(f"product and kind must be one of {known}, got {product!r} and {kind!r}")
    return ENDPOINTS[name]


def _contract_code(row: Row, endpoint: Endpoint) -> str:
    if ".cancel_all_account_" not in endpoint.name:
        return arguments.contract_code(row.contract_code)
    if row.contract_code:
        raise ValueError(f"{endpoint.name} must have no contract_code, got {row.contract_code!r}")
    return ""


def _filters(row: Row, endpoint: Endpoint) -> Filters:
    filters = []
    for name, allowed in arguments.FILTERS.items():
        value: str = getattr(row, name) or ""
        if value and name not in endpoint.filters:
            raise ValueError(f"{endpoint.name} must have no {name}, got {value!r}")
        if value and arguments.choice(name, value, allowed):
            filters.append((name, value))
    return tuple(filters)


def _id_field(ids: Mapping[str, object], endpoint: Endpoint) -> str:
    """Return the field of the id to cancel by."""
    if "order_id" in ids:
        return "order_id"
    if ids and endpoint.client_ids:
        return "client_order_id"
    allowed = "an order_id or a client_order_id" if endpoint.client_ids else "an order_id"
    got = "a client_order_id" if ids else "none"
    raise ValueError(f"{endpoint.name} must have {allowed}, got {got}")


def _checked_id(field: str, value: str | float) -> str:
    if isinstance(value, float) or (isinstance(value, str) and _FLOAT.fullmatch(value)):
        raise ValueError(f"{field} must be a whole number or a string, got the float {value}")
    return arguments.one_id(value, field)
