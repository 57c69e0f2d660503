"""Listing open orders while orders are added and end: no order may be missed silently."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from clients import EPOCH, ONCE, add, in_process, nothing_is_left
from transports import Answering
from virtualtime import now, run

from htx_cancel import OpenOrders
from htx_cancel.sandbox import Exchange, Order
from htx_cancel.sandbox.faults import FaultPlan

pytestmark = pytest.mark.loops

OPEN_ORDERS = "/swap-api/v1/swap_openorders"
DELAY = 0.1  #: seconds each way: the first page is read at 0.1 s, the last one at 0.3 s, and so on


def cancel_orders(exchange: Exchange, orders: list[Order]) -> None:
    """Cancel orders."""
    for order in orders:
        exchange.book.cancel(order, EPOCH)


async def listing(exchange: Exchange, *moments: tuple[float, Callable[..., object], Any]) -> Any:
    """List the swap orders; call a function with the exchange and arguments at each moment."""
    loop = asyncio.get_running_loop()
    for moment, function, arguments in moments:
        loop.call_later(moment, function, exchange, *arguments)
    async with in_process(exchange, delay=DELAY) as client:
        return await client.coin_m_swap.open_orders("BTC-USD")


@pytest.mark.parametrize("moment", [0.05, 0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("count", [1, 50, 60])
def test_no_order_is_missed_when_others_end_meanwhile(moment: float, count: int) -> None:
    """The newest orders end, which moves the others to earlier pages."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 120)
        newest = [exchange.book[key] for key in ids[-count:]]
        orders = await listing(exchange, (moment, cancel_orders, [newest]))
        assert orders.complete
        assert {order.order_id for order in orders} >= set(ids[:-count])

    run(main())


@pytest.mark.parametrize("moment", [0.05, 0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("count", [1, 50, 60])
def test_no_order_is_missed_when_others_are_added_meanwhile(moment: float, count: int) -> None:
    """New orders move the others to later pages, which were read already."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 120)
        orders = await listing(exchange, (moment, add, ["swap", count]))
        assert orders.complete
        assert {order.order_id for order in orders} >= set(ids)

    run(main())


def test_a_list_that_changes_in_every_reading_is_not_complete() -> None:
    """It is read three times."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 60)
        moments = [(number / 10, add, ["swap", 1]) for number in range(100)]
        orders = await listing(exchange, *moments)
        assert {order.order_id for order in orders} >= set(ids)
        assert orders.missing == ("BTC-USD: orders were added while the pages were read",)
        assert exchange.calls[OPEN_ORDERS] == 3 * 3

    run(main())


def test_a_list_of_several_pages_is_read_once_if_nothing_changes() -> None:
    """Only the first of several pages is read twice."""

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


def test_orders_read_before_a_page_failed_are_listed() -> None:
    """The first page was read, and the last page after it."""

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


def test_a_listing_that_aclose_ends_is_not_complete() -> None:
    """It cannot be mistaken for an empty list, and no task is left."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "swap", 220)
        client = in_process(exchange, delay=DELAY)
        listed = asyncio.create_task(client.coin_m_swap.open_orders("BTC-USD"))
        await asyncio.sleep(0.5)
        await client.aclose()
        assert now() < 0.6
        assert not client._calls.lists
        orders = await listed
        assert orders.missing == ("the list: the client was closed",)
        nothing_is_left(client)

    run(main())


def test_a_cancelled_caller_ends_its_list() -> None:
    """No task is left, and no request is sent afterwards."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "swap", 220)
        async with in_process(exchange, delay=DELAY) as client:
            listed = asyncio.create_task(client.coin_m_swap.open_orders("BTC-USD"))
            await asyncio.sleep(0.5)
            listed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await listed
            nothing_is_left(client)
            sent = exchange.calls.total()
            await asyncio.sleep(10.0)
            assert exchange.calls.total() == sent

    run(main())


def rows(numbers: range, *, named: bool = True) -> list[dict[str, object]]:
    """Return rows of a v5 list."""
    name = "id" if named else "number"
    return [
        {name: str(number), "order_id": str(number), "contract_code": "BTC-USDT"}
        for number in numbers
    ]


async def v5_orders(answer: Callable[[Mapping[str, Any]], list[dict[str, object]]]) -> OpenOrders:
    """List the v5 orders of an exchange that has none in isolated margin."""

    def reply(params: Mapping[str, Any]) -> object:
        return {"code": 200, "data": [] if "margin_mode" in params else answer(params)}

    async with Answering(reply).client() as client:
        return await client.usdt_m.open_orders("BTC-USDT")


def test_an_order_on_two_pages_counts_once() -> None:
    """The list counts three orders and names two."""

    async def main() -> None:
        def page(params: Mapping[str, Any]) -> object:
            orders = [
                {"order_id": order_id, "contract_code": "BTC-USD"}
                for order_id in (["1", "2"] if params["page_index"] == 1 else ["2"])
            ]
            return {"status": "ok", "data": {"orders": orders, "total_page": 2, "total_size": 3}}

        async with Answering(page).client() as client:
            orders = await client.coin_m_swap.open_orders("BTC-USD")
        assert {order.order_id for order in orders} == {"1", "2"}
        assert orders.missing == ("BTC-USD: the list has fewer orders than its own count",)

    run(main())


def test_a_v5_list_that_requires_a_contract_is_not_complete() -> None:
    """There is no catalogue of these contracts; the lists of both margin modes are refused."""

    async def main() -> None:
        async with Answering(
            lambda _params: {"code": 1014, "message": "no contract"}
        ).client() as it:
            orders = await it.usdt_m.open_orders()
        assert orders.missing == ("the list: the contracts could not be listed",)

    run(main())


def test_a_list_that_cannot_be_read_is_named_with_its_margin_mode() -> None:
    """The list of the other mode has an order."""

    async def main() -> None:
        def reply(params: Mapping[str, Any]) -> object:
            refused = {"code": 1227, "message": "not active", "data": None}
            return refused if "margin_mode" in params else {"code": 200, "data": rows(range(1, 2))}

        async with Answering(reply).client() as client:
            orders = await client.usdt_m.open_orders("BTC-USDT")
        assert [order.order_id for order in orders] == ["1"]
        assert orders.missing == ("BTC-USDT isolated: 1227 not active",)
        assert not orders.refused

    run(main())


def test_a_list_that_repeats_a_page_is_not_complete() -> None:
    """The reading ends, although the exchange returns the same page each time."""

    async def main() -> None:
        orders = await v5_orders(lambda _params: rows(range(1, 101)))
        assert len(orders) == 100
        assert orders.missing == ("BTC-USDT: the list returned the same page twice",)

    run(main())


def test_a_list_that_repeats_an_earlier_page_is_not_complete() -> None:
    """The exchange returns two pages in turn."""

    async def main() -> None:
        orders = await v5_orders(
            lambda params: rows(range(101, 201) if params.get("from") == "100" else range(1, 101))
        )
        assert len(orders) == 200
        assert orders.missing == ("BTC-USDT: the list returned the same page twice",)

    run(main())


@pytest.mark.parametrize("last", [[{"order_id": "100"}], [{"id": None}]])
def test_a_full_page_without_an_id_to_continue_after_is_not_the_last(last: Any) -> None:
    """More orders may be open."""

    async def main() -> None:
        orders = await v5_orders(lambda _params: rows(range(1, 100)) + last)
        assert orders.missing == ("BTC-USDT: the page is full, but its last order has no id",)

    run(main())


def test_a_full_page_is_followed_by_another() -> None:
    """Even if the next page is empty."""

    async def main() -> None:
        orders = await v5_orders(lambda params: [] if "from" in params else rows(range(1, 101)))
        assert len(orders) == 100
        assert orders.complete

    run(main())
