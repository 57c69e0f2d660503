"""Encode cancel requests, and decode what their replies say of each id.

Rules for a reply, beside those of ``envelope``:

* A reply that is not a success as a whole accepts no id; its errors still count.
* An id named among both the successes and the errors is accepted, and keeps the error's code and
  message. (The exchange's own example shows such an id, with 1062: canceling.)
* If a reply has two errors for one id, the first counts.
* An item of a list is accepted only if the item says so; a reply about one order need not say it.
* If no order has this client order id, the order may still be live, and the message says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from htx_cancel.endpoints import Endpoint
from htx_cancel.endpoints.row import contract_parameter
from htx_cancel.status import ACCEPTED, Finding
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

_CODES = ("err_code", "err-code", "code", "error_code")  #: an item's code has one of these names

#: The fields whose ids the client chose.
CLIENT_IDS = frozenset({"client_order_id", "algo_client_order_id"})

_encoder = msgspec.json.Encoder()


def encode(
    endpoint: Endpoint, contract_code: str, field: str, ids: Sequence[str], *, single: bool = False
) -> bytes:
    """Return the body of a request that names ids; ``single`` is for a single-id call."""
    contract = contract_parameter(contract_code, by_symbol=endpoint.by_symbol)
    if endpoint.ids_as == "objects":
        objects = [{**contract, field: order_id} for order_id in ids]
        return _encoder.encode(objects[0] if single else objects)
    as_text = single or endpoint.ids_as == "text"
    return _encoder.encode({**contract, field: ",".join(ids) if as_text else ids})


def encode_all(endpoint: Endpoint, contract_code: str, filters: Mapping[str, str | None]) -> bytes:
    """Return the body of a request that names no ids, without the filters that are ``None``."""
    body = contract_parameter(contract_code, by_symbol=endpoint.by_symbol)
    if body.get("symbol", contract_code) != contract_code:
        body["contract_code"] = contract_code
    given = {name: value for name, value in filters.items() if value is not None}
    return _encoder.encode(body | given)


def decode(status: int, body: bytes, endpoint: Endpoint, field: str = "order_id") -> AttemptResult:
    """Decode a reply to a call that named ids under ``field``. Never raises."""
    reply = json_object(body)
    if reply is None:
        return AttemptResult(not_htx(status, "no JSON object"))
    whole = verdict(reply, status, endpoint.envelope, endpoint.path)
    findings = _findings(reply.get("data"), field, endpoint.envelope)
    if whole.meaning is not Meaning.ACCEPTED:
        findings = {
            key: found for key, found in findings.items() if found.meaning is not Meaning.ACCEPTED
        }
    if field in CLIENT_IDS:
        whole = _with_caveat(whole)
        findings = {key: _with_caveat(found) for key, found in findings.items()}
    return AttemptResult(whole, server_time(reply), findings)


def _with_caveat(found: Finding) -> Finding:
    if found.meaning is not Meaning.NOT_FOUND:
        return found
    return Finding(found.meaning, found.code, f"{found.message} {CLIENT_ID_CAVEAT}".lstrip())


def _findings(data: object, field: str, envelope: str) -> dict[str, Finding]:
    """Return what the ``data`` of either envelope says of each id."""
    if isinstance(data, list):
        return {key: _of_item(item, envelope) for key, item in _by_id(data, field).items()}
    if not isinstance(data, dict):
        return {}
    if "successes" not in data and "errors" not in data:
        silent = data.get("success") is None and data.keys().isdisjoint(_CODES)
        found = ACCEPTED if silent else _of_item(data, envelope)
        return dict.fromkeys(_by_id([data], field), found)
    errors = _by_id(data.get("errors"), field, "order_id")  # v1 errors carry any id as order_id
    findings = {key: _of_error(item, envelope) for key, item in errors.items()}
    accepted = dict.fromkeys(_successes(data.get("successes")), ACCEPTED)
    for order_id in accepted.keys() & findings.keys():
        error = findings[order_id]
        accepted[order_id] = Finding(Meaning.ACCEPTED, error.code, error.message)
    return findings | accepted


def _by_id(items: object, field: str, other_field: str = "") -> dict[str, dict[str, Any]]:
    """Return the items by their ids; if two items have one id, the first counts."""
    found: dict[str, dict[str, Any]] = {}
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            order_id = id_of(item.get(field)) or (other_field and id_of(item.get(other_field)))
            if order_id and order_id not in found:
                found[order_id] = item
    return found


def _of_item(item: dict[str, Any], envelope: str) -> Finding:
    accepted = code_of(item, *_CODES) == 200 or item.get("success") is True
    return ACCEPTED if accepted else _of_error(item, envelope)


def _of_error(item: dict[str, Any], envelope: str) -> Finding:
    message = text_of(item, "err_msg", "err-msg", "message", "error_msg")
    return finding(code_of(item, *_CODES), message, envelope)


def _successes(given: object) -> Iterable[str]:
    if isinstance(given, str):
        return filter(None, map(str.strip, given.split(",")))
    return filter(None, map(id_of, given)) if isinstance(given, list) else ()
