"""Hold the waiters in order, and predict when they can leave.

A *lane* is the queue of those who wait for the same set of budgets. Time comes in as an argument;
a waiter's future is carried, never awaited.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Any

from htx_cancel.limits.budget import Budget, by, when
from htx_cancel.limits.permit import Priority

if TYPE_CHECKING:
    import asyncio

Place = tuple[int, float]  #: priority and turn


class Waiter:
    """One caller in the queue; ``backlog`` is how many calls its turn still has."""

    __slots__ = ("backlog", "deadline", "future", "lane", "place", "waiting")

    def __init__(
        self,
        lane: "Lane",
        place: Place,
        backlog: int,
        deadline: float | None,
        future: "asyncio.Future[Any]",
    ) -> None:
        self.lane = lane
        self.place = place
        self.backlog = backlog
        self.deadline = deadline
        self.future = future
        self.waiting = True

    @property
    def urgent(self) -> bool:
        """Whether it may use what is reserved for others of the UID."""
        return self.place[0] == Priority.URGENT


class Lane:
    """The waiters for one set of budgets, first the least (priority, turn, arrival)."""

    __slots__ = ("_newest", "_queued", "_queued_newest", "budgets", "dead", "heap", "names")

    def __init__(self, names: tuple[str, ...], budgets: tuple[Budget, ...]) -> None:
        self.names = names
        self.budgets = budgets
        self.heap: list[tuple[int, float, int, Waiter]] = []
        self.dead = 0  #: entries whose waiter has gone
        self._queued: dict[int, int] = {}  # backlog by priority
        self._newest: Place = (0, 0)
        self._queued_newest = 0

    def push(self, waiter: Waiter, seq: int) -> None:
        """Let a waiter in."""
        priority, turn = waiter.place
        heapq.heappush(self.heap, (priority, turn, seq, waiter))
        if turn > self._newest[1]:
            self._newest = waiter.place
            self._queued_newest = 0
        self._count(waiter, waiter.backlog)

    def drop(self, waiter: Waiter) -> None:
        """Let a waiter out; the heap is swept when half of it has gone."""
        waiter.waiting = False
        self._count(waiter, -waiter.backlog)
        self.dead += 1
        if self.dead * 2 > len(self.heap):
            self.heap = [entry for entry in self.heap if entry[3].waiting]
            heapq.heapify(self.heap)
            self.dead = 0

    def _count(self, waiter: Waiter, backlog: int) -> None:
        priority = waiter.place[0]
        self._queued[priority] = self._queued.get(priority, 0) + backlog
        if waiter.place == self._newest:
            self._queued_newest += backlog

    def head(self) -> Waiter | None:
        """Find the first waiter."""
        while self.heap and not self.heap[0][3].waiting:
            heapq.heappop(self.heap)
            self.dead -= 1
        return self.heap[0][3] if self.heap else None

    def ahead(self, place: Place) -> int:
        """Count the calls queued before a place; only an older turn has to look at waiters."""
        priority, turn = place
        if turn > self._newest[1] or place == self._newest:
            queued = sum(n for level, n in self._queued.items() if level <= priority)
            return queued - (self._queued_newest if place == self._newest else 0)
        total, stack = 0, [0]
        while stack:
            at = stack.pop()
            if at < len(self.heap) and self.heap[at][:2] < place:
                waiter = self.heap[at][3]
                total += waiter.backlog if waiter.waiting else 0
                stack += (2 * at + 1, 2 * at + 2)
        return total

    def room(self, now: float, *, urgent: bool) -> bool:
        """Say whether one call may leave now, whoever else waits."""
        for budget in self.budgets:  # noqa: SIM110 - all() costs a fifth of an acquire
            if budget.room(now, urgent=urgent) <= 0:
                return False
        return True

    def next_at(self, now: float, *, urgent: bool) -> float:
        """Say when a look at this lane is worth while next, if no reply comes before."""
        short = [each.next_at(now) for each in self.budgets if each.room(now, urgent=urgent) <= 0]
        return max(short) if short else min(budget.next_at(now) for budget in self.budgets)


class Forecast:
    """What the budgets will let through, seen from one moment and one place in the queue."""

    __slots__ = ("_now", "_queues", "_slots", "_urgent")

    def __init__(self, lanes: Iterable[Lane], place: Place, now: float) -> None:
        self._now = now
        self._urgent = place[0] == Priority.URGENT
        self._slots: dict[str, list[float]] = {}
        ahead = ((lane, lane.ahead(place)) for lane in lanes)
        self._queues = [(lane, queued) for lane, queued in ahead if queued]

    def _of(self, budget: Budget) -> list[float]:
        if budget.name not in self._slots:
            self._slots[budget.name] = budget.slots(self._now, urgent=self._urgent)
        return self._slots[budget.name]

    def when(self, budget: Budget, count: int) -> float:
        """Predict when a budget lets the count-th call leave."""
        return when(self._of(budget), budget.period, count)

    def by(self, budget: Budget, until: float) -> int:
        """Predict how many calls a budget lets leave up to a time."""
        return by(self._of(budget), budget.period, until)

    def _before(self, budget: Budget, until: float) -> int:
        """Predict how many of those ahead take a token of this budget up to a time."""
        return sum(
            queued if until == inf else min(queued, *(self.by(b, until) for b in lane.budgets))
            for lane, queued in self._queues
            if budget in lane.budgets
        )

    def fits(self, lane: Lane, until: float) -> int:
        """Predict how many calls of a lane leave up to a time."""
        free = (self.by(each, until) - self._before(each, until) for each in lane.budgets)
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
        return max(self.when(each, count + self._before(each, until)) for each in lane.budgets)


def kept(budget: Budget, waiter: Waiter, earlier: Iterable[Lane], now: float) -> int:
    """Count the tokens of a budget that earlier lanes need before others have come back.

    A token spent now is back in one window. Until then those lanes live on what is free now and
    on what comes back in time.
    """
    until = now + budget.seconds
    needs = sorted(
        at
        for lane in earlier
        if budget in lane.budgets
        for at in _needs(lane, budget, waiter.place, now, until)
    )
    free = max(0, budget.room(now, urgent=waiter.urgent))
    back = budget.slots(now, urgent=waiter.urgent)[free:]
    return max((n - bisect_right(back, at) for n, at in enumerate(needs, 1)), default=0)


def _needs(lane: Lane, shared: Budget, place: Place, now: float, until: float) -> Iterator[float]:
    """Predict when those before a place could use tokens of a budget, were there always one."""
    view = Forecast((), place, now)
    others = [budget for budget in lane.budgets if budget is not shared]
    for count in range(1, lane.ahead(place) + 1):
        at = max((view.when(budget, count) for budget in others), default=now)
        if at > until:
            return
        yield at
