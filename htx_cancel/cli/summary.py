"""What the last lines of a run say: the reasons, the orders that may be live, and the exit code.

Rules:

* Everything that is neither accepted nor closed has a reason: its status, code and message.
* Messages that differ in their numbers only are one reason, shown as the first of them.
* An order may be live if it is rejected, unknown, unsent or open; so may any order of a call that
  names none, unless that call was accepted or found nothing.
* A run that found none of its orders is not settled.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec import Struct

from htx_cancel import CallResult, CancelStatus, OrderResult
from htx_cancel.cli.groups import SETTLED, Group

MAY_BE_LIVE = tuple(status for status in CancelStatus if status not in SETTLED)

_DONE = (CancelStatus.ACCEPTED, CancelStatus.CLOSED)
_NUMBER = re.compile(r"\d[\d.,]*")
_LONGEST = 200  #: characters of a message


class Reason(Struct, frozen=True):
    """Why ids were neither accepted nor closed."""

    status: CancelStatus
    code: int | None
    message: str


class Summary:
    """Counts the final results of a run."""

    def __init__(self) -> None:
        self.counts: Counter[CancelStatus] = Counter()
        self._reasons: dict[Reason, Reason] = {}
        self._ids: Counter[Reason] = Counter()
        self._calls: list[tuple[Group, CallResult]] = []

    def add(self, group: Group, results: Iterable[OrderResult | CallResult]) -> None:
        """Take the final results of a group."""
        for result in results:
            if isinstance(result, OrderResult):
                self.counts[result.status] += 1
            else:
                self._calls.append((group, result))
            if result.status not in _DONE:
                self._note(result)

    def _note(self, result: OrderResult | CallResult) -> None:
        message = "".join(each if each.isprintable() else " " for each in result.message)[:_LONGEST]
        shown = Reason(result.status, result.code, message)
        alike = Reason(result.status, result.code, _NUMBER.sub("#", message))
        self._ids[self._reasons.setdefault(alike, shown)] += 1

    @property
    def reasons(self) -> list[tuple[Reason, int]]:
        """Each reason with the number of its ids, the most frequent first."""
        return self._ids.most_common()

    @property
    def found_none(self) -> bool:
        """Whether there were ids and the exchange knew none of them."""
        return set(self.counts) == {CancelStatus.NOT_FOUND}

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do or to look at."""
        statuses = {*self.counts, *(result.status for _, result in self._calls)}
        return statuses <= SETTLED and not self.found_none

    def warnings(self) -> Iterator[str]:
        """Say what somebody has to look at."""
        live = {status: self.counts[status] for status in MAY_BE_LIVE if self.counts[status]}
        if live:
            parts = ", ".join(f"{count:,} {status}" for status, count in live.items())
            number = sum(live.values())
            yield f"{number:,} {'order' if number == 1 else 'orders'} may be live: {parts}."
        for group, result in self._calls:
            if result.status not in SETTLED:
                name = f"{group.endpoint.name} {group.title}"
                yield f"Orders may be open: the call {name} is {result.status}."
        if self.found_none:
            number = self.counts.total()
            yield f"None of the {number:,} orders was found: check contract_code and account."
