"""The commands that name their orders, and the demo: what they take, and their exit codes."""

import asyncio
import sys
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from htx_cancel.cli import files
from htx_cancel.cli.demo import demo as run_demo
from htx_cancel.cli.groups import Group
from htx_cancel.cli.input_file import of_ids, read
from htx_cancel.cli.output import opened
from htx_cancel.cli.progress import can_draw
from htx_cancel.cli.results import left, settled
from htx_cancel.cli.run import RunOptions, show_plan
from htx_cancel.cli.run import run as run_groups
from htx_cancel.cli.shell import (
    HTX,
    BaseUrl,
    Results,
    Timeout,
    app,
    check_flag,
    complain,
    console,
    credentials,
    ended,
    seconds,
)

#: What typer raises for words that are no command; it has no public name of its own.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])


class Window(StrEnum):
    """How the sandbox counts calls against a limit."""

    FIRST = "first"
    EPOCH = "epoch"
    SLIDE = "slide"


def _show_version(asked: object) -> None:
    if asked is True:
        typer.echo(f"htx-cancel {version('htx-cancel')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Cancel orders on HTX derivatives in bulk."""


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Which orders: the same for the same seed.")] = 0,
    window: Annotated[
        Window, typer.Option(help="How the sandbox counts calls against a limit.")
    ] = Window.FIRST,
    scale: Annotated[float, typer.Option(min=0.001, max=100.0, help="Times as many orders.")] = 1.0,
) -> None:
    """Cancel thousands of orders of a sandbox exchange, check every status, and then everything.

    Needs no keys and no network: the exchange listens on this machine's loopback address. Exits
    with 0 if every status agrees with the exchange's book, and this is proved to be empty at the
    end, and with 1 if not.
    """
    code = asyncio.run(run_demo(console(), seed=seed, window=window.value, scale=scale))
    raise typer.Exit(code)


@app.command()
def run(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="CSV or JSON lines; - is standard input.")
    ],
    *,
    base_url: BaseUrl = HTX,
    timeout: Timeout = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")
    ] = False,
    output: Results = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Skip what these results of an earlier run settled."),
    ] = None,
) -> None:
    """Cancel the orders of a file.

    A row has an endpoint, a contract_code, and an order_id or a client_order_id; or product and
    kind instead of the endpoint, as ``htx-cancel list`` writes them. A row of a call that cancels
    all, such as coin_m_swap.cancel_all_orders, has no id; it may have the words that the call
    takes: direction, offset, contract_type, or side and position_side of usdt_m. Other columns are
    ignored. Every row is checked before anything is sent. The keys are those of the environment
    variables HTX_ACCESS_KEY and HTX_SECRET_KEY.

    Endpoints are named by the client's methods, such as coin_m_swap.cancel_orders; an unknown one
    is answered with all there are.

    Exit codes:

    * 0: every id is settled (accepted, closed or not found), and some were found
    * 1: some are not settled (rejected, unknown or unsent), none was found, or results could not
      be written within 5 seconds of the end
    * 2: the input is bad; nothing was sent
    * 130, 143: stopped by Ctrl-C or SIGTERM, after the requests in flight had ended
    """

    def work() -> int:
        check_flag("--dry-run", dry_run)
        files.check_different(file, output, resume)
        groups = _groups(file, resume)
        options = _options(base_url, timeout, output)
        return show_plan(groups, console()) if dry_run else _run(groups, options, output)

    raise ended(work)


@app.command()
def cancel(
    product: Annotated[str, typer.Argument(metavar="PRODUCT", help="Such as coin_m_swap.")],
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Such as orders.")],
    contract_code: Annotated[str, typer.Argument(metavar="CONTRACT", help="Such as BTC-USD.")],
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Order ids.")],
    *,
    client_ids: Annotated[
        bool, typer.Option("--client-ids", help="The ids are client order ids.")
    ] = False,
    base_url: BaseUrl = HTX,
    timeout: Timeout = None,
    output: Results = None,
) -> None:
    """Cancel orders by their ids.

    KIND is orders, trigger_orders, tpsl_orders or trailing_orders; of usdt_m it is orders or
    algo_orders. An unknown one is answered with all there are. What is said at the end, the keys
    and the exit codes are those of ``htx-cancel run``.
    """

    def work() -> int:
        check_flag("--client-ids", client_ids)
        field = "client_order_id" if client_ids else "order_id"
        group = of_ids(product, kind, contract_code, field, ids)
        return _run([group], _options(base_url, timeout, output), output)

    raise ended(work)


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="htx-cancel", standalone_mode=False)
    except _UsageError as error:
        complain(error.format_message())
        return 2
    return int(code or 0)


def _groups(file: str, resume: Path | None) -> list[Group]:
    """Read the orders that are left to cancel."""
    with files.named(file):
        groups = read(files.content(file))
    if resume is None:
        return groups
    with files.named(str(resume)), resume.open("rb") as lines:
        return left(groups, settled(lines))


def _options(base_url: str, timeout: float | None, output: Path | None) -> RunOptions:
    return RunOptions(base_url, seconds(timeout), _live(console(stderr=True), output))


def _run(groups: list[Group], options: RunOptions, output: Path | None) -> int:
    """Cancel the groups; return the exit code."""
    err = console(stderr=True)
    if not groups:
        err.print("There is nothing to cancel.")
        return 0
    keys = credentials()
    with opened(output) as results:
        code = asyncio.run(run_groups(groups, keys, options, results, err))
    if not results.error:
        return code
    complain(f"results could not be written to {output}: {results.error}")
    return code or 1


def _live(err: Console, output: Path | None) -> bool:
    """Say whether bars can be drawn: in a terminal that the results do not go to as well."""
    return can_draw(err) and not (str(output) == "-" and sys.stdout.isatty())
