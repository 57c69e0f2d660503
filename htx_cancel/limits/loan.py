"""What a process and the store have told each other about one budget, and what to tell next.

Rules:

* A process tells the store only news: that it needs more tokens than the store knows, or sooner;
  that it can give some back; what replies taught.
* A process gives back the tokens that the store recalls. It keeps idle ones for its own urgent
  calls, and for calls that also charge a scarcer budget and need them soon, unless an urgent call
  waits elsewhere.
* A token of a scarcer budget that is given back is accompanied by as many tokens of this one as
  calls can use with it in one window, the soonest ones.
"""

from math import ceil, inf
from typing import NamedTuple

from htx_cancel.endpoints import Limit
from htx_cancel.limits.leased import LeasedBudget
from htx_cancel.limits.store import MICROSECONDS, Lent, Want


class Needs(NamedTuple):
    """What the calls of this process need of one budget."""

    waiting: tuple[int, int, int]  #: waiting calls, by priority
    composite: int  #: tokens for calls that also charge a scarcer budget
    keep: int  #: idle tokens that those calls need before other tokens have come back
    scarcer: dict[str, int]  #: by scarcer budget: tokens of this one that accompany one of it


class Loan:
    """One budget's tokens on loan."""

    def __init__(self, budget: LeasedBudget) -> None:
        self.budget = budget
        self.needs = Needs((0, 0, 0), 0, 0, {})  #: as counted last
        self.urgent_told = 0  #: waiting urgent calls that the store knows
        self.demand = 0  #: tokens that the store knows to be needed here
        self.given = 0  #: tokens that the last message gave back
        self.owed = 0  #: tokens that the store wants back
        self.recalled = 0  #: tokens recalled since the last message left
        self.urgently = False  #: whether they are recalled for an urgent call elsewhere
        self.others_wait = False  #: whether other processes wait for more than they hold
        self.fetch = False  #: whether the store has tokens that are needed here
        self.limit: Limit | None = None  #: as the store states it
        self.hold_told = -inf  #: until when a refusal holds the budget, as the store knows

    def recall(self, count: int, *, urgent: bool) -> None:
        """Note that the store recalls tokens; a count of 0 means that it has some to fetch."""
        self.fetch = self.fetch or count == 0
        self.urgently = urgent or (self.urgently and self.owed > 0)
        self.owed = max(self.owed, count)
        self.recalled = max(self.recalled, count)

    @property
    def taught(self) -> bool:
        """Whether replies of the exchange stated a limit that the store does not know."""
        return self.limit is not None and self.limit != self.budget.limit

    @property
    def _needed(self) -> int:
        return min(self.budget.used + sum(self.needs.waiting), self.budget.calls)

    @property
    def _keep(self) -> int:
        return 0 if self.urgently else max(self.needs.keep, self.needs.waiting[0])

    @property
    def _only_others_wait(self) -> bool:
        return self.others_wait and not any(self.needs.waiting)

    def is_due(self, now: float) -> bool:
        """Return whether the store should get a message about this budget now."""
        budget, waiting = self.budget, self.needs.waiting
        budget.settle(now)
        cooling = min(budget.used, budget.held) - budget.in_flight
        return (
            self.fetch
            or self.taught
            or budget.held_until > max(now, self.hold_told)
            or (self.owed > 0 and (budget.idle > self._keep or cooling > 0))
            or (self._only_others_wait and budget.idle > 0)
            or (waiting[0] > self.urgent_told and budget.room(now, urgent=True) <= 0)
            or (any(waiting) and self._needed > max(budget.held, self.demand))
        )

    def due_at(self, now: float) -> float:
        """Return when the next token has rested that only others need; ``inf`` if there is none."""
        return self.budget.next_at(now) if self._only_others_wait else inf

    def want(self, accompanying: int, now: float) -> Want:
        """Give back tokens; return what to tell the store."""
        budget, waiting = self.budget, self.needs.waiting
        given = self._give(accompanying, now)
        self.given, self.recalled, self.fetch = len(given), 0, False
        pressing = max(waiting[0] - self.urgent_told, 0)
        self.urgent_told, self.demand = waiting[0], self._needed
        # A hold that the store knows is not sent back: it would grow with each message.
        hold = budget.held_until - now if budget.held_until > self.hold_told else 0.0
        return Want(
            name=budget.name,
            calls=budget.calls,
            window=round(budget.seconds * MICROSECONDS),
            taught=self.taught,
            claim=budget.held,
            given=[_microseconds(at - now) for at in given],
            used=min(budget.used, budget.held),
            in_flight=min(budget.in_flight, budget.held),
            soonest=_microseconds(min(budget.soonest(now) - now, budget.seconds)),
            waiting=waiting,
            composite=self.needs.composite,
            scarcer=self.needs.scarcer,
            accompanying=accompanying,
            pressing=pressing,
            hold=_microseconds(hold),
        )

    def _give(self, accompanying: int, now: float) -> list[float]:
        """Give back owed tokens, or idle ones that only others need; return when each is free.

        Of the tokens given, at least ``accompanying`` go with tokens of scarcer budgets.
        """
        budget, keep, given = self.budget, self._keep, list[float]()
        if self.owed:
            given = budget.give(self.owed, now, soonest=self.urgently, keep=keep)
            self.owed -= len(given)
        elif self._only_others_wait:
            given = budget.give(budget.idle, now)
        return given + budget.give(max(accompanying - len(given), 0), now, soonest=True, keep=keep)

    def take(self, lent: Lent, now: float) -> tuple[bool, bool]:
        """Take the answer; return whether tokens were lost, and whether the limit differs."""
        budget = self.budget
        fresh = [delay / MICROSECONDS for delay in lent.fresh]
        lost = lent.held - len(fresh) < budget.held
        limit = Limit(lent.calls, lent.window / MICROSECONDS)
        differs = limit != budget.limit
        if differs:
            budget.set_limit(limit)
        self.limit, self.others_wait, budget.fair = limit, lent.others, lent.fair
        budget.hold(lent.held, fresh, now)
        if lent.hold:
            hold_until = now + lent.hold / MICROSECONDS
            self.hold_told = max(self.hold_told, hold_until)
            budget.held_until = max(budget.held_until, hold_until)
        if not self.urgently or not self.owed:
            self.owed, self.urgently = max(lent.give, self.recalled), False
        return lost, differs


def _microseconds(seconds: float) -> int:
    return max(ceil(seconds * MICROSECONDS), 0)
