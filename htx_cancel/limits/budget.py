"""Keep the ledger of one budget: which of its tokens are free, and when the others come back.

Rules of the ledger (time comes in as an argument; there is no clock here):

* A token is *in flight* from grant to reply, then *cooling*, then free again.
* It cools from the reply for one window, less the floor of the round trip, plus ``MARGIN`` for
  clocks cut to the millisecond. The next call then arrives at least one window after this one did,
  whatever the jitter, as long as the floor is no more than the true shortest round trip. So no
  fixed window, sliding log or token bucket refuses it.
* Without a reply it cools one window from when the caller gave up, with nothing taken off.
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

from collections import deque
from enum import Enum
from math import inf

from htx_cancel.endpoints import Limit
from htx_cancel.limits.round_trip import RoundTrips

MARGIN = 0.001  #: seconds
SPREAD = 0.05  #: seconds; the calls of a burst, and in a sliding window their places, come in turn
PATIENCE = 3  #: windows without proof of others before ``reserve`` shrinks


class Trial(Enum):
    """The one call that goes alone after a hold."""

    NONE = "not needed"
    DUE = "the next call is it"
    UNDER_WAY = "it was granted, and nobody knows yet what became of it"


class Budget:
    """One budget's tokens."""

    def __init__(self, name: str, limit: Limit, round_trips: RoundTrips) -> None:
        self.name = name
        self.tokens = 0  #: that there are here: all of the budget, unless others hold some
        self.round_trips = round_trips
        self.in_flight = 0
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
        self._repeated = False  #: whether another burst came shortly before
        self._refusal_proof = 0  #: the reserve when it was noticed, and its refusals since
        self._relax_at = inf
        self._step = 1
        self._most = limit.calls  #: the most that others can have used, by headers since the proof
        self._published = limit
        self._taught_by = 0
        self._resize(limit)

    def _resize(self, limit: Limit) -> None:
        self.limit = limit
        self.calls = self.tokens = limit.calls
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
        free = self.tokens - self.in_flight - len(self.cooling) - len(self.unanswered)
        if self.reserve or self.foreign:
            free -= max(0 if urgent else self.reserve, len(self.foreign))
        return free

    # a call's token

    def take(self, now: float) -> None:
        """Spend one token."""
        self.in_flight += 1
        self.granted += 1
        if self._trial is Trial.DUE:
            self._trial, self._trial_at = Trial.UNDER_WAY, now

    def replied(self, granted: float, now: float) -> None:
        """Put the token of a call granted then to rest: its reply is here."""
        self.in_flight -= 1
        self.cooling.append(now)
        if granted >= self.held_until:
            self._answered += 1
        self._end_trial(granted, Trial.NONE)

    def gave_up(self, granted: float, now: float) -> None:
        """Put the token of a call granted then to rest: its caller gave up."""
        self.in_flight -= 1
        self.unanswered.append(now)
        self._end_trial(granted, Trial.DUE)

    def unsent(self, granted: float) -> None:
        """Free the token of a call granted then: it never left."""
        self.in_flight -= 1
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
        self._refusal_proof += 1
        self._prove(min(self._refusal_proof, self.calls // 2), now)

    def _notice(self, granted: float, now: float) -> None:
        """Begin a new burst of others, unless a call granted then belongs to the last one.

        All calls that were granted before a burst was noticed belong to it, and so does the trial
        that came after it.
        """
        if granted <= self._proved_at or granted == self._trial_at:
            return
        self._repeated = now < self._proved_at + 2 * PATIENCE * self.seconds
        self._shown = 0
        self._refusal_proof = self.reserve
        self._proved_at = now

    def _prove(self, others: int, now: float) -> None:
        """Note how much of a window this burst has shown to be others'."""
        self._shown = max(self._shown, others)
        reserve = min(self._shown, self.calls - 1)
        if self._repeated and reserve >= self.reserve:
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
        usable = max(self.tokens - reserve, 0)
        slots = [start] * self._free(urgent=urgent) + sorted(max(start, at) for at in back)
        return (slots + [start + self.period] * usable)[:usable]

    def expected_slots(self, now: float, *, urgent: bool = False) -> list[float]:
        """Predict when each token can be spent first that will be usable, in order."""
        return self.slots(now, urgent=urgent)
