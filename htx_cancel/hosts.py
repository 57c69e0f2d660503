"""Choose among the hosts of the exchange: a circuit breaker for each. Time comes in as an argument.

Rules:

* The first host that is up is used.
* A host goes down when it cannot be connected to, gives no answer in a request's time, breaks off
  or answers with 5xx. It is then left alone for ``COOLDOWN`` seconds. A failure of a request that
  began after the cooldown doubles it, up to ``LONGEST_COOLDOWN``; one that began before does not.
* After the cooldown a public request asks whether it is there, one at a time, unless it is the only
  host. Once that is answered, one signed request goes to it on trial. Once that is answered, the
  host is up.
* Only a request that began after the last failure can bring a host up.
* If none is up, something has to be tried: a host that fails at once before one that keeps silent,
  and of two alike the one that has not failed for longer. Each host is then asked as soon as
  ``ASK_AGAIN`` seconds after it failed, whatever its cooldown.
"""

from collections.abc import Sequence

from htx_cancel.wire.signing import Signer

COOLDOWN = 5.0  #: seconds
LONGEST_COOLDOWN = 60.0  #: seconds
ASK_AGAIN = 1.0  #: seconds


class Host:
    """One address of the exchange, with what signs for it and how it has been doing."""

    def __init__(self, origin: str, signer: Signer) -> None:
        self.origin = origin
        self.signer = signer
        self.failed_at = float("-inf")
        self.down_until: float | None = None  #: ``None`` while it is up
        self.cooldown = COOLDOWN
        self.answers = True  #: whether its last failure came soon; a silent host costs more time
        self.asked = False  #: whether it is being asked, or was and answered, since it failed
        self.on_trial: bool | None = None  #: ``None`` until it answered; then whether one is there

    def fail(self, began: float, now: float, *, answers: bool = True) -> None:
        """Take the failure of a request that began then; not ``answers`` if nothing came back."""
        if began <= self.failed_at:
            return
        if self.down_until is None:
            self.down_until = now + self.cooldown
        elif began >= self.down_until:
            self.cooldown = min(2 * self.cooldown, LONGEST_COOLDOWN)
            self.down_until = now + self.cooldown
        self.failed_at = now
        self.answers = answers
        self.asked, self.on_trial = False, None

    def release(self) -> None:
        """Note that a request went away without a word: if it was the trial, another one may go."""
        if self.on_trial:
            self.on_trial = False

    def answer(self, began: float) -> None:
        """Take the answer to a signed request that began then."""
        if self.down_until is not None and began > self.failed_at:
            self.down_until, self.cooldown = None, COOLDOWN
            self.asked, self.on_trial = False, None


class Hosts:
    """All hosts of one client, in order of preference."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.all = tuple(hosts)

    def choose(self) -> Host:
        """Return the host for a signed request that begins now."""
        for host in self.all:
            if host.down_until is None:
                return host
            if host.on_trial is False:
                host.on_trial = True
                return host
        return min(self.all, key=lambda host: (not host.answers, host.failed_at))

    def to_ask(self, now: float) -> list[Host]:
        """Return the hosts that are to be asked now whether they are there."""
        if len(self.all) == 1:
            return []
        none_up = all(host.down_until is not None for host in self.all)
        due = []
        for host in self.all:
            if host.down_until is None or host.asked:
                continue
            if host.down_until <= now or (none_up and host.failed_at + ASK_AGAIN <= now):
                host.asked = True
                due.append(host)
        return due
