"""``client.cancel``: a mixed list of orders, each in the call that fits it."""

import asyncio
import gc
import random
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from clients import CONTRACTS, add, in_process, over_a_socket
from virtualtime import run

from htx_cancel import (
    CancelStatus,
    InvalidTypeError,
    InvalidValueError,
    OpenOrder,
    OrderRef,
    OrderResult,
    Outcome,
    Source,
    mixed,
)
from htx_cancel.endpoints import ENDPOINTS
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.seeding import KINDS

pytestmark = pytest.mark.loops

BY_IDS = [row for row in ENDPOINTS.values() if row.batch_size]


def refs(exchange: Exchange, count: int) -> list[OrderRef]:
    """Put orders of every kind into the book; return references to them, shuffled."""
    references = []
    for row in BY_IDS:
        kind = KINDS[row.name]
        product, _, order_kind = row.name.partition(".cancel_")
        for number in range(count):
            contract = CONTRACTS[kind].replace("BTC", ("BTC", "ETH")[number % 2])
            order = exchange.book.add(kind, contract, client_order_id=len(exchange.book) + 1)
            if row.client_ids and number % 3 == 0:
                references.append(
                    OrderRef(product, order_kind, contract, client_order_id=order.client_order_id)
                )
            else:
                references.append(OrderRef(product, order_kind, contract, int(order.order_id)))
    random.Random(1).shuffle(references)
    return references


async def test_any_mixture_is_cancelled_at_once() -> None:
    """Results are in the order given, and each has its source."""
    exchange = Exchange()
    orders = refs(exchange, 12)
    reported: list[OrderResult] = []
    async with over_a_socket(exchange) as client:
        outcome = await client.cancel([*orders, *orders[:5]], on_batch=reported.extend)
    assert len(outcome.accepted) == len(outcome) == len(orders)
    for order, result in zip(orders, outcome, strict=True):
        assert result.order_id == str(order.order_id or order.client_order_id)
        assert result.source is not None
        assert (result.source.product, result.source.kind) == (order.product, order.kind)
        assert result.source.contract_code == order.contract_code
    assert set(reported) == set(outcome)
    parts = outcome.parts  # runs of orders of one source
    assert all(
        result.source == part.source for part in parts for batch in part.batches for result in batch
    )
    assert all(one.source != other.source for one, other in pairwise(parts))
    assert not exchange.book.open()
    assert not exchange.refused


def test_list_filter_cancel_is_three_lines() -> None:
    """Orders that the filter leaves out stay open."""

    async def main() -> None:
        exchange = Exchange()
        buys = [exchange.book.add("v5", "BTC-USDT").order_id for _ in range(15)]
        sell = exchange.book.add("v5", "BTC-USDT", direction="sell").order_id
        async with in_process(exchange) as client:
            orders = await client.usdt_m.open_orders()
            outcome = await client.cancel(order for order in orders if order.direction == "buy")
            assert {result.order_id for result in outcome.accepted} == set(buys)
            confirmed = await client.confirm(outcome)
        assert {result.state for result in confirmed} == {"canceled"}
        assert [order.order_id for order in exchange.book.open()] == [sell]

    run(main())


def test_a_mixed_outcome_has_the_refusal_of_one_of_its_calls() -> None:
    """A refusal of the account by one product does not end the calls of the others."""

    async def main() -> None:
        exchange = Exchange(withdrawn=["/swap-api/v1/swap_cancel"])
        swap = exchange.book.add("swap", "BTC-USD").order_id
        v5 = exchange.book.add("v5", "BTC-USDT").order_id
        async with in_process(exchange) as client:
            outcome = await client.cancel(
                [
                    OrderRef("usdt_m", "orders", "BTC-USDT", v5),
                    OrderRef("coin_m_swap", "orders", "BTC-USD", swap),
                    OrderRef("usdt_m", "orders", "BTC-USDT", 7),
                ]
            )
        assert [result.status for result in outcome] == [
            CancelStatus.ACCEPTED,
            CancelStatus.REJECTED,
            CancelStatus.NOT_FOUND,
        ]
        assert outcome.error is not None
        assert outcome.error.code == 404

    run(main())


def test_a_large_mixture_yields_to_the_event_loop() -> None:
    """Checking, grouping and joining pause after some orders."""

    async def main() -> None:
        count = 100 * mixed.YIELD_EVERY
        loop = asyncio.get_running_loop()
        turns = [0]  # the orders that were checked in each turn of the event loop

        def turn() -> None:
            turns.append(0)
            loop.call_soon(turn)

        def orders() -> Iterator[OrderRef]:
            for number in range(1, count + 1):
                turns[-1] += 1
                yield OrderRef("coin_m_swap", ("orders", "tpsl_orders")[number % 2], "A-B", number)

        turn()
        keys = await mixed.keys_of(orders())
        assert len(keys) == count
        assert max(turns) <= mixed.YIELD_EVERY
        turns.clear()
        groups = await mixed.grouped(keys)
        assert len(turns) >= 100
        outcomes = [
            Outcome.of([OrderResult(each, CancelStatus.ACCEPTED) for each in ids], source=source)
            for source, ids in groups.items()
        ]
        turns.clear()
        joined = await mixed.joined(keys, outcomes)
        assert len(turns) >= 200
        assert [(result.source, result.order_id) for result in joined] == list(keys)

    run(main())


async def test_a_mixed_outcome_has_batches_so_that_confirming_it_can_pause() -> None:
    """Many orders of one source are in several batches."""
    source = Source("coin_m_swap.cancel_orders", "BTC-USD")
    results = [OrderResult(str(number), CancelStatus.ACCEPTED) for number in range(1, 1001)]
    keys = [(source, result.order_id) for result in results]
    joined = await mixed.joined(keys, [Outcome.of(results, source=source)])
    assert [len(batch) for part in joined.parts for batch in part.batches] == [100] * 10


def test_the_wait_of_a_mixed_outcome_is_the_shortest_of_its_calls() -> None:
    """``retry_in`` is when the first unsent order can be sent."""

    async def main() -> None:
        exchange = Exchange()
        swap = add(exchange, "swap_tpsl", 100)
        v5 = add(exchange, "v5", 800)
        orders = [OrderRef("usdt_m", "orders", "BTC-USDT", order_id) for order_id in v5]
        orders += [OrderRef("coin_m_swap", "tpsl_orders", "BTC-USD", order_id) for order_id in swap]
        async with in_process(exchange) as client:
            outcome = await client.cancel(orders, timeout=0.5)
            assert (len(outcome.accepted), len(outcome.unsent)) == (770, 130)
            assert outcome.retry_in == pytest.approx(1.0, abs=0.02)  # v5: three seconds
            again = await client.cancel(orders[50:])
        assert again.retry_in is None

    run(main())


async def test_a_wait_of_zero_seconds_is_the_shortest() -> None:
    """The token of one call became free while its outcome was made."""
    waits = {"swap": 2.0, "futures": None, "v5": 0.0}
    outcomes = [
        Outcome.of(
            [OrderResult("7", CancelStatus.UNSENT)], source=Source(product, "A"), retry_in=wait
        )
        for product, wait in waits.items()
    ]
    keys = [(part.source, "7") for outcome in outcomes for part in outcome.parts]
    assert (await mixed.joined(keys, outcomes)).retry_in == 0.0


def test_nothing_to_cancel_sends_nothing() -> None:
    """An empty list has an empty outcome."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            assert len(await client.cancel([])) == 0
        assert not exchange.calls

    run(main())


def test_cancelling_the_caller_ends_the_sending() -> None:
    """Of all calls; requests in flight still get their replies."""

    async def main() -> None:
        exchange = Exchange()
        orders = refs(exchange, 150)
        async with in_process(exchange, delay=0.05) as client:
            calling = asyncio.create_task(client.cancel(orders))
            await asyncio.sleep(0.5)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            sent = sum(exchange.calls.values())
            await asyncio.sleep(5.0)
        assert sum(exchange.calls.values()) <= sent + 1
        assert exchange.book.open()

    run(main())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("swap", "orders", "BTC-USD", 1), InvalidValueError),
        (("usdt_m", "trigger_orders", "BTC-USDT", 1), InvalidValueError),
        (("usdt_m", "all_orders", "BTC-USDT", 1), InvalidValueError),
        (("usdt_m", "orders", "", 1), InvalidValueError),
        (("usdt_m", "orders", "BTC-USDT"), InvalidValueError),
        (("usdt_m", "orders", "BTC-USDT", 1, 2), InvalidValueError),
        (("usdt_m", "orders", "BTC-USDT", ""), InvalidValueError),
        (("usdt_m", "orders", "BTC-USDT", "1,2"), InvalidValueError),
        (("usdt_m", "orders", "BTC-USDT", 1.5), InvalidTypeError),
        (("coin_m_swap", "trigger_orders", "BTC-USD", None, 2), InvalidValueError),
    ],
)
def test_a_reference_that_no_method_can_cancel_is_refused(
    arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    """When the reference is made."""
    with pytest.raises(error):
        OrderRef(*arguments)


def test_a_reference_is_a_value() -> None:
    """It is hashable and cannot be changed."""
    made = [OrderRef("usdt_m", "orders", "BTC-USDT", "7") for _ in range(2)]
    assert len(set(made)) == 1
    with pytest.raises(AttributeError):
        made[0].order_id = "8"  # type: ignore[misc]
    order = OpenOrder("usdt_m", "orders", "BTC-USDT", "7")
    with pytest.raises(AttributeError):
        order.order_id = "8"  # type: ignore[misc]


def test_the_error_of_an_invalid_reference_names_the_arguments() -> None:
    """And the methods that exist."""
    with pytest.raises(InvalidValueError, match=r"must be given, got neither$"):
        OrderRef("usdt_m", "orders", "BTC-USDT")
    with pytest.raises(InvalidValueError, match=r"must be given, got both$"):
        OrderRef("usdt_m", "orders", "BTC-USDT", "1", "2")
    with pytest.raises(InvalidValueError, match=r"must name one of coin_m_f") as raised:
        OrderRef("usdt_m", "all_orders", "BTC-USDT", "1")
    known = str(raised.value).partition(" one of ")[2].rpartition(", got ")[0].split(", ")
    assert sorted(known) == sorted(row.name for row in BY_IDS)


@pytest.mark.parametrize("orders", ["1", "", b"", 7, ["1"], [None]])
def test_an_invalid_order_is_refused_before_anything_is_sent(orders: Any) -> None:
    """The valid orders of the list are not sent either."""

    async def main() -> None:
        exchange = Exchange()
        order = exchange.book.add("v5", "BTC-USDT").order_id
        mixture = (
            [OrderRef("usdt_m", "orders", "BTC-USDT", order), *orders]
            if isinstance(orders, list)
            else orders
        )
        async with in_process(exchange) as client:
            with pytest.raises(InvalidTypeError):
                await client.cancel(mixture)
        assert not exchange.calls

    run(main())


def test_an_open_order_has_the_reference_that_cancels_it() -> None:
    """The reference has the order id."""
    order = OpenOrder("coin_m_futures", "tpsl_orders", "BTC260327", "7", "9")
    assert order.ref == OrderRef("coin_m_futures", "tpsl_orders", "BTC260327", "7")


@pytest.mark.parametrize("confirm", [False, True])
def test_a_large_mixed_outcome_is_freed_in_slices(*, confirm: bool) -> None:
    """Freeing all results at once would stall the event loop; so too after ``confirm``."""

    async def main() -> None:
        orders = [
            OrderRef("coin_m_swap", "orders", f"{coin}-USD", number)
            for coin in ("BTC", "ETH")
            for number in range(1, 4_001)
        ]
        async with in_process(Exchange()) as client:
            outcome = await client.cancel(orders, timeout=0.001)
            if confirm:
                outcome = await client.confirm(outcome)
                gc.collect()  # so that nothing else holds the results
                for _ in range(5):
                    await asyncio.sleep(0)
            first = outcome.results[0]
            del outcome
            alone = sys.getrefcount(object()) + 1  # references to a result that one name holds
            assert sys.getrefcount(first) > alone  # its slice is not freed yet
            for _ in range(5):
                await asyncio.sleep(0)
            assert sys.getrefcount(first) == alone

    run(main())


def test_a_large_outcome_of_listed_orders_is_freed_in_slices() -> None:
    """``cancel_all_algo_orders`` lists the orders and cancels them by their ids."""

    async def main() -> None:
        exchange = Exchange()
        for _ in range(5_100):
            exchange.book.add("v5_algo", "BTC-USDT", algo_type="trigger")
        async with in_process(exchange) as client:
            outcome = await client.usdt_m.cancel_all_algo_orders("BTC-USDT", timeout=30.0)
            first = outcome.results[0]
            gc.collect()  # so that nothing else holds the results
            del outcome
            alone = sys.getrefcount(object()) + 1  # references to a result that one name holds
            assert sys.getrefcount(first) > alone  # its slice is not freed yet
            for _ in range(5):
                await asyncio.sleep(0)
            assert sys.getrefcount(first) == alone

    run(main())
