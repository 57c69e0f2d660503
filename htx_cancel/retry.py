"""Which failure may be sent again, where, and when.

A cancel is safe to repeat; what it claims is not, so ``merge`` says what two answers mean together.
Every retry takes a new token, a new timestamp and a new signature.
"""

from enum import Enum

from msgspec import Struct

from htx_cancel import arguments
from htx_cancel.status import Finding
from htx_cancel.wire.codes import Meaning

#: The longest pause of an urgent call, in seconds.
URGENT_BACKOFF_MAX = 0.25

#: Seconds between two attempts while a contract is in settlement.
SETTLEMENT_BACKOFF = 2.0


class RetryAction(Enum):
    """What to do after an answer."""

    STOP = "the answer stands"
    BACKOFF = "again after a pause, and counted"
    WAIT_FOR_BUDGET = "again when the budget allows, not counted"
    RESYNC_CLOCK = "again once, with the exchange's clock"
    WAIT_FOR_SETTLEMENT = "again every few seconds, not counted"


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
    """How often and how long a batch is tried.

    Args:
        max_attempts: the most attempts that count: those refused for the rate or a settlement do
            not, nor do those that found the exchange unreachable. With 1 there is one attempt,
            whatever becomes of it.
        max_elapsed: the most seconds from a batch's first attempt to the beginning of its last.
            That clock stands still while the batch waits its turn for a token, unless it waits
            because it was refused for the rate. A call that cannot reach the exchange for so long
            gives up what it has. A contract in settlement is tried again until the call's deadline,
            if it has one.
        backoff_initial: the backoff after the first failure is drawn evenly from 0 to so many
            seconds; each further failure doubles that.
        backoff_max: the longest backoff in seconds; of an urgent call it is ``URGENT_BACKOFF_MAX``.

    Raises:
        InvalidTypeError, InvalidValueError: for what is no count, or no span of 0 or more seconds.
    """

    max_attempts: int = 6
    max_elapsed: float = 30.0
    backoff_initial: float = 0.1
    backoff_max: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what cannot be followed."""
        arguments.whole("max_attempts", self.max_attempts)
        for name in ("max_elapsed", "backoff_initial", "backoff_max"):
            arguments.seconds(name, getattr(self, name), zero=True)

    def backoff(self, failures: int, chance: float, *, urgent: bool = False) -> float:
        """Return the seconds to wait after so many failures; ``chance`` is from 0 to 1."""
        longest = min(self.backoff_max, URGENT_BACKOFF_MAX) if urgent else self.backoff_max
        return chance * min(longest, self.backoff_initial * 2.0 ** min(failures - 1, 60))


def merge(earlier: Finding | None, later: Finding) -> Finding:
    """Say what is known of an id after two attempts: ``status.weight`` is the table.

    ======================================  =========================  ========================
    earlier attempt                         later attempt              together
    ======================================  =========================  ========================
    none, or not sent                       anything                   the later
    anything                                not sent                   the earlier: it did leave
    accepted                                anything                   accepted
    ambiguous (``UNKNOWN``)                 speaks of the order        the later
    ambiguous (``UNKNOWN``)                 ambiguous                  the later
    speaks of the order, or is ambiguous    refuses the whole request  the earlier: it may have
                                                                       been canceled
    the whole request refused               anything sent              the later
    ======================================  =========================  ========================
    """
    return later if earlier is None or later.weight >= earlier.weight else earlier
