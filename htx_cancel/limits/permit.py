"""Define what the budgets give and show: permits, priorities, states and events."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from math import inf
from typing import Literal

from msgspec import Struct

from htx_cancel.limits.budget import Budget
from htx_cancel.limits.headers import RateLimitHeaders, read


class Priority(IntEnum):
    """The order in which requests are sent."""

    URGENT = 0
    """First; may also use the tokens reserved for other users of the UID."""
    ROUTINE = 1
    """After all urgent requests, in order of arrival."""
    BACKGROUND = 2
    """When no other request waits."""


class BudgetState(Struct, frozen=True):
    """One budget at one moment."""

    name: str
    calls: int
    seconds: float
    free: int  #: requests that could be sent now
    in_flight: int
    cooling: int  #: tokens that become free with time
    foreign: int  #: tokens that others of the UID are known to have used
    reserve: int  #: requests left to others in every window
    waiting: int  #: waiters that need this budget
    held_for: float  #: seconds for which a refusal still holds this budget
    next_in: float  #: predicted seconds until one more request can be sent, behind the queue
    held: int  #: tokens that this process may use: all, unless processes share them
    fair: int  #: tokens that this process can count on
    processes: int = 1  #: that share the budget
    store: Literal["", "linked", "cut_off", "own_share"] = ""  #: state of the link, if shared


class BudgetEvent(Struct, frozen=True):
    """An event for an operator: a wait, a refusal, or a limit learned from a reply.

    Shared budgets also have these: the store was lost, or is back; a lease was lost with all its
    tokens; another process of the account states another limit, which then counts.
    """

    kind: Literal[
        "wait", "refused", "learned", "store_lost", "store_back", "lease_lost", "other_limit"
    ]
    names: tuple[str, ...]  #: of the budgets
    wait: float = 0.0  #: seconds: predicted for a wait, held for a refusal


End = Literal["replied", "refused", "no_reply", "unsent"]


class Permit:
    """The permission to send one request now. Only the first report of its end counts."""

    def __init__(
        self,
        budgets: tuple[Budget, ...],
        granted: float,
        serial: int,
        on_end: Callable[["Permit", End], None],
    ) -> None:
        self.budgets = budgets
        self.granted = granted  #: loop time
        self.host = ""
        self.left_at: float | None = granted  #: loop time
        self.replied_at = granted  #: loop time
        self.serial = serial
        self.marks = [budget.returned for budget in budgets]
        self.valid_until = inf  #: loop time after which the request may not be sent any more
        self.end: End | None = None
        self.headers: RateLimitHeaders | None = None
        self.described: Budget | None = None  #: the budget that the headers describe
        self._on_end = on_end

    @property
    def names(self) -> tuple[str, ...]:
        """The budgets that the request charges."""
        return tuple(budget.name for budget in self.budgets)

    def _ends(self, end: End) -> None:
        if self.end is None:
            self.end = end
            self._on_end(self, end)

    def sent(self, host: str, at: float | None) -> None:
        """Report, before the reply, to which host the request was sent and when, in loop time.

        ``None`` is for an unknown time: then no round trip is learned.
        """
        self.host, self.left_at = host, at

    def replied(self, headers: Mapping[str, str] | None = None, epoch: float | None = None) -> None:
        """Report that the reply arrived now, and learn from its headers.

        ``epoch`` is the wall clock in seconds, and only turns the absolute ``ratelimit-reset``
        into a delay.
        """
        if self.end is None and headers is not None:
            self.headers = read(headers, epoch)
        self._ends("replied")

    def refused(self) -> None:
        """Report, after ``replied``, that the exchange refused the request for its rate."""
        if self.end == "replied":
            self.end = "refused"
            self._on_end(self, "refused")

    def no_reply(self) -> None:
        """Report that the caller gave up waiting now; the request may have arrived."""
        self._ends("no_reply")

    def unsent(self) -> None:
        """Report that the request was never sent: its tokens are free again."""
        self._ends("unsent")
