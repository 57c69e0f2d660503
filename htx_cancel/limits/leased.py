"""The ledger of a budget whose tokens are shared: which of them this process holds.

Rules, in addition to those of ``budget``:

* Only held tokens can be free here. A token that was just lent rests until it is free.
* A token that changes process rests in full: one window from its reply, and ``MARGIN``. The floor
  of the round trip is subtracted only between two uses by this process.
* Nothing is granted after the lease has ended, unless this process uses a share of its own.
* Uses of tokens that other processes hold, or held within one window, are not foreign.
* A share of less than one token is one token that rests longer in proportion.
"""

from bisect import insort
from collections import deque
from math import inf
from typing import Literal

from htx_cancel.endpoints import Limit
from htx_cancel.limits.budget import MARGIN, Budget
from htx_cancel.limits.round_trip import RoundTrips


class Link:
    """The state of the process's lease. Times are loop times."""

    def __init__(self) -> None:
        self.state: Literal["linked", "cut_off", "own_share"] = "cut_off"
        self.ends_at = -inf  #: nothing is granted from then on
        self.processes = 1  #: as the store last said


class LeasedBudget(Budget):
    """The tokens of one budget that this process holds."""

    def __init__(self, name: str, limit: Limit, round_trips: RoundTrips, link: Link) -> None:
        self.held = 0  #: tokens lent to this process
        self.fair = 0  #: tokens that this process can count on
        self.link = link
        self._share: float | None = None  # of the limit, while the store is unavailable
        self._share_cap = inf  # tokens
        self._full_rests: deque[float] = deque()  # of idle tokens: when each is free elsewhere
        self._held_before: deque[tuple[float, int]] = deque()  # (until, tokens held)
        super().__init__(name, limit, round_trips)

    def _resize(self, limit: Limit) -> None:
        super()._resize(limit)
        self._update_tokens()

    def _update_tokens(self) -> None:
        self.tokens, part = self.held, 1.0
        if self._share is not None:
            part = self._share * self.calls
            self.tokens = int(min(max(part, 1.0), self._share_cap))
        self._cooling_time = self.seconds / min(part, 1.0) + MARGIN

    def set_limit(self, limit: Limit) -> None:
        """Adopt the limit that the store states."""
        self._resize(limit)

    # which calls may leave

    def room(self, now: float, *, urgent: bool = False) -> int:
        """Return how many calls may leave now: 0 after the lease has ended."""
        return super().room(now, urgent=urgent) if now < self.link.ends_at else 0

    def next_at(self, now: float) -> float:
        """Return when the next token comes back; ``inf`` if the store must answer first."""
        return super().next_at(now) if now < self.link.ends_at else inf

    def expected_slots(self, now: float, *, urgent: bool = False) -> list[float]:
        """Predict when each token can first be spent, including those this process can count on."""
        held = self.tokens
        self.tokens = max(held, self.fair, self.reserve + 1)
        try:
            return self.slots(now, urgent=urgent)
        finally:
            self.tokens = held

    def settle(self, now: float) -> None:
        """Free the tokens that have rested; remember those that must rest longer elsewhere."""
        replied = now - self._cooling_time + self.round_trips.floor
        for at in self.cooling:
            if at > replied:
                break
            self._full_rests.append(at + self._cooling_time)
        super().settle(now)
        while self._full_rests and self._full_rests[0] <= now:
            self._full_rests.popleft()

    def take(self, now: float) -> None:
        """Spend the token that would have to rest longest before another process may use it."""
        super().take(now)
        if self._full_rests:
            self._full_rests.pop()

    def charge(self, used: int, mark: int, granted: float, now: float) -> None:
        """Charge foreign use that headers show, except what the other processes may have used."""
        while self._held_before and self._held_before[0][0] < now - self.seconds:
            self._held_before.popleft()
        least_held = min([self.held, *(held for _, held in self._held_before)])
        super().charge(used - max(self.calls - least_held, 0), mark, granted, now)

    # tokens that change process

    @property
    def used(self) -> int:
        """The number of tokens in flight or cooling."""
        return self.in_flight + len(self.cooling) + len(self.unanswered)

    @property
    def idle(self) -> int:
        """The number of held tokens neither in flight nor cooling."""
        return max(self.held - self.used, 0)

    def soonest(self, now: float) -> float:
        """Return when the first token is free, regardless of a hold on the whole budget."""
        self.settle(now)
        cooling = [at + self._cooling_time - self.round_trips.floor for at in self.cooling]
        cooling += [at + self._cooling_time for at in self.unanswered]
        return now if self.idle else min(cooling, default=inf)

    def hold(self, held: int, fresh: list[float], now: float) -> None:
        """Hold this many tokens; ``fresh`` are the seconds until each newly lent one is free."""
        self._held_before.append((now, self.held))
        self.held = held
        for delay in fresh:
            if delay > 0:
                self.granted += 1  # by another process, within this window
                insort(self.unanswered, now + delay - self._cooling_time)
        self._update_tokens()

    def give(self, count: int, now: float, *, soonest: bool = False, keep: int = 0) -> list[float]:
        """Give back up to ``count`` tokens; return when each is free, in loop time.

        Idle tokens go first, except those to ``keep``; then the tokens that cool longest, or those
        free ``soonest``. Tokens in flight stay. If tokens were lost, the soonest cooling ones count
        as lost and are not given.
        """
        self.settle(now)
        full_rests = list(self._full_rests)[-self.idle :] if self.idle else []
        idle = [now] * (self.idle - len(full_rests)) + full_rests
        cooling = [(at + self._cooling_time, self.cooling, at) for at in self.cooling]
        cooling += [(at + self._cooling_time, self.unanswered, at) for at in self.unanswered]
        cooling.sort(key=lambda token: token[0])
        del cooling[: max(self.used - self.held, 0)]
        if not soonest:
            cooling.reverse()
        given = idle[: max(min(count, len(idle) - keep), 0)]
        for at in given[len(idle) - len(full_rests) :]:
            self._full_rests.remove(at)
        for free_at, ledger, at in cooling[: max(count - len(given), 0)]:
            ledger.remove(at)
            self.returned += 1
            given.append(free_at)
        self.held -= len(given)
        self._update_tokens()
        return given

    def use_share(self, share: float | None, *, held_only: bool = False) -> None:
        """Use a share of the limit while the store is unavailable; ``None`` when the store is back.

        With ``held_only``, use no more tokens than are held: others may still hold the rest.
        """
        self._share = share
        self._share_cap = self.held if held_only else inf
        self._update_tokens()
        self.held = max(self.held, self.tokens)
