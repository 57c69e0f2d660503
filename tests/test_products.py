"""The products' methods against the sandbox: over a socket, and on virtual time without one."""

import asyncio
from typing import Any

import pytest
from clients import CONTRACTS, ONCE, add, by_status, cancel, in_process, over_a_socket
from confirmations import unanswered
from virtualtime import run

from htx_cancel import CancelClient, CancelStatus, CloseReason, OrderResult, Priority
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.rules import Kind

pytestmark = pytest.mark.loops

PATHS: dict[Kind, tuple[str, int]] = {
    "swap": ("/swap-api/v1/swap_cancel", 10),
    "swap_trailing": ("/swap-api/v1/swap_track_cancel", 10),
    "swap_trigger": ("/swap-api/v1/swap_trigger_cancel", 10),
    "linear_trigger": ("/linear-swap-api/v1/swap_trigger_cancel", 20),
    "v5": ("/v5/trade/cancel_order", 1),
}


@pytest.mark.parametrize("kind", PATHS)
async def test_forty_seven_ids_take_the_fewest_requests_and_each_gets_its_status(
    kind: Kind,
) -> None:
    """Over a socket: signatures are valid, batches are full, and every status matches the book."""
    exchange = Exchange()
    live = add(exchange, kind, 27)
    filled = add(exchange, kind, 5, state="filled")
    canceling = add(exchange, kind, 5, state="canceling")
    refused = add(exchange, kind, 5, refusal=1088)
    missing = [str(10**17 + number) for number in range(5)]
    ids = [key for five in zip(filled, canceling, refused, missing, strict=True) for key in five]
    ids += live
    async with over_a_socket(exchange) as client:
        outcome = await cancel(client, kind, ids)
    path, size = PATHS[kind]
    assert exchange.calls == {path: -(-47 // size)}
    assert all(call.outcome != "auth" for call in exchange.log)
    assert [result.order_id for result in outcome.results] == ids
    assert by_status(outcome) == {
        CancelStatus.ACCEPTED: set(live),
        CancelStatus.CLOSED: set(filled + canceling),
        CancelStatus.REJECTED: set(refused),
        CancelStatus.NOT_FOUND: set(missing),
    }
    assert {outcome[key].reason for key in filled} == {CloseReason.FILLED}
    assert {outcome[key].reason for key in canceling} == {CloseReason.CANCELING}
    assert {outcome[key].code for key in refused} == {1088}
    assert {outcome[key].code for key in missing} == {1061}
    assert {result.attempts for result in outcome} == {1}
    assert {exchange.book[key].state for key in live} == {"canceled"}


@pytest.mark.parametrize("kind", ["swap", "v5"])
async def test_orders_are_canceled_by_client_ids(kind: Kind) -> None:
    """A result has the id that was given."""
    exchange = Exchange()
    add(exchange, kind, 1, client_order_id=71)
    async with over_a_socket(exchange) as client:
        method = client.coin_m_swap.cancel_orders if kind == "swap" else client.usdt_m.cancel_orders
        outcome = await method(CONTRACTS[kind], client_order_ids=[71, "72"])
    assert [(result.order_id, result.status) for result in outcome] == [
        ("71", CancelStatus.ACCEPTED),
        ("72", CancelStatus.NOT_FOUND),
    ]


async def test_cancel_all_returns_the_ids_of_the_reply() -> None:
    """Filters reach the exchange, ``call`` has the request's status; no open order is no error."""
    exchange = Exchange()
    buys = add(exchange, "swap_trailing", 3, direction="buy", offset="open")
    closes = add(exchange, "swap_trailing", 2, direction="sell", offset="close")
    stuck = add(exchange, "swap_trailing", 1, direction="buy", offset="close", refusal=1088)
    async with over_a_socket(exchange) as client:
        first = await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD", direction="sell")
        second = await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD", offset="open")
        third = await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD")
        nothing = await client.coin_m_swap.cancel_all_trailing_orders("ETH-USD")
    assert by_status(first) == {CancelStatus.ACCEPTED: set(closes)}
    assert by_status(second) == {CancelStatus.ACCEPTED: set(buys)}
    assert by_status(third) == {CancelStatus.REJECTED: set(stuck)}
    assert first.call.status is third.call.status is CancelStatus.ACCEPTED
    assert (len(nothing), nothing.call.status, nothing.call.code) == (
        0,
        CancelStatus.NOT_FOUND,
        1051,
    )


def test_cancel_all_calls_on_batch_with_the_ids_of_the_reply() -> None:
    """``on_batch`` is called once, with one tuple."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 3)
        batches: list[tuple[OrderResult, ...]] = []
        async with in_process(exchange) as client:
            await one_call(client, "all", on_batch=batches.append)
        assert [{result.order_id for result in results} for results in batches] == [set(ids)]

    run(main())


def test_an_empty_list_sends_nothing() -> None:
    """Without ids no request is sent, and the outcome is empty."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            for kind in PATHS:
                assert (await cancel(client, kind, [])).results == ()
        assert not exchange.calls

    run(main())


def test_concurrent_calls_keep_the_rate_limit_of_each_endpoint() -> None:
    """Together they take as long as the slowest, and the exchange refuses nothing."""

    async def main() -> None:
        exchange = Exchange()
        wanted = {kind: add(exchange, kind, 5 * size * 3) for kind, (_, size) in PATHS.items()}
        loop = asyncio.get_running_loop()
        async with in_process(exchange, delay=0.01) as client:
            outcomes = await asyncio.gather(
                *(cancel(client, kind, ids) for kind, ids in wanted.items())
            )
        assert all(outcome.counts.keys() == {CancelStatus.ACCEPTED} for outcome in outcomes)
        assert not exchange.refused
        assert 2.0 < loop.time() < 2.1

    run(main())


async def one_call(client: CancelClient, method: str, **terms: Any) -> None:
    """Call any method once, so that it sends one request."""
    if method == "all":
        await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD", **terms)
    elif method == "confirm":
        await client.confirm(unanswered("v5", "1"), timeout=60.0, **terms)
    elif method == "list":
        await client.usdt_m.open_orders("BTC-USDT", **terms)
    else:
        kind: Any = method
        await cancel(client, kind, ["1"], **terms)


@pytest.mark.parametrize("method", PATHS)
def test_every_method_returns_at_its_timeout_and_calls_on_batch(method: str) -> None:
    """The timeout ends long before the reply arrives."""

    async def main() -> None:
        batches: list[tuple[OrderResult, ...]] = []
        async with in_process(Exchange(), delay=1.0) as client:
            await one_call(client, method, timeout=0.5, on_batch=batches.append)
            assert asyncio.get_running_loop().time() == pytest.approx(0.5, abs=0.01)
        assert [result.status for (result,) in batches] == [CancelStatus.UNKNOWN]

    run(main())


@pytest.mark.parametrize("method", [*PATHS, "all", "confirm", "list"])
def test_an_urgent_call_of_every_method_goes_before_a_routine_call(method: str) -> None:
    """The urgent call starts later, while the budget has no token."""

    async def main() -> None:
        order: list[str] = []

        async def call(name: str, priority: Priority) -> None:
            await one_call(client, method, priority=priority)
            order.append(name)

        async with in_process(Exchange(), retry=ONCE) as client:
            for state in client.budgets.snapshot():
                for _ in range(state.calls):
                    (await client.budgets.acquire((state.name,))).replied()
            routine = asyncio.create_task(call("routine", Priority.ROUTINE))
            await asyncio.sleep(0.1)
            await asyncio.gather(routine, call("urgent", Priority.URGENT))
        assert order == ["urgent", "routine"]

    run(main())
