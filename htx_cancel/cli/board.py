"""Draw what happens: bars in a terminal, else a line now and then, and tables at the end."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from htx_cancel import CancelStatus
from htx_cancel.cli.groups import Load

PLAIN_EVERY = 5.0  #: seconds between two lines where there is no terminal

_STYLES = {
    CancelStatus.ACCEPTED: "green",
    CancelStatus.CLOSED: "cyan",
    CancelStatus.NOT_FOUND: "blue",
    CancelStatus.REJECTED: "red",
    CancelStatus.UNKNOWN: "bold yellow",
    CancelStatus.UNSENT: "bold magenta",
    CancelStatus.OPEN: "bold yellow",
}


class Score:
    """What is known of an endpoint's ids so far, and how many seconds it took to know it."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.counts: Counter[CancelStatus] = Counter()
        self.took = 0.0

    @property
    def known(self) -> int:
        """How many ids have a status; a call that names none may list any number."""
        return self.counts.total()

    @property
    def total(self) -> int:
        """How many ids there are."""
        return max(self.known, self.load.ids)


class _Pace(ProgressColumn):
    """Seconds so far beside the least that the limit allows."""

    def render(self, task: Task) -> Text:
        """Draw it."""
        seconds = task.finished_time if task.finished else task.elapsed
        return Text(
            f"{seconds or 0:.1f} s, least {task.fields['least']:.0f} s", "dim", justify="right"
        )


class Board:
    """Counts what becomes known, by endpoint, and shows it; a context manager."""

    def __init__(self, console: Console, loads: Mapping[str, Load], *, live: bool) -> None:
        self.scores = {name: Score(load) for name, load in loads.items()}
        self._console = console
        self._live = live
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}", justify="right"),
            _Pace(),
            console=console,
            expand=True,
            disable=not live,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks = {
            name: self._bars.add_task(name, total=load.ids, least=load.least)
            for name, load in loads.items()
        }

    def __enter__(self) -> Self:
        self._began = self._told = asyncio.get_running_loop().time()
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def count(self, name: str, statuses: Iterable[CancelStatus]) -> None:
        """Take what became known of ids at an endpoint."""
        score, now = self.scores[name], asyncio.get_running_loop().time()
        score.counts.update(statuses)
        score.took = now - self._began
        self._bars.update(self._tasks[name], completed=score.known, total=score.total)
        if not self._live and now - self._told >= PLAIN_EVERY:
            self._told = now
            self._say(now - self._began)

    def _say(self, seconds: float) -> None:
        known = sum(score.known for score in self.scores.values())
        total = sum(score.total for score in self.scores.values())
        self._console.print(f"{seconds:.0f} s: {known:,} of {total:,} ids")


def grid(*headings: str, title: str) -> Table:
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


def statuses(scores: Iterable[Score], *, title: str) -> Table:
    """Tabulate how many ids have each status that any of them has."""
    rows = list(scores)
    used = [status for status in CancelStatus if any(row.counts[status] for row in rows)]
    names = [status.replace("_", "\n") for status in used]
    table = grid("endpoint", "ids", *names, "seconds", title=title)
    for column, status in zip(table.columns[2:], used, strict=False):
        column.style = _STYLES[status]
    for row in rows:
        counts = [f"{row.counts[status]:,}" if row.counts[status] else "-" for status in used]
        table.add_row(row.load.endpoint.name, f"{row.known:,}", *counts, f"{row.took:.2f}")
    return table


def budget(load: Load) -> str:
    """Name a limit as the exchange states it."""
    return f"{load.limit.calls} / {load.limit.seconds:g} s"
