"""Define the outcome of one call or of several: the result of every order id.

An outcome stores results by batch. It joins and groups them once, on first use.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, groupby
from typing import Self

from msgspec import Struct

from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.results import CallResult, OrderResult, Refusal, Source
from htx_cancel.status import LIVE, CancelStatus


class Part(Struct, frozen=True):
    """Adjacent results of one source in an outcome, by batch."""

    source: Source
    batches: Sequence[tuple[OrderResult, ...]]


#: The source of a hand-made outcome that was given none.
NO_SOURCE = Source("", "")

ALL_ACCEPTED = CallResult(CancelStatus.ACCEPTED)

#: Results per batch in outcomes that are merged or hand-made.
_BATCH_SIZE = 100


class Outcome:
    """The result of every distinct id of a call, once, in the order given.

    Iterating, ``len``, ``counts`` and ``settled`` are cheap at any size. ``results``, the views by
    status and look-ups by id are built once, on first use: 4 ms for 100,000 ids.

    Attributes:
        error: the ``Refusal`` of the whole account that stopped the call, or ``None``. As long as
            its cause lasts, another call does not help.
        retry_in: the seconds until the first id that was ``UNSENT`` for lack of a token can be
            sent, measured when the outcome was made; ``None`` if there was no such id.
        calls: a ``CallResult`` for each call in this outcome that names no ids.
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
        """Make an outcome by hand, to test code that reads outcomes.

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
        parts = [Part(source, in_batches(listed))] if listed else []
        counts = Counter(result.status for result in listed)
        return cls(parts, counts, error=error, retry_in=retry_in)

    @staticmethod
    def merge(*outcomes: "Outcome") -> "Outcome":
        """Merge outcomes, earliest first, into one that has one result for every order.

        Of two results of an order the one that stands higher in this list prevails; of two that
        stand equally high, the later:

        1. accepted;
        2. closed;
        3. unknown, open, not found, or the cancel of this order was refused;
        4. the whole request was refused: for the rate, for the clock, for the account, or by a
           busy or settling exchange;
        5. unsent.

        ``attempts`` are added up, and the latest ``state`` that is known is taken. Orders stand
        where they first appear. Equal ids name the same order only if their sources are equal: ids
        of two contracts, of two endpoints, or an order id and a client order id are never merged;
        ``outcome[order_id]`` returns the first.

        ``error`` and ``retry_in`` are those of the last outcome. ``calls`` has the calls of all:
        as long as one of them is neither accepted nor not found, the merged outcome is not
        ``settled``, even if a later call was accepted, because the two may have had other filters.

        A single outcome is returned unchanged. Merging takes about a microsecond per id and does
        not yield to the event loop.

        Raises:
            InvalidTypeError: if an argument is not an ``Outcome``.
            InvalidValueError: if there is no argument.
        """
        if not outcomes:
            raise InvalidValueError("one outcome or more must be given, got none")
        for outcome in outcomes:
            if not isinstance(outcome, Outcome):
                raise InvalidTypeError(f"each outcome must be an Outcome, got {outcome!r}")
        if len(outcomes) == 1:
            return outcomes[0]
        merged: dict[tuple[Source, str], OrderResult] = {}
        for part in chain.from_iterable(outcome.parts for outcome in outcomes):
            for result in chain.from_iterable(part.batches):
                key = (part.source, result.order_id)
                earlier = merged.get(key)
                merged[key] = result if earlier is None else earlier.merged(result)
        return Outcome(
            [
                Part(source, in_batches([result for _, result in run]))
                for source, run in groupby(merged.items(), key=lambda item: item[0][0])
            ],
            Counter(result.status for result in merged.values()),
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
        """Return this outcome with other results, and with ``error`` unless it is ``None``."""
        error = error or self.error
        return type(self)(parts, counts, error=error, retry_in=self.retry_in, calls=self.calls)

    def __iter__(self) -> Iterator[OrderResult]:
        batches = chain.from_iterable(part.batches for part in self.parts)
        return chain.from_iterable(batches)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __getitem__(self, order_id: str | int) -> OrderResult:
        """Return the first result of an id; raise ``KeyError`` if the call did not have the id."""
        return self._by_id[str(order_id)]

    def __contains__(self, order_id: object) -> bool:
        """Return whether the call had this id."""
        return str(order_id) in self._by_id

    @cached_property
    def results(self) -> tuple[OrderResult, ...]:
        """All results, in the order in which the ids were given."""
        return tuple(self)

    @cached_property
    def _by_id(self) -> dict[str, OrderResult]:
        # reversed, so that the first result of an id is the one that stays
        return {result.order_id: result for result in reversed(self.results)}

    @cached_property
    def _groups(self) -> dict[CancelStatus, tuple[OrderResult, ...]]:
        groups: defaultdict[CancelStatus, list[OrderResult]] = defaultdict(list)
        for result in self:
            groups[result.status].append(result)
        return {status: tuple(group) for status, group in groups.items()}

    @property
    def counts(self) -> dict[CancelStatus, int]:
        """The number of ids by status, without the statuses that no id has."""
        return {status: self._counts[status] for status in CancelStatus if status in self._counts}

    @property
    def settled(self) -> bool:
        """Whether no order may be live: ``live`` is empty, and each of ``calls`` is settled.

        A call that names no ids is settled if it is ``ACCEPTED`` or ``NOT_FOUND``.
        """
        return self._counts.keys().isdisjoint(LIVE) and all(
            call.status in (CancelStatus.ACCEPTED, CancelStatus.NOT_FOUND) for call in self.calls
        )

    @cached_property
    def live(self) -> tuple[OrderResult, ...]:
        """The results of orders that may be live: rejected, unknown, unsent and open ones."""
        return self.with_status(*LIVE)

    def with_status(self, *statuses: CancelStatus) -> tuple[OrderResult, ...]:
        """Return the results that have one of these statuses, in the order given."""
        if len(statuses) == 1:
            return self._groups.get(statuses[0], ())
        return tuple(result for result in self if result.status in statuses)

    @property
    def accepted(self) -> tuple[OrderResult, ...]:
        """The exchange took the instruction to cancel these orders; they may still fill first."""
        return self.with_status(CancelStatus.ACCEPTED)

    @property
    def closed(self) -> tuple[OrderResult, ...]:
        """These orders were not open any more."""
        return self.with_status(CancelStatus.CLOSED)

    @property
    def not_found(self) -> tuple[OrderResult, ...]:
        """The exchange knows no such orders; by client order id they may be live."""
        return self.with_status(CancelStatus.NOT_FOUND)

    @property
    def rejected(self) -> tuple[OrderResult, ...]:
        """The exchange refused these cancels: treat as live, and see ``OrderResult.retryable``."""
        return self.with_status(CancelStatus.REJECTED)

    @property
    def unknown(self) -> tuple[OrderResult, ...]:
        """These cancels were sent and got no trustworthy answer: treat the orders as live."""
        return self.with_status(CancelStatus.UNKNOWN)

    @property
    def unsent(self) -> tuple[OrderResult, ...]:
        """These cancels never left this process: treat the orders as live."""
        return self.with_status(CancelStatus.UNSENT)

    @property
    def open(self) -> tuple[OrderResult, ...]:
        """After ``confirm``: still open, and no cancel is known to be under way. Cancel again."""
        return self.with_status(CancelStatus.OPEN)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        statuses = ", ".join(call.status for call in self.calls)
        calls = f"; call{'s' * (len(self.calls) > 1)} {statuses}" if statuses else ""
        return f"<{type(self).__name__} of {len(self)} ids: {counts or 'nothing to do'}{calls}>"


class CancelAllOutcome(Outcome):
    """The outcome of a call that names no ids: its own result, and those of the ids in its reply.

    ``call.status`` is ``ACCEPTED`` if the exchange took the instruction, and ``NOT_FOUND`` if the
    exchange says that no order was open. With any other status orders may still be open, whatever
    ``results`` holds.
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
        """Make an outcome by hand; see ``Outcome.of``. By default the call was accepted."""
        made = Outcome.of(results, source=source)
        return cls(made.parts, made.counts, error=error, retry_in=retry_in, calls=(call,))

    @property
    def call(self) -> CallResult:
        """The result of the call itself."""
        return self.calls[0]


class Tally:
    """Collect the results of the batches of a call, which may come in any order."""

    def __init__(self, batches: int) -> None:
        self._batches: list[tuple[OrderResult, ...]] = [()] * batches
        self.counts: dict[CancelStatus, int] = {}

    def put(self, number: int, results: tuple[OrderResult, ...]) -> None:
        """Add the results of batch ``number``, which must be added once only."""
        self._batches[number] = results
        counts = self.counts
        for result in results:
            counts[result.status] = counts.get(result.status, 0) + 1

    def part(self, source: Source) -> Part:
        """Return all results as a part of an outcome."""
        return Part(source, self._batches)


def in_batches(results: list[OrderResult]) -> tuple[tuple[OrderResult, ...], ...]:
    """Cut results into batches, because readers of a large outcome pause between its batches."""
    return tuple(
        tuple(results[start : start + _BATCH_SIZE]) for start in range(0, len(results), _BATCH_SIZE)
    )
