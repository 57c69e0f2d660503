"""Cancel everything: preview what is open, ask, cancel, and report what is proved.

Rules:

* Nothing is cancelled before the word is typed. With ``--yes`` nothing is listed or asked first.
* If there is no terminal to ask in, nothing is sent.
* After a signal the requests in flight end, and the last known report is shown.
"""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby

import typer
from rich.console import Console
from rich.table import Table

from htx_cancel import CancelClient, Credentials, EverythingReport, KindReport, OpenOrders
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.cli.listing import open_orders, show_missing
from htx_cancel.cli.progress import can_draw, drawing
from htx_cancel.cli.scope import Scope, kind_of
from htx_cancel.cli.sharing import connected
from htx_cancel.cli.shell import count_cell, make_table, printable
from htx_cancel.cli.stop import Stop, signals
from htx_cancel.endpoints import ALL_KINDS, PROTECTIVE

WORD = "cancel"

_MAX_ORDERS = 20  #: orders of one kind that are named
_LEFT_ALONE = (
    "Take-profit, stop-loss and trailing orders protect positions and are left alone.\n"
    f"To cancel them as well: --kinds {','.join(ALL_KINDS)}"
)
_DANGER = (
    "Take-profit, stop-loss or trailing orders are cancelled as well:\n"
    "the positions that they protect will not be protected any more."
)


async def cancel_everything(
    scope: Scope,
    credentials: Credentials,
    base_url: str,
    timeout: float,
    err: Console,
    *,
    ask: bool,
) -> int:
    """Preview and ask, if ``ask`` is true, and cancel; return the exit code."""
    if ask and not (sys.stdin and sys.stdin.isatty()):
        raise BadInputError("standard input must be a terminal to ask for consent; or give --yes")
    async with connected(credentials, base_url) as client:
        if ask:
            show_preview(await open_orders(client, scope, timeout, err), scope, err)
            refusal = _ask(err)
            if refusal:
                return refusal
        return await _cancel(client, scope, timeout, err)


async def _cancel(client: CancelClient, scope: Scope, timeout: float, err: Console) -> int:
    view = EverythingView(err, scope)
    stop = Stop(client, err)
    with view.shown(), signals(stop.handle):
        report = await client.cancel_everything(
            products=scope.products,
            kinds=scope.kinds,
            contracts=scope.contracts,
            timeout=timeout,
            on_progress=view.take,
        )
        await stop.finished()
    view.take(report)
    show_report(report, err)
    return 128 + stop.number if stop.number else int(not report.proved)


def show_preview(found: OpenOrders, scope: Scope, err: Console) -> None:
    """Print what would be cancelled, and what that means for positions."""
    counts = Counter((order.product, kind_of(order)) for order in found)
    table = make_table("product", "orders", "open", title="Orders to be cancelled")
    table.columns[1].justify = "left"
    for product, kind in scope.pairs():
        table.add_row(product, kind.replace("_", " "), count_cell(counts[product, kind]))
    err.print(table)
    show_missing(found, err)
    protects = set(scope.kinds) & set(PROTECTIVE)
    err.print(f"\n{_DANGER if protects else _LEFT_ALONE}", style="bold yellow", soft_wrap=True)


def _ask(err: Console) -> int:
    """Ask for the word; return 0 if it was typed, otherwise the exit code.

    The event loop is blocked during the question; nothing is in flight then.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        typer.echo(f"\nType {WORD} to cancel all of these orders: ", err=True, nl=False)
        typed, code = sys.stdin.readline(), 1
    except KeyboardInterrupt:
        typed, code = "", 130
    finally:
        signal.signal(signal.SIGINT, before)
    if typed.strip() == WORD:
        return 0
    err.print("\nNothing was cancelled.")
    return code


class EverythingView:
    """Takes reports and shows the last one.

    In a terminal the view is a table with a row for each kind of each product. Elsewhere a line is
    printed whenever a count changes.
    """

    def __init__(self, console: Console, scope: Scope) -> None:
        kinds = tuple(KindReport(product, kind) for product, kind in scope.pairs())
        self.report = EverythingReport(proved=False, kinds=kinds, unchecked=(), seconds=0.0)
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._console = console
        self._last_line = ""

    def shown(self) -> AbstractContextManager[object]:
        """Show the view in the ``with`` block."""
        if can_draw(self._console):
            return drawing(self._console, self._table)
        self._console.print("Cancelling.")
        return nullcontext()

    def take(self, report: EverythingReport) -> None:
        """Show a report if it differs from the last one."""
        self.report = report
        accepted = sum(kind.accepted for kind in report.kinds)
        proved = sum(kind.proved for kind in report.kinds)
        line = (
            f"{accepted:,} accepted, {len(report.remaining):,} still listed,"
            f" {proved} of {len(report.kinds)} kinds proved empty"
        )
        if not can_draw(self._console) and line != self._last_line:
            self._console.print(f"{report.seconds:.1f} s: {line}", soft_wrap=True)
        self._last_line = line

    def _table(self) -> Table:
        seconds = self._loop.time() - self._started
        return kind_table(self.report.kinds, title=f"Cancelling for {seconds:.1f} s")


def kind_table(kinds: Iterable[KindReport], *, title: str) -> Table:
    """Tabulate the report of each kind of each product."""
    headings = ("product", "orders", "accepted", "appeared", "may be\nopen", "proved\nempty")
    table = make_table(*headings, title=title)
    table.columns[1].justify = "left"
    for kind in kinds:
        table.add_row(
            kind.product,
            kind.kind.replace("_", " "),
            count_cell(kind.accepted),
            count_cell(kind.appeared),
            count_cell(len(kind.remaining)),
            "yes" if kind.proved else "NO",
            style="" if kind.proved else "bold yellow",
        )
    return table


def show_report(report: EverythingReport, console: Console) -> None:
    """Print what was cancelled, what may be open and why, what was not checked, and the verdict."""
    console.print(kind_table(report.kinds, title="Results by kind of order"))
    for kind in report.kinds:
        if not kind.proved:
            _show_open(kind, console)
    if report.unchecked:
        console.print()
    for product, names in groupby(report.unchecked, key=lambda name: name.partition(".")[0]):
        kinds = [name.partition(".")[2].replace("_", " ") for name in names]
        shown = "all kinds" if len(kinds) == len(ALL_KINDS) else ", ".join(kinds)
        console.print(f"Not checked: {product} ({shown})", soft_wrap=True)
    console.print(f"\n{verdict(report)}", style="bold green" if report.proved else "bold red")


def _show_open(kind: KindReport, console: Console) -> None:
    """Name the orders of a kind that may be open, and why."""
    name = f"{kind.product} {kind.kind.replace('_', ' ')}"
    console.print(f"\n{name}, not proved: {printable(kind.why)}", soft_wrap=True)
    for order in kind.remaining[:_MAX_ORDERS]:
        line = f"  {order.contract_code} {order.order_id}: {printable(order.reason)}"
        console.print(line, soft_wrap=True)
    if others := len(kind.remaining[_MAX_ORDERS:]):
        console.print(f"  and {others:,} more; htx-cancel list shows all")


def verdict(report: EverythingReport) -> str:
    """Return what is proved, as one sentence."""
    if report.proved:
        scope = "the chosen products, kinds and contracts"
        return f"Proved in {report.seconds:.1f} s: no order of {scope} is open."
    return f"NOT proved after {report.seconds:.1f} s: orders may be open."
