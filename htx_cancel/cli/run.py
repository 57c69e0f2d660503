"""Cancel groups of orders, all at the same time, and show the results."""

import asyncio
from collections.abc import Iterable, Sequence

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
from htx_cancel.cli.groups import SETTLED, Group, label, workloads
from htx_cancel.cli.output import Output
from htx_cancel.cli.progress import ProgressView
from htx_cancel.cli.results import line
from htx_cancel.cli.sharing import connected
from htx_cancel.cli.shell import make_table
from htx_cancel.cli.stop import Stop, signals
from htx_cancel.cli.summary import Summary, reason_table, status_table


class Report(Struct):
    """Passes results on to the file, to the screen and to the summary."""

    output: Output
    view: ProgressView
    summary: Summary

    def add(
        self,
        group: Group,
        results: Sequence[OrderResult | CallResult],
        statuses: Iterable[CancelStatus] | None = None,
    ) -> None:
        """Add results of a group, each once; ``statuses`` count as progress, if not all do."""
        self.output.write(line(group, result) for result in results)
        self.summary.add(group, results)
        if statuses is None:
            statuses = [result.status for result in results]
        self.view.count(group.endpoint.name, statuses)


async def run_groups(
    groups: Sequence[Group],
    credentials: Credentials,
    output: Output,
    console: Console,
    *,
    base_url: str,
    timeout: float | None,
    live: bool,
) -> int:
    """Cancel all groups at the same time; return the exit code."""
    report = Report(output, ProgressView(console, workloads(groups), live=live), Summary())
    async with connected(credentials, base_url) as client:
        stop = Stop(client, console)
        with signals(stop.handle):
            with report.view:
                await asyncio.gather(*(_cancel(group, client, timeout, report) for group in groups))
                await stop.finished()
            await asyncio.to_thread(output.close)
    console.print(status_table(report.view.endpoints.values()))
    show_reasons(report.summary, console)
    return 128 + stop.number if stop.number else int(not report.summary.settled)


def show_reasons(summary: Summary, console: Console) -> None:
    """Print why ids were neither accepted nor closed, and the warnings."""
    if summary.reasons:
        console.print(reason_table(summary.reasons, width=console.width))
    for number, warning in enumerate(summary.warnings()):
        console.print("\n" * (number == 0) + warning, style="bold yellow", soft_wrap=True)


async def _cancel(
    group: Group, client: CancelClient, timeout: float | None, report: Report
) -> None:
    """Cancel one group, and report its results as they become known."""
    try:
        outcome = await group.cancel(
            client,
            timeout=timeout,
            on_batch=(lambda results: report.add(group, results)) if group.field else None,
        )
    except ClientClosedError as error:
        report.add(group, _unsent(group, str(error)))
        return
    if isinstance(outcome, CancelAllOutcome):
        report.add(group, [outcome.call, *outcome], _statuses(outcome))


def _unsent(group: Group, message: str) -> list[OrderResult | CallResult]:
    if not group.field:
        return [CallResult(CancelStatus.UNSENT, message=message)]
    return [OrderResult(order_id, CancelStatus.UNSENT, message=message) for order_id in group.ids]


def _statuses(outcome: CancelAllOutcome) -> list[CancelStatus]:
    """Return the statuses of the listed ids, and that of the call unless the ids imply it."""
    statuses = [result.status for result in outcome]
    if not statuses or outcome.call.status not in SETTLED:
        statuses.append(outcome.call.status)
    return statuses


def show_plan(groups: Sequence[Group], console: Console) -> None:
    """Print what a run would send."""
    headings = ("endpoint", "orders", "ids", "requests", "limit", "min\ntime")
    table = make_table(*headings, title="Dry run: nothing is sent")
    table.columns[1].justify = "left"
    for group in groups:
        (work,) = workloads([group]).values()
        table.add_row(
            label(group.endpoint),
            group.title,
            f"{len(group.ids):,}" if group.field else "all",
            f"{work.requests:,}",
            work.limit_text,
            f"{work.min_seconds:g} s",
        )
    console.print(table)
    total = workloads(groups).values()
    requests = sum(work.requests for work in total)
    seconds = max((work.min_seconds for work in total), default=0.0)
    console.print(
        f"Requests: {requests:,}. Time: at least {seconds:g} s, because of the rate limits.",
        soft_wrap=True,
    )
