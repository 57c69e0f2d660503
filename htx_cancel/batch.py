"""What one request carries, and what its attempts said so far. Time comes in as an argument."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import inf

from htx_cancel.endpoints import Endpoint
from htx_cancel.outcome import (
    ACCEPTED,
    CallResult,
    Finding,
    OrderResult,
    call_result,
    order_result,
)
from htx_cancel.retry import RETRY, RetryAction, RetryPolicy, merge
from htx_cancel.wire import cancels
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import AttemptResult

#: What is known of an id whose first attempt was accepted.
_AT_ONCE = (ACCEPTED, 1)


class Batch(ABC):
    """One request, made in as many attempts as it takes."""

    method = "POST"

    def __init__(self, path: str, number: int = 0) -> None:
        self.path = path
        self.number = number  #: of the batch in its call
        self.began = inf  #: loop time of the first attempt
        self.in_flight = False  #: whether an attempt is under way
        self.left = False  #: whether that, or the last one, may have left
        self.failures = 0
        self.refused: Finding | None = None  #: the refusal of the whole account that ended it
        self._counted = 0  # attempts
        self._resynced = False

    @abstractmethod
    def body(self) -> bytes:
        """Return the body of the next attempt."""

    @property
    def params(self) -> Mapping[str, str]:
        """The parameters of its query."""
        return {}

    @abstractmethod
    def read(self, status: int, body: bytes) -> AttemptResult:
        """Read a reply."""

    @abstractmethod
    def take(self, answer: AttemptResult) -> RetryAction:
        """Take what an attempt said; say what is to be done next."""

    def retry_in(
        self,
        action: RetryAction,
        now: float,
        policy: RetryPolicy,
        *,
        urgent: bool,
        reachable: bool,
        chance: float,
    ) -> float | None:
        """Return in how many seconds to make another attempt; ``None`` if there is to be none."""
        if policy.max_attempts == 1:
            return None
        backoff = 0.0
        if action is RetryAction.BACKOFF:
            self.failures += 1
            backoff = policy.backoff(self.failures, chance, urgent=urgent)
        if action is not RetryAction.WAIT_FOR_BUDGET and (self.left or reachable):
            self._counted += 1
        if self._counted >= policy.max_attempts or now + backoff >= self.began + policy.max_elapsed:
            return None
        return backoff

    def _one_of(self, wanted: set[RetryAction], answer: AttemptResult) -> RetryAction:
        """Choose among what is wanted for its ids: the exchange's clock is tried once only."""
        if RetryAction.RESYNC_CLOCK in wanted:
            if answer.server_time is None or self._resynced:
                return RetryAction.STOP
            self._resynced = True
            return RetryAction.RESYNC_CLOCK
        if RetryAction.BACKOFF in wanted:
            return RetryAction.BACKOFF
        return next(iter(wanted), RetryAction.STOP)


class CancelBatch(Batch):
    """Some ids to cancel, and which of them to send again."""

    def __init__(
        self, endpoint: Endpoint, contract_code: str, field: str, ids: Sequence[str], number: int
    ) -> None:
        super().__init__(endpoint.path, number)
        self.pending = ids
        self._endpoint = endpoint
        self._contract_code = contract_code
        self._field = field
        self._known: dict[str, tuple[Finding, int]] = {}  # and the requests that carried it

    def body(self) -> bytes:
        """Return the body that names what is pending."""
        return cancels.encode(self._contract_code, self._field, self.pending)

    def read(self, status: int, body: bytes) -> AttemptResult:
        """Read a reply."""
        return cancels.decode(status, body, self._endpoint, self._field)

    def take(self, answer: AttemptResult) -> RetryAction:
        """Take what an attempt said of each id that is pending."""
        found = list(map(answer.named.get, self.pending))
        if not self._known and found.count(ACCEPTED) == len(found):  # nearly always
            self._known = dict.fromkeys(self.pending, _AT_ONCE)
            self.pending = ()
            return RetryAction.STOP
        left, wanted = [], set[RetryAction]()
        sent = answer.whole.meaning is not Meaning.NOT_SENT
        for order_id, named in zip(self.pending, found, strict=True):
            finding = named or answer.unnamed
            earlier, carried = self._known.get(order_id, (None, 0))
            self._known[order_id] = (merge(earlier, finding), carried + sent)
            action = RETRY[finding.meaning]
            if action is not RetryAction.STOP:
                left.append(order_id)
                wanted.add(action)
        self.pending = left
        return self._one_of(wanted, answer)

    def results(self) -> tuple[OrderResult, ...]:
        """Return the result of each id."""
        return tuple([order_result(order_id, *it) for order_id, it in self._known.items()])


class CancelAll(Batch):
    """A request that names no ids."""

    def __init__(self, endpoint: Endpoint, body: bytes) -> None:
        super().__init__(endpoint.path)
        self._endpoint = endpoint
        self._body = body
        self._known: Finding | None = None
        self._attempts = 0
        self._listed: dict[str, Finding] = {}

    def body(self) -> bytes:
        """Return its body."""
        return self._body

    def read(self, status: int, body: bytes) -> AttemptResult:
        """Read a reply."""
        return cancels.decode(status, body, self._endpoint)

    def take(self, answer: AttemptResult) -> RetryAction:
        """Take what an attempt said of the request, and the ids that it lists."""
        self._attempts += answer.whole.meaning is not Meaning.NOT_SENT
        self._known = merge(self._known, answer.whole)
        self._listed.update(answer.named)
        return self._one_of({RETRY[answer.whole.meaning]} - {RetryAction.STOP}, answer)

    def call(self) -> CallResult:
        """Return what became of the request itself."""
        return call_result(self._known or Finding(Meaning.NOT_SENT), self._attempts)

    def results(self) -> tuple[OrderResult, ...]:
        """Return the result of each id that a reply listed."""
        return tuple([order_result(key, it, self._attempts) for key, it in self._listed.items()])
