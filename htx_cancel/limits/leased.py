"""The ledger of a budget whose tokens are shared: which of them this process holds.

Rules, beside those of ``budget``:

* What is free here is free of the tokens held. A token that was lent is resting until it is free.
* A token that changes process rests in full: one window from its reply, and ``MARGIN``. The floor
  of the round trip is taken off only from one use of this process to its next.
* Nothing is granted after the lease has ended, unless this process lives on a share of its own.
* Uses of the tokens that others hold, or held within a window, are not strangers'.
* A share of less than one token is one token that rests so much longer.
"""

from bisect import insort
from collections import deque
from math import inf
from typing import Literal

from htx_cancel.endpoints import Limit
from htx_cancel.limits.budget import MARGIN, Budget
from htx_cancel.limits.round_trip import RoundTrips


class Link:
    """The process's tie to the store. Times are of the event loop."""

    def __init__(self) -> None:
        self.state: Literal["linked", "cut_off", "own_share"] = "cut_off"
        self.ends_at = -inf  #: when nothing may be granted any more
        self.processes = 1  #: last seen


class LeasedBudget(Budget):
    """One budget's tokens, as far as this process holds them."""

    def __init__(self, name: str, limit: Limit, round_trips: RoundTrips, link: Link) -> None:
        self.held = 0  #: tokens lent to this process
        self.fair = 0  #: tokens that it can count on
        self.link = link
        self._share: float | None = None  # of the limit, while the store is away
        self._most_of_share = inf  # tokens
        self._early: deque[float] = deque()  # when idle tokens have rested in full
        self._held_before: deque[tuple[float, int]] = deque()  # (until, tokens held)
        super().__init__(name, limit, round_trips)

    def _resize(self, limit: Limit) -> None:
        super()._resize(limit)
        self._count()

    def _count(self) -> None:
        """Say how many tokens there are to use here, and how long they rest."""
        self.tokens, part = self.held, 1.0
        if self._share is not None:
            part = self._share * self.calls
            self.tokens = int(min(max(part, 1.0), self._most_of_share))
        self._rest = self.seconds / min(part, 1.0) + MARGIN

    def obey(self, limit: Limit) -> None:
        """Take the store's word for the limit."""
        self._resize(limit)

    # what may leave

    def room(self, now: float, *, urgent: bool = False) -> int:
        """Say how many calls may leave now; none after the lease has ended."""
        return super().room(now, urgent=urgent) if now < self.link.ends_at else 0

    def next_at(self, now: float) -> float:
        """Say when the next token comes back; ``inf`` if the store must speak first."""
        return super().next_at(now) if now < self.link.ends_at else inf

    def expected_slots(self, now: float, *, urgent: bool = False) -> list[float]:
        """Predict when each token can be spent first, those due to this process among them."""
        held = self.tokens
        self.tokens = max(held, self.fair, self.reserve + 1)
        try:
            return self.slots(now, urgent=urgent)
        finally:
            self.tokens = held

    def settle(self, now: float) -> None:
        """Free the tokens that have rested, and remember those that would rest longer elsewhere."""
        replied = now - self._rest + self.round_trips.floor
        for at in self.cooling:
            if at > replied:
                break
            self._early.append(at + self._rest)
        super().settle(now)
        while self._early and self._early[0] <= now:
            self._early.popleft()

    def take(self, now: float) -> None:
        """Spend one token: the one that must rest longest before another process may."""
        super().take(now)
        if self._early:
            self._early.pop()

    def charge(self, used: int, mark: int, granted: float, now: float) -> None:
        """Charge what strangers used, as headers show: neither we nor the other processes did."""
        while self._held_before and self._held_before[0][0] < now - self.seconds:
            self._held_before.popleft()
        least = min([self.held, *(held for _, held in self._held_before)])
        super().charge(used - max(self.calls - least, 0), mark, granted, now)

    # what changes hands

    @property
    def used(self) -> int:
        """How many tokens are under way, or rest."""
        return self.in_flight + len(self.cooling) + len(self.unanswered)

    @property
    def idle(self) -> int:
        """How many tokens held are neither under way nor resting."""
        return max(self.held - self.used, 0)

    def soonest(self, now: float) -> float:
        """Say when the first token is free; what holds all of them back does not count."""
        self.settle(now)
        resting = [at + self._rest - self.round_trips.floor for at in self.cooling]
        resting += [at + self._rest for at in self.unanswered]
        return now if self.idle else min(resting, default=inf)

    def hold(self, held: int, fresh: list[float], now: float) -> None:
        """Hold so many tokens from now on; the ``fresh`` ones are free so many seconds later."""
        self._held_before.append((now, self.held))
        self.held = held
        for delay in fresh:
            if delay > 0:
                self.granted += 1  # by another process, within this window
                insort(self.unanswered, now + delay - self._rest)
        self._count()

    def give(self, count: int, now: float, *, soonest: bool = False, keep: int = 0) -> list[float]:
        """Give tokens back; return when each of them is free, in loop time.

        Idle ones but for those to ``keep``, and then those that rest longest, or the ``soonest``.
        None that is under way. As many as were lost are not given: the soonest ones.
        """
        self.settle(now)
        early = list(self._early)[-self.idle :] if self.idle else []
        idle = [now] * (self.idle - len(early)) + early
        resting = [(at + self._rest, self.cooling, at) for at in self.cooling]
        resting += [(at + self._rest, self.unanswered, at) for at in self.unanswered]
        resting.sort(key=lambda each: each[0])
        del resting[: max(self.used - self.held, 0)]
        if not soonest:
            resting.reverse()
        given = idle[: max(min(count, len(idle) - keep), 0)]
        for at in given[self.idle - len(early) :]:
            self._early.remove(at)
        for free_at, ledger, at in resting[: max(count - len(given), 0)]:
            ledger.remove(at)
            self.returned += 1
            given.append(free_at)
        self.held -= len(given)
        self._count()
        return given

    def live_on(self, share: float | None, *, held_only: bool = False) -> None:
        """Live on a share of the limit while the store is away; ``None`` when it is back.

        With ``held_only`` on no more than was held: others may hold the rest for a while.
        """
        self._share = share
        self._most_of_share = self.held if held_only else inf
        self._count()
        self.held = max(self.held, self.tokens)
