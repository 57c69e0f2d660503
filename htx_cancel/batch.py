"""Batches: what one request carries, and what its attempts have found out so far.

Time comes in as an argument.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import inf

from msgspec import Struct

from htx_cancel.endpoints import Endpoint
from htx_cancel.results import CallResult, OrderResult, call_result, order_result
from htx_cancel.retry import RETRY, RetryAction, merge
from htx_cancel.status import ACCEPTED, Finding
from htx_cancel.wire import cancels
from htx_cancel.wire.codes import TOO_MANY, WRONG_FORM, Meaning
from htx_cancel.wire.envelope import AttemptResult

#: What is known of an id: the finding, and the number of requests that carried the id.
_Known = tuple[Finding, int]
_ACCEPTED_AT_ONCE: _Known = (ACCEPTED, 1)
_NEVER_SENT: _Known = (Finding(Meaning.NOT_SENT, None, "only other ids of its batch were sent"), 0)


class Batch(ABC):
    """One request and its retries."""

    method = "POST"

    def __init__(self, path: str, number: int = 0) -> None:
        self.path = path
        self.number = number  #: its place in the call
        self.began = inf  #: loop time of the first attempt
        self.in_flight = False  #: whether an attempt is under way
        self.left = False  #: whether the current or last attempt may have left this process
        self.failures = 0  #: attempts that a backoff followed
        self.counted = 0  #: attempts that count against ``RetryPolicy.max_attempts``
        self.refused: Finding | None = None  #: a refusal of the whole account
        self._resynced = False

    def begin(self, now: float) -> None:
        """Note that an attempt begins."""
        self.began = min(self.began, now)
        self.in_flight = self.left = True

    @abstractmethod
    def body(self) -> bytes:
        """Return the body of the next attempt."""

    @property
    def params(self) -> Mapping[str, str]:
        """The query parameters."""
        return {}

    @abstractmethod
    def read(self, status: int, body: bytes) -> AttemptResult:
        """Decode a reply."""

    @abstractmethod
    def record(self, answer: AttemptResult) -> RetryAction:
        """Record the answer of an attempt; return what to do next."""

    def _next_action(self, wanted: set[RetryAction], answer: AttemptResult) -> RetryAction:
        """Return the action that serves all wanted ones; resynchronize the clock only once."""
        if RetryAction.RESYNC_CLOCK in wanted:
            if answer.server_time is None or self._resynced:
                return RetryAction.STOP
            self._resynced = True
            return RetryAction.RESYNC_CLOCK
        order = (RetryAction.BACKOFF, RetryAction.WAIT_FOR_SETTLEMENT, RetryAction.WAIT_FOR_BUDGET)
        return next((action for action in order if action in wanted), RetryAction.STOP)


class Form(Struct):
    """What a client has learned about the form of an endpoint's requests."""

    max_ids: int  #: in a request; fewer than HTX's page says if the exchange refused as many
    as_object: bool = False  #: whether the body is a single object, not a list of objects
    confirmed: bool = False  #: whether the exchange understood a body of this form

    @property
    def size(self) -> int:
        """The number of ids in a full request."""
        return 1 if self.as_object else self.max_ids


class CancelBatch(Batch):
    """The ids to cancel in one request, and those of them to retry."""

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
        self._sent = ids  # the ids of the current attempt
        self._single = False  # whether the current attempt has the form for a single id
        self._other_form: bool | None = None  # ``as_object`` while this batch tries another form
        self._tried_other_form = False
        self._endpoint = endpoint
        self._contract_code = contract_code
        self._field = field
        self._form = form
        self._known: dict[str, _Known] = {}

    def begin(self, now: float) -> None:
        """Note that an attempt begins, with as many ids as the exchange accepts."""
        super().begin(now)
        endpoint, form = self._endpoint, self._form
        as_object = form.as_object if self._other_form is None else self._other_form
        self._sent = self.pending[: 1 if as_object else form.max_ids]
        single_id_path = endpoint.single_id_path if len(self._sent) == 1 else ""
        self.path = single_id_path or endpoint.path
        self._single = bool(single_id_path) or as_object

    def body(self) -> bytes:
        """Return the body of the current attempt."""
        return cancels.encode(
            self._endpoint, self._contract_code, self._field, self._sent, single=self._single
        )

    def read(self, status: int, body: bytes) -> AttemptResult:
        """Decode a reply."""
        return cancels.decode(status, body, self._endpoint, self._field)

    def record(self, answer: AttemptResult) -> RetryAction:
        """Record the answer of an attempt for each id that was sent; return what to do next."""
        if answer.named and self._endpoint.ids_as == "objects":
            self._form.as_object, self._form.confirmed = self._single, True
        try_other_form = not answer.named and self._adapt_form(answer.whole.code)
        rest = self.pending[len(self._sent) :]
        findings = list(map(answer.named.get, self._sent))
        if not (self._known or rest) and findings.count(ACCEPTED) == len(findings):  # nearly always
            self._known = dict.fromkeys(self._sent, _ACCEPTED_AT_ONCE)
            return RetryAction.STOP
        again, wanted = list[str](), set[RetryAction]()
        sent = answer.whole.meaning is not Meaning.NOT_SENT
        for order_id, named in zip(self._sent, findings, strict=True):
            finding = named or answer.unnamed
            earlier, requests = self._known.get(order_id, (None, 0))
            self._known[order_id] = (merge(earlier, finding), requests + sent)
            action = RetryAction.WAIT_FOR_BUDGET if try_other_form else RETRY[finding.meaning]
            if action is not RetryAction.STOP:
                again.append(order_id)
                wanted.add(action)
        self.pending = [*again, *rest]
        if rest and not answer.account_wide:
            wanted.add(RetryAction.WAIT_FOR_BUDGET)
        return self._next_action(wanted, answer)

    def _adapt_form(self, code: int | None) -> bool:
        """Learn from a refusal of the form; return whether to try another form."""
        form = self._form
        if code == TOO_MANY and len(self._sent) > 1:
            form.max_ids = min(form.max_ids, len(self._sent) // 2)
            return True
        if code not in WRONG_FORM or self._endpoint.ids_as != "objects":
            return False
        other_form = form.as_object if form.confirmed else not self._single
        try_it = other_form is not self._single and not self._tried_other_form
        self._tried_other_form, self._other_form = True, other_form if try_it else None
        return try_it

    def results(self) -> tuple[OrderResult, ...]:
        """Return the result of each id; an id of which nothing is known was never sent."""
        known = self._known
        return tuple([order_result(each, *known.get(each, _NEVER_SENT)) for each in self._ids])


class CancelAll(Batch):
    """A request that names no ids."""

    def __init__(self, endpoint: Endpoint, body: bytes) -> None:
        super().__init__(endpoint.path)
        self._endpoint = endpoint
        self._body = body
        self._known: Finding | None = None
        self._requests = 0  # that were sent
        self._listed: dict[str, Finding] = {}

    def body(self) -> bytes:
        """Return the body of every attempt."""
        return self._body

    def read(self, status: int, body: bytes) -> AttemptResult:
        """Decode a reply."""
        return cancels.decode(status, body, self._endpoint)

    def record(self, answer: AttemptResult) -> RetryAction:
        """Record the answer for the request and the ids that the reply lists; return what to do."""
        self._requests += answer.whole.meaning is not Meaning.NOT_SENT
        self._known = merge(self._known, answer.whole)
        self._listed.update(answer.named)
        return self._next_action({RETRY[answer.whole.meaning]} - {RetryAction.STOP}, answer)

    def call(self) -> CallResult:
        """Return what became of the request itself."""
        return call_result(self._known or Finding(Meaning.NOT_SENT), self._requests)

    def results(self) -> tuple[OrderResult, ...]:
        """Return the result of each id that a reply listed."""
        listed = self._listed.items()
        return tuple(order_result(each, finding, self._requests) for each, finding in listed)
