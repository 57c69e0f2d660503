"""Define what all commands share: the app, exit codes, checks, keys, and the style of output."""

import os
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from htx_cancel import Credentials, HtxCancelError, arguments
from htx_cancel.cli.input_file import BadInputError

app = typer.Typer(
    help="Cancel orders on HTX derivatives in bulk.",
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)

_Parameters = ParamSpec("_Parameters")


def command(
    name: str | None = None,
) -> Callable[[Callable[_Parameters, int]], Callable[_Parameters, None]]:
    """Register a function as a command that exits with the code that the function returns.

    For bad input the command prints one line on standard error and exits with code 2.
    """

    def register(function: Callable[_Parameters, int]) -> Callable[_Parameters, None]:
        @app.command(name)
        @wraps(function)
        def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
            try:
                code = function(*args, **kwargs)
            except (BadInputError, HtxCancelError) as error:
                complain(str(error))
                code = 2
            raise typer.Exit(code)

        return run

    return register


def check_flag(name: str, given: object) -> None:
    """Refuse a flag that the parser misread, as typer before 0.15.4 does with click 8.2."""
    if not isinstance(given, bool):
        raise BadInputError(f"{name} must be True or False, got {given!r}: install a newer typer")


def check_timeout(timeout: float | None) -> None:
    """Refuse a timeout that is not a positive number of seconds."""
    if timeout is not None:
        arguments.seconds("timeout", timeout)


def complain(message: str) -> None:
    """Print an error as one line on standard error."""
    typer.echo(f"htx-cancel: {message}", err=True)


def credentials() -> Credentials:
    """Read the account's keys from the environment."""
    keys = {name: os.environ.get(name, "") for name in ("HTX_ACCESS_KEY", "HTX_SECRET_KEY")}
    missing = [name for name, key in keys.items() if not key]
    if missing:
        raise BadInputError(f"{' and '.join(missing)} must be set to the account's keys")
    return Credentials(*keys.values())


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints text without highlighting and without markup."""
    return Console(stderr=stderr, highlight=False, markup=False)


def printable(text: str) -> str:
    """Replace the control characters in a text of the exchange, which could move the cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def make_table(*headings: str, title: str) -> Table:
    """Return an empty table with its first column to the left and the others to the right."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        title=f"\n{title}",
        title_justify="left",
    )
    table.add_column(headings[0], overflow="fold", vertical="bottom")
    for heading in headings[1:]:
        table.add_column(heading, justify="right", vertical="bottom")
    return table


def count_cell(number: int) -> str:
    """Return the text of a count; a dash stands for none."""
    return f"{number:,}" if number else "-"
