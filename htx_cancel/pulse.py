"""Feel how late the event loop runs its callbacks, while somebody needs to know.

A loop that stalls makes the way to the exchange look longer than it is. Where it delays replies,
that is harmless. Where it delays a whole first burst on its way out (in a buffered write, or before
an exchange in the same loop, as tests have it), all trips look alike, and only the loop's own
lateness tells.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf

BEAT = 0.005  #: seconds
RESOLUTION = 0.001  #: seconds by which a loop's timers are late at any time
MOST = 1_000  #: late beats remembered


class Pulse:
    """A timer that beats as long as it is wanted, and remembers how late its beats were."""

    __slots__ = ("_due", "_late", "_since", "_wanted")

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._since = inf  #: the start of the beating; ``inf`` while it rests
        self._due = inf
        self._late: deque[tuple[float, float]] = deque(maxlen=MOST)

    def start(self, now: float) -> None:
        """Beat from now on, unless it beats already."""
        if self._since == inf:
            self._since = now
            self._late.clear()
            self._set(now)

    def _set(self, now: float) -> None:
        self._due = now + BEAT
        asyncio.get_running_loop().call_at(self._due, self._beat)

    def _beat(self) -> None:
        now = asyncio.get_running_loop().time()
        late = self._overdue(now)
        if late > 0:
            self._late.append((now, late))
        if self._wanted():
            self._set(now)
        else:
            self._since = self._due = inf

    def _overdue(self, now: float) -> float:
        return max(0.0, now - self._due - RESOLUTION)

    def lag(self, since: float, now: float) -> float:
        """Return the seconds from ``since`` to now by which the loop was late, as far as known."""
        late = sum(late for at, late in self._late if at > since) + self._overdue(now)
        return min(late, now - since)
