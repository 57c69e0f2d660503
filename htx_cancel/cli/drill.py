"""The end of the demo, a panic: cancel everything of all products and kinds, and prove it."""

import secrets

from rich.console import Console

from htx_cancel import CancelClient, Credentials, EverythingReport
from htx_cancel.cli.panic import PanicView, kind_table, verdict
from htx_cancel.cli.progress import can_draw
from htx_cancel.cli.scope import Scope
from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS
from htx_cancel.sandbox import Book, Exchange, SandboxServer
from htx_cancel.sandbox.seeding import add_seeded
from htx_cancel.sandbox.windows import WindowRule

EACH = 170  #: orders of each kind of the sandbox


async def drill(console: Console, *, seed: int, window: WindowRule, scale: float) -> int:
    """Fill another exchange and cancel all of it; return the exit code."""
    keys = secrets.token_hex(), secrets.token_hex()
    exchange = Exchange(access_key=keys[0], secret_key=keys[1], window=window, keep_log=False)
    add_seeded(exchange.book, max(1, round(EACH * scale)), seed=seed)
    number = len(exchange.book)
    async with SandboxServer(exchange) as server:
        console.print(
            f"\n2. Panic: {number:,} orders of all products and kinds are open on another one.",
            soft_wrap=True,
        )
        report = await _cancel(Credentials(*keys), server.base_url, console)
    console.print(kind_table(report.kinds, title="What became of the orders"))
    console.print(f"\n{verdict(report)}")
    return judge(report, exchange.book, number, console)


async def _cancel(keys: Credentials, url: str, console: Console) -> EverythingReport:
    scope = Scope(ALL_PRODUCTS, ALL_KINDS)
    async with CancelClient(keys, base_url=url) as client:
        with PanicView(console, scope, live=can_draw(console)) as view:
            return await client.cancel_everything(
                products=scope.products, kinds=scope.kinds, on_progress=view.take
            )


def judge(report: EverythingReport, book: Book, number: int, console: Console) -> int:
    """Say whether the proof is true."""
    left = len(book.open())
    agree = report.proved and not left
    words = "agree" if agree else "DISAGREE" if report.proved else "nothing is proved"
    console.print(
        f"{number:,} orders were open, and {left:,} are in the exchange's book: {words}",
        style="bold green" if agree else "bold red",
        soft_wrap=True,
    )
    return int(not agree)
