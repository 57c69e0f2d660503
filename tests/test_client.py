"""The coroutine methods, against the sandbox: over a socket for wiring, on virtual time else."""

import asyncio
import sys
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import msgspec
import pytest
from clients import (
    CONTRACTS,
    EPOCH,
    ONCE,
    SECRET,
    add,
    by_status,
    cancel,
    credentials,
    in_process,
    over_a_socket,
)
from hypothesis import given
from hypothesis import strategies as st
from virtualtime import run

from htx_cancel import (
    Budgets,
    CancelClient,
    CancelStatus,
    ClientClosedError,
    CloseReason,
    InvalidTypeError,
    InvalidValueError,
    Limit,
    OrderResult,
    Priority,
    RetryPolicy,
)
from htx_cancel.errors import NoAnswerError, WrongLoopError
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.rules import Kind
from htx_cancel.wire.transport import Reply, Request, Transport

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
    """Over a socket: signatures hold, batches are full, and every status is the book's."""
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
    """A result carries the id that was given."""
    exchange = Exchange()
    add(exchange, kind, 1, client_order_id=71)
    async with over_a_socket(exchange) as client:
        method = client.coin_m_swap.cancel_orders if kind == "swap" else client.usdt_m.cancel_orders
        outcome = await method(CONTRACTS[kind], client_order_ids=[71, "72"])
    assert [(it.order_id, it.status) for it in outcome] == [
        ("71", CancelStatus.ACCEPTED),
        ("72", CancelStatus.NOT_FOUND),
    ]


async def test_cancel_all_returns_what_the_reply_lists() -> None:
    """The filter reaches the exchange; the call's own fate is told; nothing open is no error."""
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


def test_an_empty_list_sends_nothing() -> None:
    """No ids, no request, an empty outcome."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            for kind in PATHS:
                assert (await cancel(client, kind, [])).results == ()
        assert not exchange.calls

    run(main())


BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception]]] = [
    ("coin_m_swap.cancel_orders", ("BTC-USD",), {}, InvalidValueError),
    (
        "coin_m_swap.cancel_orders",
        ("BTC-USD", ["1"]),
        {"client_order_ids": ["2"]},
        InvalidValueError,
    ),
    ("coin_m_swap.cancel_orders", ("BTC-USD", "123"), {}, InvalidTypeError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", [1.0]), {}, InvalidTypeError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", ["1", ""]), {}, InvalidValueError),
    ("coin_m_swap.cancel_orders", ("", ["1"]), {}, InvalidValueError),
    ("coin_m_swap.cancel_orders", (None, ["1"]), {}, InvalidTypeError),
    ("usdt_m.cancel_orders", ("BTC-USDT",), {}, InvalidValueError),
    ("usdt_m.cancel_orders", ("BTC-USDT", ["1,2"]), {}, InvalidValueError),
    ("coin_m_swap.cancel_trailing_orders", ("BTC-USD", None), {}, InvalidValueError),
    ("usdt_m_v1_isolated.cancel_trigger_orders", ("BTC-USDT", ["1\n"]), {}, InvalidValueError),
    (
        "coin_m_swap.cancel_all_trailing_orders",
        ("BTC-USD",),
        {"direction": "up"},
        InvalidValueError,
    ),
    ("coin_m_swap.cancel_all_trailing_orders", ("BTC-USD",), {"offset": "both"}, InvalidValueError),
    ("coin_m_swap.cancel_all_trailing_orders", (" ",), {}, InvalidValueError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", ["1"]), {"timeout": 0}, InvalidValueError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", ["1"]), {"timeout": "1"}, InvalidTypeError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", ["1"]), {"on_batch": 1}, InvalidTypeError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", ["1"]), {"priority": 1}, InvalidTypeError),
]


@pytest.mark.parametrize(("method", "args", "terms", "error"), BAD)
def test_bad_input_is_refused_before_anything_is_sent(
    method: str, args: tuple[Any, ...], terms: dict[str, Any], error: type[Exception]
) -> None:
    """The error is ours and a ValueError or TypeError, too."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            with pytest.raises(error) as caught:
                await attrgetter(method)(client)(*args, **terms)
        assert isinstance(caught.value, ValueError | TypeError)
        assert not exchange.calls

    run(main())


def test_a_bad_id_at_the_end_of_a_long_iterable_sends_nothing() -> None:
    """Every id is looked at before the first leaves."""

    def source() -> Iterator[int | float]:
        yield from range(1, 5000)
        yield 5.5

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            with pytest.raises(InvalidTypeError, match=r"5\.5"):
                await client.coin_m_swap.cancel_orders("BTC-USD", source())  # type: ignore[arg-type]
        assert not exchange.calls

    run(main())


def test_looking_at_many_ids_lets_the_event_loop_turn() -> None:
    """Once for every two hundred of them."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        turns = 0
        seen: list[int] = []

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        loop.call_soon(turn)
        async with in_process(Exchange(), retry=ONCE) as client:
            await client.coin_m_swap.cancel_orders(
                "BTC-USD", range(1, 10_001), timeout=1e-9, on_batch=lambda _: seen.append(turns)
            )
        assert 45 < seen[0] < 60

    run(main())


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"base_url": "http://api.hbdm.com"}, InvalidValueError),
        ({"signing_host": "a b"}, InvalidValueError),
        ({"limits": {"no_such": Limit(1, 1)}}, InvalidValueError),
        ({"limits": {}, "budgets": Budgets()}, InvalidValueError),
        ({"request_timeout": 0}, InvalidValueError),
        ({"base_url": []}, InvalidValueError),
        ({"max_in_flight": 0}, InvalidValueError),
        ({"max_reply_bytes": "1"}, InvalidTypeError),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], error: type[Exception]) -> None:
    """A client that could not work is not made."""
    with pytest.raises(error):
        CancelClient(credentials(), **settings)
    with pytest.raises(InvalidTypeError, match="credentials"):
        CancelClient("key")  # type: ignore[arg-type]


def test_every_endpoint_keeps_its_own_pace_at_the_same_time() -> None:
    """Concurrent calls take the time of the slowest, and the exchange refuses none."""

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


class Cold:
    """A transport whose first requests first make a connection, and that may not tell."""

    def __init__(self, inner: Transport, first: int, *, tells: bool) -> None:
        self.inner = inner
        self.first = first
        self.tells = tells

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Make a connection for 80 ms, unless there is one; then send."""
        self.first -= 1
        if self.first >= 0:
            await asyncio.sleep(0.08)
        reply = await self.inner.send(request, timeout=timeout)
        return reply if self.tells else msgspec.structs.replace(reply, left_at=None)

    async def close(self) -> None:
        """Close."""
        await self.inner.close()


@pytest.mark.parametrize("tells", [True, False])
def test_the_making_of_connections_is_not_taken_for_the_way(*, tells: bool) -> None:
    """The second window's calls need no connection; they are not sent too early for that."""

    async def main() -> float:
        exchange = Exchange(window="slide")
        ids = add(exchange, "swap", 1500)
        loop = asyncio.get_running_loop()
        transport = Cold(
            InProcessTransport(exchange, delay=0.02, jitter=0.001, epoch=EPOCH), 36, tells=tells
        )
        async with CancelClient(
            credentials(), transport=transport, wall_clock=lambda: EPOCH + loop.time()
        ) as client:
            outcome = await cancel(client, "swap", ids)
        assert outcome.counts == {CancelStatus.ACCEPTED: 1500}
        assert not exchange.refused
        return loop.time()

    assert run(main()) == pytest.approx(12.2, abs=0.1)


def test_a_timeout_returns_what_is_known_and_says_at_once_what_cannot_leave() -> None:
    """Five calls fit into half a second; the others are told as unsent before any reply."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        told: list[tuple[float, CancelStatus]] = []
        loop = asyncio.get_running_loop()

        def on_batch(results: tuple[OrderResult, ...]) -> None:
            told.append((loop.time(), results[0].status))

        async with in_process(exchange, delay=0.05) as client:
            outcome = await cancel(client, "swap_trailing", ids, timeout=0.5, on_batch=on_batch)
        assert outcome.counts == {CancelStatus.ACCEPTED: 50, CancelStatus.UNSENT: 50}
        assert [status for _, status in told] == ["unsent"] * 5 + ["accepted"] * 5
        assert told[4][0] < 0.01
        assert loop.time() < 0.2
        unsent = outcome.unsent[0]
        assert unsent.order_id == ids[50]
        assert unsent.message.startswith("too late: its turn is 1.")
        assert unsent.attempts == 0
        assert {exchange.book[key].state for key in ids[50:]} == {"open"}

    run(main())


def test_a_cancel_of_all_that_cannot_leave_in_time_is_unsent() -> None:
    """The budget is spent, and the next token comes after the timeout."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "swap_trailing", 1)
        async with in_process(exchange) as client:
            for _ in range(5):
                await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD")
            outcome = await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD", timeout=0.5)
        assert (outcome.call.status, outcome.call.attempts) == (CancelStatus.UNSENT, 0)
        assert outcome.call.message.startswith("too late: its turn is 1.0")

    run(main())


def test_a_turn_that_moves_back_past_the_timeout_is_unsent() -> None:
    """Urgent calls take the tokens that were predicted for a routine one."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        loop = asyncio.get_running_loop()
        async with in_process(exchange) as client:
            await cancel(client, "swap_trailing", ids[:50])
            routine = asyncio.create_task(cancel(client, "swap_trailing", ids[:50], timeout=1.5))
            await asyncio.sleep(0.1)
            urgent = await cancel(client, "swap_trailing", ids[50:], priority=Priority.URGENT)
            outcome = await routine
        assert urgent.counts == {CancelStatus.ACCEPTED: 50}
        assert outcome.counts == {CancelStatus.UNSENT: 50}
        assert {result.message for result in outcome} >= {outcome.results[0].message}
        assert outcome.results[0].message.startswith("too late: the next free call is")
        assert loop.time() < 1.6

    run(main())


@pytest.mark.parametrize(("settings", "seconds"), [({"request_timeout": 0.5}, 0.5), ({}, 5.0)])
def test_one_attempt_has_the_time_of_a_request(settings: dict[str, Any], seconds: float) -> None:
    """Five seconds, if nobody says another."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange, delay=4.0, retry=ONCE, **settings) as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 1))
            assert asyncio.get_running_loop().time() == pytest.approx(seconds, abs=0.01)
        assert outcome.counts == {CancelStatus.UNKNOWN: 1}

    run(main())


async def test_a_reply_that_is_longer_than_a_client_reads_is_none() -> None:
    """What the exchange did is not known."""
    exchange = Exchange()
    ids = add(exchange, "swap", 10)
    async with over_a_socket(exchange, retry=ONCE, max_reply_bytes=50) as client:
        outcome = await cancel(client, "swap", ids)
    assert outcome.counts == {CancelStatus.UNKNOWN: 10}


def test_a_reply_that_is_later_than_the_timeout_is_unknown() -> None:
    """The call returns in time; what was sent without an answer may be canceled."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 10)
        loop = asyncio.get_running_loop()
        async with in_process(exchange, delay=0.4) as client:
            outcome = await cancel(client, "swap", ids, timeout=0.5)
            assert loop.time() == pytest.approx(0.5, abs=0.01)
        assert outcome.counts == {CancelStatus.UNKNOWN: 10}
        assert {exchange.book[key].state for key in ids} == {"canceled"}

    run(main())


async def one_call(client: CancelClient, method: str, **terms: Any) -> None:
    """Make one call, with one request, of any method."""
    if method == "all":
        await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD", **terms)
    else:
        kind: Any = method
        await cancel(client, kind, ["1"], **terms)


@pytest.mark.parametrize("method", PATHS)
def test_every_method_ends_with_its_timeout_and_tells_its_batches(method: str) -> None:
    """Long before the reply could be there."""

    async def main() -> None:
        told: list[tuple[OrderResult, ...]] = []
        async with in_process(Exchange(), delay=1.0) as client:
            await one_call(client, method, timeout=0.5, on_batch=told.append)
            assert asyncio.get_running_loop().time() == pytest.approx(0.5, abs=0.01)
        assert [result.status for (result,) in told] == [CancelStatus.UNKNOWN]

    run(main())


def test_a_cancel_of_all_tells_what_its_reply_lists() -> None:
    """In one tuple."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 3)
        told: list[tuple[OrderResult, ...]] = []
        async with in_process(exchange) as client:
            await one_call(client, "all", on_batch=told.append)
        assert [{result.order_id for result in results} for results in told] == [set(ids)]

    run(main())


@pytest.mark.parametrize("method", [*PATHS, "all"])
def test_an_urgent_call_of_every_method_passes_a_routine_one(method: str) -> None:
    """It came later, and the tokens of their budget were spent."""

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


def test_an_urgent_call_leaves_with_the_next_token() -> None:
    """It does not wait behind a thousand routine orders."""

    async def main() -> None:
        exchange = Exchange()
        bulk, one = add(exchange, "swap_trailing", 1000), add(exchange, "swap_trailing", 1)
        loop = asyncio.get_running_loop()
        async with in_process(exchange, delay=0.01) as client:
            routine = asyncio.create_task(cancel(client, "swap_trailing", bulk))
            await asyncio.sleep(0.5)
            await cancel(client, "swap_trailing", one, priority=Priority.URGENT)
            assert loop.time() < 1.1
            await routine
        assert not exchange.refused

    run(main())


def test_each_batch_is_told_once_and_a_failing_hook_costs_nothing() -> None:
    """An exception in ``on_batch`` goes to the loop's handler; the outcome is whole."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 25)
        told: list[str] = []
        loop = asyncio.get_running_loop()
        problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _loop, context: problems.append(context))

        def on_batch(results: tuple[OrderResult, ...]) -> None:
            told.extend(result.order_id for result in results)
            raise RuntimeError("mine")

        async with in_process(exchange) as client:
            outcome = await cancel(client, "swap", ids, on_batch=on_batch)
        assert sorted(told) == sorted(ids)
        assert outcome.counts == {CancelStatus.ACCEPTED: 25}
        assert [context["message"] for context in problems] == ["on_batch raised"] * 3

    run(main())


def test_a_cancelled_caller_sends_no_more_and_still_hears_what_lands() -> None:
    """In flight lands, the rest is told as unsent, and no budget is lost."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        told: dict[str, CancelStatus] = {}

        def on_batch(results: tuple[OrderResult, ...]) -> None:
            told.update((result.order_id, result.status) for result in results)

        async with in_process(exchange, delay=0.2) as client:
            call = asyncio.create_task(cancel(client, "swap_trailing", ids, on_batch=on_batch))
            await asyncio.sleep(0.1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert not exchange.calls
            await asyncio.sleep(2.0)
            assert [told[key] for key in ids] == ["accepted"] * 50 + ["unsent"] * 50
            assert len((await cancel(client, "swap_trailing", ids[50:])).accepted) == 50

    run(main())


def test_closing_lets_what_is_in_flight_land() -> None:
    """A call under way returns: accepted what landed, unsent the rest."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        client = in_process(exchange, delay=0.2)
        call = asyncio.create_task(cancel(client, "swap_trailing", ids))
        await asyncio.sleep(0.1)
        assert repr(client) == "<CancelClient for https://api.hbdm.com: 1 calls under way>"
        await client.aclose()
        outcome = await call
        assert outcome.counts == {CancelStatus.ACCEPTED: 50, CancelStatus.UNSENT: 50}
        assert outcome.unsent[0].message == "the client was closed"
        with pytest.raises(ClientClosedError, match="closed"):
            await cancel(client, "swap", ["1"])
        await client.aclose()

    run(main())


def test_closing_while_ids_are_looked_at_sends_nothing() -> None:
    """The call had begun before, and returns with every id unsent."""

    async def main() -> None:
        exchange = Exchange()
        client = in_process(exchange)
        call = asyncio.create_task(cancel(client, "swap", range(1, 1001)))
        await asyncio.sleep(0)
        await client.aclose()
        assert (await call).counts == {CancelStatus.UNSENT: 1000}
        assert not exchange.calls

    run(main())


def test_closing_gives_up_what_does_not_land_in_time() -> None:
    """What was in flight when the drain was over is unknown."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 10)
        client = in_process(exchange, delay=2.0)
        call = asyncio.create_task(cancel(client, "swap", ids))
        await asyncio.sleep(0.1)
        await client.aclose(drain=0.5)
        assert asyncio.get_running_loop().time() == pytest.approx(0.6, abs=0.01)
        assert (await call).counts == {CancelStatus.UNKNOWN: 10}

    run(main())


def test_what_warm_up_learns_pays_in_the_first_window() -> None:
    """The way is known before the first cancel: no window is longer than it must be."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        client = in_process(exchange, delay=0.05)
        assert await client.warm_up(4) == 4
        began = asyncio.get_running_loop().time()
        outcome = await cancel(client, "swap_trailing", ids)
        assert outcome.counts == {CancelStatus.ACCEPTED: 100}
        assert asyncio.get_running_loop().time() - began < 1.0 + 0.1 + 0.005

    run(main())


def test_what_had_not_begun_to_leave_is_not_sent() -> None:
    """A window's burst leaves in slices; one that is stopped meanwhile is cut there."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 360)
        client = in_process(exchange)
        call = asyncio.create_task(cancel(client, "swap", ids))
        for _turn in range(100):
            if exchange.calls:
                break
            await asyncio.sleep(0)
        await client.aclose()
        sent = exchange.calls["/swap-api/v1/swap_cancel"]
        assert 0 < sent < 36
        unsent = 360 - 10 * sent
        assert (await call).counts == {
            CancelStatus.ACCEPTED: 10 * sent,
            CancelStatus.UNSENT: unsent,
        }
        assert client.budgets.snapshot()[0].in_flight == 0

    run(main())


def test_closing_at_once_settles_every_id_of_a_great_call() -> None:
    """Without any drain, what was not sent is still told, however much it is."""

    async def main() -> None:
        exchange = Exchange()
        client = in_process(exchange, delay=2.0)
        call = asyncio.create_task(cancel(client, "swap", map(str, range(1, 100_001))))
        await asyncio.sleep(0.1)
        await client.aclose(drain=0.001)
        counts = (await asyncio.wait_for(call, 60)).counts
        assert counts == {CancelStatus.UNKNOWN: 360, CancelStatus.UNSENT: 99_640}

    run(main())


@pytest.mark.parametrize("how", ["timeout", "close", "refused"])
def test_dropping_a_great_call_leaves_others_their_turns(how: str) -> None:
    """What cannot leave is told in slices, and the event loop turns between them."""

    async def main() -> None:
        exchange = Exchange(secret_key="another" if how == "refused" else SECRET)
        client = in_process(exchange, delay=0.01)
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        turns = [0]  # how many batches were told in each turn of the loop

        def on_batch(_results: tuple[OrderResult, ...]) -> None:
            told.set()
            if not turns[-1]:
                loop.call_soon(turns.append, 0)
            turns[-1] += 1

        call = asyncio.create_task(
            cancel(
                client,
                "swap",
                range(1, 30_001),
                on_batch=on_batch,
                timeout=2.0 if how == "timeout" else None,
            )
        )
        if how == "close":
            await told.wait()
            await client.aclose()
        assert len((await call).unsent) == 29_640
        assert sum(turns) == 3000
        assert max(turns) <= 40

    run(main())


def test_a_great_outcome_that_nobody_holds_is_let_go_of_in_slices() -> None:
    """A hundred thousand results at once would stall the event loop; what is held stays."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 15_000))
            parts = outcome.parts
            del outcome
            for _ in range(5):
                await asyncio.sleep(0)
            assert sum(map(len, parts[0].batches)) == 15_000
            outcome = await cancel(client, "swap", add(exchange, "swap", 15_000))
            first, last = outcome.results[0], outcome.results[-1]
            alone = sys.getrefcount(object()) + 1  # one name holds it
            for _ in range(5):
                await asyncio.sleep(0)
            del outcome
            assert sys.getrefcount(last) == alone
            assert sys.getrefcount(first) > alone  # its slice has not come
            for _ in range(5):
                await asyncio.sleep(0)
            assert sys.getrefcount(first) == alone

    run(main())


def test_a_call_of_one_batch_takes_one_task() -> None:
    """Its feeder delivers it; and when it is done the client has forgotten it."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange, delay=0.1) as client:
            call = asyncio.create_task(cancel(client, "swap", add(exchange, "swap", 10)))
            await asyncio.sleep(0.05)
            assert len(asyncio.all_tasks() - {call, asyncio.current_task()}) == 1
            await call
            assert repr(client) == "<CancelClient for https://api.hbdm.com: 0 calls under way>"

    run(main())


def test_a_call_whose_tasks_are_all_cancelled_ends() -> None:
    """As ``asyncio.run`` does at the end of a program: nothing is tried again."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        async with in_process(exchange, delay=0.2) as client:
            call = asyncio.create_task(cancel(client, "swap_trailing", ids))
            await asyncio.sleep(0.1)
            for task in asyncio.all_tasks() - {call, asyncio.current_task()}:
                task.cancel()
            outcome = await call
            assert asyncio.get_running_loop().time() < 0.11
        assert outcome.counts == {CancelStatus.UNKNOWN: 50, CancelStatus.UNSENT: 50}
        assert {result.message for result in outcome} == {"its task was cancelled"}

    run(main())


def test_the_wall_clock_is_read_for_signatures_only() -> None:
    """Once an attempt; it may jump by minutes, and no call leaves sooner or later for that."""

    async def main(jump: float) -> float:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        reads = 0

        def clock() -> float:
            nonlocal reads
            reads += 1
            return EPOCH + loop.time() + (jump if reads % 2 else -jump)

        transport = InProcessTransport(exchange, delay=0.01, epoch=EPOCH)
        async with CancelClient(credentials(), transport=transport, wall_clock=clock) as client:
            outcome = await cancel(client, "swap_trailing", add(exchange, "swap_trailing", 200))
        assert outcome.counts == {CancelStatus.ACCEPTED: 200}
        assert reads == exchange.calls.total() == 20
        return loop.time()

    assert run(main(200.0)) == pytest.approx(run(main(0.0)), abs=1e-4)


def test_an_urgent_call_pauses_a_quarter_of_a_second_at_most() -> None:
    """Five pauses, whatever the policy says about others."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1, refusal=1004)
        policy = RetryPolicy(max_elapsed=100.0, backoff_initial=10.0, backoff_max=10.0)
        async with in_process(exchange, retry=policy) as client:
            outcome = await cancel(client, "swap", ids, priority=Priority.URGENT)
        assert outcome.results[0].attempts == policy.max_attempts
        assert asyncio.get_running_loop().time() < 5 * 0.25 + 0.1

    run(main())


def test_the_time_in_which_a_batch_waits_its_turn_is_not_counted() -> None:
    """It failed twice, six seconds apart, and is tried a third time within its five seconds."""

    async def main() -> None:
        exchange = Exchange()
        ids, bulk = add(exchange, "swap_trailing", 1), add(exchange, "swap_trailing", 300)
        plan = FaultPlan({ids[0]: ["busy", "busy"]})
        policy = RetryPolicy(max_elapsed=5.0)
        async with in_process(exchange, retry=policy, faults=plan, delay=0.05) as client:
            one = asyncio.create_task(
                cancel(client, "swap_trailing", ids, priority=Priority.BACKGROUND)
            )
            await asyncio.sleep(0.01)
            await cancel(client, "swap_trailing", bulk)
            result = (await one).results[0]
        assert (result.status, result.attempts) == (CancelStatus.ACCEPTED, 3)
        assert asyncio.get_running_loop().time() > 5.5

    run(main())


def test_no_more_requests_are_under_way_than_a_client_was_told() -> None:
    """A third one waits for a reply, though tokens are free."""

    async def main() -> None:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        async with in_process(exchange, delay=0.05, max_in_flight=2) as client:
            await cancel(client, "swap", add(exchange, "swap", 100))
        assert loop.time() == pytest.approx(5 * 0.1, abs=0.01)

    run(main())


def test_calls_charge_their_products_pool_too_where_the_exchange_counts_so() -> None:
    """Trigger cancels spend what other orders of USDT-M need, and nothing is refused."""

    async def main(**settings: Any) -> int:
        exchange = Exchange(charge_pools=True)
        budgets = Budgets(**settings)
        async with in_process(exchange, retry=ONCE, budgets=budgets) as client:
            await asyncio.gather(
                cancel(client, "linear_trigger", add(exchange, "linear_trigger", 600)),
                cancel(client, "v5", add(exchange, "v5", 144)),
            )
        return exchange.refused.total()

    assert run(main(charge_pools=True)) == 0
    assert run(main()) > 0


def test_two_clients_of_one_uid_share_their_budgets() -> None:
    """Together they are no faster than one, and nothing is refused."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        budgets = Budgets()
        clients = [in_process(exchange, budgets=budgets) for _ in range(2)]
        await asyncio.gather(
            cancel(clients[0], "swap_trailing", ids[:50]),
            cancel(clients[1], "swap_trailing", ids[50:]),
        )
        assert not exchange.refused
        assert clients[0].budgets is clients[1].budgets is budgets

    run(main())


def test_the_signing_host_can_differ_from_the_address() -> None:
    """Colocation: the server sees another name than the one that is dialled."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1)
        async with in_process(
            exchange, base_url="https://colo.example", signing_host="api.hbdm.com", retry=ONCE
        ) as client:
            outcome = await cancel(client, "swap", ids)
        assert outcome[ids[0]].code == 403

    run(main())


class Scripted:
    """A transport that answers from a list, then with silence."""

    def __init__(self, replies: list[bytes | Exception]) -> None:
        self.replies = replies

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Answer with what is next."""
        assert timeout > 0
        assert SECRET not in repr(request)
        await asyncio.sleep(0)
        reply = self.replies.pop(0) if self.replies else NoAnswerError("nothing left")
        if isinstance(reply, Exception):
            raise reply
        return Reply(200, {}, reply)

    async def close(self) -> None:
        """Hold nothing."""


def test_confirming_survives_a_transport_that_raises_anything() -> None:
    """A public call or a query that fails says nothing; what the cancel told stands."""

    async def main() -> None:
        problems: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, about: problems.append(str(about["exception"])))
        replies: list[bytes | Exception] = [v1_reply(["1"], [])]
        replies += [RuntimeError(str(number)) for number in range(5)]
        async with CancelClient(credentials(), transport=Scripted(replies)) as client:
            accepted = await cancel(client, "swap", ["1"])
            assert await client.warm_up() == 0
            outcome = await client.confirm(accepted, timeout=2.0)
        assert problems[:4] == ["0", "1", "2", "3"]
        assert outcome.results == accepted.results
        assert outcome["1"].status is CancelStatus.ACCEPTED

    run(main())


def test_a_reply_that_nobody_can_look_at_leaves_its_ids_unknown() -> None:
    """It was sent; what a foreign transport made of the answer is reported, and costs no call."""

    async def main() -> None:
        problems: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, about: problems.append(about["message"]))
        replies: list[Any] = [None, v1_reply(["1"], [])]
        async with CancelClient(
            credentials(), transport=Scripted(replies), limits={"coin_m_swap_trade": Limit(1, 1)}
        ) as client:
            outcome = await cancel(client, "swap", range(1, 12))
        assert [it.status for it in outcome][:10] == [CancelStatus.UNKNOWN] * 10
        assert problems == ["an attempt failed"]

    run(main())


order_ids = st.lists(st.integers(1, 30), min_size=1, max_size=60)
names = st.lists(st.integers(1, 40).map(str), max_size=30)


def v1_reply(successes: list[str], errors: list[str]) -> bytes:
    """Make a reply that may name ids twice, in both lists, or of nobody."""
    listed = ",".join(f'{{"order_id":"{key}","err_code":1063}}' for key in errors)
    joined = ",".join(successes)
    return f'{{"status":"ok","data":{{"errors":[{listed}],"successes":"{joined}"}}}}'.encode()


v1_replies = st.builds(v1_reply, names, names)


@given(
    order_ids,
    st.lists(st.binary(max_size=30) | v1_replies | v1_replies, max_size=12),
    st.sampled_from(["swap", "swap_trailing", "linear_trigger"]),
)
def test_every_id_comes_back_once_in_order_whatever_the_replies(
    ids: list[int], replies: list[bytes], kind: Kind
) -> None:
    """Random bytes, doubled, missing and contradictory: no id is accepted that no success named."""
    named = {key for reply in replies for key in successes(reply)}

    async def main() -> None:
        async with CancelClient(
            credentials(),
            transport=Scripted([*replies]),
            limits={
                name: Limit(1000, 1)
                for name in ("coin_m_swap_trade", "/swap-api/v1/swap_track_cancel")
            },
        ) as client:
            outcome = await cancel(client, kind, ids)
        assert [it.order_id for it in outcome.results] == [str(key) for key in dict.fromkeys(ids)]
        assert {it.order_id for it in outcome.accepted} <= named

    run(main())


def successes(reply: bytes) -> list[str]:
    """Read the successes out of a reply made by ``v1_reply``."""
    _, found, rest = reply.decode(errors="replace").partition('"successes":"')
    return rest.partition('"')[0].split(",") if found else []


def test_a_client_belongs_to_one_event_loop() -> None:
    """In a second one it says so before anything is sent, and so does one with used budgets."""
    exchange = Exchange()
    clients: list[CancelClient] = []

    async def first() -> None:
        clients.append(in_process(exchange))
        assert len((await cancel(clients[0], "swap", add(exchange, "swap", 1))).accepted) == 1

    async def second() -> None:
        with pytest.raises(WrongLoopError, match="CancelClient must be used in one event loop"):
            await cancel(clients[0], "swap", ["1"])
        with pytest.raises(WrongLoopError, match="CancelClient"):
            await clients[0].warm_up()
        async with in_process(exchange, budgets=clients[0].budgets) as other:
            with pytest.raises(WrongLoopError, match="Budgets must be used in one event loop"):
                await cancel(other, "swap", ["1"])

    run(first())
    run(second())
    assert exchange.calls.total() == 1
