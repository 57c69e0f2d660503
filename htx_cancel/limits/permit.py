"""What a limiter gives and shows: leave to send one request, who goes first, and its state."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from math import inf
from typing import Literal

from msgspec import Struct

from htx_cancel.limits.budget import Budget
from htx_cancel.limits.headers import RateLimitHeaders, read


class Priority(IntEnum):
    """Who goes first."""

    URGENT = 0
    """First, and out of what is reserved for others of the UID as well."""
    ROUTINE = 1
    """After all urgent requests, in order of arrival."""
    BACKGROUND = 2
    """When nobody else waits."""


class BudgetState(Struct, frozen=True):
    """One budget at one moment."""

    name: str
    calls: int
    seconds: float
    free: int  #: calls that could leave now
    in_flight: int
    cooling: int  #: tokens that come back with time
    foreign: int  #: tokens that others of the UID are known to have used
    reserve: int  #: calls a window left to others
    waiting: int  #: waiters that need this budget
    held_for: float  #: seconds for which a refusal still holds it
    next_in: float  #: predicted seconds until one more call could leave, queue included
    held: int  #: tokens that this process may use: all, unless they are shared
    fair: int  #: tokens that it can count on
    processes: int = 1  #: that share the budget
    store: Literal["", "linked", "cut_off", "own_share"] = ""  #: of shared budgets


class BudgetEvent(Struct, frozen=True):
    """Something an operator may want to see: a wait, a refusal, a limit learned.

    Of shared budgets also: the store was lost, or is back; a lease was lost, with all it held; or
    another process of the account states another limit, which counts.
    """

    kind: Literal[
        "wait", "refused", "learned", "store_lost", "store_back", "lease_lost", "other_limit"
    ]
    names: tuple[str, ...]  #: the budgets meant
    wait: float = 0.0  #: seconds: predicted for a wait, held for a refusal


End = Literal["replied", "refused", "no_reply", "unsent"]


class Permit:
    """Leave to send one call now. Say once what became of it; what is said later is ignored."""

    def __init__(
        self,
        budgets: tuple[Budget, ...],
        granted: float,
        serial: int,
        tell: Callable[["Permit", End], None],
    ) -> None:
        self.budgets = budgets
        self.granted = granted  #: loop time
        self.host = ""
        self.left_at: float | None = granted  #: loop time
        self.replied_at = granted  #: loop time
        self.serial = serial
        self.marks = [budget.returned for budget in budgets]
        self.valid_until = inf  #: loop time after which it may not be used any more
        self.end: End | None = None
        self.headers: RateLimitHeaders | None = None
        self.described: Budget | None = None  #: the one that the headers told of
        self._tell = tell

    @property
    def names(self) -> tuple[str, ...]:
        """The budgets it charges."""
        return tuple(budget.name for budget in self.budgets)

    def _ends(self, end: End) -> None:
        if self.end is None:
            self.end = end
            self._tell(self, end)

    def sent(self, host: str, at: float | None) -> None:
        """Say, before the reply, to which host the request left and when, in loop time.

        ``None`` is for a time that nobody knows: no round trip is learned then.
        """
        self.host, self.left_at = host, at

    def replied(self, headers: Mapping[str, str] | None = None, epoch: float | None = None) -> None:
        """Say that the reply arrived now; its headers teach.

        ``epoch`` is the wall clock in seconds. It only turns the absolute ``ratelimit-reset``
        into a delay.
        """
        if self.end is None and headers is not None:
            self.headers = read(headers, epoch)
        self._ends("replied")

    def refused(self) -> None:
        """Say, after ``replied``, that the reply refused the call as one too many."""
        if self.end == "replied":
            self.end = "refused"
            self._tell(self, "refused")

    def no_reply(self) -> None:
        """Say that the caller gave up now; the call may have arrived."""
        self._ends("no_reply")

    def unsent(self) -> None:
        """Say that the call never left: its tokens are free again."""
        self._ends("unsent")
