"""What became of every order id.

Rules:

* ``STATUS`` is the one place where the meaning of an answer becomes a status.
* An outcome keeps results by batch, and joins them when asked, so that a call with a million ids
  never builds a million-element tuple on the caller's loop by itself.
"""

from collections.abc import Iterator
from enum import StrEnum
from functools import cached_property
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from htx_cancel.errors import Meaning
from htx_cancel.pages import Pages


class CancelStatus(StrEnum):
    """What is known of one order id after a cancel call. Not the order's own state."""

    __hash__ = str.__hash__  # the same, and Enum's own is a slow one

    ACCEPTED = "accepted"  #: the exchange took the instruction; the order may still fill first
    CLOSED = "closed"  #: the exchange says it was not open any more; see ``reason``
    NOT_FOUND = "not_found"  #: the exchange knows no such order here
    REJECTED = "rejected"  #: the exchange refused, with ``code`` and ``message``
    UNKNOWN = "unknown"  #: sent, and no trustworthy answer came: treat as live
    UNSENT = "unsent"  #: it never left this process: treat as live
    OPEN = (
        "open"  #: of a confirmed outcome only: still open, and no cancel is known to be under way
    )


class CloseReason(StrEnum):
    """Why an order was not open any more."""

    FILLED = "filled"
    CANCELED = "canceled"
    CANCELING = "canceling"


class OrderState(StrEnum):
    """An order's own state, as a query told it."""

    OPEN = "open"
    CANCELING = "canceling"
    FILLED = "filled"
    CANCELED = "canceled"
    PARTIALLY_CANCELED = "partially_canceled"  #: partly filled, then canceled
    GONE = "gone"  #: not open any more; no query tells whether it was canceled or triggered

    @property
    def final(self) -> bool:
        """Whether it can change no more."""
        return self not in (OrderState.OPEN, OrderState.CANCELING)


#: What a state that was asked for says about a cancel of which nothing was known.
_SETTLED: dict[OrderState, tuple[CancelStatus, CloseReason | None]] = {
    OrderState.OPEN: (CancelStatus.OPEN, None),
    OrderState.CANCELING: (CancelStatus.CLOSED, CloseReason.CANCELING),
    OrderState.FILLED: (CancelStatus.CLOSED, CloseReason.FILLED),
    OrderState.CANCELED: (CancelStatus.CLOSED, CloseReason.CANCELED),
    OrderState.PARTIALLY_CANCELED: (CancelStatus.CLOSED, CloseReason.CANCELED),
    OrderState.GONE: (CancelStatus.CLOSED, None),
}

STATUS: dict[Meaning, tuple[CancelStatus, CloseReason | None]] = {
    Meaning.ACCEPTED: (CancelStatus.ACCEPTED, None),
    Meaning.FILLED: (CancelStatus.CLOSED, CloseReason.FILLED),
    Meaning.CANCELED: (CancelStatus.CLOSED, CloseReason.CANCELED),
    Meaning.CANCELING: (CancelStatus.CLOSED, CloseReason.CANCELING),
    Meaning.NOT_FOUND: (CancelStatus.NOT_FOUND, None),
    Meaning.RATE_LIMITED: (CancelStatus.REJECTED, None),
    Meaning.BUSY: (CancelStatus.REJECTED, None),
    Meaning.CLOCK: (CancelStatus.REJECTED, None),
    Meaning.AUTH: (CancelStatus.REJECTED, None),
    Meaning.INVALID: (CancelStatus.REJECTED, None),
    Meaning.REFUSED: (CancelStatus.REJECTED, None),
    Meaning.FAULT: (CancelStatus.UNKNOWN, None),
    Meaning.UNCLEAR: (CancelStatus.UNKNOWN, None),
    Meaning.UNNAMED: (CancelStatus.UNKNOWN, None),
    Meaning.UNREADABLE: (CancelStatus.UNKNOWN, None),
    Meaning.NO_ANSWER: (CancelStatus.UNKNOWN, None),
    Meaning.NOT_SENT: (CancelStatus.UNSENT, None),
}


class Finding(Struct, frozen=True, gc=False):
    """What one attempt says of one order id, or of a whole call."""

    meaning: Meaning
    code: int | None = None
    message: str = ""


ACCEPTED = Finding(Meaning.ACCEPTED)


class OrderResult(Struct, frozen=True, gc=False):
    """What became of one order id.

    ``order_id`` is the id as given (a client order id where those were given), ``code`` and
    ``message`` the exchange's own or, without a code, ours, ``attempts`` the number of requests
    that carried the id, and ``state`` the order's own state where ``confirm`` found one.
    """

    order_id: str
    status: CancelStatus
    code: int | None = None
    message: str = ""
    reason: CloseReason | None = None
    attempts: int = 0
    state: OrderState | None = None

    @property
    def unsettled(self) -> bool:
        """Whether a query could tell more: accepted, unknown or canceling, and no final state."""
        if self.state is not None and self.state.final:
            return False
        doubtful = (CancelStatus.ACCEPTED, CancelStatus.UNKNOWN, CancelStatus.OPEN)
        return self.status in doubtful or self.reason is CloseReason.CANCELING

    def confirmed(self, state: OrderState | None) -> "OrderResult":
        """Return this result with what a query told; ``None`` if it knows no such order.

        What the exchange said of the cancel stands. Where nothing was known, the state decides.
        """
        status, reason = self.status, self.reason
        if status in (CancelStatus.UNKNOWN, CancelStatus.OPEN):
            status, reason = _SETTLED[state] if state else (CancelStatus.NOT_FOUND, None)
        return replace(self, status=status, reason=reason, state=state)


class Source(Struct, frozen=True, gc=False):
    """Where an outcome comes from, so that it can be confirmed."""

    endpoint: str
    contract_code: str
    field: str


class CallResult(Struct, frozen=True, gc=False):
    """What became of a call that names no ids."""

    status: CancelStatus
    code: int | None = None
    message: str = ""
    attempts: int = 0


def order_result(order_id: str, finding: Finding, attempts: int) -> OrderResult:
    """Turn what is known of an id into its result."""
    status, reason = STATUS[finding.meaning]
    return OrderResult(order_id, status, finding.code, finding.message, reason, attempts)


def call_result(finding: Finding, attempts: int) -> CallResult:
    """Turn what is known of a whole call into its result."""
    return CallResult(STATUS[finding.meaning][0], finding.code, finding.message, attempts)


class Outcome:
    """Every distinct id of a call, once, in the order given, with its status.

    Iterating and the counts are cheap at any size. ``results``, the views by status and
    look-ups by id build what they return on first use.
    """

    def __init__(
        self,
        batches: Pages[OrderResult],
        counts: dict[CancelStatus, int],
        source: Source,
    ) -> None:
        self.batches = batches
        self.source = source
        self._counts = counts

    def __iter__(self) -> Iterator[OrderResult]:
        return chain.from_iterable(self.batches)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __getitem__(self, order_id: str | int) -> OrderResult:
        """Return the result of one id; ``KeyError`` if the call did not carry it."""
        return self._by_id[str(order_id)]

    def __contains__(self, order_id: object) -> bool:
        """Say whether the call carried this id."""
        return str(order_id) in self._by_id

    @cached_property
    def results(self) -> tuple[OrderResult, ...]:
        """Every result, in the order in which the ids were given."""
        return tuple(self)

    @cached_property
    def _by_id(self) -> dict[str, OrderResult]:
        return {result.order_id: result for result in self}

    @property
    def counts(self) -> dict[CancelStatus, int]:
        """How many ids have each status; statuses nobody has are left out."""
        return {each: self._counts[each] for each in CancelStatus if each in self._counts}

    def with_status(self, *statuses: CancelStatus) -> tuple[OrderResult, ...]:
        """Return the results that have one of these statuses."""
        return tuple(result for result in self if result.status in statuses)

    @property
    def accepted(self) -> tuple[OrderResult, ...]:
        """The exchange took the instruction to cancel."""
        return self.with_status(CancelStatus.ACCEPTED)

    @property
    def closed(self) -> tuple[OrderResult, ...]:
        """Were not open any more."""
        return self.with_status(CancelStatus.CLOSED)

    @property
    def not_found(self) -> tuple[OrderResult, ...]:
        """The exchange knows no such order here."""
        return self.with_status(CancelStatus.NOT_FOUND)

    @property
    def rejected(self) -> tuple[OrderResult, ...]:
        """The exchange refused."""
        return self.with_status(CancelStatus.REJECTED)

    @property
    def unknown(self) -> tuple[OrderResult, ...]:
        """Sent without a trustworthy answer: treat as live."""
        return self.with_status(CancelStatus.UNKNOWN)

    @property
    def unsent(self) -> tuple[OrderResult, ...]:
        """Never left this process: treat as live."""
        return self.with_status(CancelStatus.UNSENT)

    @property
    def open(self) -> tuple[OrderResult, ...]:
        """Still open after ``confirm``, and no cancel is known to be under way: cancel again."""
        return self.with_status(CancelStatus.OPEN)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        return f"<{type(self).__name__} of {len(self)} ids: {counts or 'nothing to do'}>"


class CancelAllOutcome(Outcome):
    """The outcome of a call that names no ids: the ids its reply lists, and the call's own fate.

    ``call.status`` is ``ACCEPTED`` where the exchange took the instruction and ``NOT_FOUND``
    where it says that nothing was open; any other status says that orders may still be open,
    whatever ``results`` holds.
    """

    def __init__(
        self,
        batches: Pages[OrderResult],
        counts: dict[CancelStatus, int],
        source: Source,
        call: CallResult,
    ) -> None:
        super().__init__(batches, counts, source)
        self.call = call

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}; call {self.call.status}>"


class Tally:
    """Collects the results of a call's batches, in any order, into one outcome."""

    def __init__(self, batches: int) -> None:
        self._batches: Pages[OrderResult] = Pages(batches)
        self._counts: dict[CancelStatus, int] = {}

    def put(self, number: int, results: tuple[OrderResult, ...]) -> None:
        """Take the results of batch ``number``, once."""
        self._batches.swap(number, results)
        counts = self._counts
        for result in results:
            counts[result.status] = counts.get(result.status, 0) + 1

    def outcome(self, source: Source) -> Outcome:
        """Return the outcome of everything put so far."""
        return Outcome(self._batches, self._counts, source)

    def outcome_of_all(self, source: Source, call: CallResult) -> CancelAllOutcome:
        """Return the outcome of a call that names no ids."""
        return CancelAllOutcome(self._batches, self._counts, source, call)
