"""Budgets shared with the account's other processes, through the store that the options name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

import typer
from msgspec import Struct
from rich.table import Table

from htx_cancel import CancelClient, Credentials, Holdings, RedisStore, SharedBudgets, holdings
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.cli.shell import app, console, ended
from htx_cancel.cli.tables import make_table

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="HTX_CANCEL_STORE",
        help="Share rate limits through this Redis or Valkey: redis://, rediss:// or unix://.",
    ),
]
Account = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="HTX_CANCEL_ACCOUNT",
        help="The name of the UID there, the same in all its processes.",
    ),
]


class _Chosen(Struct):
    """What the options of this run name."""

    url: str | None = None
    account: str | None = None


_chosen = _Chosen()


def choose(url: str | None, account: str | None) -> None:
    """Take the options of this run."""
    _chosen.url, _chosen.account = url, account


def store() -> RedisStore | None:
    """Return the store that was named, if any was."""
    if not _chosen.url:
        return None
    if not _chosen.account:
        raise BadInputError("--account must name the UID in the store, got none")
    try:
        return RedisStore(_chosen.url, account=_chosen.account)
    except ImportError as error:
        raise BadInputError(str(error)) from None


@asynccontextmanager
async def connected(credentials: Credentials, base_url: str) -> AsyncIterator[CancelClient]:
    """Open a client, with shared budgets where a store is named."""
    async with AsyncExitStack() as stack:
        named, budgets = store(), None
        if named is not None:
            budgets = await stack.enter_async_context(SharedBudgets(named))
        client = CancelClient(credentials, base_url=base_url, budgets=budgets)
        yield await stack.enter_async_context(client)


@app.command()
def budgets() -> None:
    """Show who holds what of the shared rate limits.

    Exit codes:

    * 0: it is shown, or nobody has shared anything yet
    * 1: the store cannot be read
    * 2: --store or --account is missing or bad
    """

    def work() -> int:
        named = store()
        if named is None:
            raise BadInputError("--store must name a Redis or Valkey, got none")
        return asyncio.run(_show(named))

    raise ended(work)


async def _show(named: RedisStore) -> int:
    try:
        async with asyncio.timeout(5.0):
            book = await named.book()
            await named.close()
    except Exception as error:  # noqa: BLE001 - the package's, the network's, or the time's
        console(stderr=True).print(f"The store cannot be read: {type(error).__name__}.")
        return 1
    console().print("Nobody shares anything." if book is None else _table(holdings(book)))
    return 0


def _table(found: list[Holdings]) -> Table:
    table = make_table("budget", "limit", "free or resting", "process", "holds", title="Who holds")
    for each in found:
        limit, home = f"{each.calls} per {each.seconds:g} s", f"{each.at_home}"
        rows = sorted(each.held.items()) or [("", 0)]
        for number, (process, tokens) in enumerate(rows):
            first = (each.name, limit, home) if number == 0 else ("", "", "")
            table.add_row(*first, process, f"{tokens}" if process else "")
    return table
