"""Show how far a run is: bars in a terminal, and a line every few seconds elsewhere.

Rules:

* Progress is the number of ids that have an answer. Ids that are unsent or unknown stand apart.
* Where no bars can be drawn there is a line at least every ``PLAIN_EVERY`` seconds, and a last one.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from htx_cancel import CancelStatus
from htx_cancel.cli.groups import Workload, label

PLAIN_EVERY = 5.0  #: seconds between two lines where no bars can be drawn

_UNANSWERED = (CancelStatus.UNSENT, CancelStatus.UNKNOWN)


class EndpointProgress:
    """What is known of an endpoint's ids so far, and how many seconds it took to know it."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.counts: Counter[CancelStatus] = Counter()
        self.took = 0.0

    @property
    def known(self) -> int:
        """How many ids have a status; a call that names none may list any number."""
        return self.counts.total()

    @property
    def answered(self) -> int:
        """How many ids have an answer of the exchange."""
        return self.known - sum(self.counts[status] for status in _UNANSWERED)

    @property
    def total(self) -> int:
        """How many ids there are."""
        return max(self.known, self.workload.ids)


class _Pace(ProgressColumn):
    """Seconds so far beside the least that the limit allows."""

    def render(self, task: Task) -> Text:
        """Draw it."""
        seconds = task.fields["took"] or task.elapsed or 0.0
        return Text(f"{seconds:.1f} s, least {task.fields['least']:.0f} s", "dim", justify="right")


class _Bars(Progress):
    """Bars that leave room for the ``^C`` of a terminal, which would begin a new line."""

    def get_renderable(self) -> RenderableType:
        """Return all bars."""
        return _Narrower(super().get_renderable())


class _Narrower:
    """Something that is drawn two characters narrower than the terminal."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._inner, options.update_width(options.max_width - 2))


class ProgressView:
    """Counts what becomes known, by endpoint, and shows it; a context manager."""

    def __init__(self, console: Console, workloads: Mapping[str, Workload], *, live: bool) -> None:
        self.endpoints = {name: EndpointProgress(each) for name, each in workloads.items()}
        self._console = console
        self._live = live
        self._least = max((each.least for each in workloads.values()), default=0.0)
        self._bars = _Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}", justify="right"),
            TextColumn("{task.fields[apart]}", style="yellow"),
            _Pace(table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
            disable=not live,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks = {
            name: self._bars.add_task(
                label(each.endpoint), total=each.ids, least=each.least, apart="", took=None
            )
            for name, each in workloads.items()
        }

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        if self._live:
            self._bars.start()
        else:
            self._timer = self._loop.call_later(PLAIN_EVERY, self._tick)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._bars.stop()
        else:
            self._timer.cancel()
            self._say()

    def count(self, name: str, statuses: Iterable[CancelStatus]) -> None:
        """Take what became known of ids at an endpoint."""
        one = self.endpoints[name]
        one.counts.update(statuses)
        one.took = self._loop.time() - self._began
        self._bars.update(
            self._tasks[name],
            completed=one.answered,
            total=one.total,
            apart=_apart(one.counts),
            took=one.took if one.known == one.total else None,
        )

    def _tick(self) -> None:
        self._say()
        self._timer = self._loop.call_later(PLAIN_EVERY, self._tick)

    def _say(self) -> None:
        seconds = self._loop.time() - self._began
        counts = sum((one.counts for one in self.endpoints.values()), Counter[CancelStatus]())
        answered = sum(one.answered for one in self.endpoints.values())
        total = sum(one.total for one in self.endpoints.values())
        words = [f"{answered:,} of {total:,} ids answered", _apart(counts)]
        self._console.print(
            f"{seconds:.0f} s, least {self._least:.0f} s: {', '.join(filter(None, words))}",
            soft_wrap=True,
        )


def can_draw(console: Console) -> bool:
    """Say whether bars can be drawn: in a terminal that can move its cursor."""
    return console.is_terminal and not console.is_dumb_terminal


def _apart(counts: Counter[CancelStatus]) -> str:
    return ", ".join(f"{counts[each]:,} {each}" for each in _UNANSWERED if counts[each])
