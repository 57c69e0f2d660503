"""Show on a sandbox: cancel thousands of ids and check every status; cancel everything."""

import asyncio
import secrets
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from htx_cancel import CancelClient, Credentials, EverythingReport, OrderResult, Outcome
from htx_cancel.cli.demo_orders import Job, disagreements, fill, left_open
from htx_cancel.cli.everything import EverythingView, kind_table, verdict
from htx_cancel.cli.groups import label, workloads
from htx_cancel.cli.progress import EndpointProgress, ProgressView, can_draw
from htx_cancel.cli.run import show_reasons
from htx_cancel.cli.scope import Scope
from htx_cancel.cli.shell import make_table
from htx_cancel.cli.summary import Summary, status_table
from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS
from htx_cancel.sandbox import Book, Exchange, SandboxServer
from htx_cancel.sandbox.seeding import add_seeded
from htx_cancel.sandbox.windows import WindowRule

ORDERS_PER_KIND = 170  #: of the sandbox's kinds, in the second part

_MAX_WRONG = 10  #: wrong statuses that are named
_PLAN = """\
Two parts, on this machine only. Together they take less than half a minute.
1. Cancel thousands of ids at full speed, and check the status of each id.
2. Cancel thousands of orders of all products and kinds in one call, including
   take-profit, stop-loss and trailing orders, and prove that no order is open.
The order book of the sandbox exchange decides whether a result is true."""


async def demo(console: Console, *, seed: int, window: WindowRule, scale: float) -> int:
    """Run the demo; return the exit code."""
    console.print(_PLAN, soft_wrap=True)
    code = await _cancel_ids(console, seed, window, scale)
    return code or await _cancel_everything(console, seed, window, scale)


def _sandbox(window: WindowRule) -> tuple[Exchange, Credentials]:
    access_key, secret_key = secrets.token_hex(), secrets.token_hex()
    exchange = Exchange(access_key=access_key, secret_key=secret_key, window=window, keep_log=False)
    return exchange, Credentials(access_key, secret_key)


async def _cancel_ids(console: Console, seed: int, window: WindowRule, scale: float) -> int:
    """Cancel ids of open and other orders, and check the status of each; return the exit code."""
    exchange, keys = _sandbox(window)
    jobs = fill(exchange.book, seed, scale)
    view = ProgressView(console, workloads(job.group for job in jobs), live=can_draw(console))
    rows = view.endpoints.values()
    async with SandboxServer(exchange) as server:
        console.print(
            f"\n1. A sandbox exchange with {len(exchange.book):,} orders listens on"
            f" {server.base_url}.\nCancelling {sum(len(job.expected) for job in jobs):,} ids with"
            f" {len(jobs)} concurrent calls to {len(rows)} endpoints.",
            soft_wrap=True,
        )
        async with CancelClient(keys, base_url=server.base_url) as client:
            with view:
                outcomes = await asyncio.gather(*(_cancel(job, client, view) for job in jobs))
    summary = Summary()
    for job, outcome in zip(jobs, outcomes, strict=True):
        summary.add(job.group, outcome)
    console.print(status_table(rows))
    show_reasons(summary, console)
    console.print(_pace_table(rows, exchange))
    return _judge(console, exchange.book, jobs, outcomes)


async def _cancel(job: Job, client: CancelClient, view: ProgressView) -> Outcome:
    def count(results: Iterable[OrderResult]) -> None:
        view.count(job.group.endpoint.name, [result.status for result in results])

    return await job.group.cancel(client, on_batch=count)


def _pace_table(rows: Iterable[EndpointProgress], exchange: Exchange) -> Table:
    headings = ("endpoint", "requests", "refused by\nrate limit", "limit", "seconds", "minimum")
    table = make_table(*headings, title="Time taken, and the minimum that the rate limits allow")
    for row in rows:
        endpoint = row.workload.endpoint
        table.add_row(
            label(endpoint),
            f"{exchange.calls[endpoint.path]:,}",
            f"{exchange.refused[endpoint.path]:,}",
            row.workload.limit_text,
            f"{row.seconds:.2f}",
            f"{row.workload.min_seconds:.2f}",
        )
    return table


def _judge(console: Console, book: Book, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> int:
    """Print whether every status agrees with the book; return the exit code."""
    wrong = list(left_open(book))
    for job, outcome in zip(jobs, outcomes, strict=True):
        wrong += disagreements(book, job, outcome)
    _print_verdict(
        console,
        f"\n{sum(map(len, outcomes)):,} statuses checked against the exchange's book:"
        f" {f'{len(wrong):,} disagree' if wrong else 'all agree'}",
        good=not wrong,
    )
    for line in wrong[:_MAX_WRONG]:
        console.print(f"  {line}", soft_wrap=True)
    return int(bool(wrong))


async def _cancel_everything(console: Console, seed: int, window: WindowRule, scale: float) -> int:
    """Fill another exchange and cancel all of its orders; return the exit code."""
    exchange, keys = _sandbox(window)
    add_seeded(exchange.book, max(1, round(ORDERS_PER_KIND * scale)), seed=seed)
    number = len(exchange.book)
    scope = Scope(ALL_PRODUCTS, ALL_KINDS)
    async with SandboxServer(exchange) as server:
        console.print(
            f"\n2. {number:,} orders of all products and kinds are open on a second sandbox"
            " exchange.",
            soft_wrap=True,
        )
        async with CancelClient(keys, base_url=server.base_url) as client:
            view = EverythingView(console, scope)
            with view.shown():
                report = await client.cancel_everything(
                    products=scope.products, kinds=scope.kinds, on_progress=view.take
                )
    console.print(kind_table(report.kinds, title="Results by kind of order"))
    console.print(f"\n{verdict(report)}")
    return judge_proof(report, exchange.book, number, console)


def judge_proof(report: EverythingReport, book: Book, number: int, console: Console) -> int:
    """Print whether the proof is true; return the exit code."""
    left = len(book.open())
    true = report.proved and not left
    words = "the proof is true" if true else "the proof is FALSE" if report.proved else "no proof"
    _print_verdict(
        console,
        f"{number:,} orders were open; {left:,} are open in the exchange's book now: {words}",
        good=true,
    )
    return int(not true)


def _print_verdict(console: Console, text: str, *, good: bool) -> None:
    console.print(text, style="bold green" if good else "bold red", soft_wrap=True)
