"""Decode what a reply says of the whole request: its envelope, code and text.

Rules:

* The body counts, not the content type. Both envelopes are understood on every path.
* Only a 2xx reply can accept anything; an error envelope is read whatever the HTTP status.
* Text is never quoted from a page that is not the exchange's, or if it echoes the request.
* The 404 of HTX's own web framework is final: the exchange has no such call and did nothing.
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

#: Follows "no such order" in the message if the request named the order by its client order id.
CLIENT_ID_CAVEAT = (
    "(HTX looks up client order ids for 8 hours only, and in multi-asset mode not after the order"
    " ended: the order may still be live)"
)

UNNAMED = Finding(Meaning.UNNAMED, None, "the reply does not mention this id")


class AttemptResult(Struct, frozen=True):
    """What a reply says of the whole request, and of each id that the reply names."""

    whole: Finding
    server_time: float | None = None  #: seconds since the epoch
    named: Mapping[str, Finding] = {}

    @property
    def unnamed(self) -> Finding:
        """What the reply means for an id that the reply does not name."""
        return UNNAMED if self.whole.meaning is Meaning.ACCEPTED else self.whole

    @property
    def rate_limited(self) -> bool:
        """Whether the exchange refused the request because of a rate limit."""
        return self.whole.meaning is Meaning.RATE_LIMITED

    @property
    def account_wide(self) -> bool:
        """Whether every other request of this account and path would be refused, too."""
        return self.whole.meaning is Meaning.AUTH


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, ``None`` if it holds none. Never raises."""
    try:
        reply = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return reply if isinstance(reply, dict) else None


def server_time(reply: dict[str, Any]) -> float | None:
    """Return the exchange's time in a reply, in seconds since the epoch, if the reply has one."""
    given = reply.get("ts")
    return given / 1000 if isinstance(given, int) and 0 < given < 10**14 else None


def not_htx(status: int, content: str) -> Finding:
    """Return the finding for a reply that does not come from the exchange."""
    if status == 429:
        return Finding(Meaning.RATE_LIMITED, 429, "HTTP 429")
    if status == 400:
        return Finding(Meaning.INVALID, 400, "HTTP 400")
    return Finding(Meaning.UNREADABLE, None, f"HTTP {status} with {content}: not a reply from HTX")


def _no_such_path(reply: dict[str, Any], status: int, path: str) -> Finding | None:
    """Return the finding for HTX's own 404; ``None`` for any other reply."""
    shape = (status, reply.get("status"), reply.get("error"))
    named = reply.get("path")
    if shape != (404, 404, "Not Found") or "timestamp" not in reply or not isinstance(named, str):
        return None
    suffix = f": {path}" if named == path else ""  # any other path may echo the request
    return Finding(Meaning.AUTH, 404, f"HTX has no such path{suffix}")


def verdict(reply: dict[str, Any], status: int, envelope: str, path: str) -> Finding:
    """Return what a reply to a request for ``path`` means for the whole request."""
    missing = _no_such_path(reply, status, path)
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
    """Return the finding for an error's code, or for an error without a code."""
    if code is None:
        return Finding(Meaning.UNCLEAR, None, message or "the error has no code")
    return Finding(meaning(code, message, envelope=envelope), code, message)


def id_of(given: object) -> str:
    """Return an id as a string; ``""`` for a float, because it may have lost digits."""
    if isinstance(given, str):
        return given.strip()
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else ""


def code_of(item: dict[str, Any], *names: str) -> int | None:
    """Return the first of these fields that holds a code, as a number."""
    for name in names:
        given = item.get(name)
        if isinstance(given, int) and not isinstance(given, bool):
            return given
        if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 10:
            return int(given)
    return None


def text_of(item: Mapping[str, Any], *names: str) -> str:
    """Return the first of these fields that holds a text, cut to 200 characters.

    A text that echoes the request is replaced: it may hold the key or the signature.
    """
    for name in names:
        given = item.get(name)
        if isinstance(given, str) and given:
            return _ECHOED if _ECHO.search(given) else given[:_LONGEST_MESSAGE]
    return ""
