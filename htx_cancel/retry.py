"""Which failure may be sent again, where, and when.

A cancel is safe to repeat; what it claims is not, so ``merge`` says what two answers mean together.
Every retry takes a new token, a new timestamp and a new signature.
"""

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from htx_cancel.errors import InvalidTypeError, InvalidValueError, Meaning
from htx_cancel.outcome import ACCEPTED, Finding, OrderResult, order_result
from htx_cancel.wire.cancels import Answer

#: The longest pause of an urgent call, in seconds.
URGENT_PAUSE = 0.25

#: Stands for the ids in a call that names none.
ALL = ""


class Again(Enum):
    """What to do after an answer."""

    NEVER = "the answer stands"
    PAUSE = "again after a pause, and counted"
    BUDGET = "again when the budget allows, not counted"
    RESYNC = "again once, with the exchange's clock"


AGAIN: dict[Meaning, Again] = {
    Meaning.ACCEPTED: Again.NEVER,
    Meaning.FILLED: Again.NEVER,
    Meaning.CANCELED: Again.NEVER,
    Meaning.CANCELING: Again.NEVER,
    Meaning.NOT_FOUND: Again.NEVER,
    Meaning.AUTH: Again.NEVER,
    Meaning.INVALID: Again.NEVER,
    Meaning.REFUSED: Again.NEVER,
    Meaning.UNCLEAR: Again.NEVER,
    Meaning.RATE_LIMITED: Again.BUDGET,
    Meaning.CLOCK: Again.RESYNC,
    Meaning.BUSY: Again.PAUSE,
    Meaning.FAULT: Again.PAUSE,
    Meaning.UNNAMED: Again.PAUSE,
    Meaning.UNREADABLE: Again.PAUSE,
    Meaning.NO_ANSWER: Again.PAUSE,
    Meaning.NOT_SENT: Again.PAUSE,
}


class RetryPolicy(Struct, frozen=True):
    """How often and how long a batch is tried.

    ``attempts`` is the most attempts that count: those refused for the rate do not, nor do those
    that found the exchange unreachable. With 1 there is one attempt, whatever becomes of it.
    ``seconds`` is the most time from a batch's first attempt to the beginning of its last; that
    clock stands still while the batch waits its turn for a token, unless it waits because it was
    refused for the rate. A call that cannot reach the exchange for so long gives up what it has.
    Pauses are drawn evenly from 0 to ``first_pause * 2**n`` seconds, at most ``longest_pause``, or
    ``URGENT_PAUSE`` for an urgent call.
    """

    attempts: int = 6
    seconds: float = 30.0
    first_pause: float = 0.1
    longest_pause: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what cannot be followed."""
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise InvalidTypeError(f"attempts is a whole number, not {self.attempts!r}")
        if self.attempts < 1:
            raise InvalidValueError(f"attempts is at least 1, not {self.attempts!r}")
        for name in ("seconds", "first_pause", "longest_pause"):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int | float):
                raise InvalidTypeError(f"{name} is a number of seconds, not {given!r}")
            if not 0 <= given < float("inf"):
                raise InvalidValueError(f"{name} is 0 or more seconds, not {given!r}")

    def pause(self, failures: int, chance: float, *, urgent: bool = False) -> float:
        """Return the pause after so many failures; ``chance`` is from 0 to 1."""
        longest = min(self.longest_pause, URGENT_PAUSE) if urgent else self.longest_pause
        return chance * min(longest, self.first_pause * 2.0 ** min(failures - 1, 60))


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


class Attempts:
    """What the tries of one batch have said so far, and which of its ids to send again."""

    __slots__ = (
        "_known",
        "_listed",
        "again",
        "began",
        "due",
        "failures",
        "left",
        "number",
        "pending",
        "server_time",
        "settled",
        "tries",
    )

    def __init__(self, ids: Sequence[str], number: int, began: float) -> None:
        self.pending = ids
        self.number = number  #: of the batch in its call
        self.began = began  #: loop time
        self.due = began  #: when it may be tried again
        self.again = Again.NEVER  #: what is to be done with it
        self.tries = 1  #: that count, the one that is next among them
        self.failures = 0
        self.left = False  #: whether the attempt under way, or the last one, may have left
        self.settled = False
        self.server_time: float | None = None
        self._known: dict[str, Known] = {}
        self._listed: dict[str, Finding] = {}  # where the call names no ids

    def take(self, answer: Answer) -> Again:
        """Take the answer to a try of ``pending``; say what to do about what is left of it."""
        found = list(map(answer.named.get, self.pending))
        if not self._known and found.count(ACCEPTED) == len(found):  # nearly always
            self._known = dict.fromkeys(self.pending, _AT_ONCE)
            self.pending = ()
            return Again.NEVER
        left, wanted = [], set()
        requests = 0 if answer.whole.meaning is Meaning.NOT_SENT else 1
        for key, named in zip(self.pending, found, strict=True):
            finding = answer.whole if key is ALL else named or answer.unnamed
            earlier, carried = self._known.get(key, (None, 0))
            self._known[key] = (merge(earlier, finding), carried + requests)
            again = AGAIN[finding.meaning]
            if again is not Again.NEVER:
                left.append(key)
                wanted.add(again)
        self.pending = left
        if Again.RESYNC in wanted:
            return self._resync(answer.server_time)
        if self.is_whole:
            self._listed.update(answer.named)
        return Again.PAUSE if Again.PAUSE in wanted else next(iter(wanted), Again.NEVER)

    def _resync(self, server_time: float | None) -> Again:
        """Allow one try with the exchange's clock, if its reply told the time."""
        if server_time is None or self.server_time is not None:
            return Again.NEVER
        self.server_time = server_time
        return Again.RESYNC

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
