"""Batch to bytes, and bytes to what they say of each id.

Rules for a reply, beside those of ``envelope``:

* An id that is named among the successes and among the errors is accepted, and keeps the error's
  code and message beside it. (The exchange's own example shows one, with 1062: canceling.)
* Of two errors for one id the first counts.
* "No such order" says less of a client order id than of an order id, and its message says so.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from htx_cancel.endpoints import Endpoint
from htx_cancel.outcome import ACCEPTED, Finding
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import (
    CLIENT_ID_CAVEAT,
    AttemptResult,
    code_of,
    finding,
    id_of,
    json_object,
    not_htx,
    server_time,
    text_of,
    verdict,
)

_CODES = ("err_code", "err-code", "code")  #: the names that an item's code may have

_encoder = msgspec.json.Encoder()


def encode(contract_code: str, field: str, ids: Iterable[str]) -> bytes:
    """Make the body of a call that names ids: one string, joined by commas."""
    return _encoder.encode({"contract_code": contract_code, field: ",".join(ids)})


def encode_all(contract_code: str, filters: Mapping[str, str | None]) -> bytes:
    """Make the body of a call that names no ids; an absent filter means all."""
    given = {name: word for name, word in filters.items() if word is not None}
    return _encoder.encode({"contract_code": contract_code, **given})


def decode(status: int, body: bytes, endpoint: Endpoint, field: str = "order_id") -> AttemptResult:
    """Read a reply to a call that named ids under ``field``. Never raises."""
    reply = json_object(body)
    if reply is None:
        return AttemptResult(not_htx(status, "no JSON object"))
    whole = verdict(reply, status, endpoint.envelope, endpoint.path)
    named = _named(reply.get("data"), field, endpoint.envelope)
    if whole.meaning is not Meaning.ACCEPTED:
        named = {
            key: found for key, found in named.items() if found.meaning is not Meaning.ACCEPTED
        }
    if field == "client_order_id":
        whole = _with_caveat(whole)
        named = {key: _with_caveat(found) for key, found in named.items()}
    return AttemptResult(whole, server_time(reply), named)


def _with_caveat(found: Finding) -> Finding:
    """Say beside "no such order" what the exchange cannot know of a client order id."""
    if found.meaning is not Meaning.NOT_FOUND:
        return found
    return Finding(found.meaning, found.code, f"{found.message} {CLIENT_ID_CAVEAT}".lstrip())


def _named(data: object, field: str, envelope: str) -> dict[str, Finding]:
    """Read the ids out of either envelope's ``data``."""
    if isinstance(data, list):
        return _items(data, field, envelope)
    if not isinstance(data, dict):
        return {}
    if "successes" not in data and "errors" not in data:
        return _items([data], field, envelope)
    errors = data.get("errors")
    named = _items(errors, field, envelope, error=True) if isinstance(errors, list) else {}
    accepted = dict.fromkeys(_successes(data.get("successes")), ACCEPTED)
    for order_id in accepted.keys() & named.keys():
        error = named[order_id]
        accepted[order_id] = Finding(Meaning.ACCEPTED, error.code, error.message)
    return {**named, **accepted}


def _items(
    items: list[Any], field: str, envelope: str, *, error: bool = False
) -> dict[str, Finding]:
    """Read items that carry a code each; v1 errors carry any id as ``order_id``."""
    named: dict[str, Finding] = {}
    for item in items:
        if not isinstance(item, dict):
            continue
        order_id = id_of(item.get(field)) or (id_of(item.get("order_id")) if error else "")
        if order_id and order_id not in named:
            named[order_id] = _item_finding(item, envelope, error=error)
    return named


def _item_finding(item: dict[str, Any], envelope: str, *, error: bool) -> Finding:
    code = code_of(item, *_CODES)
    if not error and (code == 200 or item.keys().isdisjoint(_CODES)):
        return ACCEPTED
    return finding(code, text_of(item, "err_msg", "err-msg", "message"), envelope)


def _successes(given: object) -> Iterable[str]:
    if isinstance(given, str):
        return filter(None, map(str.strip, given.split(",")))
    return filter(None, map(id_of, given)) if isinstance(given, list) else ()
