"""Sum up a run: tables, reasons, warnings, and whether anything is left to do.

Rules:

* Every result that is neither accepted nor closed has a reason: its status, code and message.
* Messages that differ only in their numbers are one reason, and the first of them is shown.
* An order may be live if it is rejected, unknown, unsent or open. So may any order of a cancel-all,
  unless the cancel-all was accepted or found nothing.
* A run that found none of its orders is not settled.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec import Struct
from rich.table import Table

from htx_cancel import CallResult, CancelStatus, OrderResult
from htx_cancel.cli.groups import SETTLED, Group, label
from htx_cancel.cli.progress import EndpointProgress
from htx_cancel.cli.shell import count_cell, make_table, printable

_STYLES = {
    CancelStatus.ACCEPTED: "green",
    CancelStatus.CLOSED: "cyan",
    CancelStatus.NOT_FOUND: "blue",
    CancelStatus.REJECTED: "red",
    CancelStatus.UNKNOWN: "bold yellow",
    CancelStatus.UNSENT: "bold magenta",
    CancelStatus.OPEN: "bold yellow",
}
_MAX_REASONS = 15  #: rows of the table of reasons
_MAX_STATUSES = 4  #: columns of statuses that fit 80 characters beside unbroken names
_MAX_NAME = 14  #: characters of a name that fit beside all columns of statuses
_OTHER_COLUMNS = 32  #: characters of the columns beside the messages of reasons
_NUMBER = re.compile(r"\d[\d.,]*")


class Reason(Struct, frozen=True):
    """Why ids were neither accepted nor closed."""

    status: CancelStatus
    code: int | None
    message: str


class Summary:
    """Counts the final results of a run."""

    def __init__(self) -> None:
        self.counts: Counter[CancelStatus] = Counter()
        self._shown: dict[Reason, Reason] = {}
        self._ids: Counter[Reason] = Counter()
        self._calls: list[tuple[Group, CallResult]] = []

    def add(self, group: Group, results: Iterable[OrderResult | CallResult]) -> None:
        """Count the final results of a group."""
        for result in results:
            if isinstance(result, OrderResult):
                self.counts[result.status] += 1
            else:
                self._calls.append((group, result))
            if result.status not in (CancelStatus.ACCEPTED, CancelStatus.CLOSED):
                self._count_reason(result)

    def _count_reason(self, result: OrderResult | CallResult) -> None:
        message = printable(result.message)
        reason = Reason(result.status, result.code, message)
        pattern = Reason(result.status, result.code, _NUMBER.sub("#", message))
        self._ids[self._shown.setdefault(pattern, reason)] += 1

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
        """Return a sentence for everything that needs attention."""
        live = [status for status in CancelStatus if self.counts[status] and status not in SETTLED]
        if live:
            number = sum(self.counts[status] for status in live)
            parts = ", ".join(f"{self.counts[status]:,} {status}" for status in live)
            yield f"{number:,} {'order' if number == 1 else 'orders'} may be live: {parts}."
        for group, result in self._calls:
            if result.status not in SETTLED:
                name = f"{group.endpoint.name} {group.title}"
                yield f"Orders may be open: the call {name} is {result.status}."
        if self.found_none:
            number = self.counts.total()
            yield f"None of the {number:,} orders was found: check contract_code and account."


def status_table(progress: Iterable[EndpointProgress]) -> Table:
    """Tabulate the number of ids by status, for the statuses that occur."""
    rows = list(progress)
    used = [status for status in CancelStatus if any(row.counts[status] for row in rows)]
    headings = [status.replace("_", "\n") for status in used]
    table = make_table("endpoint", "ids", *headings, "seconds", title="Results by endpoint")
    for column, status in zip(table.columns[2:], used, strict=False):
        column.style = _STYLES[status]
    narrow = len(used) > _MAX_STATUSES
    if narrow:
        table.padding = 0
    for row in rows:
        name = label(row.workload.endpoint)
        if narrow and len(name) > _MAX_NAME:
            name = name.replace(" ", "\n", 1)
        counts = [count_cell(row.counts[status]) for status in used]
        table.add_row(name, f"{row.known:,}", *counts, f"{row.seconds:.2f}")
    return table


def reason_table(reasons: list[tuple[Reason, int]], *, width: int) -> Table:
    """Tabulate why ids were neither accepted nor closed, one line per reason."""
    table = make_table("status", "code", "message", "ids", title="Neither accepted nor closed")
    message = table.columns[2]
    message.justify, message.overflow = "left", "ellipsis"
    message.max_width = max(width - _OTHER_COLUMNS, 20)
    for column in table.columns:
        column.no_wrap = True
    for reason, ids in reasons[:_MAX_REASONS]:
        status, code = reason.status.replace("_", " "), reason.code
        cells = (status, "-" if code is None else str(code), reason.message, f"{ids:,}")
        table.add_row(*cells, style=_STYLES[reason.status])
    if others := reasons[_MAX_REASONS:]:
        rest = sum(ids for _, ids in others)
        table.add_row("", "", f"{len(others):,} other reasons", f"{rest:,}")
    return table
