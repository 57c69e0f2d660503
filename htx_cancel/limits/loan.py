"""What a process and the store have told one another of one budget, and what is due next.

Rules:

* The store hears of what it does not know, and no more: that more tokens are needed than it was
  told, or sooner; that some can be given back; what replies taught.
* Tokens are given back that the store wants. Idle ones are kept for urgent calls here, and for
  those that charge a scarcer budget too and need them soon, unless an urgent call waits elsewhere.
* A token of a scarcer budget that is given back takes along as many of this one as calls can use
  with it in one window, those that are free soonest.
"""

from math import ceil, inf
from typing import NamedTuple

from htx_cancel.endpoints import Limit
from htx_cancel.limits.leased import LeasedBudget
from htx_cancel.limits.store import MICROSECONDS, Lent, Want


class Needs(NamedTuple):
    """What calls here need of one budget."""

    waiting: tuple[int, int, int]  #: calls that wait for it, by priority
    narrow: int  #: tokens for calls that charge a scarcer budget, too
    keep: int  #: idle tokens that those calls need before others have come back
    scarcer: dict[str, int]  #: these budgets, and how often each lets a token of its own through


class Loan:
    """One budget's tokens on loan."""

    def __init__(self, budget: LeasedBudget) -> None:
        self.budget = budget
        self.urgent_told = 0  #: urgent calls that the store knows to wait
        self.demand = 0  #: tokens that the store knows to be needed here
        self.given: list[float] = []  #: when each is free that the next message gives back
        self.given_now = 0  #: tokens given back with the last message
        self.owed = 0  #: tokens that the store wants back
        self.recalled = 0  #: of these, since the last message left
        self.urgently = False  #: whether for an urgent call elsewhere
        self.others = False  #: whether others wait for more than they hold
        self.fetch = False  #: whether tokens came home that are needed here
        self.limit: Limit | None = None  #: the store's word
        self.hold_told = -inf  #: until when the store knows that a refusal holds it
        self.hold_sent = -inf  #: and until when it was told with the last message

    def owe(self, count: int, *, urgent: bool) -> None:
        """Note that the store wants tokens back."""
        self.owed = max(self.owed, count)
        self.recalled = max(self.recalled, count)
        self.urgently = (self.urgently and self.owed > 0) or urgent

    @property
    def taught(self) -> bool:
        """Whether replies of the exchange have said what the store does not know."""
        return self.limit is not None and self.limit != self.budget.limit

    def needed(self, needs: Needs) -> int:
        """Count the tokens that are needed here."""
        return min(self.budget.used + sum(needs.waiting), self.budget.calls)

    def can_give(self, needs: Needs) -> bool:
        """Say whether a token that the store wants could be given now."""
        budget = self.budget
        resting = min(budget.used, budget.held) - budget.in_flight
        return budget.idle > self._keep(needs) or resting > 0

    def _keep(self, needs: Needs) -> int:
        return 0 if self.urgently else max(needs.keep, needs.waiting[0])

    def is_due(self, needs: Needs, now: float) -> bool:
        """Say whether the store should hear of it now."""
        budget, waiting = self.budget, needs.waiting
        budget.settle(now)
        return (
            self.fetch
            or self.taught
            or budget.held_until > max(now, self.hold_told)
            or (self.owed > 0 and self.can_give(needs))
            or (self.others and not any(waiting) and budget.idle > 0)
            or (waiting[0] > self.urgent_told and budget.room(now, urgent=True) <= 0)
            or (any(waiting) and self.needed(needs) > max(budget.held, self.demand))
        )

    def give(self, needs: Needs, along: int, now: float) -> None:
        """Give back what is owed, or what others lack and nobody here does.

        And at least so many that go ``along`` with tokens of scarcer budgets.
        """
        budget, keep, given = self.budget, self._keep(needs), list[float]()
        if self.owed:
            given = budget.give(self.owed, now, soonest=self.urgently, keep=keep)
            self.owed -= len(given)
        elif self.others and not any(needs.waiting):
            given = budget.give(budget.idle, now)
        given += budget.give(max(along - len(given), 0), now, soonest=True, keep=keep)
        self.given += given
        self.given_now = len(given)
        self.fetch = False

    def want(self, needs: Needs, along: int, now: float) -> Want:
        """Give back what is to be, and say what is held and needed here."""
        self.give(needs, along, now)
        self.recalled = 0
        budget, pressing = self.budget, max(needs.waiting[0] - self.urgent_told, 0)
        self.urgent_told, self.demand = needs.waiting[0], self.needed(needs)
        news = budget.held_until > self.hold_told  # told back, it would grow with each message
        self.hold_sent = budget.held_until if news else -inf
        given, self.given = self.given, []
        return Want(
            name=budget.name,
            calls=budget.calls,
            window=round(budget.seconds * MICROSECONDS),
            taught=self.taught,
            claim=budget.held,
            given=[_microseconds(at - now) for at in given],
            used=min(budget.used, budget.held),
            under_way=min(budget.in_flight, budget.held),
            soonest=_microseconds(min(budget.soonest(now) - now, budget.seconds)),
            waiting=needs.waiting,
            pressing=pressing,
            narrow=needs.narrow,
            scarcer=needs.scarcer,
            along=along,
            hold=_microseconds(self.hold_sent - now),
        )

    def take(self, lent: Lent, now: float) -> tuple[bool, bool]:
        """Take the store's answer; say whether tokens were lost, and whether the limit differs."""
        budget = self.budget
        fresh = [delay / MICROSECONDS for delay in lent.fresh]
        lost = lent.held - len(fresh) < budget.held
        limit = Limit(lent.calls, lent.window / MICROSECONDS)
        differs = limit != budget.limit
        if differs:
            budget.obey(limit)
        self.limit, self.others = limit, lent.others
        budget.fair = lent.fair
        budget.hold(lent.held, fresh, now)
        self.hold_told = max(self.hold_told, self.hold_sent)
        if lent.hold and now + lent.hold / MICROSECONDS > budget.held_until:
            self.hold_told = budget.held_until = now + lent.hold / MICROSECONDS
        if not self.urgently or not self.owed:
            self.owed, self.urgently = max(lent.give, self.recalled), False
        return lost, differs


def _microseconds(seconds: float) -> int:
    return max(ceil(seconds * MICROSECONDS), 0) if seconds > -inf else 0
