"""Tables for people: plans, statuses and reasons."""

from collections.abc import Iterable

from rich import box
from rich.table import Table

from htx_cancel import CancelStatus
from htx_cancel.cli.groups import Workload, label
from htx_cancel.cli.progress import EndpointProgress
from htx_cancel.cli.summary import Reason

_STYLES = {
    CancelStatus.ACCEPTED: "green",
    CancelStatus.CLOSED: "cyan",
    CancelStatus.NOT_FOUND: "blue",
    CancelStatus.REJECTED: "red",
    CancelStatus.UNKNOWN: "bold yellow",
    CancelStatus.UNSENT: "bold magenta",
    CancelStatus.OPEN: "bold yellow",
}
_REASONS = 15  #: rows of the table of reasons
_WIDE = 4  #: columns of statuses that fit 80 characters beside whole names
_LONG = 14  #: characters of a name that fit beside all of them
_BESIDE_MESSAGE = 32  #: characters of its other columns


def make_table(*headings: str, title: str) -> Table:
    """Return an empty table: names to the left, numbers to the right."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        title=f"\n{title}",
        title_justify="left",
    )
    table.add_column(headings[0], overflow="fold", vertical="bottom")
    for heading in headings[1:]:
        table.add_column(heading, justify="right", vertical="bottom")
    return table


def status_table(progress: Iterable[EndpointProgress], *, title: str) -> Table:
    """Tabulate how many ids have each status that any of them has."""
    rows = list(progress)
    used = [status for status in CancelStatus if any(row.counts[status] for row in rows)]
    names = [status.replace("_", "\n") for status in used]
    table = make_table("endpoint", "ids", *names, "seconds", title=title)
    for column, status in zip(table.columns[2:], used, strict=False):
        column.style = _STYLES[status]
    narrow = len(used) > _WIDE
    if narrow:
        table.padding = 0
    for row in rows:
        name = label(row.workload.endpoint)
        counts = [f"{row.counts[status]:,}" if row.counts[status] else "-" for status in used]
        table.add_row(
            _broken(name) if narrow else name, f"{row.known:,}", *counts, f"{row.took:.2f}"
        )
    return table


def _broken(name: str) -> str:
    """Break a long name at its blank."""
    return "\n".join(name.split(" ", 1)) if len(name) > _LONG else name


def reason_table(reasons: list[tuple[Reason, int]], *, width: int) -> Table:
    """Tabulate why ids were neither accepted nor closed, one line each."""
    table = make_table("status", "code", "message", "ids", title="Neither accepted nor closed")
    message = table.columns[2]
    message.justify, message.overflow = "left", "ellipsis"
    message.max_width = max(width - _BESIDE_MESSAGE, 20)
    for column in table.columns:
        column.no_wrap = True
    for reason, ids in reasons[:_REASONS]:
        status, code = reason.status.replace("_", " "), reason.code
        cells = (status, "-" if code is None else str(code), reason.message, f"{ids:,}")
        table.add_row(*cells, style=_STYLES[reason.status])
    if others := reasons[_REASONS:]:
        rest = sum(ids for _, ids in others)
        table.add_row("", "", f"{len(others):,} other reasons", f"{rest:,}")
    return table


def budget(workload: Workload) -> str:
    """Name a limit as the exchange states it."""
    return f"{workload.limit.calls} / {workload.limit.seconds:g} s"
