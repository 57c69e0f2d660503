"""Windows that count calls against a budget.

The exchange's rule is not documented, so the sandbox has the three rules that it could be:
``first``, ``epoch`` and ``slide``.
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
    """Return whole milliseconds, rounded down as a server's clock does."""
    return math.floor(round(seconds * 1000, 3))


class WindowState(Struct, frozen=True):
    """The content of the rate headers, and whether the call was admitted."""

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
    def _used(self, now: float) -> int:
        """Return how many calls count at ``now``."""

    @abstractmethod
    def _reset(self, now: float) -> float:
        """Return when the next counted call stops counting."""

    @abstractmethod
    def charge(self, now: float) -> None:
        """Count one call."""

    def room(self, now: float) -> bool:
        """Return whether one more call may be admitted."""
        return self._used(now) < self.calls

    def state(self, now: float, *, admitted: bool) -> WindowState:
        """Return the window's state at ``now``."""
        return WindowState(
            admitted=admitted,
            limit=self.calls,
            interval_ms=milliseconds(self.seconds),
            remaining=max(0, self.calls - self._used(now)),
            reset_ms=milliseconds(self._reset(now)),
        )

    def admit(self, now: float) -> WindowState:
        """Admit one call if there is room; return the window's state after the call."""
        admitted = self.room(now)
        if admitted:
            self.charge(now)
        return self.state(now, admitted=admitted)


class FirstWindow(Window):
    """A fixed window that starts with its first call."""

    _start = -math.inf
    _count = 0

    def _begin(self, now: float) -> float:
        """Return the start of the window that contains ``now``."""
        return self._start if now < self._start + self.seconds else now

    def _used(self, now: float) -> int:
        return self._count if self._begin(now) == self._start else 0

    def _reset(self, now: float) -> float:
        return self._begin(now) + self.seconds

    def charge(self, now: float) -> None:
        """Count one call, in a new window if the last has ended."""
        self._count = self._used(now) + 1
        self._start = self._begin(now)


class EpochWindow(FirstWindow):
    """A fixed window that is aligned to the clock."""

    def _begin(self, now: float) -> float:
        return now // self.seconds * self.seconds


class SlidingWindow(Window):
    """A sliding window: a log of the calls of the last interval."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self._log: deque[float] = deque(maxlen=budget.calls)

    def _used(self, now: float) -> int:
        while self._log and self._log[0] + self.seconds <= now:
            self._log.popleft()
        return len(self._log)

    def _reset(self, now: float) -> float:
        return (self._log[0] if self._used(now) else now) + self.seconds

    def charge(self, now: float) -> None:
        """Count one call; if there are more than the budget, only the latest matter."""
        self._log.append(now)


WINDOWS: Mapping[WindowRule, type[Window]] = {
    "first": FirstWindow,
    "epoch": EpochWindow,
    "slide": SlidingWindow,
}
