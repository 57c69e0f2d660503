"""Keep the waiters in order, and predict when their requests can be sent.

A *lane* is the queue of the waiters for one set of budgets. The time is an argument, and the future
of a waiter is stored here, never awaited.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterable
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
    """A caller that waits for up to ``wanted`` permits."""

    lane: "Lane"
    rank: Rank
    wanted: int
    deadline: float
    future: "asyncio.Future[list[Permit]]"
    waiting: bool = True

    @property
    def urgent(self) -> bool:
        """Whether it may use tokens reserved for other users of the UID."""
        return self.rank[0] == Priority.URGENT


class Lane:
    """The waiters for one set of budgets, in the order of priority, ticket and arrival."""

    def __init__(self, names: tuple[str, ...], budgets: tuple[Budget, ...]) -> None:
        self.names = names
        self.budgets = budgets
        self.heap: list[tuple[int, float, int, Waiter]] = []
        self.dead = 0  #: entries whose waiter was dropped
        self._queued = [0] * len(Priority)  # requests wanted, by priority
        self._newest: Rank = (0, 0)
        self._queued_newest = 0  # requests wanted with the newest rank

    def push(self, waiter: Waiter, arrival: int) -> None:
        """Add a waiter."""
        priority, ticket = waiter.rank
        heapq.heappush(self.heap, (priority, ticket, arrival, waiter))
        if ticket > self._newest[1]:
            self._newest = waiter.rank
            self._queued_newest = 0
        self._count(waiter, waiter.wanted)

    def drop(self, waiter: Waiter) -> None:
        """Remove a waiter; its entry is removed when half of the entries are dead."""
        waiter.waiting = False
        self._count(waiter, -waiter.wanted)
        self.dead += 1
        if self.dead * 2 > len(self.heap):
            self.heap = [entry for entry in self.heap if entry[3].waiting]
            heapq.heapify(self.heap)
            self.dead = 0

    def _count(self, waiter: Waiter, requests: int) -> None:
        self._queued[waiter.rank[0]] += requests
        if waiter.rank == self._newest:
            self._queued_newest += requests

    def queued(self, priority: Priority) -> int:
        """Count the requests that wait with this priority."""
        return self._queued[priority]

    def head(self) -> Waiter | None:
        """Return the first waiter."""
        while self.heap and not self.heap[0][3].waiting:
            heapq.heappop(self.heap)
            self.dead -= 1
        return self.heap[0][3] if self.heap else None

    def ahead(self, rank: Rank) -> int:
        """Count the requests queued before a rank. Only an older ticket makes it read entries."""
        priority, ticket = rank
        if ticket > self._newest[1] or rank == self._newest:
            queued = sum(self._queued[: priority + 1])
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
        """Count the requests that the budgets let pass now; none if 0 or less."""
        return min([budget.room(now, urgent=urgent) for budget in self.budgets])

    def next_at(self, now: float, *, urgent: bool) -> float:
        """Return when this lane may next have a free token, unless a reply arrives earlier."""
        budgets = self.budgets
        full = [each.next_at(now) for each in budgets if each.room(now, urgent=urgent) <= 0]
        return max(full) if full else min(budget.next_at(now) for budget in budgets)


class Forecast:
    """What the budgets will let pass, seen from one moment and one rank in the queue."""

    def __init__(self, lanes: Iterable[Lane], rank: Rank, now: float) -> None:
        self._now = now
        self._urgent = rank[0] == Priority.URGENT
        self._slots: dict[str, list[float]] = {}
        queues = ((lane, lane.ahead(rank)) for lane in lanes)
        self._ahead = [(lane, queued) for lane, queued in queues if queued]

    def _slots_of(self, budget: Budget) -> list[float]:
        if budget.name not in self._slots:
            self._slots[budget.name] = budget.expected_slots(self._now, urgent=self._urgent)
        return self._slots[budget.name]

    def time_of_nth(self, budget: Budget, count: int) -> float:
        """Predict when a budget lets the count-th request pass."""
        slots = self._slots_of(budget)
        cycle, index = divmod(count - 1, len(slots))
        return slots[index] + cycle * budget.period

    def count_until(self, budget: Budget, until: float) -> int:
        """Predict how many requests a budget lets pass up to a time."""
        slots = self._slots_of(budget)
        if until < slots[0]:
            return 0
        until += ROUNDING
        cycle = int((until - slots[0]) / budget.period)
        return cycle * len(slots) + bisect_right(slots, until - cycle * budget.period)

    def _taken_ahead(self, budget: Budget, until: float) -> int:
        """Predict how many tokens of a budget the requests ahead take up to a time."""
        return sum(
            queued
            if until == inf
            else min(queued, *(self.count_until(each, until) for each in lane.budgets))
            for lane, queued in self._ahead
            if budget in lane.budgets
        )

    def fits(self, lane: Lane, until: float) -> int:
        """Predict how many requests of a lane can be sent up to a time."""
        budgets = lane.budgets
        left = (self.count_until(each, until) - self._taken_ahead(each, until) for each in budgets)
        return max(0, min(left))

    def leaves(self, lane: Lane, count: int) -> float:
        """Predict when the count-th request of a lane can be sent.

        First as if all requests ahead went before it, then as if only those did that can be sent
        by the predicted time, and so on.
        """
        at, previous = self._leaves(lane, count, inf), inf
        while at < previous:
            previous, at = at, self._leaves(lane, count, at)
        return at

    def _leaves(self, lane: Lane, count: int, until: float) -> float:
        return max(
            self.time_of_nth(budget, count + self._taken_ahead(budget, until))
            for budget in lane.budgets
        )


def reserved_for_earlier(budget: Budget, rank: Rank, earlier: Iterable[Lane], now: float) -> int:
    """Count the free tokens of a budget that earlier lanes need before others become free.

    A token used now is free again in one window. Until then the earlier lanes need the tokens that
    are free now and those that become free in time.
    """
    forecast, needed_at = Forecast((), rank, now), list[float]()
    for lane in earlier:
        others = [each for each in lane.budgets if each is not budget]
        if budget not in lane.budgets or not all(each.tokens for each in others):
            continue  # tokens of another budget may all be held by another process
        for count in range(1, lane.ahead(rank) + 1):
            at = max((forecast.time_of_nth(each, count) for each in others), default=now)
            if at > now + budget.seconds:
                break
            needed_at.append(at)
    urgent = rank[0] == Priority.URGENT
    free = max(0, budget.room(now, urgent=urgent))
    free_at = budget.slots(now, urgent=urgent)[free:]
    return max(
        (n - bisect_right(free_at, at) for n, at in enumerate(sorted(needed_at), 1)), default=0
    )
