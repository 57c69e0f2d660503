"""Cancel everything: say what is open, ask, show how far it is, and report what is proved.

Rules:

* Nothing is cancelled before the word was typed, or with ``--yes``; then nothing is listed before.
* Where nobody can be asked, nothing is sent.
* A signal ends it: what is in flight lands, and the report tells what was known last.
"""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Callable

import typer
from msgspec import Struct
from rich.console import Console

from htx_cancel import CancelClient, Credentials, EverythingReport
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.cli.listing import Found, open_orders, show_missing
from htx_cancel.cli.panic import PanicView, show_report
from htx_cancel.cli.progress import can_draw
from htx_cancel.cli.scope import Scope, kind_of
from htx_cancel.cli.sharing import connected
from htx_cancel.cli.stop import Stop
from htx_cancel.cli.tables import make_table
from htx_cancel.endpoints import ALL_KINDS, PROTECTIVE

WORD = "cancel"

_LEFT_ALONE = (
    "Take-profit, stop-loss and trailing orders protect positions and are left alone. These would\n"
    f"be cancelled as well: --kinds {','.join(ALL_KINDS)}"
)
_DANGER = (
    "Take-profit, stop-loss or trailing orders are cancelled as well: the positions that they\n"
    "protect are not protected any more."
)


class Options(Struct, frozen=True):
    """The options of the command."""

    base_url: str
    timeout: float
    yes: bool


def cancel_everything(
    scope: Scope, options: Options, keys: Callable[[], Credentials], err: Console
) -> int:
    """Ask, unless told not to, and cancel; return the exit code."""
    if not options.yes and not (sys.stdin and sys.stdin.isatty()):
        raise BadInputError("standard input must be a terminal to ask for consent; or give --yes")
    return asyncio.run(_run(scope, options, keys(), err))


async def _run(scope: Scope, options: Options, keys: Credentials, err: Console) -> int:
    async with connected(keys, options.base_url) as client:
        if not options.yes:
            with err.status("Listing what is open"):
                found = await open_orders(client, scope, options.timeout)
            show_preview(found, scope, err)
            refused = not_confirmed(err)
            if refused:
                return refused
        return await _cancel(client, scope, options.timeout, err)


async def _cancel(client: CancelClient, scope: Scope, timeout: float, err: Console) -> int:
    with PanicView(err, scope, live=can_draw(err)) as view:
        work = asyncio.ensure_future(
            client.cancel_everything(
                products=scope.products,
                kinds=scope.kinds,
                contracts=scope.contracts,
                timeout=timeout,
                on_progress=view.take,
            )
        )
        stop = Stop(client, err, work)
        with stop.handled():
            (ended,) = await asyncio.gather(work, return_exceptions=True)
            await stop.finished()
    if isinstance(ended, EverythingReport):
        view.take(ended)
    elif not stop.number:
        raise ended
    show_report(view.report, err)
    if stop.number:
        return 128 + stop.number
    return int(not view.report.proved)


def show_preview(found: Found, scope: Scope, err: Console) -> None:
    """Say what is open of what would be cancelled, and what that means for positions."""
    counts = Counter((order.product, kind_of(order)) for order in found.orders)
    table = make_table("product", "orders", "open", title="Open now, and to be cancelled")
    table.columns[1].justify = "left"
    for product, kind in scope.there():
        number = counts[product, kind]
        table.add_row(product, kind.replace("_", " "), f"{number:,}" if number else "-")
    err.print(table)
    show_missing(found, err)
    protects = set(scope.kinds) & set(PROTECTIVE)
    err.print(f"\n{_DANGER if protects else _LEFT_ALONE}", style="bold yellow", soft_wrap=True)


def not_confirmed(err: Console) -> int:
    """Ask for the word; return the exit code if it was not typed, else 0.

    The event loop stands still meanwhile; nothing is under way.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        typer.echo(f"\nType {WORD} to cancel all of it: ", err=True, nl=False)
        typed, code = sys.stdin.readline(), 1
    except KeyboardInterrupt:
        typed, code = "", 130
    finally:
        signal.signal(signal.SIGINT, before)
    if typed.strip() == WORD:
        return 0
    err.print("\nNothing was cancelled.")
    return code
