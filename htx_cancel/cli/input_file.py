"""A file of orders to groups; refuses what cannot be sent, with its line.

Rules:

* A file is CSV with a header, or one JSON object a line if its first character is ``{``.
* A row names its ``endpoint`` or, as a list of orders does, ``product`` and ``kind``. Without an
  ``endpoint`` it needs an id: nothing else can name a call that cancels all.
* Columns that are not known are ignored; so are the words that narrow a cancel-all beside an id.
* A word that would narrow a cancel-all but that its endpoint does not take is refused.
* A row with both ids is canceled by its ``order_id``.
* A float (``1.1E+18``) is refused: a spreadsheet has rounded it, and it names another order now.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO

import msgspec
from msgspec import Struct

from htx_cancel import HtxCancelError, arguments
from htx_cancel.cli.groups import Filters, Group, takes_no_contract
from htx_cancel.endpoints import ENDPOINTS, Endpoint

_FLOAT = re.compile(r"[+-]?\d*(\d\.|\.\d|\d[eE][+-]?\d)\d*([eE][+-]?\d+)?", re.ASCII)

#: The calls that take ids, by name; each is named by a product and a kind as well.
BY_IDS = [name for name, row in ENDPOINTS.items() if row.batch_size]

Key = tuple[str, str, str, Filters]  #: endpoint, contract, field and filters


class BadInputError(Exception):
    """What was given cannot be used; nothing was sent."""


class Row(Struct, frozen=True):
    """One line as it was read."""

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
    """Return the groups of a file; raise ``BadInputError`` for its first line that is wrong."""
    cells: dict[Key, list[tuple[int, str | int]]] = defaultdict(list)
    for line, row in _rows(content):
        try:
            key, value = _sorted(row)
        except (ValueError, TypeError) as error:
            raise BadInputError(f"line {line}: {error}") from None
        cells[key].append((line, value))
    return [_group(key, found) for key, found in cells.items()]


def of_ids(product: str, kind: str, contract_code: str, field: str, ids: Iterable[str]) -> Group:
    """Return the group of some ids; raise ``BadInputError`` for the first that is wrong."""
    try:
        endpoint = call_for(product, kind)
        arguments.contract_code(contract_code)
        _field({field: ids}, endpoint.name, client_ids=endpoint.client_ids)
        found = dict.fromkeys(arguments.one_id(_exact(field, each), field) for each in ids)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    return Group(endpoint, contract_code, field, tuple(found))


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
    lines = csv.reader(StringIO(text, newline=""), strict=True)
    names: list[str] = []
    try:
        for values in lines:
            words = [value.strip() for value in values]
            if not names:
                names = _header(words, lines.line_num)
            elif any(words):
                yield lines.line_num, _csv_row(names, words, lines.line_num)
    except csv.Error as error:
        raise BadInputError(f"line {lines.line_num}: {error}") from None


def _header(names: list[str], line: int) -> list[str]:
    if names.count("contract_code") != 1:
        raise BadInputError(
            f"line {line}: the header must name 'contract_code' once, got {names!r}"
        )
    if "endpoint" not in names and not {"product", "kind"} <= set(names):
        raise BadInputError(
            f"line {line}: the header must name 'endpoint', or 'product' and 'kind', got {names!r}"
        )
    if len(set(names)) < len(names):
        raise BadInputError(f"line {line}: the header must name a column once, got {names!r}")
    return names


def _csv_row(names: list[str], words: list[str], line: int) -> Row:
    if len(words) > len(names):
        raise BadInputError(
            f"line {line}: a row must have at most {len(names)} values, got {len(words)}"
        )
    given = dict(zip(names, words, strict=False))
    return Row(**{name: given[name] for name in Row.__struct_fields__ if name in given})


def _sorted(row: Row) -> tuple[Key, str | int]:
    """Say which group a row belongs to, and its id there."""
    endpoint = _endpoint(row)
    code = _contract(row, endpoint)
    ids: Mapping[str, str | int | float] = {
        name: value
        for name, value in (("order_id", row.order_id), ("client_order_id", row.client_order_id))
        if value is not None and value != ""
    }
    if endpoint.batch_size:
        field = _field(ids, endpoint.name, client_ids=endpoint.client_ids)
        return (endpoint.name, code, field, ()), _exact(field, ids[field])
    if ids:
        raise ValueError(f"{endpoint.name} must have no id, got an {next(iter(ids))}")
    return (endpoint.name, code, "", _filters(row, endpoint)), ""


def _endpoint(row: Row) -> Endpoint:
    """Find the call that a row names."""
    if row.endpoint in ENDPOINTS:
        return ENDPOINTS[row.endpoint]
    if row.endpoint or not (row.product or row.kind):
        raise ValueError(f"endpoint must be one of {', '.join(ENDPOINTS)}, got {row.endpoint!r}")
    return call_for(row.product, row.kind)


def call_for(product: str, kind: str) -> Endpoint:
    """Find the call that cancels orders of a kind by their ids."""
    name = f"{product}.cancel_{kind}"
    if name not in BY_IDS:
        known = ", ".join(" ".join(each.split(".cancel_")) for each in BY_IDS)
        raise ValueError(f"product and kind must be one of {known}, got {product!r} and {kind!r}")
    return ENDPOINTS[name]


def _contract(row: Row, endpoint: Endpoint) -> str:
    if not takes_no_contract(endpoint):
        return arguments.contract_code(row.contract_code)
    if row.contract_code:
        raise ValueError(f"{endpoint.name} must have no contract_code, got {row.contract_code!r}")
    return ""


def _filters(row: Row, endpoint: Endpoint) -> Filters:
    """Check the words that narrow a call without ids."""
    found = []
    for name, allowed in arguments.FILTERS.items():
        word: str = getattr(row, name) or ""
        if word and name not in endpoint.filters:
            raise ValueError(f"{endpoint.name} must have no {name}, got {word!r}")
        if word and arguments.choice(name, word, allowed):
            found.append((name, word))
    return tuple(found)


def _field(ids: Mapping[str, object], name: str, *, client_ids: bool) -> str:
    if "order_id" in ids:
        return "order_id"
    if not ids:
        raise ValueError(
            f"{name} must have an order_id{' or a client_order_id' * client_ids}, got none"
        )
    if not client_ids:
        raise ValueError(f"{name} must have an order_id, got a client_order_id")
    return "client_order_id"


def _exact(field: str, value: str | float) -> str | int:
    if isinstance(value, float) or (isinstance(value, str) and _FLOAT.fullmatch(value)):
        raise ValueError(f"{field} must be a whole number or a string, got the float {value}")
    return value


def _group(key: Key, cells: list[tuple[int, str | int]]) -> Group:
    """Check the ids of a group and drop those that came before."""
    name, code, field, filters = key
    ids: dict[str, None] = {}
    for line, value in cells if field else ():
        try:
            ids[arguments.one_id(value, field)] = None
        except HtxCancelError as error:
            raise BadInputError(f"line {line}: {error}") from None
    return Group(ENDPOINTS[name], code, field, tuple(ids), filters)
