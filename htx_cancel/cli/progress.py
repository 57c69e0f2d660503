"""Show the progress of a run: bars in a terminal, and elsewhere a line every few seconds.

Rules:

* Progress is the number of ids that have an answer. Unsent and unknown ids are counted apart.
* Without bars a line is printed at least every ``LINE_INTERVAL`` seconds, and one at the end.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Self

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from htx_cancel import CancelStatus
from htx_cancel.cli.groups import Workload, label

LINE_INTERVAL = 5.0  #: seconds between two lines

_UNANSWERED = (CancelStatus.UNSENT, CancelStatus.UNKNOWN)


class EndpointProgress:
    """The statuses known so far of an endpoint's ids, and the seconds until the last of them."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.counts: Counter[CancelStatus] = Counter()
        self.seconds = 0.0

    @property
    def known(self) -> int:
        """The number of ids that have a status. A cancel-all may list any number of ids."""
        return self.counts.total()

    @property
    def answered(self) -> int:
        """The number of ids that the exchange has answered."""
        return self.known - sum(self.counts[status] for status in _UNANSWERED)

    @property
    def total(self) -> int:
        """The number of ids."""
        return max(self.known, self.workload.ids)


class ProgressView:
    """Counts results by endpoint and shows the counts; a context manager."""

    def __init__(self, console: Console, workloads: Mapping[str, Workload], *, live: bool) -> None:
        self.endpoints = {name: EndpointProgress(work) for name, work in workloads.items()}
        self._console = console
        self._live = live
        self._min_seconds = max((work.min_seconds for work in workloads.values()), default=0.0)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}", justify="right"),
            TextColumn("{task.fields[unanswered]}", style="yellow"),
            TextColumn(
                "{task.elapsed:.1f} s, min {task.fields[min]:.0f} s",
                style="dim",
                justify="right",
                table_column=Column(no_wrap=True),
            ),
            console=console,
            expand=True,
        )
        # A terminal prints ^C at the cursor; two columns are left free for it.
        self._drawing = drawing(
            console,
            lambda: Constrain(self._bars.get_renderable(), console.width - 2),
            transient=False,
        )
        self._tasks = {
            name: self._bars.add_task(
                label(work.endpoint), total=work.ids, min=work.min_seconds, unanswered=""
            )
            for name, work in workloads.items()
        }

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        if self._live:
            self._drawing.start(refresh=True)
        else:
            self._timer = self._loop.call_later(LINE_INTERVAL, self._tick)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._drawing.stop()
        else:
            self._timer.cancel()
            self._print_line()

    def count(self, name: str, statuses: Iterable[CancelStatus]) -> None:
        """Count new statuses of an endpoint's ids."""
        progress = self.endpoints[name]
        progress.counts.update(statuses)
        progress.seconds = self._loop.time() - self._started
        self._bars.update(
            self._tasks[name],
            completed=progress.answered,
            total=progress.total,
            unanswered=_unanswered(progress.counts),
        )
        if progress.known == progress.total:
            self._bars.stop_task(self._tasks[name])

    def _tick(self) -> None:
        self._print_line()
        self._timer = self._loop.call_later(LINE_INTERVAL, self._tick)

    def _print_line(self) -> None:
        seconds = self._loop.time() - self._started
        rows = self.endpoints.values()
        answered, total = sum(row.answered for row in rows), sum(row.total for row in rows)
        unanswered = _unanswered(sum((row.counts for row in rows), Counter()))
        self._console.print(
            f"{seconds:.0f} s elapsed, minimum {self._min_seconds:.0f} s:"
            f" {answered:,} of {total:,} ids answered{unanswered and f', {unanswered}'}",
            soft_wrap=True,
        )


def drawing(
    console: Console, render: Callable[[], RenderableType], *, transient: bool = True
) -> Live:
    """Return a context manager that redraws a renderable; ``transient`` removes it at the end."""
    return Live(
        get_renderable=render,
        console=console,
        transient=transient,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def can_draw(console: Console) -> bool:
    """Return whether the console is a terminal that can move its cursor, as bars need."""
    return console.is_terminal and not console.is_dumb_terminal


def _unanswered(counts: Counter[CancelStatus]) -> str:
    return ", ".join(f"{counts[status]:,} {status}" for status in _UNANSWERED if counts[status])
