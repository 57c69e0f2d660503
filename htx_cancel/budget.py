"""Keep the ledger of one budget: which of its tokens are free, and when the others come back.

Rules of the ledger (time comes in as an argument; there is no clock here):

* A token is *busy* from grant to reply, then *resting*, then free again.
* It rests from the reply for one window, less the shortest way to the exchange and back
  (``Paths.credit``), plus ``MARGIN`` for clocks cut to the millisecond. The next call then arrives
  at least one window after this one did, whatever the jitter, as long as the credit is no more
  than the true shortest way. So no fixed window, sliding log or token bucket refuses it.
* Without a reply it rests one window from when the caller gave up, with no credit.
* What others of the UID used, as headers prove, is *foreign*: charged as though it were ours.
* ``reserve`` is room left to others. It grows only by proof: foreign use, or a refusal while our own
  count said that there was room. It shrinks when the proof stops, slowly at first.
"""

from bisect import bisect_right
from collections import deque
from itertools import chain
from math import inf, sqrt

from htx_cancel.endpoints import Limit

MARGIN = 0.002  #: seconds
PATIENCE = 3  #: windows without proof of others before ``reserve`` shrinks
DOUBT = 3.0  #: how far below the shortest round trip seen the true one may lie
FEWEST = 4  #: round trips before any credit is given


class Path:
    """The shortest round trip to one host, estimated from below.

    The least of n samples lies above the true floor, by about the mean excess over the square
    root of n where the jitter is even. A sample below the estimate proves that the way changed:
    the estimate starts again.
    """

    __slots__ = ("credit", "least", "samples", "total")

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self.credit = 0.0
        self.least = inf
        self.samples = 0
        self.total = 0.0

    def learn(self, trip: float) -> None:
        """Take one round trip, in seconds."""
        if trip < self.credit:
            self._restart()
        self.samples += 1
        self.total += trip
        self.least = min(self.least, trip)
        if self.samples >= FEWEST:
            excess = self.total / self.samples - self.least
            self.credit = max(0.0, self.least - DOUBT * excess / sqrt(self.samples))

    @property
    def mean(self) -> float:
        """The mean round trip, 0 before the first."""
        return self.total / self.samples if self.samples else 0.0


class Paths:
    """The ways to all hosts; the next call may take the shortest, so the least credit counts."""

    __slots__ = ("_hosts", "credit", "mean")

    def __init__(self) -> None:
        self._hosts: dict[str, Path] = {}
        self.credit = 0.0
        self.mean = 0.0

    def learn(self, host: str, trip: float) -> None:
        """Take one round trip to a host, in seconds."""
        path = self._hosts.get(host)
        if path is None:
            path = self._hosts[host] = Path()
        path.learn(trip)
        self.mean = path.mean
        if len(self._hosts) == 1:
            self.credit = path.credit
        else:
            self.credit = min(each.credit for each in self._hosts.values())


class Budget:
    """One budget's tokens."""

    __slots__ = (
        "busy",
        "calls",
        "foreign",
        "granted",
        "held_until",
        "name",
        "paths",
        "relax_at",
        "reserve",
        "resting",
        "returned",
        "seconds",
        "silent",
        "step",
        "taught_by",
    )

    def __init__(self, name: str, limit: Limit, paths: Paths) -> None:
        self.name = name
        self.calls = limit.calls
        self.seconds = float(limit.seconds)
        self.paths = paths
        self.busy = 0
        self.resting: deque[float] = deque()  # times of replies
        self.silent: deque[float] = deque()  # times of giving up
        self.foreign: deque[float] = deque()  # times at which others' use was seen
        self.granted = 0
        self.returned = 0
        self.held_until = -inf
        self.taught_by = 0
        self.reserve = 0
        self.relax_at = inf
        self.step = 1

    def room(self, now: float) -> int:
        """Say how many calls may leave now; 0 or less is none."""
        if now < self.held_until:
            return 0
        if now >= self.relax_at:
            self._relax(now)
        self._settle(now)
        return self.calls - self.taken() - max(self.reserve, len(self.foreign))

    def taken(self) -> int:
        """Count our own tokens that are not free."""
        return self.busy + len(self.resting) + len(self.silent)

    def _settle(self, now: float) -> None:
        """Free the tokens that have rested."""
        given_up = now - self.seconds - MARGIN
        replied = given_up + self.paths.credit
        while self.resting and self.resting[0] <= replied:
            self.resting.popleft()
            self.returned += 1
        while self.silent and self.silent[0] <= given_up:
            self.silent.popleft()
            self.returned += 1
        while self.foreign and self.foreign[0] <= replied:
            self.foreign.popleft()

    def take(self) -> None:
        """Spend one token."""
        self.busy += 1
        self.granted += 1

    def rest(self, now: float) -> None:
        """Put one busy token to rest: its reply is here."""
        self.busy -= 1
        self.resting.append(now)

    def rest_silent(self, now: float) -> None:
        """Put one busy token to rest: its caller gave up."""
        self.busy -= 1
        self.silent.append(now)

    def give_back(self) -> None:
        """Free one busy token: its call never left."""
        self.busy -= 1
        self.returned += 1

    def adopt(self, limit: Limit, serial: int) -> bool:
        """Take the exchange's word for the limit, unless a later call's word is known."""
        if serial <= self.taught_by:
            return False
        self.taught_by = serial
        changed = (self.calls, self.seconds) != (limit.calls, limit.seconds)
        self.calls, self.seconds = limit.calls, float(limit.seconds)
        return changed

    def charge(self, used: int, mark: int, now: float) -> int:
        """Charge what others used; say how much of it is proved for the first time.

        ``used`` is the exchange's count when a call arrived, ``mark`` our ``returned`` when that
        call was granted: at most ``granted - mark`` of the count is our own.
        """
        self._settle(now)
        fresh = used - (self.granted - mark) - len(self.foreign)
        if fresh > 0:
            self.foreign.extend([now] * fresh)
        return max(fresh, 0)

    def leave_room(self, reserve: int, now: float) -> None:
        """Reserve at least this many calls for others, starting from proof seen now."""
        self.reserve = min(max(reserve, self.reserve), self.calls - 1)
        self.relax_at = now + PATIENCE * self.seconds
        self.step = 1

    def _relax(self, now: float) -> None:
        self.reserve = max(0, min(self.reserve, self.calls - 1) - self.step)
        self.step *= 2
        self.relax_at = now + PATIENCE * self.seconds if self.reserve else inf

    def hold(self, until: float) -> None:
        """Let nothing leave before ``until``; a hold is never shortened."""
        self.held_until = max(self.held_until, until)

    def next_at(self, now: float) -> float:
        """Say when the next token comes back at the earliest; ``inf`` if a reply must come first."""
        if now < self.held_until:
            return self.held_until
        rest = self.seconds + MARGIN
        soonest = self.relax_at
        if self.resting:
            soonest = min(soonest, self.resting[0] + rest - self.paths.credit)
        if self.silent:
            soonest = min(soonest, self.silent[0] + rest)
        if len(self.foreign) > self.reserve:
            soonest = min(soonest, self.foreign[0] + rest - self.paths.credit)
        return soonest

    def slots(self, now: float) -> list[float]:
        """Predict when each usable token can be spent first, in order."""
        start = max(now, self.held_until)
        rest = self.seconds + MARGIN
        credited = rest - self.paths.credit
        back = chain(
            (at + credited for at in self.resting),
            (at + rest for at in self.silent),
            (at + credited for at in list(self.foreign)[self.reserve :]),
        )
        later = sorted(max(start, at) for at in back)
        others = max(self.reserve, len(self.foreign))
        free = max(0, self.calls - self.taken() - others)
        usable = max(1, self.calls - self.reserve)
        return ([start] * free + later + [start + self.period] * usable)[:usable]

    @property
    def period(self) -> float:
        """The expected time from one use of a token to its next, in seconds."""
        return max(self.seconds + MARGIN + self.paths.mean - self.paths.credit, self.paths.mean)


def when(slots: list[float], period: float, count: int) -> float:
    """Predict when the count-th call from now can leave."""
    cycle, place = divmod(count - 1, len(slots))
    return slots[place] + cycle * period


def by(slots: list[float], period: float, until: float) -> int:
    """Predict how many calls can leave up to ``until``."""
    if until < slots[0]:
        return 0
    cycle = int((until - slots[0]) / period)
    return cycle * len(slots) + bisect_right(slots, until - cycle * period)
