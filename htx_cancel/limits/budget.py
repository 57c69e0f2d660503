"""Keep the ledger of one budget: which of its tokens are free, and when the others come back.

Rules of the ledger (time comes in as an argument; there is no clock here):

* A token is *busy* from grant to reply, then *resting*, then free again.
* It rests from the reply for one window, less the shortest way to the exchange and back
  (``Paths.credit``), plus ``MARGIN`` for clocks cut to the millisecond. The next call then arrives
  at least one window after this one did, whatever the jitter, as long as the credit is no more
  than the true shortest way. So no fixed window, sliding log or token bucket refuses it.
* Without a reply it rests one window from when the caller gave up, with no credit.
* What others of the UID used, as headers prove, is *foreign*: charged as though it were ours.
* ``reserve`` is what is left to others in every window; urgent calls need not leave it. One burst
  of others may never come again: from the second in a row on, it is the most that one of them
  showed, by foreign use or by refusals while our own count said that there was room (these prove
  half the limit at most). When the proof stops for some windows it shrinks, slowly at first, and
  at once to the least that a reply's headers left for others to have used.
* After a refusal nothing leaves until the exchange's window is reset, or for one whole window if
  the refusal did not say when that is. A refused call that told the reset gives its token back:
  the hold stands for it. The first call after such a hold goes alone, and its reply says how much
  is free: in a sliding window the reset frees one call only. If even that one is refused, the next
  hold lasts a whole window. One window after a refusal all is free under any rule.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from math import inf, sqrt
from typing import NamedTuple

from htx_cancel.endpoints import Limit

MARGIN = 0.001  #: seconds
SPREAD = 0.05  #: seconds; the calls of a burst, and in a sliding window their places, come in turn
PATIENCE = 3  #: windows without proof of others before ``reserve`` shrinks
ROUNDING = 1e-9  #: seconds; sums of times differ by less
FEWEST = 4  #: round trips before any credit is given
MANY = 100  #: round trips after which one more tells little
FIRST_BURST = 0.9  #: seconds from the first reply; less than the shortest window
HASTE = 0.01  #: seconds; what a machine may take from all calls of a moment alike


class RoundTrip:
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
        "floor",
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
        self.floor = 0.0
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
        if trip < self.floor - MARGIN:
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
            self.floor = max(0.0, (self.sure if self.young else self.least) - doubt)


class RoundTrips:
    """The ways to all hosts; the next call may take the shortest, so the least credit counts."""

    __slots__ = ("_hosts", "floor", "mean", "young")

    def __init__(self) -> None:
        self._hosts: dict[str, RoundTrip] = {}
        self.floor = 0.0
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
            path = self._hosts[host] = RoundTrip()
            self._choose()
        floor, young = path.floor, path.young
        path.learn(trip, now, lag, alone=alone)
        self.mean = path.total / path.samples
        if path.floor != floor or path.young is not young:
            self._choose()

    def doubt(self, host: str) -> None:
        """Start again with one host: a call of its was refused."""
        if host in self._hosts:
            self._hosts[host].restart()
            self._choose()

    def _choose(self) -> None:
        self.floor = min(path.floor for path in self._hosts.values())
        self.young = any(path.young for path in self._hosts.values())


class Trial(Enum):
    """The one call that goes alone after a hold."""

    NONE = "not needed"
    DUE = "the next call is it"
    UNDER_WAY = "it was granted, and nobody knows yet what became of it"


class Budget:
    """One budget's tokens."""

    __slots__ = (
        "_answered",
        "_before",
        "_floor",
        "_most",
        "_proved_at",
        "_published",
        "_refusals",
        "_relax_at",
        "_rest",
        "_shown",
        "_step",
        "_taught_by",
        "_trial",
        "_trial_at",
        "_trial_until",
        "busy",
        "calls",
        "cooling",
        "foreign",
        "granted",
        "held_until",
        "limit",
        "name",
        "reserve",
        "returned",
        "round_trips",
        "seconds",
        "unanswered",
    )

    def __init__(self, name: str, limit: Limit, round_trips: RoundTrips) -> None:
        self.name = name
        self.round_trips = round_trips
        self.busy = 0
        self.cooling: deque[float] = deque()  #: times of replies
        self.unanswered: deque[float] = deque()  #: times of giving up
        self.foreign: deque[float] = deque()  #: times at which others' use was seen
        self.granted = 0  #: tokens ever spent
        self.returned = 0  #: tokens ever come back
        self.held_until = -inf
        self.reserve = 0
        self._trial = Trial.NONE
        self._trial_at = -inf  #: when the last trial was granted
        self._trial_until = inf  #: when no trial is needed any more
        self._answered = 0  #: replies to calls granted since the last hold
        self._proved_at = -inf  #: when the last burst of others was noticed
        self._shown = 0  #: how much of a window that burst has shown to be others'
        self._before = 0  #: and how much the burst before
        self._floor = 0  #: the reserve when it was noticed
        self._refusals = 0  #: that belong to it
        self._relax_at = inf
        self._step = 1
        self._most = limit.calls  #: the most that others can have used, by headers since the proof
        self._published = limit
        self._taught_by = 0
        self._resize(limit)

    def _resize(self, limit: Limit) -> None:
        self.limit = limit
        self.calls = limit.calls
        self.seconds = float(limit.seconds)
        self._rest = self.seconds + MARGIN
        self.reserve = min(self.reserve, self.calls - 1)

    def room(self, now: float, *, urgent: bool = False) -> int:
        """Say how many calls may leave now; 0 or less is none."""
        if now >= self._trial_until:
            self._trial = Trial.NONE
        if now < self.held_until or self._trial is Trial.UNDER_WAY:
            return 0
        if now >= self._relax_at:
            self._relax(now)
        self.settle(now)
        free = self._free(urgent=urgent)
        return free if self._trial is Trial.NONE else min(free, 1)

    @property
    def on_trial(self) -> bool:
        """Whether one call went alone, and the others wait for its reply."""
        return self._trial is Trial.UNDER_WAY

    def settle(self, now: float) -> None:
        """Free the tokens that have rested."""
        given_up = now - self._rest
        replied = given_up + self.round_trips.floor
        while self.cooling and self.cooling[0] <= replied:
            self.cooling.popleft()
            self.returned += 1
        while self.foreign and self.foreign[0] <= replied:
            self.foreign.popleft()
        while self.unanswered and self.unanswered[0] <= given_up:
            self.unanswered.popleft()
            self.returned += 1

    def _free(self, *, urgent: bool) -> int:
        free = self.calls - self.busy - len(self.cooling) - len(self.unanswered)
        if self.reserve or self.foreign:
            free -= max(0 if urgent else self.reserve, len(self.foreign))
        return free

    # a call's token

    def take(self, now: float) -> None:
        """Spend one token."""
        self.busy += 1
        self.granted += 1
        if self._trial is Trial.DUE:
            self._trial, self._trial_at = Trial.UNDER_WAY, now

    def replied(self, granted: float, now: float) -> None:
        """Put the token of a call granted then to rest: its reply is here."""
        self.busy -= 1
        self.cooling.append(now)
        if granted >= self.held_until:
            self._answered += 1
        self._end_trial(granted, Trial.NONE)

    def gave_up(self, granted: float, now: float) -> None:
        """Put the token of a call granted then to rest: its caller gave up."""
        self.busy -= 1
        self.unanswered.append(now)
        self._end_trial(granted, Trial.DUE)

    def unsent(self, granted: float) -> None:
        """Free the token of a call granted then: it never left."""
        self.busy -= 1
        self.returned += 1
        self._end_trial(granted, Trial.DUE)

    def _end_trial(self, granted: float, then: Trial) -> None:
        if self._trial is Trial.UNDER_WAY and granted == self._trial_at:
            self._trial = then

    # what replies teach

    def plausible(self, limit: Limit) -> bool:
        """Say whether this may be the account's limit.

        That is a tenth to ten times the known rate, in windows of a third to three times the known
        length: a mistake must not stop a client for a minute.
        """
        known = self._published
        rate = (limit.calls / limit.seconds) / (known.calls / known.seconds)
        return 0.1 <= rate <= 10 and 1 / 3 <= limit.seconds / known.seconds <= 3

    def adopt(self, limit: Limit, serial: int) -> bool:
        """Take the exchange's word for the limit, unless a later call's word is known."""
        if serial <= self._taught_by:
            return False
        self._taught_by = serial
        if limit == self.limit:
            return False
        self._resize(limit)
        return True

    def charge(self, used: int, mark: int, granted: float, now: float) -> None:
        """Charge what others used, as the headers of the reply to a call granted then show.

        ``used`` is how many calls the exchange had counted when that call had arrived. ``mark``
        was our ``returned`` when it was granted: at most ``self.granted - mark`` of them were our
        own. Where the call came after a hold, all that were answered since are surely among them.
        """
        self.settle(now)
        fresh = used - (self.granted - mark) - len(self.foreign)
        after_hold = granted >= self.held_until > now - self.seconds
        if fresh > 0:
            seen_at = self._proved_at if after_hold else now
            self.foreign = deque(sorted([*self.foreign, *[seen_at] * fresh]))
            self._notice(granted, now)
            self._prove(len(self.foreign), now)
        elif after_hold:
            while len(self.foreign) > max(0, used - self._answered):
                self.foreign.popleft()
        if granted >= self._proved_at + self.seconds:
            self._most = min(self._most, used - 1)

    def refuse(self, granted: float, replied: float, reset: float | None, now: float) -> None:
        """Take the refusal of a call granted and answered then: hold what is left.

        ``reset`` is when the exchange's window starts anew, in seconds from now, where it said so.
        """
        wait = self.seconds
        if reset is not None and granted != self._trial_at:
            wait = min(reset + SPREAD, self.seconds)
            self._trial, self._trial_until = Trial.DUE, now + self._rest
            if replied in self.cooling:
                self.cooling.remove(replied)
                self.returned += 1
        self.held_until = max(self.held_until, now + wait + MARGIN)
        self._answered = 0
        self._notice(granted, now)
        self._refusals += 1
        self._prove(min(self._floor + self._refusals, self.calls // 2), now)

    def _notice(self, granted: float, now: float) -> None:
        """Begin a new burst of others, unless a call granted then belongs to the last one.

        All calls that were granted before a burst was noticed belong to it, and so does the trial
        that came after it.
        """
        if granted <= self._proved_at or granted == self._trial_at:
            return
        recent = now < self._proved_at + 2 * PATIENCE * self.seconds
        self._before = self._shown if recent else 0
        self._shown = self._refusals = 0
        self._floor = self.reserve
        self._proved_at = now

    def _prove(self, others: int, now: float) -> None:
        """Note how much of a window this burst has shown to be others'."""
        self._shown = max(self._shown, others)
        reserve = min(self._shown, self.calls - 1)
        if self._before and reserve >= self.reserve:
            self.reserve = reserve
            self._relax_at = now + PATIENCE * self.seconds
            self._step, self._most = 1, self.calls

    def _relax(self, now: float) -> None:
        """Lower the reserve by twice as much each time, and to what headers leave possible."""
        while now >= self._relax_at:
            self.reserve = max(0, min(self.reserve - self._step, self._most))
            self._step *= 2
            self._relax_at += PATIENCE * self.seconds if self.reserve else inf

    # prediction

    def next_at(self, now: float) -> float:
        """Say when the next token comes back; ``inf`` if a reply must come first."""
        if now < self.held_until:
            return self.held_until
        if self._trial is Trial.UNDER_WAY:
            return self._trial_until
        soonest = self._relax_at
        less_floor = self._rest - self.round_trips.floor
        if self.cooling:
            soonest = min(soonest, self.cooling[0] + less_floor)
        if self.unanswered:
            soonest = min(soonest, self.unanswered[0] + self._rest)
        if self.foreign:
            soonest = min(soonest, self.foreign[0] + less_floor)
        return soonest

    @property
    def period(self) -> float:
        """The expected time from one use of a token to its next, in seconds."""
        return max(
            self._rest + self.round_trips.mean - self.round_trips.floor, self.round_trips.mean
        )

    def slots(self, now: float, *, urgent: bool = False) -> list[float]:
        """Predict when each usable token can be spent first, in order."""
        start = max(now, self.held_until)
        less_floor = self._rest - self.round_trips.floor
        reserve = 0 if urgent else self.reserve
        extra = max(0, len(self.foreign) - reserve)
        back = [at + less_floor for at in (*self.cooling, *list(self.foreign)[:extra])]
        back += [at + self._rest for at in self.unanswered]
        usable = self.calls - reserve
        slots = [start] * self._free(urgent=urgent) + sorted(max(start, at) for at in back)
        return (slots + [start + self.period] * usable)[:usable]


def time_of_nth(slots: list[float], period: float, count: int) -> float:
    """Predict when the count-th call from now can leave."""
    cycle, rank = divmod(count - 1, len(slots))
    return slots[rank] + cycle * period


def count_until(slots: list[float], period: float, until: float) -> int:
    """Predict how many calls can leave up to ``until``."""
    if until < slots[0]:
        return 0
    until += ROUNDING
    cycle = int((until - slots[0]) / period)
    return cycle * len(slots) + bisect_right(slots, until - cycle * period)


class RateLimitHeaders(NamedTuple):
    """What the rate-limit headers of one reply say."""

    limit: Limit
    remaining: int | None
    reset: float | None  #: seconds from now


def read(headers: Mapping[str, str], epoch: float | None) -> RateLimitHeaders | None:
    """Read the rate-limit headers; nonsense is as good as none.

    Their names are in lower case, or the mapping ignores case.
    """
    limit = _limit(headers.get("ratelimit-limit"), headers.get("ratelimit-interval"))
    if limit is None:
        return None
    reset = _whole(headers.get("ratelimit-reset"), 0, 10**15)
    delay = None
    if reset is not None and epoch is not None:
        delay = max(reset / 1000 - epoch, 0.0)
    return RateLimitHeaders(
        limit, _whole(headers.get("ratelimit-remaining"), 0, limit.calls), delay
    )


@lru_cache(maxsize=64)  # most replies say the same
def _limit(calls: str | None, interval: str | None) -> Limit | None:
    number = _whole(calls, 1, 100_000)
    milliseconds = _whole(interval, 100, 60_000)
    if number is None or milliseconds is None:
        return None
    return Limit(number, milliseconds / 1000)


def _whole(text: str | None, least: int, most: int) -> int | None:
    """Read a whole number within bounds, or nothing: digits only, and not a thousand of them."""
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()) or len(text) > 20:
        return None
    number = int(text)
    return number if least <= number <= most else None
