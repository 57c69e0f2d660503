"""Choose the host for a request: a circuit breaker for each. Time comes in as an argument.

Rules:

* The first host that is up is used.
* A host goes down if it cannot be connected to, does not reply within the request timeout, breaks
  the connection or answers with 5xx. No signed request goes to it for ``COOLDOWN`` seconds while
  another host is up. A failure of a request that began after the cooldown doubles the cooldown, up
  to ``LONGEST_COOLDOWN``; a failure of one that began before does not.
* After the cooldown a public request probes the host, one at a time. A single host is never
  probed. Once a probe is answered, one signed request goes to the host on trial. Once that is
  answered, the host is up, and its cooldown is ``COOLDOWN`` again.
* Only a request that began after the last failure can bring a host up, or down again.
* If no host is up, a host that fails at once is used before a silent one, and of two alike the one
  whose last failure is older. Every host is then probed ``PROBE_AGAIN`` seconds after its failure,
  whatever its cooldown.
"""

from collections.abc import Sequence
from typing import Literal

from htx_cancel.wire.signing import Signer

COOLDOWN = 5.0  #: seconds
LONGEST_COOLDOWN = 60.0  #: seconds
PROBE_AGAIN = 1.0  #: seconds


class Host:
    """One address of the exchange, with its signer and its health."""

    def __init__(self, origin: str, signer: Signer) -> None:
        self.origin = origin
        self.signer = signer
        #: ``down`` until a probe begins, ``probed`` until it ends; an answer makes the host
        #: ``ready`` for a signed request, which is then ``on_trial``
        self.state: Literal["up", "down", "probed", "ready", "on_trial"] = "up"
        self.failed_at = float("-inf")
        self.cooldown = COOLDOWN
        self.cooldown_ends = float("-inf")
        self.silent = False  #: whether the last failure was a lack of any reply

    def fail(self, began: float, now: float, *, silent: bool = False) -> None:
        """Note the failure of a request that began at ``began``."""
        if began <= self.failed_at:
            return
        if self.state == "up":
            self.cooldown_ends = now + self.cooldown
        elif began >= self.cooldown_ends:
            self.cooldown = min(2 * self.cooldown, LONGEST_COOLDOWN)
            self.cooldown_ends = now + self.cooldown
        self.failed_at = now
        self.silent = silent
        if self.state != "probed":
            self.state = "down"

    def release(self) -> None:
        """Note that a request ended without a verdict; another one may go on trial."""
        if self.state == "on_trial":
            self.state = "ready"

    def end_probe(self, *, answered: bool) -> None:
        """Note that a probe ended."""
        if self.state == "probed":
            self.state = "ready" if answered else "down"

    def answer(self, began: float) -> None:
        """Note the answer to a signed request that began at ``began``."""
        if self.state != "up" and began > self.failed_at:
            self.state, self.cooldown = "up", COOLDOWN


class Hosts:
    """All hosts of one client, in order of preference."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.all = tuple(hosts)

    def choose(self) -> Host:
        """Return the host for a request that begins now."""
        for host in self.all:
            if host.state == "up":
                return host
            if host.state == "ready":
                host.state = "on_trial"
                return host
        return min(self.all, key=lambda host: (host.silent, host.failed_at))

    def due_probes(self, now: float) -> list[Host]:
        """Return the hosts to probe now, and mark them as probed."""
        if len(self.all) == 1:
            return []
        none_up = all(host.state != "up" for host in self.all)
        due = []
        for host in self.all:
            again = none_up and host.failed_at + PROBE_AGAIN <= now
            if host.state == "down" and (host.cooldown_ends <= now or again):
                host.state = "probed"
                due.append(host)
        return due
