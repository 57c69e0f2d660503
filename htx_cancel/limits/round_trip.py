"""Estimate the shortest round trip to each host from below. Time comes in as an argument.

A token is free again one window after its reply, less this floor: the next request then arrives one
window after that one did. So the floor must not be above the true shortest round trip.
"""

from math import inf, sqrt

CERTAIN = 5.0  #: spreads over the root of n by which the least of n samples may lie too high
STALL = 0.2  #: seconds by which a stall may delay all requests of one moment alike


class RoundTrip:
    """The shortest round trip to one host, estimated from below.

    Two things push the smallest sample above the true round trip: *jitter*, which shrinks with the
    root of the samples' number, and *stalls* that delay every request of one moment alike, which
    shrink with the time observed. The larger of the two bounds is subtracted. A *probe*, sent while
    no other request was under way, is a moment of its own, and worth a second.
    """

    def __init__(self) -> None:
        self.floor = 0.0
        self.least = inf
        self.mean = 0.0
        self.samples = 0
        self._since = inf

    def learn(self, trip: float, now: float, *, probe: bool = False) -> None:
        """Take one round trip, in seconds, that ended now."""
        self.samples += 1
        self.mean += (trip - self.mean) / self.samples
        self.least = min(self.least, trip)
        self._since = min(self._since, now) - probe
        jitter = CERTAIN * (self.mean - self.least) / sqrt(self.samples)
        stall = STALL / (1 + now - self._since) ** 2
        self.floor = max(0.0, self.least - max(jitter, stall))


class RoundTrips:
    """Those to all hosts; the next request may take the shortest, so the least floor counts."""

    def __init__(self) -> None:
        self._hosts: dict[str, RoundTrip] = {}
        self.floor = 0.0
        self.mean = 0.0  #: of the host heard last

    def learn(self, host: str, trip: float, now: float, *, probe: bool = False) -> None:
        """Take one round trip to a host, in seconds; ``probe`` if no other was under way."""
        known = self._hosts.setdefault(host, RoundTrip())
        known.learn(trip, now, probe=probe)
        self.mean = known.mean
        self.floor = min(known.floor for known in self._hosts.values())
