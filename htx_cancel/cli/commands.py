"""The two commands: what they take, and the codes with which they exit."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console

from htx_cancel import Credentials, HtxCancelError, plan
from htx_cancel.cli.demo import demo as run_demo
from htx_cancel.cli.groups import Group
from htx_cancel.cli.orders import BadInputError, read
from htx_cancel.cli.results import left, opened, settled
from htx_cancel.cli.run import Terms, show_plan
from htx_cancel.cli.run import run as run_groups

app = typer.Typer(
    help="Cancel orders on HTX derivatives in bulk.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Window(StrEnum):
    """How the sandbox counts calls against a limit."""

    FIRST = "first"
    EPOCH = "epoch"
    SLIDE = "slide"


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
        typer.FileBinaryRead,
        typer.Argument(metavar="FILE|-", help="CSV or JSON lines; - is standard input."),
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
            allow_dash=True,
            dir_okay=False,
            metavar="FILE|-",
            help="Append each result as a JSON line as soon as it is known; - is standard output.",
        ),
    ] = None,
    resume: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(metavar="FILE", help="Skip what these results of an earlier run settled."),
    ] = None,
) -> None:
    """Cancel the orders of a file.

    A row has an endpoint, a contract_code, and an order_id or a client_order_id. A row of
    swap_track_cancelall has no id; it may have a direction and an offset. Other columns are
    ignored. Every row is checked before anything is sent. The keys are those of the environment
    variables HTX_ACCESS_KEY and HTX_SECRET_KEY.

    Endpoints: swap_cancel, swap_track_cancel, swap_track_cancelall, linear_swap_trigger_cancel,
    v5_cancel_order.

    Exit codes:

    * 0: every id is settled (accepted, closed or not found)
    * 1: some are not (rejected, unknown or unsent), or results could not be written
    * 2: the input is bad; nothing was sent
    * 130: stopped by Ctrl-C, after what was in flight had landed
    """
    err = _console(stderr=True)
    try:
        groups = _groups(file, resume)
        terms = Terms(base_url, _seconds(timeout), _live(err, output))
        code = show_plan(groups, _console()) if dry_run else _run(groups, terms, output, err)
    except (BadInputError, HtxCancelError) as error:
        err.print(f"htx-cancel: {error}", soft_wrap=True)
        code = 2
    raise typer.Exit(code)


def _groups(file: BinaryIO, resume: BinaryIO | None) -> list[Group]:
    """Read the orders that are left to cancel."""
    with _named(file):
        groups = read(file.read())
    if resume is None:
        return groups
    with _named(resume):
        return left(groups, settled(resume))


@contextmanager
def _named(file: BinaryIO) -> Iterator[None]:
    """Put the file's name before what is wrong in it."""
    try:
        yield
    except BadInputError as error:
        raise BadInputError(f"{getattr(file, 'name', '<stdin>')}, {error}") from None


def _run(groups: list[Group], terms: Terms, output: Path | None, err: Console) -> int:
    """Cancel the groups; return the exit code."""
    if not groups:
        err.print("There is nothing to cancel.")
        return 0
    credentials = _credentials()
    with opened(output) as results:
        code = asyncio.run(run_groups(groups, credentials, terms, results, err))
    if results.error is None:
        return code
    err.print(f"htx-cancel: results could not be written: {results.error}", soft_wrap=True)
    return code or 1


def _credentials() -> Credentials:
    keys = {name: os.environ.get(name, "") for name in ("HTX_ACCESS_KEY", "HTX_SECRET_KEY")}
    missing = [name for name, key in keys.items() if not key]
    if missing:
        raise BadInputError(f"set {' and '.join(missing)}: the account's keys are read from there")
    return Credentials(*keys.values())


def _seconds(timeout: float | None) -> float | None:
    return None if timeout is None else plan.seconds("timeout", timeout)


def _live(err: Console, output: Path | None) -> bool:
    """Say whether bars can be drawn: in a terminal that the results do not go to as well."""
    return err.is_terminal and not (str(output) == "-" and sys.stdout.isatty())


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, markup=False)
