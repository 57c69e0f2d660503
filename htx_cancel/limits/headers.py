"""Read what the rate-limit headers of a reply say; nonsense is as good as none."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from htx_cancel.endpoints import Limit


class RateLimitHeaders(NamedTuple):
    """What the rate-limit headers of one reply say."""

    limit: Limit
    remaining: int | None
    reset: float | None  #: seconds from now


def read(headers: Mapping[str, str], epoch: float | None) -> RateLimitHeaders | None:
    """Read the rate-limit headers; nonsense is as good as none.

    Their names are in lower case, or the mapping ignores case.
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


@lru_cache(maxsize=64)  # most replies say the same
def _limit(calls: str | None, interval: str | None) -> Limit | None:
    number = _whole(calls, 1, 100_000)
    milliseconds = _whole(interval, 100, 60_000)
    if number is None or milliseconds is None:
        return None
    return Limit(number, milliseconds / 1000)


def _whole(text: str | None, least: int, most: int) -> int | None:
    """Read a whole number within bounds, or nothing: digits only, and not a thousand of them."""
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()) or len(text) > 20:
        return None
    number = int(text)
    return number if least <= number <= most else None
