"""What all commands share: the app, options, the words for errors, the keys and the codes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from htx_cancel import Credentials, HtxCancelError, arguments
from htx_cancel.cli.input_file import BadInputError

HTX = "https://api.hbdm.com"

app = typer.Typer(
    help="Cancel orders on HTX derivatives in bulk.",
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)

BaseUrl = Annotated[str, typer.Option(help="The exchange.")]
Timeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="After it, what has not left stays unsent."),
]
Results = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|-",
        help="Append each result as a JSON line as soon as it is known; - is standard output.",
    ),
]


def ended(work: Callable[[], int]) -> typer.Exit:
    """Do the work of a command; what is wrong with its input is one line, and code 2."""
    try:
        code = work()
    except (BadInputError, HtxCancelError) as error:
        complain(str(error))
        code = 2
    return typer.Exit(code)


def check_flag(name: str, given: object) -> None:
    """Refuse to run with a parser that misreads a flag, as typer before 0.15.4 does."""
    if not isinstance(given, bool):
        raise BadInputError(f"{name} must be True or False, got {given!r}: install a newer typer")


def complain(words: str) -> None:
    """Say in one line what is wrong."""
    typer.echo(f"htx-cancel: {words}", err=True)


def credentials() -> Credentials:
    """Read the account's keys from the environment."""
    keys = {name: os.environ.get(name, "") for name in ("HTX_ACCESS_KEY", "HTX_SECRET_KEY")}
    missing = [name for name, key in keys.items() if not key]
    if missing:
        raise BadInputError(f"{' and '.join(missing)} must be set to the account's keys")
    return Credentials(*keys.values())


def seconds(timeout: float | None) -> float | None:
    """Check a time, if there is one."""
    return None if timeout is None else arguments.seconds("timeout", timeout)


def console(*, stderr: bool = False) -> Console:
    """Return a console that shows words as they are."""
    return Console(stderr=stderr, highlight=False, markup=False)
