"""Encode requests that arm or disarm a countdown, and decode their replies.

Rules:

* Times are sent in milliseconds, or in seconds if the exchange's replies show that it counts in
  seconds.
* A reply arms a countdown only if the reply names the countdown's end.
"""

import msgspec

from htx_cancel.endpoints import Countdown
from htx_cancel.wire.envelope import (
    AttemptResult,
    json_object,
    not_htx,
    server_time,
    verdict,
)

#: The seconds that disarm a countdown.
OFF = 0.0


class CountdownReply(AttemptResult, frozen=True):
    """What a reply says; ``seconds`` from the reply's time to the end, 0 if it names no end."""

    seconds: float = 0.0


def encode(seconds: float, *, unit: float, as_text: bool) -> bytes:
    """Return the body that arms a countdown, or disarms it if ``seconds`` is ``OFF``.

    ``unit`` is the exchange's unit of time, in seconds.
    """
    on_off = int(seconds > OFF)
    body: dict[str, object] = {"on_off": str(on_off) if as_text else on_off}
    if on_off:
        body["time_out"] = round(seconds / unit)
    return msgspec.json.encode(body)


def decode(status: int, body: bytes, row: Countdown) -> CountdownReply:
    """Decode a reply. Never raises."""
    reply = json_object(body)
    if reply is None:
        return CountdownReply(not_htx(status, "no JSON object"))
    whole = verdict(reply, status, row.envelope, row.path)
    data = reply.get("data")
    times = data if isinstance(data, dict) else {}
    begins, ends = (_milliseconds(times.get(name)) for name in ("current_time", "trigger_time"))
    seconds = max(ends - begins, 0) / 1000 if begins and ends else 0.0
    return CountdownReply(whole, server_time(reply), seconds=seconds)


def _milliseconds(given: object) -> int:
    """Return a time given as a number or a text; 0 if it is neither."""
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 20:
        return int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else 0
