"""Which answers are retried, when, and what the answers of two attempts mean together.

A cancel is safe to repeat. Every retry takes a new token, a new timestamp and a new signature.
"""

from enum import Enum

from msgspec import Struct

from htx_cancel import arguments
from htx_cancel.status import Finding
from htx_cancel.wire.codes import Meaning

#: The longest backoff of an urgent call, in seconds.
URGENT_BACKOFF_MAX = 0.25

#: Seconds between two attempts while the contract is in settlement.
SETTLEMENT_BACKOFF = 2.0


class RetryAction(Enum):
    """What to do after an answer. Counted attempts are limited by ``max_attempts``."""

    STOP = "do not retry: the answer is final"
    BACKOFF = "retry after a backoff, counted"
    WAIT_FOR_BUDGET = "retry when a token is free, not counted"
    RESYNC_CLOCK = "retry once with the exchange's clock, counted"
    WAIT_FOR_SETTLEMENT = "retry every SETTLEMENT_BACKOFF seconds, not counted"


RETRY: dict[Meaning, RetryAction] = dict.fromkeys(Meaning, RetryAction.STOP) | {
    Meaning.RATE_LIMITED: RetryAction.WAIT_FOR_BUDGET,
    Meaning.CLOCK: RetryAction.RESYNC_CLOCK,
    Meaning.SETTLING: RetryAction.WAIT_FOR_SETTLEMENT,
    Meaning.BUSY: RetryAction.BACKOFF,
    Meaning.FAULT: RetryAction.BACKOFF,
    Meaning.UNNAMED: RetryAction.BACKOFF,
    Meaning.UNREADABLE: RetryAction.BACKOFF,
    Meaning.NO_ANSWER: RetryAction.BACKOFF,
    Meaning.NOT_SENT: RetryAction.BACKOFF,
}


class RetryPolicy(Struct, frozen=True):
    """How often and for how long a batch is retried.

    Args:
        max_attempts: the most counted attempts of a batch. An attempt does not count if it was
            refused for the rate limit or a settlement, or if the exchange was unreachable. With 1
            there are no retries at all.
        max_elapsed: the most seconds from the start of a batch's first attempt to the start of its
            last. The time in which a failed batch waits for a token does not count, unless it was
            refused for the rate limit. A call that cannot reach the exchange for ``max_elapsed``
            gives up. If the call has a deadline, a contract in settlement is retried until then.
        backoff_initial: the upper bound of the first backoff in seconds; every further failure
            doubles the bound. A backoff is drawn evenly between 0 and its bound.
        backoff_max: the longest backoff in seconds. Urgent calls wait at most
            ``URGENT_BACKOFF_MAX``.

    Raises:
        InvalidTypeError, InvalidValueError: if ``max_attempts`` is not a whole number of at least
            1, or another argument not a finite number of 0 or more.
    """

    max_attempts: int = 6
    max_elapsed: float = 30.0
    backoff_initial: float = 0.1
    backoff_max: float = 2.0

    def __post_init__(self) -> None:
        """Check the values."""
        arguments.count("max_attempts", self.max_attempts)
        for name in ("max_elapsed", "backoff_initial", "backoff_max"):
            arguments.seconds(name, getattr(self, name), zero=True)

    def backoff(self, failures: int, chance: float, *, urgent: bool = False) -> float:
        """Return the seconds to wait after a number of failures; ``chance`` is from 0 to 1."""
        longest = min(self.backoff_max, URGENT_BACKOFF_MAX) if urgent else self.backoff_max
        return chance * min(longest, self.backoff_initial * 2.0 ** min(failures - 1, 60))


def merge(earlier: Finding | None, later: Finding) -> Finding:
    """Return what two attempts together say about an id; ``Finding.weight`` decides.

    =============================  =======================  ======================================
    earlier attempt                later attempt            the finding that counts
    =============================  =======================  ======================================
    none, or not sent              anything                 the later
    anything                       not sent                 the earlier: its request did leave
    accepted                       anything                 accepted
    ambiguous (``UNKNOWN``)        about the order          the later
    ambiguous (``UNKNOWN``)        ambiguous                the later
    about the order, or ambiguous  whole request refused    the earlier: the order may be canceled
    whole request refused          anything that was sent   the later
    =============================  =======================  ======================================
    """
    return later if earlier is None or later.weight >= earlier.weight else earlier
