"""What a reply says before any id is looked at: its shape, its code, its text.

Rules:

* Its bytes count, not its content type. Both envelopes are understood on every path.
* Only a 2xx reply can accept anything; an error envelope is read whatever the HTTP status.
* Text from a page that is not the exchange's is never quoted, and none that echoes the request.
* HTX's own 404, of its web framework, is final: the exchange has no such call and did nothing.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from htx_cancel.status import ACCEPTED, Finding
from htx_cancel.wire.codes import Meaning, meaning

_LONGEST_MESSAGE = 200
_ECHO = re.compile("AccessKeyId|Signature=", re.IGNORECASE)
_ECHOED = "(a text that echoes the request)"
_decoder = msgspec.json.Decoder()

#: Beside "no such order", where it was named by its client order id.
CLIENT_ID_CAVEAT = (
    "(HTX looks up client order ids for 8 hours only, and in multi-asset mode not after the order"
    " ended: the order may still be live)"
)


UNNAMED = Finding(Meaning.UNNAMED, None, "the reply names this id in neither list")


class AttemptResult(Struct, frozen=True):
    """What one attempt says: of the whole request, and of each id that the reply names."""

    whole: Finding
    server_time: float | None = None  #: seconds since the epoch
    named: Mapping[str, Finding] = {}

    @property
    def unnamed(self) -> Finding:
        """What it means for an id that it does not name."""
        return UNNAMED if self.whole.meaning is Meaning.ACCEPTED else self.whole

    @property
    def rate_limited(self) -> bool:
        """Whether the exchange refused the request for its rate."""
        return self.whole.meaning is Meaning.RATE_LIMITED

    @property
    def account_wide(self) -> bool:
        """Whether the refusal would meet every other request of this account and path, too."""
        return self.whole.meaning is Meaning.AUTH


def json_object(body: bytes) -> dict[str, Any] | None:
    """Decode a body, if it is a JSON object. Never raises."""
    try:
        reply = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return reply if isinstance(reply, dict) else None


def server_time(reply: dict[str, Any]) -> float | None:
    """Return when the reply was made, in seconds since the epoch, if it says."""
    given = reply.get("ts")
    return given / 1000 if isinstance(given, int) and 0 < given < 10**14 else None


def not_htx(status: int, what: str) -> Finding:
    """Say what a reply means that the exchange did not make."""
    if status == 429:
        return Finding(Meaning.RATE_LIMITED, 429, "HTTP 429")
    if status == 400:
        return Finding(Meaning.INVALID, 400, "HTTP 400")
    return Finding(Meaning.UNREADABLE, None, f"HTTP {status}, {what}: not a reply of the exchange")


def no_such_path(reply: dict[str, Any], status: int, path: str) -> Finding | None:
    """Read HTX's own 404, to a request for ``path``; ``None`` if the reply is not that."""
    shape = (status, reply.get("status"), reply.get("error"))
    named = reply.get("path")
    if shape != (404, 404, "Not Found") or "timestamp" not in reply or not isinstance(named, str):
        return None
    where = f": {path}" if named == path else ""  # another one is foreign text
    return Finding(Meaning.AUTH, 404, f"HTX has no such path{where}")


def verdict(reply: dict[str, Any], status: int, envelope: str, path: str) -> Finding:
    """Say what a reply to a request for ``path`` means for the whole call."""
    missing = no_such_path(reply, status, path)
    if missing is not None:
        return missing
    word = reply.get("status")
    if word == "ok" or (not isinstance(word, str) and code_of(reply, "code") == 200):
        return ACCEPTED if 200 <= status < 300 else not_htx(status, "a success")
    if isinstance(word, str):
        code = code_of(reply, "err_code", "err-code", "code")
        if code is None and word == "maintain":
            return Finding(Meaning.BUSY, None, "the exchange is in maintenance")
        return finding(code, text_of(reply, "err_msg", "err-msg", "message"), envelope)
    code = code_of(reply, "code", "err_code", "err-code")
    if code is None:
        return not_htx(status, "neither envelope")
    return finding(code, text_of(reply, "message", "err_msg", "err-msg"), envelope)


def finding(code: int | None, message: str, envelope: str) -> Finding:
    """Say what a code means, or its absence in an error."""
    if code is None:
        return Finding(Meaning.UNCLEAR, None, message or "an error without a code")
    return Finding(meaning(code, message, envelope=envelope), code, message)


def id_of(given: object) -> str:
    """Return an id as a string; a float names nothing, since it may have lost digits."""
    if isinstance(given, str):
        return given.strip()
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else ""


def code_of(item: dict[str, Any], *names: str) -> int | None:
    """Return the first of these fields that is a code, as a number."""
    for name in names:
        given = item.get(name)
        if isinstance(given, int) and not isinstance(given, bool):
            return given
        if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 10:
            return int(given)
    return None


def text_of(item: Mapping[str, Any], *names: str) -> str:
    """Return the first of these fields that is a text, cut short, and not if it echoes a key."""
    for name in names:
        given = item.get(name)
        if isinstance(given, str) and given:
            return _ECHOED if _ECHO.search(given) else given[:_LONGEST_MESSAGE]
    return ""
