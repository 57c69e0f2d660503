"""The two commands: what they take, and the codes with which they exit."""

import asyncio
import os
import sys
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from htx_cancel import Credentials, HtxCancelError, arguments
from htx_cancel.cli import files
from htx_cancel.cli.demo import demo as run_demo
from htx_cancel.cli.groups import Group
from htx_cancel.cli.input_file import BadInputError, read
from htx_cancel.cli.output import opened
from htx_cancel.cli.progress import can_draw
from htx_cancel.cli.results import left, settled
from htx_cancel.cli.run import RunOptions, show_plan
from htx_cancel.cli.run import run as run_groups

app = typer.Typer(
    help="Cancel orders on HTX derivatives in bulk.",
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
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
    """Cancel thousands of orders of a sandbox exchange, and check every status.

    Needs no keys and no network: the exchange listens on this machine's loopback address. Exits
    with 0 if every status agrees with the exchange's book, and with 1 if any does not.
    """
    code = asyncio.run(run_demo(_console(), seed=seed, window=window.value, scale=scale))
    raise typer.Exit(code)


@app.command()
def run(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="CSV or JSON lines; - is standard input.")
    ],
    *,
    base_url: Annotated[str, typer.Option(help="The exchange.")] = "https://api.hbdm.com",
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="After it, what has not left stays unsent."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|-",
            help="Append each result as a JSON line as soon as it is known; - is standard output.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Skip what these results of an earlier run settled."),
    ] = None,
) -> None:
    """Cancel the orders of a file.

    A row has an endpoint, a contract_code, and an order_id or a client_order_id. A row of
    coin_m_swap.cancel_all_trailing_orders has no id; it may have a direction and an offset. Other
    columns are ignored. Every row is checked before anything is sent. The keys are those of the
    environment variables HTX_ACCESS_KEY and HTX_SECRET_KEY.

    Endpoints are named by the client's methods, such as coin_m_swap.cancel_orders; an unknown one
    is answered with all there are.

    Exit codes:

    * 0: every id is settled (accepted, closed or not found), and some were found
    * 1: some are not settled (rejected, unknown or unsent), none was found, or results could not
      be written within 5 seconds of the end
    * 2: the input is bad; nothing was sent
    * 130, 143: stopped by Ctrl-C or SIGTERM, after the requests in flight had ended
    """
    err = _console(stderr=True)
    try:
        _check_flag("--dry-run", dry_run)
        files.check_different(file, output, resume)
        groups = _groups(file, resume)
        options = RunOptions(base_url, _seconds(timeout), _live(err, output))
        code = show_plan(groups, _console()) if dry_run else _run(groups, options, output, err)
    except (BadInputError, HtxCancelError) as error:
        _complain(str(error))
        code = 2
    raise typer.Exit(code)


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="htx-cancel", standalone_mode=False)
    except _UsageError as error:
        _complain(error.format_message())
        return 2
    return int(code or 0)


def _check_flag(name: str, given: object) -> None:
    """Refuse to run with a parser that misreads a flag, as typer before 0.15.4 does."""
    if not isinstance(given, bool):
        raise BadInputError(f"{name} must be True or False, got {given!r}: install a newer typer")


def _complain(words: str) -> None:
    typer.echo(f"htx-cancel: {words}", err=True)


def _groups(file: str, resume: Path | None) -> list[Group]:
    """Read the orders that are left to cancel."""
    with files.named(file):
        groups = read(files.content(file))
    if resume is None:
        return groups
    with files.named(str(resume)), resume.open("rb") as lines:
        return left(groups, settled(lines))


def _run(groups: list[Group], options: RunOptions, output: Path | None, err: Console) -> int:
    """Cancel the groups; return the exit code."""
    if not groups:
        err.print("There is nothing to cancel.")
        return 0
    credentials = _credentials()
    with opened(output) as results:
        code = asyncio.run(run_groups(groups, credentials, options, results, err))
    if not results.error:
        return code
    _complain(f"results could not be written to {output}: {results.error}")
    return code or 1


def _credentials() -> Credentials:
    keys = {name: os.environ.get(name, "") for name in ("HTX_ACCESS_KEY", "HTX_SECRET_KEY")}
    missing = [name for name, key in keys.items() if not key]
    if missing:
        raise BadInputError(f"{' and '.join(missing)} must be set to the account's keys")
    return Credentials(*keys.values())


def _seconds(timeout: float | None) -> float | None:
    return None if timeout is None else arguments.seconds("timeout", timeout)


def _live(err: Console, output: Path | None) -> bool:
    """Say whether bars can be drawn: in a terminal that the results do not go to as well."""
    return can_draw(err) and not (str(output) == "-" and sys.stdout.isatty())


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, markup=False)
