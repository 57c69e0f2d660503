"""Track the tokens of one budget: which are free, and when the others become free.

Rules for a token (the time is an argument; there is no clock here):

* A token is *in flight* from grant to reply, then *cooling*, then free again.
* It cools for one window from the reply, less the floor of the round trip, plus ``MARGIN`` for
  clocks cut to the millisecond. The next request with it then arrives at least one window after
  this one, whatever the jitter, if the floor is no more than the true shortest round trip. So no
  fixed window, sliding log or token bucket refuses it.
* Without a reply it cools for one window from when the caller gave up, with nothing taken off.
* A token that others of the UID used, as headers prove, is *foreign*, and cools like our own.

Rules for ``reserve``, the tokens left to others in every window (urgent requests may use them):

* A *burst* of others is proved by foreign use, or by refusals while our own count had room.
  Refusals prove at most half of the limit.
* A first burst reserves nothing, because it may be the only one. From the second burst in a row
  on (less than ``2 * PATIENCE`` windows apart), the reserve is the largest one proved.
* After ``PATIENCE`` windows without proof the reserve shrinks, by twice as much each time, and at
  once to the most that others can have used according to the headers of any reply since then.

Rules after a refusal:

* No request is sent until the exchange's window is reset, or for one window if the reply does not
  state the reset. If it does, the refused request gives its token back: the hold replaces it.
* The first request after such a hold, the *trial*, goes alone, and its reply states how much is
  free, because in a sliding window the reset frees one token only. If the trial is refused too,
  the next hold lasts a whole window.
* One window after a refusal all tokens are free under any rule, and no trial is needed.
"""

from collections import deque
from enum import Enum
from math import inf

from htx_cancel.endpoints import Limit
from htx_cancel.limits.round_trip import RoundTrips

MARGIN = 0.001  #: seconds
SPREAD = 0.05  #: seconds that a hold outlasts the reset; a burst's tokens return one by one
PATIENCE = 3  #: windows without proof of others before ``reserve`` shrinks


class Trial(Enum):
    """The one request that goes alone after a hold."""

    NONE = "not needed"
    DUE = "the next request is the trial"
    IN_FLIGHT = "the trial was granted, and its outcome is not known"


class Budget:
    """The tokens of one budget."""

    def __init__(self, name: str, limit: Limit, round_trips: RoundTrips) -> None:
        self.name = name
        self.tokens = 0  #: usable in this process: the whole limit, unless processes share it
        self.round_trips = round_trips
        self.in_flight = 0
        self.cooling: deque[float] = deque()  #: times of replies
        self.unanswered: deque[float] = deque()  #: times of giving up
        self.foreign: deque[float] = deque()  #: times at which use by others was seen
        self.granted = 0  #: tokens granted so far
        self.returned = 0  #: tokens that became free again so far
        self.held_until = -inf
        self.reserve = 0
        self._trial = Trial.NONE
        self._trial_granted = -inf  #: when the last trial was granted
        self._trial_until = inf  #: when no trial is needed any more
        self._replies_since_hold = 0  #: to requests granted since the last hold
        self._burst_at = -inf  #: when the last burst was noticed
        self._burst_size = 0  #: tokens of a window that this burst has proved to be others'
        self._burst_repeats = False  #: whether another burst came shortly before
        self._burst_refusals = 0  #: of this burst, on top of the reserve at its start
        self._shrink_at = inf  #: when the reserve shrinks
        self._shrink_by = 1
        self._most_foreign = limit.calls  #: in a window since the proof, according to headers
        self._published = limit
        self._limit_serial = 0  #: of the last permit whose reply stated the limit
        self._resize(limit)

    def _resize(self, limit: Limit) -> None:
        self.limit = limit
        self.calls = self.tokens = limit.calls
        self.seconds = float(limit.seconds)
        self._cooling_time = self.seconds + MARGIN
        self.reserve = min(self.reserve, self.calls - 1)

    def room(self, now: float, *, urgent: bool = False) -> int:
        """Return how many requests may be sent now; none if 0 or less."""
        if now >= self._trial_until:
            self._trial = Trial.NONE
        if now < self.held_until or self._trial is Trial.IN_FLIGHT:
            return 0
        if now >= self._shrink_at:
            self._shrink(now)
        self.settle(now)
        free = self._free(urgent=urgent)
        return free if self._trial is Trial.NONE else min(free, 1)

    @property
    def on_trial(self) -> bool:
        """Whether a trial is in flight, and all other requests wait for its reply."""
        return self._trial is Trial.IN_FLIGHT

    def settle(self, now: float) -> None:
        """Free the tokens that have cooled."""
        given_up = now - self._cooling_time
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
        free = self.tokens - self.in_flight - len(self.cooling) - len(self.unanswered)
        if self.reserve or self.foreign:
            free -= max(0 if urgent else self.reserve, len(self.foreign))
        return free

    # the token of a request, which is known by the time when it was granted

    def take(self, now: float) -> None:
        """Grant one token."""
        self.in_flight += 1
        self.granted += 1
        if self._trial is Trial.DUE:
            self._trial, self._trial_granted = Trial.IN_FLIGHT, now

    def replied(self, granted: float, now: float) -> None:
        """Cool the token of a request that was answered."""
        self.in_flight -= 1
        self.cooling.append(now)
        if granted >= self.held_until:
            self._replies_since_hold += 1
        self._end_trial(granted, Trial.NONE)

    def gave_up(self, granted: float, now: float) -> None:
        """Cool the token of a request whose caller gave up waiting for the reply."""
        self.in_flight -= 1
        self.unanswered.append(now)
        self._end_trial(granted, Trial.DUE)

    def unsent(self, granted: float) -> None:
        """Free the token of a request that was never sent."""
        self.in_flight -= 1
        self.returned += 1
        self._end_trial(granted, Trial.DUE)

    def _end_trial(self, granted: float, following: Trial) -> None:
        if self._trial is Trial.IN_FLIGHT and granted == self._trial_granted:
            self._trial = following

    # learning from replies

    def plausible(self, limit: Limit) -> bool:
        """Return whether this may be the account's limit.

        That is a tenth to ten times the published rate, in windows of a third to three times the
        published length, so that a mistake does not stop a client for a minute.
        """
        known = self._published
        rate = (limit.calls / limit.seconds) / (known.calls / known.seconds)
        return 0.1 <= rate <= 10 and 1 / 3 <= limit.seconds / known.seconds <= 3

    def adopt(self, limit: Limit, serial: int) -> bool:
        """Adopt the limit that a reply states, unless the reply to a later permit stated one.

        Return whether the limit has changed.
        """
        if serial <= self._limit_serial:
            return False
        self._limit_serial = serial
        if limit == self.limit:
            return False
        self._resize(limit)
        return True

    def charge(self, used: int, mark: int, granted: float, now: float) -> None:
        """Charge what others used, as the headers of a reply show.

        ``used`` is how many requests the exchange had counted when this one arrived. ``mark`` is
        the value of ``returned`` when this one was granted, so at most ``self.granted - mark`` of
        them were our own. If it was granted after a hold, the exchange has certainly counted all
        requests that were answered since the hold.
        """
        self.settle(now)
        fresh = used - (self.granted - mark) - len(self.foreign)
        after_hold = granted >= self.held_until > now - self.seconds
        if fresh > 0:
            seen_at = self._burst_at if after_hold else now
            self.foreign = deque(sorted([*self.foreign, *[seen_at] * fresh]))
            self._notice_burst(granted, now)
            self._prove(len(self.foreign), now)
        elif after_hold:
            while len(self.foreign) > max(0, used - self._replies_since_hold):
                self.foreign.popleft()
        if granted >= self._burst_at + self.seconds:
            self._most_foreign = min(self._most_foreign, used - 1)

    def refuse(self, granted: float, replied: float, reset: float | None, now: float) -> None:
        """Hold the budget because a request was refused.

        ``reset`` is the time in seconds until the exchange's window starts anew, if known.
        """
        wait = self.seconds
        if reset is not None and granted != self._trial_granted:
            wait = min(reset + SPREAD, self.seconds)
            self._trial, self._trial_until = Trial.DUE, now + self._cooling_time
            if replied in self.cooling:
                self.cooling.remove(replied)
                self.returned += 1
        self.held_until = max(self.held_until, now + wait + MARGIN)
        self._replies_since_hold = 0
        self._notice_burst(granted, now)
        self._burst_refusals += 1
        self._prove(min(self._burst_refusals, self.calls // 2), now)

    def _notice_burst(self, granted: float, now: float) -> None:
        """Begin a new burst, unless the reply that proves it belongs to the last burst.

        The replies to all requests granted before the last burst was noticed, and to the trial
        after it, belong to that burst.
        """
        if granted <= self._burst_at or granted == self._trial_granted:
            return
        self._burst_repeats = now < self._burst_at + 2 * PATIENCE * self.seconds
        self._burst_at, self._burst_size = now, 0
        self._burst_refusals = self.reserve

    def _prove(self, others: int, now: float) -> None:
        """Note how many tokens others used in this burst; reserve them if it is not the first."""
        self._burst_size = max(self._burst_size, others)
        reserve = min(self._burst_size, self.calls - 1)
        if self._burst_repeats and reserve >= self.reserve:
            self.reserve = reserve
            self._shrink_at = now + PATIENCE * self.seconds
            self._shrink_by, self._most_foreign = 1, self.calls

    def _shrink(self, now: float) -> None:
        while now >= self._shrink_at:
            self.reserve = max(0, min(self.reserve - self._shrink_by, self._most_foreign))
            self._shrink_by *= 2
            self._shrink_at += PATIENCE * self.seconds if self.reserve else inf

    # prediction

    def next_at(self, now: float) -> float:
        """Return when the next token becomes free; ``inf`` if a reply must come first."""
        if now < self.held_until:
            return self.held_until
        if self._trial is Trial.IN_FLIGHT:
            return self._trial_until
        soonest = self._shrink_at
        less_floor = self._cooling_time - self.round_trips.floor
        if self.cooling:
            soonest = min(soonest, self.cooling[0] + less_floor)
        if self.unanswered:
            soonest = min(soonest, self.unanswered[0] + self._cooling_time)
        if self.foreign:
            soonest = min(soonest, self.foreign[0] + less_floor)
        return soonest

    @property
    def period(self) -> float:
        """The expected time from one use of a token to its next, in seconds."""
        mean = self.round_trips.mean
        return max(self._cooling_time + mean - self.round_trips.floor, mean)

    def slots(self, now: float, *, urgent: bool = False) -> list[float]:
        """Predict when each usable token can be used next, in order."""
        start = max(now, self.held_until)
        less_floor = self._cooling_time - self.round_trips.floor
        reserve = 0 if urgent else self.reserve
        extra = max(0, len(self.foreign) - reserve)
        free_at = [at + less_floor for at in (*self.cooling, *list(self.foreign)[:extra])]
        free_at += [at + self._cooling_time for at in self.unanswered]
        usable = max(self.tokens - reserve, 0)
        slots = [start] * self._free(urgent=urgent) + sorted(max(start, at) for at in free_at)
        return (slots + [start + self.period] * usable)[:usable]

    def expected_slots(self, now: float, *, urgent: bool = False) -> list[float]:
        """Predict the same for each token that will be usable."""
        return self.slots(now, urgent=urgent)
