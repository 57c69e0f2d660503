"""Windows that count calls against a budget.

The exchange's own rule is not documented, so there are the three that it could be: ``first``,
``epoch`` and ``slide``.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

WindowRule = Literal["first", "epoch", "slide"]


class Budget(Struct, frozen=True):
    """A limit as the exchange states it."""

    name: str
    calls: int
    seconds: float


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, cut off as a server's clock cuts them."""
    return math.floor(round(seconds * 1000, 3))


class WindowState(Struct, frozen=True):
    """What the rate headers say, and whether the call was let in."""

    admitted: bool
    limit: int
    interval_ms: int
    remaining: int
    reset_ms: int


class Window(ABC):
    """Calls counted against one budget."""

    def __init__(self, budget: Budget) -> None:
        self.calls = budget.calls
        self.seconds = budget.seconds

    @abstractmethod
    def used(self, now: float) -> int:
        """Return how many calls still count."""

    @abstractmethod
    def reset(self, now: float) -> float:
        """Return when a counted call next stops counting."""

    @abstractmethod
    def charge(self, now: float) -> None:
        """Count one call."""

    def room(self, now: float) -> bool:
        """Return whether one more call may be let in."""
        return self.used(now) < self.calls

    def state(self, now: float, *, admitted: bool) -> WindowState:
        """Describe the window as it is now."""
        return WindowState(
            admitted=admitted,
            limit=self.calls,
            interval_ms=milliseconds(self.seconds),
            remaining=max(0, self.calls - self.used(now)),
            reset_ms=milliseconds(self.reset(now)),
        )

    def admit(self, now: float) -> WindowState:
        """Let one call in if there is room, and describe the window after it."""
        admitted = self.room(now)
        if admitted:
            self.charge(now)
        return self.state(now, admitted=admitted)


class FirstWindow(Window):
    """A fixed window that starts with its first request."""

    _start = -math.inf
    _used = 0

    def _begin(self, now: float) -> float:
        """Return the start of the window that ``now`` lies in."""
        return self._start if now < self._start + self.seconds else now

    def used(self, now: float) -> int:
        """Return how many calls the window of ``now`` has had."""
        return self._used if self._begin(now) == self._start else 0

    def reset(self, now: float) -> float:
        """Return when the window of ``now`` ends."""
        return self._begin(now) + self.seconds

    def charge(self, now: float) -> None:
        """Count one call, in a new window if the last one is over."""
        self._used = self.used(now) + 1
        self._start = self._begin(now)


class EpochWindow(FirstWindow):
    """A fixed window aligned to the clock."""

    def _begin(self, now: float) -> float:
        return now // self.seconds * self.seconds


class SlidingWindow(Window):
    """A log of the calls of the last interval."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self._log: deque[float] = deque(maxlen=budget.calls)

    def used(self, now: float) -> int:
        """Return how many calls the last interval has had."""
        while self._log and self._log[0] + self.seconds <= now:
            self._log.popleft()
        return len(self._log)

    def reset(self, now: float) -> float:
        """Return when the oldest of them is an interval old."""
        return (self._log[0] if self.used(now) else now) + self.seconds

    def charge(self, now: float) -> None:
        """Count one call; of more than the budget only the latest can matter."""
        self._log.append(now)


WINDOWS: Mapping[WindowRule, type[Window]] = {
    "first": FirstWindow,
    "epoch": EpochWindow,
    "slide": SlidingWindow,
}
