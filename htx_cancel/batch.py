"""What one request carries, and what its attempts said so far. Time comes in as an argument."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import inf

from msgspec import Struct

from htx_cancel.endpoints import Endpoint
from htx_cancel.results import CallResult, OrderResult, call_result, order_result
from htx_cancel.retry import RETRY, SETTLEMENT_BACKOFF, RetryAction, RetryPolicy, merge
from htx_cancel.status import ACCEPTED, Finding
from htx_cancel.wire import cancels
from htx_cancel.wire.codes import TOO_MANY, WRONG_FORM, Meaning
from htx_cancel.wire.envelope import AttemptResult

#: What is known of an id whose first attempt was accepted.
_AT_ONCE = (ACCEPTED, 1)

_UNTRIED = (Finding(Meaning.NOT_SENT, None, "the rest of its request was not sent"), 0)


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

    def begin(self, now: float) -> None:
        """Begin an attempt."""
        self.began = min(self.began, now)
        self.in_flight = self.left = True

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
        deadline: float,
        urgent: bool,
        reachable: bool,
        chance: float,
    ) -> float | None:
        """Return in how many seconds to make another attempt; ``None`` if there is to be none."""
        if policy.max_attempts == 1:
            return None
        if action is RetryAction.WAIT_FOR_SETTLEMENT:
            limit = self.began + policy.max_elapsed if deadline == inf else deadline
            return SETTLEMENT_BACKOFF if now + SETTLEMENT_BACKOFF < limit else None
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
        order = (RetryAction.BACKOFF, RetryAction.WAIT_FOR_SETTLEMENT, RetryAction.WAIT_FOR_BUDGET)
        return next((action for action in order if action in wanted), RetryAction.STOP)


class Form(Struct):
    """What was learned of the form of an endpoint's requests, for the client's life."""

    most: int  #: ids a request: fewer than the page says, once the exchange refused so many
    as_object: bool = False  #: whether a body of objects is a lone object
    settled: bool = False  #: whether a body of that form was understood

    @property
    def size(self) -> int:
        """How many ids go in a request."""
        return 1 if self.as_object else self.most


class CancelBatch(Batch):
    """Some ids to cancel, and which of them to send again."""

    def __init__(
        self,
        endpoint: Endpoint,
        contract_code: str,
        field: str,
        ids: Sequence[str],
        *,
        number: int,
        form: Form,
    ) -> None:
        super().__init__(endpoint.path, number)
        self.pending = ids
        self._ids = ids
        self._sent = ids  # in the attempt under way: as many as the exchange takes at once
        self._one = False  # whether that has the form of a call for a single id
        self._as_object: bool | None = None  # a form of its own, while it tries another one
        self._tried = False  # whether it did
        self._endpoint = endpoint
        self._contract_code = contract_code
        self._field = field
        self._form = form
        self._known: dict[str, tuple[Finding, int]] = {}  # and the requests that carried it

    def begin(self, now: float) -> None:
        """Begin an attempt with as many ids as the exchange takes."""
        super().begin(now)
        endpoint, form = self._endpoint, self._form
        as_object = form.as_object if self._as_object is None else self._as_object
        self._sent = self.pending[: 1 if as_object else form.most]
        of_one = endpoint.path_of_one if len(self._sent) == 1 else ""
        self.path = of_one or endpoint.path
        self._one = bool(of_one) or as_object

    def body(self) -> bytes:
        """Return the body that names what is sent."""
        return cancels.encode(
            self._endpoint, self._contract_code, self._field, self._sent, one=self._one
        )

    def read(self, status: int, body: bytes) -> AttemptResult:
        """Read a reply."""
        return cancels.decode(status, body, self._endpoint, self._field)

    def take(self, answer: AttemptResult) -> RetryAction:
        """Take what an attempt said of each id that it sent."""
        if answer.named and self._endpoint.ids_as == "objects":
            self._form.as_object, self._form.settled = self._one, True
        adapted = not answer.named and self._adapt(answer.whole.code)
        rest = self.pending[len(self._sent) :]
        found = list(map(answer.named.get, self._sent))
        if not (self._known or rest) and found.count(ACCEPTED) == len(found):  # nearly always
            self._known = dict.fromkeys(self._sent, _AT_ONCE)
            return RetryAction.STOP
        left, wanted = list[str](), set[RetryAction]()
        sent = answer.whole.meaning is not Meaning.NOT_SENT
        for order_id, named in zip(self._sent, found, strict=True):
            finding = named or answer.unnamed
            earlier, carried = self._known.get(order_id, (None, 0))
            self._known[order_id] = (merge(earlier, finding), carried + sent)
            action = RetryAction.WAIT_FOR_BUDGET if adapted else RETRY[finding.meaning]
            if action is not RetryAction.STOP:
                left.append(order_id)
                wanted.add(action)
        self.pending = [*left, *rest]
        if rest and not answer.account_wide:
            wanted.add(RetryAction.WAIT_FOR_BUDGET)
        return self._one_of(wanted, answer)

    def _adapt(self, code: int | None) -> bool:
        """Learn from a refusal of the form; say whether another one is to be tried."""
        form = self._form
        if code == TOO_MANY and len(self._sent) > 1:
            form.most = min(form.most, len(self._sent) // 2)
            return True
        if code not in WRONG_FORM or self._endpoint.ids_as != "objects":
            return False
        other = form.as_object if form.settled else not self._one
        again = other is not self._one and not self._tried
        self._tried, self._as_object = True, other if again else None
        return again

    def results(self) -> tuple[OrderResult, ...]:
        """Return the result of each id; what was not known is not sent."""
        return tuple([order_result(it, *self._known.get(it, _UNTRIED)) for it in self._ids])


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
