"""Batch to bytes, and bytes to what they say of each id; the v1 and the v5 envelope.

Rules for a reply:

* Its bytes count, not its content type. Both envelopes are understood on every path.
* Only a 2xx reply can accept anything; an error envelope is read whatever the HTTP status.
* An id that is named among the successes and among the errors is accepted, and keeps the error's
  code and message beside it. (The exchange's own example shows one, with 1062: canceling.)
* Of two errors for one id the first counts. Ids that were not asked for are passed over.
* Text from a page that is not the exchange's is never quoted: it may echo the request.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from htx_cancel.endpoints import Endpoint
from htx_cancel.errors import Meaning, meaning
from htx_cancel.outcome import Finding

UNNAMED = Finding(Meaning.UNNAMED, None, "the reply names this id in neither list")
_ACCEPTED = Finding(Meaning.ACCEPTED)
_LONGEST_MESSAGE = 200

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


class Answer(Struct, frozen=True):
    """What a reply says: of the whole call, and of each id that it names."""

    whole: Finding
    named: Mapping[str, Finding]
    server_time: float | None = None  #: seconds since the epoch

    def of(self, order_id: str) -> Finding:
        """Say what the reply means for one id."""
        found = self.named.get(order_id)
        if found is not None:
            return found
        return UNNAMED if self.whole.meaning is Meaning.ACCEPTED else self.whole

    @property
    def rate_limited(self) -> bool:
        """Whether the exchange refused the call for its rate."""
        return self.whole.meaning is Meaning.RATE_LIMITED


def encode(contract_code: str, field: str, ids: Iterable[str]) -> bytes:
    """Make the body of a call that names ids: one string, joined by commas."""
    return _encoder.encode({"contract_code": contract_code, field: ",".join(ids)})


def encode_all(contract_code: str, filters: Mapping[str, str | None]) -> bytes:
    """Make the body of a call that names no ids; an absent filter means all."""
    given = {name: word for name, word in filters.items() if word is not None}
    return _encoder.encode({"contract_code": contract_code, **given})


def decode(status: int, body: bytes, endpoint: Endpoint, field: str = "order_id") -> Answer:
    """Read a reply to a call that named ids under ``field``. Never raises."""
    reply = _json_object(body)
    if reply is None:
        return Answer(_not_htx(status, "no JSON object"), {})
    whole = _whole(reply, status, endpoint.envelope)
    named = _named(reply.get("data"), field, endpoint.envelope)
    if whole.meaning is not Meaning.ACCEPTED:
        named = {
            key: found for key, found in named.items() if found.meaning is not Meaning.ACCEPTED
        }
    return Answer(whole, named, _server_time(reply))


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        reply = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return reply if isinstance(reply, dict) else None


def _server_time(reply: dict[str, Any]) -> float | None:
    given = reply.get("ts")
    return given / 1000 if isinstance(given, int) and 0 < given < 10**14 else None


def _not_htx(status: int, what: str) -> Finding:
    if status == 429:
        return Finding(Meaning.RATE_LIMITED, 429, "HTTP 429")
    return Finding(Meaning.UNREADABLE, None, f"HTTP {status}, {what}: not a reply of the exchange")


def _whole(reply: dict[str, Any], status: int, envelope: str) -> Finding:
    word = reply.get("status")
    if word == "ok" or (not isinstance(word, str) and _code(reply, "code") == 200):
        return _ACCEPTED if 200 <= status < 300 else _not_htx(status, "a success")
    if isinstance(word, str):
        code = _code(reply, "err_code", "err-code", "code")
        if code is None and word == "maintain":
            return Finding(Meaning.BUSY, None, "the exchange is in maintenance")
        return _finding(code, _text(reply, "err_msg", "err-msg", "message"), envelope)
    code = _code(reply, "code", "err_code", "err-code")
    if code is None:
        return _not_htx(status, "neither envelope")
    return _finding(code, _text(reply, "message", "err_msg", "err-msg"), envelope)


def _finding(code: int | None, message: str, envelope: str) -> Finding:
    if code is None:
        return Finding(Meaning.UNCLEAR, None, message or "an error without a code")
    return Finding(meaning(code, message, envelope=envelope), code, message)


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
    for order_id in _successes(data.get("successes")):
        error = named.get(order_id, _ACCEPTED)
        named[order_id] = Finding(Meaning.ACCEPTED, error.code, error.message)
    return named


def _items(
    items: list[Any], field: str, envelope: str, *, error: bool = False
) -> dict[str, Finding]:
    """Read items that carry a code each; v1 errors carry any id as ``order_id``."""
    named: dict[str, Finding] = {}
    for item in items:
        if not isinstance(item, dict):
            continue
        order_id = _id(item.get(field)) or (_id(item.get("order_id")) if error else "")
        if order_id and order_id not in named:
            named[order_id] = _item_finding(item, envelope, error=error)
    return named


def _item_finding(item: dict[str, Any], envelope: str, *, error: bool) -> Finding:
    code = _code(item, "err_code", "err-code", "code")
    if not error and (code == 200 or not item.keys() & {"err_code", "err-code", "code"}):
        return _ACCEPTED
    return _finding(code, _text(item, "err_msg", "err-msg", "message"), envelope)


def _successes(given: object) -> Iterable[str]:
    if isinstance(given, str):
        given = given.split(",")
    return filter(None, map(_id, given)) if isinstance(given, list) else ()


def _id(given: object) -> str:
    """Return an id as a string; a float names nothing, since it may have lost digits."""
    if isinstance(given, str):
        return given.strip()
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else ""


def _code(item: dict[str, Any], *names: str) -> int | None:
    for name in names:
        given = item.get(name)
        if isinstance(given, int) and not isinstance(given, bool):
            return given
        if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 10:
            return int(given)
    return None


def _text(item: dict[str, Any], *names: str) -> str:
    for name in names:
        given = item.get(name)
        if isinstance(given, str) and given:
            return given[:_LONGEST_MESSAGE]
    return ""
