"""What a limiter gives and shows: leave to send one call, an order of who goes first, its state."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Literal, Protocol

from msgspec import Struct

from htx_cancel.limits.budget import Budget
from htx_cancel.limits.headers import RateLimitHeaders, read


class Priority(IntEnum):
    """Who goes first."""

    URGENT = 0
    ROUTINE = 1
    BACKGROUND = 2


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


class BudgetEvent(Struct, frozen=True):
    """Something an operator may want to see: a wait, a refusal, a limit learned."""

    kind: Literal["wait", "refused", "learned"]
    names: tuple[str, ...]  #: the budgets meant
    wait: float = 0.0  #: seconds: predicted for a wait, held for a refusal


End = Literal["replied", "refused", "no_reply", "unsent"]


class Permit:
    """Leave to send one call now. Say once what became of it; what is said later is ignored."""

    __slots__ = (
        "_tell",
        "budgets",
        "described",
        "end",
        "granted",
        "host",
        "left_at",
        "marks",
        "replied_at",
        "serial",
        "told",
    )

    def __init__(
        self,
        budgets: tuple[Budget, ...],
        host: str,
        granted: float,
        serial: int,
        tell: Callable[["Permit", End], None],
    ) -> None:
        self.budgets = budgets
        self.host = host  #: may be set until the reply
        self.granted = granted  #: loop time
        #: When it left, in loop time, after any making of a connection; ``None`` if nobody knows.
        #: May be set until the reply.
        self.left_at: float | None = granted
        self.replied_at = granted  #: loop time
        self.serial = serial
        self.marks = [budget.returned for budget in budgets]
        self.end: End | None = None
        self.told: RateLimitHeaders | None = None
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

    def replied(self, headers: Mapping[str, str] | None = None, epoch: float | None = None) -> None:
        """Say that the reply arrived now; its headers teach.

        ``epoch`` is the wall clock in seconds. It only turns the absolute ``ratelimit-reset``
        into a delay.
        """
        if self.end is None and headers is not None:
            self.told = read(headers, epoch)
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


class Limiter(Protocol):
    """What the client needs of a limiter; ``Budgets`` tells the meaning."""

    def ticket(self) -> int:
        """Take the next place in the order of arrival."""

    def check_loop(self) -> None:
        """Raise ``WrongLoopError`` in another event loop than that of the first use."""

    def acquire_now(
        self,
        names: tuple[str, ...],
        *,
        priority: Priority = Priority.ROUTINE,
        ticket: int | None = None,
        host: str = "",
    ) -> Permit | None:
        """Take one token of each named budget if all are free and nobody goes before."""

    async def acquire(
        self,
        names: tuple[str, ...],
        *,
        priority: Priority = Priority.ROUTINE,
        ticket: int | None = None,
        backlog: int = 1,
        deadline: float | None = None,
        host: str = "",
    ) -> Permit:
        """Wait for one token of each named budget, and take them."""

    @property
    def round_trip(self) -> float:
        """The mean round trip to the host heard last, in seconds; 0 if there was none yet."""
        ...

    def learn_trip(self, host: str, seconds: float, *, alone: bool = False) -> None:
        """Learn how long a call that charges no budget took to a host and back.

        It was ``alone`` if no other such call was under way.
        """

    def fits(
        self, names: tuple[str, ...], *, deadline: float, priority: Priority = Priority.ROUTINE
    ) -> int:
        """Predict how many calls could leave up to ``deadline`` (loop time)."""

    def wait(
        self, names: tuple[str, ...], *, count: int = 1, priority: Priority = Priority.ROUTINE
    ) -> float:
        """Predict the seconds until the count-th call from now could leave."""
