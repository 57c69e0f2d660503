"""Hold the waiters in order, and predict when they can leave.

A *lane* is the queue of those who wait for the same set of budgets. Time comes in as an argument;
a waiter's future is carried, never awaited.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from htx_cancel.limits.budget import Budget
from htx_cancel.limits.permit import Permit, Priority

if TYPE_CHECKING:
    import asyncio

ROUNDING = 1e-9  #: seconds; sums of times differ by less
Rank = tuple[int, float]  #: priority and ticket
LAST: Rank = (max(Priority), inf)  #: behind all waiters


@dataclass(eq=False)
class Waiter:
    """One caller in the queue, who wants so many permits."""

    lane: "Lane"
    rank: Rank
    wanted: int
    deadline: float
    future: "asyncio.Future[list[Permit]]"
    waiting: bool = True

    @property
    def urgent(self) -> bool:
        """Whether it may use what is reserved for others of the UID."""
        return self.rank[0] == Priority.URGENT


class Lane:
    """The waiters for one set of budgets, first the least (priority, ticket, arrival)."""

    def __init__(self, names: tuple[str, ...], budgets: tuple[Budget, ...]) -> None:
        self.names = names
        self.budgets = budgets
        self.heap: list[tuple[int, float, int, Waiter]] = []
        self.dead = 0  #: entries whose waiter has gone
        self._queued: dict[int, int] = {}  # calls wanted, by priority
        self._newest: Rank = (0, 0)
        self._queued_newest = 0

    def push(self, waiter: Waiter, seq: int) -> None:
        """Let a waiter in."""
        priority, ticket = waiter.rank
        heapq.heappush(self.heap, (priority, ticket, seq, waiter))
        if ticket > self._newest[1]:
            self._newest = waiter.rank
            self._queued_newest = 0
        self._count(waiter, waiter.wanted)

    def drop(self, waiter: Waiter) -> None:
        """Let a waiter out; the heap is swept when half of it has gone."""
        waiter.waiting = False
        self._count(waiter, -waiter.wanted)
        self.dead += 1
        if self.dead * 2 > len(self.heap):
            self.heap = [entry for entry in self.heap if entry[3].waiting]
            heapq.heapify(self.heap)
            self.dead = 0

    def _count(self, waiter: Waiter, calls: int) -> None:
        priority = waiter.rank[0]
        self._queued[priority] = self._queued.get(priority, 0) + calls
        if waiter.rank == self._newest:
            self._queued_newest += calls

    def queued(self, priority: Priority) -> int:
        """Count the calls that wait with a priority."""
        return self._queued.get(priority, 0)

    def head(self) -> Waiter | None:
        """Find the first waiter."""
        while self.heap and not self.heap[0][3].waiting:
            heapq.heappop(self.heap)
            self.dead -= 1
        return self.heap[0][3] if self.heap else None

    def ahead(self, rank: Rank) -> int:
        """Count the calls queued before a place; only an older ticket has to look at waiters."""
        priority, ticket = rank
        if ticket > self._newest[1] or rank == self._newest:
            queued = sum(n for level, n in self._queued.items() if level <= priority)
            return queued - (self._queued_newest if rank == self._newest else 0)
        total, stack = 0, [0]
        while stack:
            at = stack.pop()
            if at < len(self.heap) and self.heap[at][:2] < rank:
                waiter = self.heap[at][3]
                total += waiter.wanted if waiter.waiting else 0
                stack += (2 * at + 1, 2 * at + 2)
        return total

    def room(self, now: float, *, urgent: bool) -> int:
        """Count the calls that may leave now, whoever else waits; 0 or less is none."""
        return min([budget.room(now, urgent=urgent) for budget in self.budgets])

    def next_at(self, now: float, *, urgent: bool) -> float:
        """Say when a look at this lane is worth while next, if no reply comes before."""
        short = [each.next_at(now) for each in self.budgets if each.room(now, urgent=urgent) <= 0]
        return max(short) if short else min(budget.next_at(now) for budget in self.budgets)


class Forecast:
    """What the budgets will let through, seen from one moment and one place in the queue."""

    def __init__(self, lanes: Iterable[Lane], rank: Rank, now: float) -> None:
        self._now = now
        self._urgent = rank[0] == Priority.URGENT
        self._slots: dict[str, list[float]] = {}
        ahead = ((lane, lane.ahead(rank)) for lane in lanes)
        self._queues = [(lane, queued) for lane, queued in ahead if queued]

    def _of(self, budget: Budget) -> list[float]:
        if budget.name not in self._slots:
            self._slots[budget.name] = budget.expected_slots(self._now, urgent=self._urgent)
        return self._slots[budget.name]

    def time_of_nth(self, budget: Budget, count: int) -> float:
        """Predict when a budget lets the count-th call leave."""
        slots = self._of(budget)
        cycle, rank = divmod(count - 1, len(slots))
        return slots[rank] + cycle * budget.period

    def count_until(self, budget: Budget, until: float) -> int:
        """Predict how many calls a budget lets leave up to a time."""
        slots = self._of(budget)
        if until < slots[0]:
            return 0
        until += ROUNDING
        cycle = int((until - slots[0]) / budget.period)
        return cycle * len(slots) + bisect_right(slots, until - cycle * budget.period)

    def _before(self, budget: Budget, until: float) -> int:
        """Predict how many of those ahead take a token of this budget up to a time."""
        return sum(
            queued
            if until == inf
            else min(queued, *(self.count_until(b, until) for b in lane.budgets))
            for lane, queued in self._queues
            if budget in lane.budgets
        )

    def fits(self, lane: Lane, until: float) -> int:
        """Predict how many calls of a lane leave up to a time."""
        free = (self.count_until(each, until) - self._before(each, until) for each in lane.budgets)
        return max(0, min(free))

    def leaves(self, lane: Lane, count: int) -> float:
        """Predict when the count-th call of a lane leaves.

        As if all those ahead left before it, then as if only those did who can by then, and so on.
        """
        at, after = self._leaves(lane, count, inf), inf
        while at < after:
            after, at = at, self._leaves(lane, count, at)
        return at

    def _leaves(self, lane: Lane, count: int, until: float) -> float:
        return max(
            self.time_of_nth(each, count + self._before(each, until)) for each in lane.budgets
        )


def reserved_for_earlier(budget: Budget, rank: Rank, earlier: Iterable[Lane], now: float) -> int:
    """Count the tokens of a budget that earlier lanes need before others have come back.

    A token spent now is back in one window. Until then those lanes live on what is free now and
    on what comes back in time.
    """
    until = now + budget.seconds
    needs = sorted(
        at
        for lane in earlier
        if budget in lane.budgets
        for at in demand_times(lane, budget, rank, now, until)
    )
    urgent = rank[0] == Priority.URGENT
    free = max(0, budget.room(now, urgent=urgent))
    back = budget.slots(now, urgent=urgent)[free:]
    return max((n - bisect_right(back, at) for n, at in enumerate(needs, 1)), default=0)


def demand_times(
    lane: Lane, shared: Budget, rank: Rank, now: float, until: float
) -> Iterator[float]:
    """Predict when those before a place could use tokens of a budget, were there always one.

    Never, where another process holds all tokens of another budget.
    """
    view = Forecast((), rank, now)
    others = [budget for budget in lane.budgets if budget is not shared]
    if not all(budget.tokens for budget in others):
        return
    for count in range(1, lane.ahead(rank) + 1):
        at = max((view.time_of_nth(budget, count) for budget in others), default=now)
        if at > until:
            return
        yield at
