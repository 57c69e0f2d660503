"""Show how far a cancel of everything is, and report how it ended."""

import asyncio
from collections.abc import Iterable
from itertools import groupby
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from htx_cancel import EverythingReport, KindReport
from htx_cancel.cli.scope import Scope
from htx_cancel.cli.tables import make_table
from htx_cancel.endpoints import ALL_KINDS

_SHOWN = 20  #: orders of one kind that may be open


class PanicView:
    """Takes reports and shows the last one; a context manager.

    In a terminal it is a table, with a line for each kind of each product; elsewhere a line of
    text whenever something changed.
    """

    def __init__(self, console: Console, scope: Scope, *, live: bool) -> None:
        kinds = tuple(KindReport(product, kind) for product, kind in scope.there())
        self.report = EverythingReport(proved=False, kinds=kinds, unchecked=(), seconds=0.0)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._console = console
        self._said = ""
        self._live = Live(
            get_renderable=self._drawn,
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._draws = live

    def __enter__(self) -> Self:
        if self._draws:
            self._live.start()
        else:
            self._console.print("Cancelling.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._draws:
            self._live.stop()

    def take(self, report: EverythingReport) -> None:
        """Show a report, if it says something new."""
        self.report = report
        words = _in_short(report)
        if not self._draws and words != self._said:
            self._console.print(f"{report.seconds:.1f} s: {words}", soft_wrap=True)
        self._said = words

    def _drawn(self) -> Table:
        title = f"Cancelling for {self._loop.time() - self._began:.1f} s"
        return kind_table(self.report.kinds, title=title)


def _in_short(report: EverythingReport) -> str:
    accepted = sum(kind.accepted for kind in report.kinds)
    proved = sum(kind.proved for kind in report.kinds)
    return (
        f"{accepted:,} accepted, {len(report.remaining):,} listed last,"
        f" {proved} of {len(report.kinds)} kinds proved empty"
    )


def kind_table(kinds: Iterable[KindReport], *, title: str) -> Table:
    """Tabulate what is known of each kind of each product."""
    headings = ("product", "orders", "accepted", "appeared", "may be\nopen", "proved\nempty")
    table = make_table(*headings, title=title)
    table.columns[1].justify = "left"
    for kind in kinds:
        counts = (kind.accepted, kind.appeared, len(kind.remaining))
        table.add_row(
            kind.product,
            kind.kind.replace("_", " "),
            *(f"{count:,}" if count else "-" for count in counts),
            "yes" if kind.proved else "NO",
            style="" if kind.proved else "bold yellow",
        )
    return table


def show_report(report: EverythingReport, console: Console) -> None:
    """Say what was cancelled, what may be open and why, what was not checked, and the verdict."""
    console.print(kind_table(report.kinds, title="What became of the orders"))
    for kind in report.kinds:
        if not kind.proved:
            _show_open(kind, console)
    _show_unchecked(report.unchecked, console)
    console.print(f"\n{verdict(report)}", style="bold green" if report.proved else "bold red")


def _show_open(kind: KindReport, console: Console) -> None:
    """Name the orders of a kind that may be open, and why."""
    name = f"{kind.product} {kind.kind.replace('_', ' ')}"
    console.print(f"\n{name}, not proved: {_printable(kind.why)}", soft_wrap=True)
    for order in kind.remaining[:_SHOWN]:
        words = f"  {order.contract_code} {order.order_id}: {_printable(order.reason)}"
        console.print(words, soft_wrap=True)
    if others := len(kind.remaining[_SHOWN:]):
        console.print(f"  and {others:,} more, which htx-cancel list names")


def _show_unchecked(unchecked: Iterable[str], console: Console) -> None:
    """Name what it was not asked to cancel, a line for each product."""
    console.print()
    for product, names in groupby(unchecked, key=lambda name: name.partition(".")[0]):
        kinds = [name.partition(".")[2].replace("_", " ") for name in names]
        words = "all kinds" if len(kinds) == len(ALL_KINDS) else ", ".join(kinds)
        console.print(f"Not checked: {product}, {words}.", soft_wrap=True)


def _printable(words: str) -> str:
    """Leave no control code of the exchange in its words."""
    return "".join(each if each.isprintable() else " " for each in words)


def verdict(report: EverythingReport) -> str:
    """Say what is proved."""
    if report.proved:
        return f"Proved in {report.seconds:.1f} s: nothing of it is open."
    return f"NOT proved after {report.seconds:.1f} s: orders may be open."
