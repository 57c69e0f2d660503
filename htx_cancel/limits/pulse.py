"""Feel how late the event loop runs its callbacks, while somebody needs to know.

A loop that stalls makes the way to the exchange look longer than it is. Where it delays replies,
that is harmless. Where it delays a whole first burst on its way out (in a buffered write, or before
an exchange in the same loop, as tests have it), all trips look alike, and only the loop's own
lateness tells.
"""

import asyncio
from collections.abc import Callable

BEAT = 0.005  #: seconds
RESOLUTION = 0.001  #: seconds by which a loop's timers are late at any time


class Pulse:
    """A timer that beats as long as it is wanted, and adds up how late its beats were."""

    __slots__ = ("_due", "_total", "_wanted")

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._due: float | None = None  #: ``None`` while it rests
        self._total = 0.0

    def start(self, now: float) -> float:
        """Beat from now on, unless it beats already; return ``late``."""
        if self._due is None:
            self._set(now)
            return self._total
        return self.late(now)

    def _set(self, now: float) -> None:
        self._due = now + BEAT
        asyncio.get_running_loop().call_at(self._due, self._beat)

    def _beat(self) -> None:
        now = asyncio.get_running_loop().time()
        self._total = self.late(now)
        if self._wanted():
            self._set(now)
        else:
            self._due = None

    def late(self, now: float) -> float:
        """Return by how many seconds the loop was late until now, all in all."""
        if self._due is None or now - self._due <= RESOLUTION:
            return self._total
        return self._total + now - self._due - RESOLUTION
