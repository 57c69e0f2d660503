"""List open orders, and show the orders and what could not be listed."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

from rich.console import Console

from htx_cancel import CancelClient, Credentials, OpenOrder, OpenOrders
from htx_cancel.cli.scope import Scope, kind_of
from htx_cancel.cli.sharing import connected
from htx_cancel.cli.shell import make_table
from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS, list_kind


async def list_all(
    scope: Scope, keys: Credentials, base_url: str, timeout: float, err: Console
) -> OpenOrders:
    """List the open orders of a scope with a new client."""
    async with connected(keys, base_url) as client:
        return await open_orders(client, scope, timeout, err)


async def open_orders(
    client: CancelClient, scope: Scope, timeout: float, err: Console
) -> OpenOrders:
    """List the open orders of a scope, all lists at the same time."""
    lists = dict.fromkeys(
        (product, list_kind(product, kind), contract)
        for product, kind in scope.pairs()
        for contract in scope.contracts_of(product)
    )
    with err.status("Listing open orders"):
        found: list[OpenOrders] = await asyncio.gather(
            *(
                attrgetter(f"{product}.open_{kind}")(client)(contract, timeout=timeout)
                for product, kind, contract in lists
            )
        )
    orders = {
        (order.product, order.kind, order.order_id): order
        for listed in found
        for order in listed
        if kind_of(order) in scope.kinds
    }
    missing = (
        f"{product} {kind}: {reason}"
        for (product, kind, _), listed in zip(lists, found, strict=True)
        for reason in listed.missing
    )
    return OpenOrders(tuple(sorted(orders.values(), key=_sort_key)), missing=tuple(missing))


def _sort_key(order: OpenOrder) -> tuple[int, int, str]:
    kind = ALL_KINDS.index(kind_of(order))
    return ALL_PRODUCTS.index(order.product), kind, order.contract_code


def show_orders(orders: OpenOrders, console: Console) -> None:
    """Print a table for each kind of each product."""
    headings = ("contract", "order id", "side", "price", "volume", "filled", "created (UTC)")
    for (product, kind), rows in groupby(orders, key=lambda order: (order.product, kind_of(order))):
        table = make_table(*headings, title=f"{product} {kind.replace('_', ' ')}")
        for column in table.columns:
            column.overflow = "fold"
        for order in rows:
            table.add_row(*_cells(order))
        console.print(table)


def _cells(order: OpenOrder) -> Iterator[str]:
    yield from (order.contract_code, order.order_id, order.direction)
    for number in (order.price, order.volume, order.filled):
        yield "-" if number is None else f"{number.normalize():f}"
    created = order.created and datetime.fromtimestamp(order.created, UTC)
    yield f"{created:%m-%d %H:%M:%S}" if created else "-"


def show_missing(found: OpenOrders, err: Console) -> None:
    """Print what could not be listed."""
    for reason in found.missing:
        err.print(f"Not listed: {reason}", style="bold yellow", soft_wrap=True)
    if found.missing:
        err.print("The list is not complete: more orders may be open.", soft_wrap=True)
