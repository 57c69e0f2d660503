"""What became of every order id.

Rules:

* ``STATUS`` is the one place where the meaning of an answer becomes a status.
* ``weight`` is the one place that says which of two answers about an id counts: the attempts of a
  batch and the outcomes of several calls are merged by it.
* An outcome keeps results by batch, and joins or groups them once, when first asked.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum, StrEnum
from functools import cached_property
from itertools import chain, groupby
from operator import itemgetter
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.wire.codes import CODES, Meaning


class CancelStatus(StrEnum):
    """What is known of one order id after a cancel call. Not the order's own state.

    ``NOT_FOUND`` by client order id may be a live order: HTX looks these up for 8 hours only, and
    in multi-asset mode not after the order ended.
    """

    __hash__ = str.__hash__  # the same, and Enum's own is a slow one

    ACCEPTED = "accepted"
    """The exchange took the instruction; the order may still fill first."""
    CLOSED = "closed"
    """The exchange says that it was not open any more; see ``reason``."""
    NOT_FOUND = "not_found"
    """The exchange knows no such order here."""
    REJECTED = "rejected"
    """The exchange refused, with ``code`` and ``message``: treat as live."""
    UNKNOWN = "unknown"
    """Sent, and no trustworthy answer came: treat as live."""
    UNSENT = "unsent"
    """It never left this process: treat as live."""
    OPEN = "open"
    """Of a confirmed outcome only: open, and no cancel is known to be under way. Cancel again."""


class CloseReason(StrEnum):
    """Why an order was not open any more."""

    FILLED = "filled"
    """It was executed."""
    CANCELED = "canceled"
    """It was canceled before."""
    CANCELING = "canceling"
    """An earlier cancel is under way; the order may still fill first."""


class OrderState(StrEnum):
    """An order's own state, as a query told it."""

    OPEN = "open"
    """In the book, or waiting for its trigger."""
    CANCELING = "canceling"
    """A cancel is under way; the order may still fill first."""
    FILLED = "filled"
    """Executed as a whole."""
    CANCELED = "canceled"
    """Canceled as a whole."""
    PARTIALLY_CANCELED = "partially_canceled"
    """Partly filled, then canceled."""
    GONE = "gone"
    """Not open any more; no query tells whether it was canceled or triggered."""

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
    Meaning.SETTLING: (CancelStatus.REJECTED, None),
    Meaning.ENTRY_OPEN: (CancelStatus.REJECTED, None),
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


#: The statuses of orders that may be live.
_LIVE = (CancelStatus.REJECTED, CancelStatus.UNKNOWN, CancelStatus.UNSENT, CancelStatus.OPEN)

#: The refusals of a whole request: they say nothing about an order.
OF_THE_REQUEST = frozenset(
    {Meaning.RATE_LIMITED, Meaning.BUSY, Meaning.SETTLING, Meaning.CLOCK, Meaning.AUTH}
)

#: The refusals that pass: of the rate, of a busy or settling exchange, of the clock, and of a TP/SL
#: order whose entry order is open.
_FOR_NOW = frozenset(
    {Meaning.RATE_LIMITED, Meaning.BUSY, Meaning.SETTLING, Meaning.CLOCK, Meaning.ENTRY_OPEN}
)


class Weight(IntEnum):
    """How much an answer counts beside others about the same id. Of two alike the later counts."""

    NOTHING = 0  #: it was not sent
    REQUEST = 1  #: the whole request was refused: an earlier one may have canceled the order
    UNCERTAIN = 2  #: unknown, open, not found, or the order's cancel refused: the order may be live
    CLOSED = 3  #: an order that was closed stays closed
    ACCEPTED = 4  #: an instruction that was taken stays taken


_WEIGHTS: dict[CancelStatus, Weight] = {
    CancelStatus.UNSENT: Weight.NOTHING,
    CancelStatus.REJECTED: Weight.UNCERTAIN,
    CancelStatus.UNKNOWN: Weight.UNCERTAIN,
    CancelStatus.OPEN: Weight.UNCERTAIN,
    CancelStatus.NOT_FOUND: Weight.UNCERTAIN,
    CancelStatus.CLOSED: Weight.CLOSED,
    CancelStatus.ACCEPTED: Weight.ACCEPTED,
}


def weight(status: CancelStatus, meaning: Meaning | None) -> Weight:
    """Say how much an answer counts; ``meaning`` matters where the status is ``REJECTED``."""
    return Weight.REQUEST if meaning in OF_THE_REQUEST else _WEIGHTS[status]


class Finding(Struct, frozen=True, gc=False):
    """What one attempt says of one order id, or of a whole call."""

    meaning: Meaning
    code: int | None = None
    message: str = ""

    @property
    def weight(self) -> Weight:
        """How much it counts beside other findings about the same id."""
        return weight(STATUS[self.meaning][0], self.meaning)


ACCEPTED = Finding(Meaning.ACCEPTED)


class OrderResult(Struct, frozen=True, gc=False):
    """What became of one order id.

    Args:
        order_id: the id as given; a client order id where those were given.
        status: what is known of the cancel.
        code: the exchange's code, if there is one.
        message: the exchange's words or, without a code, ours.
        reason: why the order was not open any more, if ``status`` is ``CLOSED``.
        attempts: the number of requests that carried the id.
        state: the order's own state, where ``confirm`` found one.
        meaning: what the refusal meant, if ``status`` is ``REJECTED``; without one, ``code`` tells.
        source: the call that carried it, where that was one of several: see ``client.cancel``.
    """

    order_id: str
    status: CancelStatus
    code: int | None = None
    message: str = ""
    reason: CloseReason | None = None
    attempts: int = 0
    state: OrderState | None = None
    meaning: Meaning | None = None
    source: "Source | None" = None

    @property
    def retryable(self) -> bool:
        """Whether another cancel may help.

        ``True`` for an order that is unknown, unsent or open, and for a refusal that passes: for
        the rate, by a busy or settling exchange, or for the clock. ``False`` for definite answers,
        and for refusals of the account, the parameters or the order.
        """
        return _retryable(self)

    @property
    def unsettled(self) -> bool:
        """Whether a query could tell more: accepted, unknown or canceling, and no final state."""
        if self.state is not None and self.state.final:
            return False
        uncertain = (CancelStatus.ACCEPTED, CancelStatus.UNKNOWN, CancelStatus.OPEN)
        return self.status in uncertain or self.reason is CloseReason.CANCELING

    def confirmed(self, state: OrderState | None, not_found: str = "") -> "OrderResult":
        """Return this result with what a query told; ``None`` if it knows no such order.

        What the exchange said of the cancel stands. Where nothing was known, the state decides.
        ``not_found`` is the message for an order that the query does not know; the exchange's own
        words about the cancel stand.
        """
        status, reason, code, message = self.status, self.reason, self.code, self.message
        if status in (CancelStatus.UNKNOWN, CancelStatus.OPEN):
            status, reason = _SETTLED[state] if state else (CancelStatus.NOT_FOUND, None)
        if state is None and not_found and (status is not self.status or code is None):
            code, message = None, not_found
        return replace(self, status=status, reason=reason, code=code, message=message, state=state)

    def merged(self, later: "OrderResult") -> "OrderResult":
        """Return what this result and a later one about the same order say together."""
        mine, theirs = (weight(it.status, _refusal(it)) for it in (self, later))
        chosen = later if theirs >= mine else self
        state = self.state if later.state is None else later.state
        return replace(chosen, attempts=self.attempts + later.attempts, state=state)


class Source(Struct, frozen=True, gc=False):
    """Which orders a result is about: an id is one order's only together with its source.

    Args:
        endpoint: the cancel endpoint's name, as in ``htx_cancel.endpoints.ENDPOINTS``.
        contract_code: the contract, such as ``"BTC-USD"``.
        field: ``"order_id"`` or ``"client_order_id"``; of v5 algo orders ``"algo_id"`` or
            ``"algo_client_order_id"``.
    """

    endpoint: str
    contract_code: str
    field: str = "order_id"

    @property
    def product(self) -> str:
        """The product, such as ``coin_m_swap``."""
        return self.endpoint.partition(".")[0]

    @property
    def kind(self) -> str:
        """The kind of orders, such as ``trigger_orders``."""
        return self.endpoint.partition(".cancel_")[2].removeprefix("all_")


class Refusal(Struct, frozen=True):
    """A refusal of the whole account, such as a wrong key: it stopped the call.

    Args:
        code: the exchange's code, if there is one.
        message: the exchange's words.
    """

    code: int | None
    message: str


def refusal(finding: Finding | None) -> Refusal | None:
    """Turn what stopped a call, if anything did, into what its outcome says."""
    return None if finding is None else Refusal(finding.code, finding.message)


class CallResult(Struct, frozen=True, gc=False):
    """What became of a call that names no ids; the fields are those of ``OrderResult``."""

    status: CancelStatus
    code: int | None = None
    message: str = ""
    attempts: int = 0
    meaning: Meaning | None = None

    @property
    def retryable(self) -> bool:
        """Whether another call may help; see ``OrderResult.retryable``."""
        return _retryable(self)


def _refusal(result: OrderResult | CallResult) -> Meaning | None:
    """Return what a refusal meant; ``None`` if it was none, or nobody knows."""
    if result.status is not CancelStatus.REJECTED:
        return None
    if result.meaning is None and result.code is not None:
        return CODES.get(result.code)
    return result.meaning


def _retryable(result: OrderResult | CallResult) -> bool:
    if result.status is CancelStatus.REJECTED:
        return _refusal(result) in _FOR_NOW
    return result.status in _LIVE


def order_result(order_id: str, finding: Finding, attempts: int) -> OrderResult:
    """Turn what is known of an id into its result."""
    status, reason = STATUS[finding.meaning]
    meaning = finding.meaning if status is CancelStatus.REJECTED else None
    return OrderResult(
        order_id, status, finding.code, finding.message, reason, attempts, None, meaning
    )


def call_result(finding: Finding, attempts: int) -> CallResult:
    """Turn what is known of a whole call into its result."""
    status = STATUS[finding.meaning][0]
    meaning = finding.meaning if status is CancelStatus.REJECTED else None
    return CallResult(status, finding.code, finding.message, attempts, meaning)


class Part(Struct, frozen=True):
    """Results of one source that stand next to each other in an outcome, by batch."""

    source: Source
    batches: Sequence[tuple[OrderResult, ...]]


#: Where the results of a hand-made outcome come from, unless it says so.
NO_SOURCE = Source("", "")

ALL_ACCEPTED = CallResult(CancelStatus.ACCEPTED)

#: Results a batch in outcomes that are merged or made by hand.
_BATCH = 100


class Outcome:
    """Every distinct id of a call, once, in the order given, with its status.

    Iterating, ``len``, ``counts`` and ``settled`` are cheap at any size. ``results``, the views by
    status and look-ups by id are built once, when first asked for: 4 ms for 100,000 ids.

    Attributes:
        error: the account-wide refusal that stopped the call, or ``None``. While it lasts, trying
            again does not help.
        retry_in: the seconds until the first of what was unsent for lack of a token could leave,
            measured when the outcome was made; ``None`` if nothing was.
        calls: what became of each call in it that names no ids.
        parts: the results by source, in order; the outcome of one call has one part.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        counts: Mapping[CancelStatus, int],
        *,
        error: Refusal | None = None,
        retry_in: float | None = None,
        calls: tuple[CallResult, ...] = (),
    ) -> None:
        self.parts = tuple(parts)
        self.error = error
        self.retry_in = retry_in
        self.calls = calls
        self._counts = counts

    @classmethod
    def of(
        cls,
        results: Iterable[OrderResult],
        *,
        source: Source = NO_SOURCE,
        error: Refusal | None = None,
        retry_in: float | None = None,
    ) -> Self:
        """Make an outcome by hand, for tests of code that reads outcomes.

        ``Outcome.of([OrderResult("7", CancelStatus.ACCEPTED)])`` has all views and can be merged.
        Give a ``source`` to merge it with outcomes of that source, or to confirm it.

        Raises:
            InvalidTypeError: if one of ``results`` is not an ``OrderResult``.
            InvalidValueError: if two of them have the same id.
        """
        listed = list(results)
        for result in listed:
            if not isinstance(result, OrderResult):
                raise InvalidTypeError(f"each result must be an OrderResult, got {result!r}")
        ids = Counter(result.order_id for result in listed)
        if len(ids) < len(listed):
            twice = ids.most_common(1)[0][0]
            raise InvalidValueError(f"results must hold each id once, got {twice!r} twice")
        parts = [Part(source, _cut(listed))] if listed else []
        return cls(parts, _counted(listed), error=error, retry_in=retry_in)

    @staticmethod
    def merge(*outcomes: "Outcome") -> "Outcome":
        """Say what several outcomes, earliest first, mean together: one result for every id.

        Of two answers about an id the one that says more counts, and of two that say as much the
        later. From most to least:

        1. accepted;
        2. closed;
        3. unknown, open, not found, or the cancel of this order was refused;
        4. the whole request was refused, for the rate, the clock, the account, or as busy;
        5. unsent.

        Ids stand in the order in which they first appear. ``attempts`` are added up, and a later
        ``state`` is kept. An id is the same only where its source is: two contracts, two endpoints,
        or an order id and a client order id are never merged; ``outcome[order_id]`` returns the
        first. ``error`` and ``retry_in`` are the last outcome's. What became of every call that
        names no ids is kept in ``calls``: while one is neither accepted nor not found, the merged
        outcome is not ``settled``, even if a later call was accepted, since the two may have had
        other filters. One outcome alone is returned as it is. It takes about a microsecond an id,
        in one go.

        Raises:
            InvalidTypeError: if one of them is not an ``Outcome``.
            InvalidValueError: if there is none.
        """
        if not outcomes:
            raise InvalidValueError("one outcome or more must be given, got none")
        for outcome in outcomes:
            if not isinstance(outcome, Outcome):
                raise InvalidTypeError(f"each outcome must be an Outcome, got {outcome!r}")
        if len(outcomes) == 1:
            return outcomes[0]
        merged: list[tuple[Source, OrderResult]] = []
        places: defaultdict[Source, dict[str, int]] = defaultdict(dict)
        for part in chain.from_iterable(outcome.parts for outcome in outcomes):
            known = places[part.source]
            for result in chain.from_iterable(part.batches):
                place = known.setdefault(result.order_id, len(merged))
                if place == len(merged):
                    merged.append((part.source, result))
                else:
                    merged[place] = (part.source, merged[place][1].merged(result))
        return Outcome(
            [
                Part(source, _cut([result for _, result in run]))
                for source, run in groupby(merged, key=itemgetter(0))
            ],
            _counted(result for _, result in merged),
            error=outcomes[-1].error,
            retry_in=outcomes[-1].retry_in,
            calls=tuple(chain.from_iterable(outcome.calls for outcome in outcomes)),
        )

    def with_parts(
        self,
        parts: Sequence[Part],
        counts: Mapping[CancelStatus, int],
        error: Refusal | None = None,
    ) -> "Outcome":
        """Return this outcome with other results, and with another error if there is one."""
        error = error or self.error
        return type(self)(parts, counts, error=error, retry_in=self.retry_in, calls=self.calls)

    def __iter__(self) -> Iterator[OrderResult]:
        batches = chain.from_iterable(part.batches for part in self.parts)
        return chain.from_iterable(batches)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __getitem__(self, order_id: str | int) -> OrderResult:
        """Return the first result of an id; ``KeyError`` if the call did not carry it."""
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
        by_id: dict[str, OrderResult] = {}
        for result in self:
            by_id.setdefault(result.order_id, result)
        return by_id

    @cached_property
    def _groups(self) -> dict[CancelStatus, tuple[OrderResult, ...]]:
        groups: defaultdict[CancelStatus, list[OrderResult]] = defaultdict(list)
        for result in self:
            groups[result.status].append(result)
        return {status: tuple(group) for status, group in groups.items()}

    @property
    def counts(self) -> dict[CancelStatus, int]:
        """How many ids have each status; statuses nobody has are left out."""
        return {each: self._counts[each] for each in CancelStatus if each in self._counts}

    @property
    def settled(self) -> bool:
        """Whether nothing may be live: ``live`` is empty, and so is what ``calls`` left open.

        A call that names no ids left nothing open if it is ``ACCEPTED`` or ``NOT_FOUND``.
        """
        done = (CancelStatus.ACCEPTED, CancelStatus.NOT_FOUND)
        return self._counts.keys().isdisjoint(_LIVE) and all(it.status in done for it in self.calls)

    @cached_property
    def live(self) -> tuple[OrderResult, ...]:
        """What may be live: rejected, unknown, unsent and open, in the order given."""
        return self.with_status(*_LIVE)

    def with_status(self, *statuses: CancelStatus) -> tuple[OrderResult, ...]:
        """Return the results that have one of these statuses, in the order given."""
        there = [status for status in dict.fromkeys(statuses) if status in self._groups]
        if len(there) > 1:
            return tuple(result for result in self if result.status in there)
        return self._groups[there[0]] if there else ()

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
        """The exchange knows no such order here; by client order id it may be live."""
        return self.with_status(CancelStatus.NOT_FOUND)

    @property
    def rejected(self) -> tuple[OrderResult, ...]:
        """The exchange refused; ``retryable`` where that was for now only."""
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
        calls = ", ".join(call.status for call in self.calls)
        told = f"; call{'s' * (len(self.calls) > 1)} {calls}" if calls else ""
        return f"<{type(self).__name__} of {len(self)} ids: {counts or 'nothing to do'}{told}>"


class CancelAllOutcome(Outcome):
    """The outcome of a call that names no ids: the ids its reply lists, and what became of it.

    ``call.status`` is ``ACCEPTED`` where the exchange took the instruction and ``NOT_FOUND``
    where it says that nothing was open; any other status says that orders may still be open,
    whatever ``results`` holds.
    """

    @classmethod
    def of(
        cls,
        results: Iterable[OrderResult] = (),
        *,
        source: Source = NO_SOURCE,
        error: Refusal | None = None,
        retry_in: float | None = None,
        call: CallResult = ALL_ACCEPTED,
    ) -> Self:
        """Make an outcome by hand; see ``Outcome.of``. ``call`` is accepted unless given."""
        made = Outcome.of(results, source=source)
        return cls(made.parts, made.counts, error=error, retry_in=retry_in, calls=(call,))

    @property
    def call(self) -> CallResult:
        """What became of the call."""
        return self.calls[0]


class Tally:
    """Collects the results of a call's batches, in any order, into one outcome."""

    def __init__(self, batches: int) -> None:
        self._batches: list[tuple[OrderResult, ...]] = [()] * batches
        self.counts: dict[CancelStatus, int] = {}

    def put(self, number: int, results: tuple[OrderResult, ...]) -> None:
        """Take the results of batch ``number``, once."""
        self._batches[number] = results
        counts = self.counts
        for result in results:
            counts[result.status] = counts.get(result.status, 0) + 1

    def part(self, source: Source) -> Part:
        """Return everything put so far as a part of an outcome."""
        return Part(source, self._batches)


def _cut(results: list[OrderResult]) -> tuple[tuple[OrderResult, ...], ...]:
    """Cut results into batches, for whoever works on an outcome a batch at a time."""
    return tuple(tuple(results[at : at + _BATCH]) for at in range(0, len(results), _BATCH))


def _counted(results: Iterable[OrderResult]) -> dict[CancelStatus, int]:
    return Counter(result.status for result in results)
