"""Keep the ledger of one budget: which of its tokens are free, and when the others come back.

Rules of the ledger (time comes in as an argument; there is no clock here):

* A token is *busy* from grant to reply, then *resting*, then free again.
* It rests from the reply for one window, less the shortest way to the exchange and back
  (``Paths.credit``), plus ``MARGIN`` for clocks cut to the millisecond. The next call then arrives
  at least one window after this one did, whatever the jitter, as long as the credit is no more
  than the true shortest way. So no fixed window, sliding log or token bucket refuses it.
* Without a reply it rests one window from when the caller gave up, with no credit.
* What others of the UID used, as headers prove, is *foreign*: charged as though it were ours.
* ``reserve`` is room left to others. It grows only by proof: foreign use, or a refusal while our
  own count said that there was room. It shrinks when the proof stops, slowly at first.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from math import inf, sqrt
from typing import NamedTuple

from htx_cancel.endpoints import Limit

MARGIN = 0.001  #: seconds
PATIENCE = 3  #: windows without proof of others before ``reserve`` shrinks
ROUNDING = 1e-9  #: seconds; sums of times differ by less
FEWEST = 4  #: round trips before any credit is given
MANY = 100  #: round trips after which one more tells little
FIRST_BURST = 0.9  #: seconds from the first reply; less than the shortest window
HASTE = 0.01  #: seconds; what a machine may take from all calls of a moment alike


class Path:
    """The shortest round trip to one host, estimated from below.

    The least of n samples lies above the true floor, by about their deviation over the square
    root of n where the jitter is even. The factors were found by simulation: the fewest refusals
    for the time they cost. Calls of one moment may all have waited alike, which no deviation shows.
    So the doubt is never less than ``HASTE`` over the seconds of experience; a call that was alone
    is a moment of its own, and worth a second. And a way is *young* until some calls that were
    alone, or came after the first burst, are answered without a lag of the event loop. Till then
    the lag of each is taken off, and the doubt is no less than the spread of the burst's replies:
    calls that wait for one another are answered one after another. A refusal proves the estimate
    wrong, and so does a sample so far below it that ``MARGIN`` does not make it good: it starts
    again.
    """

    __slots__ = (
        "burst",
        "credit",
        "later",
        "least",
        "samples",
        "since",
        "squares",
        "sure",
        "total",
        "young",
    )

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what was learnt."""
        self.credit = 0.0
        self.least = inf
        self.samples = 0
        self.since = inf
        self.burst = 0.0  #: seconds from the first reply of the first burst to its last
        self.later = 0  #: samples after the first burst that had no lag
        self.young = True  #: whether all may still be an accident of the first moment
        self.sure = inf  #: the least, each less its lag
        self.total = 0.0
        self.squares = 0.0

    def learn(self, trip: float, now: float, lag: float = 0.0, *, alone: bool = False) -> None:
        """Take one round trip, in seconds, that ended now, with a lag of the loop in it."""
        if trip < self.credit - MARGIN:
            self.restart()
        if not self.samples:
            self.since = now
        self.samples = n = self.samples + 1
        self.total += trip
        self.squares += trip * trip
        self.least = min(self.least, trip)
        if self.young:
            self.sure = min(self.sure, trip - lag)
        if alone:
            self.since -= 1
        age = now - self.since
        if age < FIRST_BURST:
            self.burst = age
        elif lag < HASTE / 2:
            self.later += 1
            self.young = self.later < FEWEST
        if n >= FEWEST and (n < MANY or n % 16 == 0 or trip == self.least):
            variance = self.squares / n - (self.total / n) ** 2
            doubt = sqrt(variance) * (10 / n**0.6 + 100 / n**2) if variance > 0 else 0.0
            doubt = max(doubt, HASTE / (1 + age), self.burst if self.young else 0.0)
            self.credit = max(0.0, (self.sure if self.young else self.least) - doubt)


class Paths:
    """The ways to all hosts; the next call may take the shortest, so the least credit counts."""

    __slots__ = ("_hosts", "credit", "mean", "young")

    def __init__(self) -> None:
        self._hosts: dict[str, Path] = {}
        self.credit = 0.0
        self.mean = 0.0  #: of the host heard last
        self.young = True  #: whether one of them is, or none is known

    def learn(
        self, host: str, trip: float, now: float, lag: float = 0.0, *, alone: bool = False
    ) -> None:
        """Take one round trip to a host, in seconds, that ended now, with a lag of the loop in it.

        Where nobody felt for a lag, there was none. It was ``alone`` if no other was under way.
        """
        path = self._hosts.get(host)
        if path is None:
            path = self._hosts[host] = Path()
            self._choose()
        credit, young = path.credit, path.young
        path.learn(trip, now, lag, alone=alone)
        self.mean = path.total / path.samples
        if path.credit != credit or path.young is not young:
            self._choose()

    def doubt(self, host: str) -> None:
        """Start again with one host: a call of its was refused."""
        if host in self._hosts:
            self._hosts[host].restart()
            self._choose()

    def _choose(self) -> None:
        self.credit = min(path.credit for path in self._hosts.values())
        self.young = any(path.young for path in self._hosts.values())


class Budget:
    """One budget's tokens."""

    __slots__ = (
        "_relax_at",
        "_rest",
        "_step",
        "_taught_by",
        "busy",
        "calls",
        "foreign",
        "granted",
        "held_until",
        "limit",
        "name",
        "paths",
        "reserve",
        "resting",
        "returned",
        "seconds",
        "silent",
    )

    def __init__(self, name: str, limit: Limit, paths: Paths) -> None:
        self.name = name
        self.paths = paths
        self.busy = 0
        self.resting: deque[float] = deque()  #: times of replies
        self.silent: deque[float] = deque()  #: times of giving up
        self.foreign: deque[float] = deque()  #: times at which others' use was seen
        self.granted = 0  #: tokens ever spent
        self.returned = 0  #: tokens ever come back
        self.held_until = -inf
        self.reserve = 0
        self._relax_at = inf
        self._step = 1
        self._taught_by = 0
        self._resize(limit)

    def _resize(self, limit: Limit) -> None:
        self.limit = limit
        self.calls = limit.calls
        self.seconds = float(limit.seconds)
        self._rest = self.seconds + MARGIN

    def room(self, now: float) -> int:
        """Say how many calls may leave now; 0 or less is none."""
        if now < self.held_until:
            return 0
        if now >= self._relax_at:
            self._relax(now)
        self.settle(now)
        return self._free()

    def settle(self, now: float) -> None:
        """Free the tokens that have rested."""
        given_up = now - self._rest
        replied = given_up + self.paths.credit
        while self.resting and self.resting[0] <= replied:
            self.resting.popleft()
            self.returned += 1
        while self.foreign and self.foreign[0] <= replied:
            self.foreign.popleft()
        while self.silent and self.silent[0] <= given_up:
            self.silent.popleft()
            self.returned += 1

    def _free(self) -> int:
        free = self.calls - self.busy - len(self.resting) - len(self.silent)
        if self.reserve or self.foreign:
            free -= max(self.reserve, len(self.foreign))
        return free

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
        if serial <= self._taught_by:
            return False
        self._taught_by = serial
        if limit == self.limit:
            return False
        self._resize(limit)
        return True

    def charge(self, used: int, mark: int, now: float) -> bool:
        """Charge what others used; say whether that proves more than was known.

        ``used`` is the exchange's count when a call arrived, ``mark`` our ``returned`` when that
        call was granted: at most ``granted - mark`` of the count is our own.
        """
        self.settle(now)
        fresh = used - (self.granted - mark) - len(self.foreign)
        self.foreign.extend([now] * fresh)
        return fresh > 0

    def leave_room(self, reserve: int, now: float) -> None:
        """Reserve at least this many calls for others, on proof seen now."""
        if reserve >= self.reserve:
            self.reserve = min(reserve, self.calls - 1)
            self._relax_at = now + PATIENCE * self.seconds
            self._step = 1

    def suspect(self, now: float) -> None:
        """Reserve one more call for others after a refusal, up to half of all without proof."""
        self.leave_room(max(self.reserve, min(self.reserve + 1, self.calls // 2)), now)

    def _relax(self, now: float) -> None:
        """Give up some of the reserve, twice as much each time."""
        while now >= self._relax_at:
            self.reserve = max(0, self.reserve - self._step)
            self._step *= 2
            self._relax_at += PATIENCE * self.seconds if self.reserve else inf

    def hold(self, until: float) -> None:
        """Let nothing leave before ``until``; a hold is never shortened."""
        self.held_until = max(self.held_until, until)

    def next_at(self, now: float) -> float:
        """Say when the next token comes back; ``inf`` if a reply must come first."""
        if now < self.held_until:
            return self.held_until
        soonest = self._relax_at
        credited = self._rest - self.paths.credit
        if self.resting:
            soonest = min(soonest, self.resting[0] + credited)
        if self.silent:
            soonest = min(soonest, self.silent[0] + self._rest)
        if len(self.foreign) > self.reserve:
            soonest = min(soonest, self.foreign[0] + credited)
        return soonest

    @property
    def period(self) -> float:
        """The expected time from one use of a token to its next, in seconds."""
        return max(self._rest + self.paths.mean - self.paths.credit, self.paths.mean)

    def slots(self, now: float) -> list[float]:
        """Predict when each usable token can be spent first, in order."""
        start = max(now, self.held_until)
        credited = self._rest - self.paths.credit
        extra = len(self.foreign) - self.reserve
        back = [at + credited for at in (*self.resting, *list(self.foreign)[: max(0, extra)])]
        back += [at + self._rest for at in self.silent]
        usable = max(1, self.calls - self.reserve)
        slots = [start] * self._free() + sorted(max(start, at) for at in back)
        return (slots + [start + self.period] * usable)[:usable]


def when(slots: list[float], period: float, count: int) -> float:
    """Predict when the count-th call from now can leave."""
    cycle, place = divmod(count - 1, len(slots))
    return slots[place] + cycle * period


def by(slots: list[float], period: float, until: float) -> int:
    """Predict how many calls can leave up to ``until``."""
    if until < slots[0]:
        return 0
    until += ROUNDING
    cycle = int((until - slots[0]) / period)
    return cycle * len(slots) + bisect_right(slots, until - cycle * period)


class Told(NamedTuple):
    """What the rate-limit headers of one reply say."""

    limit: Limit
    remaining: int | None
    reset: float | None  #: seconds from now


def read(headers: Mapping[str, str], epoch: float | None) -> Told | None:
    """Read the rate-limit headers; nonsense is as good as none.

    Their names are in lower case, or the mapping ignores case.
    """
    limit = _limit(headers.get("ratelimit-limit"), headers.get("ratelimit-interval"))
    if limit is None:
        return None
    reset = _whole(headers.get("ratelimit-reset"), 0, 10**15)
    delay = None
    if reset is not None and epoch is not None:
        delay = min(max(reset / 1000 - epoch, 0.0), limit.seconds)
    return Told(limit, _whole(headers.get("ratelimit-remaining"), 0, limit.calls), delay)


@lru_cache(maxsize=64)  # most replies say the same
def _limit(calls: str | None, interval: str | None) -> Limit | None:
    number = _whole(calls, 1, 100_000)
    milliseconds = _whole(interval, 100, 600_000)
    if number is None or milliseconds is None:
        return None
    return Limit(number, milliseconds / 1000)


def _whole(text: str | None, least: int, most: int) -> int | None:
    """Read a whole number within bounds, or nothing."""
    try:
        number = int(text or "")
    except (TypeError, ValueError):
        return None
    return number if least <= number <= most else None
