"""Cancel groups of orders, all at once, and say what became of them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from rich.console import Console

from htx_cancel import (
    CallResult,
    CancelAllOutcome,
    CancelClient,
    CancelStatus,
    ClientClosedError,
    Credentials,
    OrderResult,
)
from htx_cancel.cli.groups import SETTLED, Group, Workload, label, workloads
from htx_cancel.cli.output import Output
from htx_cancel.cli.progress import ProgressView
from htx_cancel.cli.stop import Stop
from htx_cancel.cli.summary import Summary
from htx_cancel.cli.tables import budget, make_table, reason_table, status_table


class RunOptions(Struct, frozen=True):
    """The options of a run."""

    base_url: str
    timeout: float | None
    live: bool


class Report:
    """Passes results on: to the file, to the screen and to the summary."""

    def __init__(self, output: Output, view: ProgressView) -> None:
        self.output = output
        self.view = view
        self.summary = Summary()

    def add(
        self,
        group: Group,
        results: Sequence[OrderResult | CallResult],
        statuses: Iterable[CancelStatus] | None = None,
    ) -> None:
        """Take results of a group, once each, and the statuses that count as progress."""
        self.output.write(group, results)
        self.summary.add(group, results)
        if statuses is None:
            statuses = [result.status for result in results]
        self.view.count(group.endpoint.name, statuses)


async def run(
    groups: Sequence[Group],
    credentials: Credentials,
    options: RunOptions,
    output: Output,
    console: Console,
) -> int:
    """Cancel all groups at once; return the exit code."""
    view = ProgressView(console, workloads(groups), live=options.live)
    report = Report(output, view)
    async with CancelClient(credentials, base_url=options.base_url) as client:
        stop = Stop(client, console)
        with stop.handled():
            with view:
                await asyncio.gather(
                    *(_cancel(group, client, options.timeout, report) for group in groups)
                )
                await stop.finished()
            await asyncio.to_thread(output.close)
    console.print(status_table(view.endpoints.values(), title="What became of the orders"))
    show_reasons(report.summary, console)
    return 128 + stop.number if stop.number else int(not report.summary.settled)


def show_reasons(summary: Summary, console: Console) -> None:
    """Show why ids were neither accepted nor closed, and what that means."""
    if summary.reasons:
        console.print(reason_table(summary.reasons, width=console.width))
    for number, words in enumerate(summary.warnings()):
        console.print("\n" * (number == 0) + words, style="bold yellow", soft_wrap=True)


async def _cancel(
    group: Group, client: CancelClient, timeout: float | None, report: Report
) -> None:
    """Cancel one group, and report its results as they come."""
    try:
        outcome = await group.cancel(
            client,
            timeout=timeout,
            on_batch=(lambda found: report.add(group, found)) if group.field else None,
        )
    except ClientClosedError as error:
        report.add(group, _unsent(group, str(error)))
        return
    if isinstance(outcome, CancelAllOutcome):
        report.add(group, [outcome.call, *outcome], _of_all(outcome))


def _unsent(group: Group, why: str) -> list[OrderResult | CallResult]:
    if not group.field:
        return [CallResult(CancelStatus.UNSENT, message=why)]
    return [OrderResult(key, CancelStatus.UNSENT, message=why) for key in group.ids]


def _of_all(outcome: CancelAllOutcome) -> list[CancelStatus]:
    """Return what counts: the ids listed, and the call itself where they do not say it."""
    listed = [result.status for result in outcome]
    said = listed and outcome.call.status in SETTLED
    return listed if said else [*listed, outcome.call.status]


def show_plan(groups: Sequence[Group], console: Console) -> int:
    """Tabulate what would be sent; return the exit code."""
    headings = ("endpoint", "orders", "ids", "calls", "budget", "least")
    table = make_table(*headings, title="Nothing is sent")
    table.columns[1].justify = "left"
    for group in groups:
        one = workloads([group])[group.endpoint.name]
        ids = f"{len(group.ids):,}" if group.field else "all"
        table.add_row(
            label(group.endpoint), group.title, ids, f"{one.calls:,}", budget(one), _seconds(one)
        )
    console.print(table)
    console.print(_at_least(workloads(groups)), soft_wrap=True)
    return 0


def _seconds(one: Workload) -> str:
    return f"{one.least:g} s"


def _at_least(work: Mapping[str, Workload]) -> str:
    calls = sum(one.calls for one in work.values())
    seconds = max((one.least for one in work.values()), default=0.0)
    return f"{calls:,} calls in all; the limits allow them in {seconds:g} s at the least."
