"""Which failure may be sent again, where, and when.

A cancel is safe to repeat; what it claims is not, so ``merge`` says what two answers mean together.
Every retry takes a new token, a new timestamp and a new signature.
"""

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from htx_cancel import arguments
from htx_cancel.errors import Meaning
from htx_cancel.outcome import ACCEPTED, Finding, OrderResult, order_result
from htx_cancel.wire.cancels import CancelReply

#: The longest pause of an urgent call, in seconds.
URGENT_BACKOFF_MAX = 0.25

#: Stands for the ids in a call that names none.
ALL = ""


class RetryAction(Enum):
    """What to do after an answer."""

    STOP = "the answer stands"
    BACKOFF = "again after a pause, and counted"
    WAIT_FOR_BUDGET = "again when the budget allows, not counted"
    RESYNC_CLOCK = "again once, with the exchange's clock"


RETRY: dict[Meaning, RetryAction] = {
    Meaning.ACCEPTED: RetryAction.STOP,
    Meaning.FILLED: RetryAction.STOP,
    Meaning.CANCELED: RetryAction.STOP,
    Meaning.CANCELING: RetryAction.STOP,
    Meaning.NOT_FOUND: RetryAction.STOP,
    Meaning.AUTH: RetryAction.STOP,
    Meaning.INVALID: RetryAction.STOP,
    Meaning.REFUSED: RetryAction.STOP,
    Meaning.UNCLEAR: RetryAction.STOP,
    Meaning.RATE_LIMITED: RetryAction.WAIT_FOR_BUDGET,
    Meaning.CLOCK: RetryAction.RESYNC_CLOCK,
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
        max_attempts: the most attempts that count: those refused for the rate do not, nor do those
            that found the exchange unreachable. With 1 there is one attempt, whatever becomes of
            it.
        max_elapsed: the most seconds from a batch's first attempt to the beginning of its last.
            That clock stands still while the batch waits its turn for a token, unless it waits
            because it was refused for the rate. A call that cannot reach the exchange for so long
            gives up what it has.
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
    """Say what is known of an id after two attempts: ``outcome.weight`` is the table.

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


Known = tuple[Finding, int]  #: of an id, and the requests that carried it

_AT_ONCE: Known = (ACCEPTED, 1)


class BatchState:
    """What the tries of one batch have said so far, and which of its ids to send again."""

    __slots__ = (
        "_known",
        "_listed",
        "action",
        "attempt_count",
        "began",
        "due",
        "failures",
        "left",
        "number",
        "pending",
        "server_time",
        "settled",
    )

    def __init__(self, ids: Sequence[str], number: int, began: float) -> None:
        self.pending = ids
        self.number = number  #: of the batch in its call
        self.began = began  #: loop time
        self.due = began  #: when it may be tried again
        self.action = RetryAction.STOP  #: what is to be done with it
        self.attempt_count = 1  #: that count, the one that is next among them
        self.failures = 0
        self.left = False  #: whether the attempt under way, or the last one, may have left
        self.settled = False
        self.server_time: float | None = None
        self._known: dict[str, Known] = {}
        self._listed: dict[str, Finding] = {}  # where the call names no ids

    def take(self, answer: CancelReply) -> RetryAction:
        """Take the answer to a try of ``pending``; say what to do about what is left of it."""
        found = list(map(answer.named.get, self.pending))
        if not self._known and found.count(ACCEPTED) == len(found):  # nearly always
            self._known = dict.fromkeys(self.pending, _AT_ONCE)
            self.pending = ()
            return RetryAction.STOP
        left, wanted = [], set()
        requests = 0 if answer.whole.meaning is Meaning.NOT_SENT else 1
        for key, named in zip(self.pending, found, strict=True):
            finding = answer.whole if key is ALL else named or answer.unnamed
            earlier, carried = self._known.get(key, (None, 0))
            self._known[key] = (merge(earlier, finding), carried + requests)
            action = RETRY[finding.meaning]
            if action is not RetryAction.STOP:
                left.append(key)
                wanted.add(action)
        self.pending = left
        if RetryAction.RESYNC_CLOCK in wanted:
            return self._resync(answer.server_time)
        if self.is_whole:
            self._listed.update(answer.named)
        return (
            RetryAction.BACKOFF
            if RetryAction.BACKOFF in wanted
            else next(iter(wanted), RetryAction.STOP)
        )

    def _resync(self, server_time: float | None) -> RetryAction:
        """Allow one try with the exchange's clock, if its reply told the time."""
        if server_time is None or self.server_time is not None:
            return RetryAction.STOP
        self.server_time = server_time
        return RetryAction.RESYNC_CLOCK

    @property
    def is_whole(self) -> bool:
        """Whether it stands for a call that names no ids."""
        return ALL in self._known

    def whole(self) -> Known:
        """Return what is known of a call that names no ids, and how often it was sent."""
        return self._known[ALL]

    def results(self) -> tuple[OrderResult, ...]:
        """Return the result of each id, or of each id listed where the call names none."""
        if self.is_whole:
            sent = self._known[ALL][1]
            return tuple([order_result(key, it, sent) for key, it in self._listed.items()])
        return tuple([order_result(key, *known) for key, known in self._known.items()])
