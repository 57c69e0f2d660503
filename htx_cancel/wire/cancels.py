"""Encode cancel requests, and decode what their replies say of each id.

Rules for a reply, beside those of ``envelope``:

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
from htx_cancel.endpoints.row import named
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
    endpoint: Endpoint, contract_code: str, field: str, ids: Sequence[str], *, one: bool = False
) -> bytes:
    """Return the body of a request that names ids; ``one`` is for a call that takes a single id."""
    contract = named(contract_code, by_symbol=endpoint.by_symbol)
    if endpoint.ids_as == "objects":
        objects = [{**contract, field: order_id} for order_id in ids]
        return _encoder.encode(objects[0] if one else objects)
    as_text = one or endpoint.ids_as == "text"
    return _encoder.encode({**contract, field: ",".join(ids) if as_text else ids})


def encode_all(endpoint: Endpoint, contract_code: str, filters: Mapping[str, str | None]) -> bytes:
    """Return the body of a request that names no ids, without the filters that are ``None``."""
    body = named(contract_code, by_symbol=endpoint.by_symbol)
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
        return _of_items(data, field, envelope)
    if not isinstance(data, dict):
        return {}
    if "successes" not in data and "errors" not in data:
        return _of_items([data], field, envelope, alone=True)
    errors = data.get("errors")
    failed = _of_items(errors, field, envelope, error=True) if isinstance(errors, list) else {}
    accepted = dict.fromkeys(_successes(data.get("successes")), ACCEPTED)
    for order_id in accepted.keys() & failed.keys():
        error = failed[order_id]
        accepted[order_id] = Finding(Meaning.ACCEPTED, error.code, error.message)
    return {**failed, **accepted}


def _of_items(
    items: list[Any], field: str, envelope: str, *, error: bool = False, alone: bool = False
) -> dict[str, Finding]:
    """Read items that carry a code each; v1 errors carry any id as ``order_id``."""
    findings: dict[str, Finding] = {}
    for item in items:
        if not isinstance(item, dict):
            continue
        order_id = id_of(item.get(field)) or (id_of(item.get("order_id")) if error else "")
        if order_id and order_id not in findings:
            findings[order_id] = _of_item(item, envelope, error=error, alone=alone)
    return findings


def _of_item(item: dict[str, Any], envelope: str, *, error: bool, alone: bool) -> Finding:
    code, success = code_of(item, *_CODES), item.get("success")
    silent = alone and success is None and item.keys().isdisjoint(_CODES)
    if not error and (code == 200 or success is True or silent):
        return ACCEPTED
    return finding(code, text_of(item, "err_msg", "err-msg", "message", "error_msg"), envelope)


def _successes(given: object) -> Iterable[str]:
    if isinstance(given, str):
        return filter(None, map(str.strip, given.split(",")))
    return filter(None, map(id_of, given)) if isinstance(given, list) else ()
