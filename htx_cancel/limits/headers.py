"""Read the rate-limit headers of a reply."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from htx_cancel.endpoints import Limit


class RateLimitHeaders(NamedTuple):
    """The rate-limit headers of one reply."""

    limit: Limit
    remaining: int | None
    reset: float | None  #: seconds from now


def read(headers: Mapping[str, str], epoch: float | None) -> RateLimitHeaders | None:
    """Return the rate-limit headers, or ``None`` if they are missing or invalid.

    Their names must be in lower case, unless the mapping ignores case.
    """
    limit = _limit(headers.get("ratelimit-limit"), headers.get("ratelimit-interval"))
    if limit is None:
        return None
    reset = _whole(headers.get("ratelimit-reset"), 0, 10**15)
    delay = None
    if reset is not None and epoch is not None:
        delay = max(reset / 1000 - epoch, 0.0)
    return RateLimitHeaders(
        limit, _whole(headers.get("ratelimit-remaining"), 0, limit.calls), delay
    )


@lru_cache(maxsize=64)  # most replies state the same limit
def _limit(calls: str | None, interval: str | None) -> Limit | None:
    number = _whole(calls, 1, 100_000)
    milliseconds = _whole(interval, 100, 60_000)
    if number is None or milliseconds is None:
        return None
    return Limit(number, milliseconds / 1000)


def _whole(text: str | None, least: int, most: int) -> int | None:
    """Return a number of at most 20 ASCII digits within bounds, or ``None``."""
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()) or len(text) > 20:
        return None
    number = int(text)
    return number if least <= number <= most else None
