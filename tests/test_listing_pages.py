"""Listing open orders while they come and go: no page may hide one, and what is missing is said."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from clients import EPOCH, ONCE, add, in_process, nothing_is_left
from transports import Answering
from virtualtime import run

from htx_cancel import OpenOrders
from htx_cancel.sandbox import Exchange, Order
from htx_cancel.sandbox.faults import FaultPlan

pytestmark = pytest.mark.loops

OPEN_ORDERS = "/swap-api/v1/swap_openorders"
DELAY = 0.1  #: each way: the first page is read at 0.1, the last one at 0.3, and so on


def end(exchange: Exchange, orders: list[Order]) -> None:
    """Let orders end."""
    for order in orders:
        exchange.book.cancel(order, EPOCH)


async def listing(exchange: Exchange, *moments: tuple[float, Callable[..., object], Any]) -> Any:
    """List the swap orders while things happen at some moments."""
    loop = asyncio.get_running_loop()
    for moment, what, given in moments:
        loop.call_later(moment, what, exchange, *given)
    async with in_process(exchange, delay=DELAY) as client:
        return await client.coin_m_swap.open_orders("BTC-USD")


@pytest.mark.parametrize("moment", [0.05, 0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("count", [1, 50, 60])
def test_orders_that_end_meanwhile_hide_no_other(moment: float, count: int) -> None:
    """The newest end, so that the others move to earlier pages, whichever was read last."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 120)
        newest = [exchange.book[key] for key in ids[-count:]]
        orders = await listing(exchange, (moment, end, [newest]))
        assert orders.complete
        assert {order.order_id for order in orders} >= set(ids[:-count])

    run(main())


@pytest.mark.parametrize("moment", [0.05, 0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("count", [1, 50, 60])
def test_orders_that_come_meanwhile_hide_no_other(moment: float, count: int) -> None:
    """They move the others to later pages, which were read already."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 120)
        orders = await listing(exchange, (moment, add, ["swap", count]))
        assert orders.complete
        assert {order.order_id for order in orders} >= set(ids)

    run(main())


def test_a_list_that_never_stands_still_says_so() -> None:
    """It is read a few times."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 60)
        coming = [(number / 10, add, ["swap", 1]) for number in range(100)]
        orders = await listing(exchange, *coming)
        assert {order.order_id for order in orders} >= set(ids)
        assert orders.missing == ("BTC-USD: orders came while its pages were read",)
        assert exchange.calls[OPEN_ORDERS] == 3 * 3

    run(main())


def test_a_list_of_several_pages_is_read_once_where_nothing_changes() -> None:
    """Only its first page is read twice, and a list of one page once."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "swap", 120)
        assert len(await listing(exchange)) == 120
        assert exchange.calls[OPEN_ORDERS] == 4
        exchange = Exchange()
        add(exchange, "swap", 50)
        assert len(await listing(exchange)) == 50
        assert exchange.calls[OPEN_ORDERS] == 1

    run(main())


def test_what_was_read_before_a_page_failed_is_listed() -> None:
    """The first page was read, and the last one next."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 120)
        faults = FaultPlan({OPEN_ORDERS: [None, None, "reset_before"]})
        async with in_process(exchange, faults=faults, retry=ONCE) as client:
            orders = await client.coin_m_swap.open_orders("BTC-USD")
        assert {order.order_id for order in orders} == {*ids[:20], *ids[70:]}
        assert orders.missing == ("BTC-USD: the connection was lost",)
        assert not orders.refused

    run(main())


def test_a_listing_that_the_end_of_the_client_cuts_short_says_so() -> None:
    """It is not taken for an empty list, and nothing is left running."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "swap", 220)
        client = in_process(exchange, delay=DELAY)
        listed = asyncio.create_task(client.coin_m_swap.open_orders("BTC-USD"))
        await asyncio.sleep(0.5)
        await client.aclose()
        assert asyncio.get_running_loop().time() < 0.6
        orders = await listed
        assert orders.missing == ("the list: the client was closed",)
        nothing_is_left(client)

    run(main())


def rows(numbers: range, *, named: bool = True) -> list[dict[str, object]]:
    """Make rows of a v5 list."""
    name = "id" if named else "number"
    return [{name: str(it), "order_id": str(it), "contract_code": "BTC-USDT"} for it in numbers]


async def v5_orders(answer: Callable[[Mapping[str, Any]], list[dict[str, object]]]) -> OpenOrders:
    """List v5 orders as an exchange tells of them that has none in isolated margin."""

    def reply(params: Mapping[str, Any]) -> object:
        return {"code": 200, "data": [] if "margin_mode" in params else answer(params)}

    async with Answering(reply).client() as client:
        return await client.usdt_m.open_orders("BTC-USDT")


def test_a_list_that_does_not_go_on_after_an_id_ends_and_says_so() -> None:
    """The exchange gives the same page again and again."""

    async def main() -> None:
        orders = await v5_orders(lambda _params: rows(range(1, 101)))
        assert len(orders) == 100
        assert orders.missing == ("BTC-USDT: it does not go on after its first pages",)

    run(main())


@pytest.mark.parametrize("last", [[{"order_id": "100"}], [{"id": None}]])
def test_a_full_page_without_an_id_to_go_on_after_is_not_the_last(last: Any) -> None:
    """There may be more."""

    async def main() -> None:
        orders = await v5_orders(lambda _params: rows(range(1, 100)) + last)
        assert orders.missing == ("BTC-USDT: the page is full, but its last order has no id",)

    run(main())


def test_a_full_page_is_followed_by_another() -> None:
    """Even if that is empty."""

    async def main() -> None:
        orders = await v5_orders(lambda it: rows(range(1, 101)) if "from" not in it else [])
        assert len(orders) == 100
        assert orders.complete

    run(main())


def test_a_coin_may_end_with_a_digit() -> None:
    """It is no contract: all its contracts are listed, with each its own."""

    async def main() -> None:
        exchange = Exchange()
        codes = ["X2260327", "X2260109"]
        for code in codes:
            exchange.book.add("futures", code)
        async with in_process(exchange) as client:
            orders = await client.coin_m_futures.open_orders("X2")
            assert {order.contract_code for order in orders} == set(codes)
            (order,) = await client.coin_m_futures.open_orders(codes[0])
        assert order.contract_code == codes[0]

    run(main())
