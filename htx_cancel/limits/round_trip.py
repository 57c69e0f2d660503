"""Estimate a lower bound, the *floor*, of the shortest round trip to each host.

A token is free again one window after its reply, less this floor, so that the next request arrives
one window after the last one. So the floor must not be above the true shortest round trip. The time
is an argument.
"""

from math import inf, sqrt

CERTAIN = 5.0  #: by so many (mean - least) / sqrt(n) the least of n samples may be too high
STALL = 0.2  #: seconds by which a stall may delay all requests of one moment


class RoundTrip:
    """The floor of the round trip to one host.

    The least sample is above the true shortest round trip because of *jitter*, which shrinks with
    the square root of the number of samples, and because of *stalls*, which delay all requests of
    one moment and shrink with the time observed. The larger of the two bounds is subtracted. A
    *probe*, sent while no other request was in flight, counts as one more second observed.
    """

    def __init__(self) -> None:
        self.floor = 0.0
        self.least = inf
        self.mean = 0.0
        self.samples = 0
        self._since = inf

    def learn(self, trip: float, now: float, *, sequential: bool = False) -> None:
        """Learn one round trip, in seconds, that ended now."""
        self.samples += 1
        self.mean += (trip - self.mean) / self.samples
        self.least = min(self.least, trip)
        self._since = min(self._since, now) - sequential
        jitter = CERTAIN * (self.mean - self.least) / sqrt(self.samples)
        stall = STALL / (1 + now - self._since) ** 2
        self.floor = max(0.0, self.least - max(jitter, stall))


class RoundTrips:
    """The round trips to all hosts; the least floor counts for the next request to any host."""

    def __init__(self) -> None:
        self._hosts: dict[str, RoundTrip] = {}
        self.floor = 0.0
        self.mean = 0.0  #: of the host that replied last

    def learn(self, host: str, trip: float, now: float, *, sequential: bool = False) -> None:
        """Learn one round trip to a host, in seconds."""
        round_trip = self._hosts.setdefault(host, RoundTrip())
        round_trip.learn(trip, now, sequential=sequential)
        self.mean = round_trip.mean
        self.floor = min(each.floor for each in self._hosts.values())
