"""List what is open, as tables or for a file, and say what could not be listed."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from htx_cancel import CancelClient, Credentials, OpenOrder, OpenOrders
from htx_cancel.cli.scope import Scope, kind_of
from htx_cancel.cli.sharing import connected
from htx_cancel.cli.tables import make_table
from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS, list_of


class Found(Struct, frozen=True):
    """The open orders of a scope, and what could not be listed."""

    orders: tuple[OpenOrder, ...]
    missing: tuple[str, ...]


async def open_orders(client: CancelClient, scope: Scope, timeout: float) -> Found:
    """List all that a scope is about, at the same time."""
    lists = dict.fromkeys(
        (product, list_of(product, kind), code)
        for product, kind in scope.there()
        for code in scope.codes(product)
    )
    found = await asyncio.gather(*(_read(client, *each, timeout) for each in lists))
    orders = {
        (order.product, order.kind, order.order_id): order
        for listed in found
        for order in listed
        if kind_of(order) in scope.kinds
    }
    missing = (
        f"{product} {kind}: {words}"
        for (product, kind, _), listed in zip(lists, found, strict=True)
        for words in listed.missing
    )
    return Found(tuple(sorted(orders.values(), key=_place)), tuple(missing))


async def _read(
    client: CancelClient, product: str, kind: str, code: str | None, timeout: float
) -> OpenOrders:
    listed: OpenOrders = await attrgetter(f"{product}.open_{kind}")(client)(code, timeout=timeout)
    return listed


def _place(order: OpenOrder) -> tuple[int, int, str]:
    """Say where an order comes in a list."""
    kind = ALL_KINDS.index(kind_of(order))
    return ALL_PRODUCTS.index(order.product), kind, order.contract_code


async def list_all(
    scope: Scope, keys: Credentials, base_url: str, timeout: float, err: Console
) -> Found:
    """List with a client of its own."""
    async with connected(keys, base_url) as client:
        with err.status("Listing what is open"):
            return await open_orders(client, scope, timeout)


def show_orders(orders: Sequence[OpenOrder], console: Console) -> None:
    """Tabulate orders, a table for each kind of each product."""
    for (product, kind), some in groupby(orders, key=lambda order: (order.product, kind_of(order))):
        console.print(_table(f"{product} {kind.replace('_', ' ')}", some))


def show_missing(found: Found, err: Console) -> None:
    """Say what could not be listed."""
    for words in found.missing:
        err.print(f"Not listed: {words}", style="bold yellow", soft_wrap=True)
    if found.missing:
        err.print("The list is not complete: more orders may be open.", soft_wrap=True)


def counted(number: int, word: str) -> str:
    """Write a number of things: ``1 order``, ``1,000 orders``."""
    return f"{number:,} {word}{'s' * (number != 1)}"


def _table(title: str, orders: Iterable[OpenOrder]) -> Table:
    headings = ("contract", "order id", "side", "price", "volume", "filled", "created (UTC)")
    table = make_table(*headings, title=title)
    for column in table.columns:
        column.overflow = "fold"
    for order in orders:
        table.add_row(*_cells(order))
    return table


def _cells(order: OpenOrder) -> Iterator[str]:
    yield from (order.contract_code, order.order_id, order.direction)
    for number in (order.price, order.volume, order.filled):
        yield "-" if number is None else f"{number.normalize():f}"
    created = order.created and datetime.fromtimestamp(order.created, UTC)
    yield f"{created:%m-%d %H:%M:%S}" if created else "-"
