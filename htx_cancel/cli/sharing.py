"""Open the client with budgets that the options share with other processes; show the budgets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

import typer
from msgspec import Struct
from rich.table import Table

from htx_cancel import CancelClient, Credentials, Holdings, RedisStore, SharedBudgets, holdings
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.cli.shell import command, console, make_table

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
        help="The name of the UID in the store, the same in all processes of the UID.",
    ),
]


class _Chosen(Struct):
    """The store and account that the options of this run name."""

    url: str | None = None
    account: str | None = None


_chosen = _Chosen()


def choose(url: str | None, account: str | None) -> None:
    """Remember the store and account that the options name."""
    _chosen.url, _chosen.account = url, account


def chosen_store() -> RedisStore | None:
    """Return the chosen store, or ``None`` if the options name none."""
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
    """Open a client, with shared budgets if the options name a store."""
    store, budgets = chosen_store(), None
    async with AsyncExitStack() as stack:
        if store is not None:
            budgets = await stack.enter_async_context(SharedBudgets(store))
        client = CancelClient(credentials, base_url=base_url, budgets=budgets)
        yield await stack.enter_async_context(client)


@command()
def budgets() -> int:
    """Show which process holds which tokens of the shared rate limits.

    Exit codes:

    * 0: the tokens are shown, or no process shares anything yet
    * 1: the store cannot be read
    * 2: --store or --account is missing or bad
    """
    store = chosen_store()
    if store is None:
        raise BadInputError("--store must name a Redis or Valkey, got none")
    return asyncio.run(_show(store))


async def _show(store: RedisStore) -> int:
    try:
        async with asyncio.timeout(5.0):
            book = await store.book()
            await store.close()
    except Exception as error:  # noqa: BLE001 - of the redis package, the network, or the timeout
        console(stderr=True).print(f"The store cannot be read: {type(error).__name__}.")
        return 1
    if book is None:
        console().print("No process has shared rate limits in this store yet.")
    else:
        console().print(_table(holdings(book)))
    return 0


def _table(budgets: list[Holdings]) -> Table:
    headings = ("budget", "limit", "free or cooling", "process", "holds")
    table = make_table(*headings, title="Tokens by process")
    for budget in budgets:
        first = (budget.name, f"{budget.calls} per {budget.seconds:g} s", f"{budget.at_home}")
        held = [(process, f"{tokens}") for process, tokens in sorted(budget.held.items())]
        for cells in held or [("", "")]:
            table.add_row(*first, *cells)
            first = ("", "", "")
    return table
