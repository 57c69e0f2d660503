"""What became of the orders, asked of the sandbox's life of orders on virtual time."""

import asyncio
import random
from typing import Any

import pytest
from roads import CONTRACTS, ONCE, add, cancel, in_process, over_a_socket
from virtualtime import run

from htx_cancel import (
    CancelStatus,
    ClientClosedError,
    CloseReason,
    InvalidTypeError,
    OrderState,
    Outcome,
    RetryPolicy,
)
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.rules import Kind

BY_ID: list[Kind] = ["swap", "v5"]
PAGED: list[Kind] = ["swap_trailing", "linear_trigger"]


def states(outcome: Outcome) -> list[tuple[CancelStatus, OrderState | None]]:
    """List status and state of every result."""
    return [(result.status, result.state) for result in outcome]


@pytest.mark.parametrize("kind", BY_ID)
async def test_accepted_orders_are_confirmed_over_a_socket(kind: Kind) -> None:
    """The queries are signed and shaped as the exchange wants them, GET and POST."""
    exchange = Exchange()
    live = add(exchange, kind, 3)
    filled = add(exchange, kind, 1, state="filled")
    async with over_a_socket(exchange) as client:
        outcome = await client.confirm(await cancel(client, kind, [*live, *filled]))
    assert states(outcome) == [(CancelStatus.ACCEPTED, OrderState.CANCELED)] * 3 + [
        (CancelStatus.CLOSED, None)
    ]
    assert {call.outcome for call in exchange.log} <= {"ok", "refused"}


@pytest.mark.parametrize("kind", PAGED)
async def test_trailing_and_trigger_orders_are_gone_when_not_listed(kind: Kind) -> None:
    """Their only query is the list of open orders; the rest of the book does not matter."""
    exchange = Exchange()
    ids = add(exchange, kind, 5)
    add(exchange, kind, 120)
    async with over_a_socket(exchange) as client:
        outcome = await client.confirm(await cancel(client, kind, ids))
    assert states(outcome) == [(CancelStatus.ACCEPTED, OrderState.GONE)] * 5


@pytest.mark.parametrize("kind", BY_ID)
def test_a_cancel_that_takes_a_while_is_polled_until_it_is_final(kind: Kind) -> None:
    """Lost races are filled, partial fills are told, and pauses grow."""

    async def main() -> None:
        dice = random.Random(5)
        exchange = Exchange(cancel_after=0.3, lost_races=0.3, partial_fills=0.3, random=dice.random)
        ids = add(exchange, kind, 60)
        async with in_process(exchange, delay=0.01) as client:
            outcome = await client.confirm(await cancel(client, kind, ids))
        assert {result.status for result in outcome} == {CancelStatus.ACCEPTED}
        assert [result.state for result in outcome] == [exchange.book[key].state for key in ids]
        assert len({result.state for result in outcome}) == 3

    run(main())


def test_orders_are_confirmed_by_the_client_ids_that_were_given() -> None:
    """The query names what the cancel named."""

    async def main() -> None:
        exchange = Exchange()
        for kind in BY_ID:
            exchange.book.add(kind, CONTRACTS[kind], client_order_id=71)
        async with in_process(exchange) as client:
            swap = await client.cancel_swap_orders("BTC-USD", client_order_ids=[71, 72])
            v5 = await client.cancel_v5_orders("BTC-USDT", client_order_ids=[71, 72])
            for outcome in (swap, v5):
                assert states(await client.confirm(outcome)) == [
                    (CancelStatus.ACCEPTED, OrderState.CANCELED),
                    (CancelStatus.NOT_FOUND, None),
                ]

    run(main())


@pytest.mark.parametrize("kind", [*BY_ID, *PAGED])
def test_an_unknown_order_is_settled_by_its_state(kind: Kind) -> None:
    """Executed without an answer: closed. Never executed: open. Never there: not found."""

    async def main() -> None:
        exchange = Exchange()
        executed, open_ids = add(exchange, kind, 1), add(exchange, kind, 1)
        plan = FaultPlan({executed[0]: ["lost_after"], open_ids[0]: ["lost_before"]})
        terms: dict[str, Any] = {"retry": ONCE, "request_timeout": 1.0, "faults": plan}
        async with in_process(exchange, **terms) as client:
            for ids, status, state in (
                (executed, CancelStatus.CLOSED, None),
                (open_ids, CancelStatus.OPEN, OrderState.OPEN),
            ):
                outcome = await cancel(client, kind, ids)
                assert states(outcome) == [(CancelStatus.UNKNOWN, None)]
                outcome = await client.confirm(outcome, timeout=3.0)
                assert outcome.results[0].status is status
                assert state in (None, outcome.results[0].state)
            again = await cancel(client, kind, [result.order_id for result in outcome.open])
            assert len(again.accepted) == 1

    run(main())


def test_an_order_that_an_unknown_cancel_was_for_may_not_exist() -> None:
    """The query says so; nothing is left unknown."""

    async def main() -> None:
        exchange = Exchange()
        known = add(exchange, "swap", 1)
        plan = FaultPlan({"5": ["lost_before"]})
        async with in_process(exchange, retry=ONCE, request_timeout=1.0, faults=plan) as client:
            outcome = await cancel(client, "swap", ["5", *known])
            outcome = await client.confirm(outcome, timeout=0.5)
            assert [it.status for it in outcome] == [CancelStatus.NOT_FOUND, CancelStatus.OPEN]
            outcome = await client.confirm(await cancel(client, "swap", ["5", *known]))
            assert [it.status for it in outcome] == [CancelStatus.NOT_FOUND, CancelStatus.ACCEPTED]

    run(main())


@pytest.mark.parametrize("kind", [*BY_ID, *PAGED])
def test_queries_that_fail_are_asked_again(kind: Kind) -> None:
    """Every kind of trouble on the way passes; no state is made up meanwhile."""
    path = {
        "swap": "/swap-api/v1/swap_order_info",
        "v5": "/v5/trade/order",
        "swap_trailing": "/swap-api/v1/swap_track_openorders",
        "linear_trigger": "/linear-swap-api/v1/swap_trigger_openorders",
    }[kind]

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, kind, 2)
        add(exchange, kind, 120)
        trouble = [
            "html",
            "rate",
            "http_429",
            "busy",
            "lost_after",
            "wrong_json",
            "empty",
            "wrong_clock",
        ]
        plan = FaultPlan({path: trouble})
        async with in_process(exchange, request_timeout=0.5, faults=plan) as client:
            outcome = await client.confirm(await cancel(client, kind, ids), timeout=60.0)
        final = OrderState.CANCELED if kind in BY_ID else OrderState.GONE
        assert states(outcome) == [(CancelStatus.ACCEPTED, final)] * 2
        assert plan.struck.total() == len(trouble)

    run(main())


@pytest.mark.parametrize("kind", [*BY_ID, *PAGED])
def test_confirming_ends_with_its_time_and_says_what_it_knows(kind: Kind) -> None:
    """An order whose cancel takes longer is canceling."""

    async def main() -> None:
        exchange = Exchange(cancel_after=60.0)
        ids = add(exchange, kind, 1)
        loop = asyncio.get_running_loop()
        async with in_process(exchange) as client:
            outcome = await cancel(client, kind, ids)
            began = loop.time()
            outcome = await client.confirm(outcome, timeout=5.0)
            assert loop.time() - began <= 5.0
            assert outcome.results[0].status is CancelStatus.ACCEPTED
            # v5 has no word for an order that is being canceled
            assert outcome.results[0].state is (
                OrderState.OPEN if kind == "v5" else OrderState.CANCELING
            )
            await asyncio.sleep(60.0)
            outcome = await client.confirm(outcome)
            assert outcome.results[0].state is not None
            assert outcome.results[0].state.final

    run(main())


def test_confirming_more_than_the_read_budget_allows_takes_what_it_can() -> None:
    """A deadline that is too near leaves the rest as it was."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "v5", 100)
        async with in_process(exchange) as client:
            outcome = await client.confirm(await cancel(client, "v5", ids), timeout=1.0)
            found = [result.state for result in outcome]
            assert found == [OrderState.CANCELED] * 72 + [None] * 28
            outcome = await client.confirm(outcome, timeout=5.0)
            assert {result.state for result in outcome} == {OrderState.CANCELED}
        assert not exchange.refused

    run(main())


@pytest.mark.parametrize("trouble", ["empty", "lost_before"])
def test_a_list_that_cannot_be_read_to_its_end_says_nothing(trouble: str) -> None:
    """Pages that fail to the last leave every order as it was."""
    path = "/swap-api/v1/swap_track_openorders"

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 1)
        add(exchange, "swap_trailing", 120)
        for calm in ([], [None], [None, None]):
            plan = FaultPlan({path: [*calm, *[trouble] * 1000]})
            async with in_process(exchange, request_timeout=0.5, faults=plan) as client:
                outcome = await cancel(client, "swap_trailing", ids)
                before = states(outcome)
                assert states(await client.confirm(outcome, timeout=20.0)) == before

    run(main())


def test_an_order_that_is_listed_again_is_not_gone() -> None:
    """One list without it is not enough where the list has pages."""

    async def main() -> None:
        exchange = Exchange(cancel_after=1.0)
        ids = add(exchange, "swap_trailing", 2)
        add(exchange, "swap_trailing", 120)
        loop = asyncio.get_running_loop()
        async with in_process(exchange, delay=0.01) as client:
            outcome = await client.confirm(await cancel(client, "swap_trailing", ids))
        assert states(outcome) == [(CancelStatus.ACCEPTED, OrderState.GONE)] * 2
        assert loop.time() > 1.0

    run(main())


def test_a_cancel_of_all_is_confirmed_and_keeps_the_fate_of_its_call() -> None:
    """Its listed orders are asked about."""

    async def main() -> None:
        exchange = Exchange(cancel_after=0.05)
        add(exchange, "swap_trailing", 3)
        async with in_process(exchange) as client:
            outcome = await client.cancel_all_swap_trailing_orders("BTC-USD")
            confirmed = await client.confirm(outcome)
        assert states(confirmed) == [(CancelStatus.ACCEPTED, OrderState.GONE)] * 3
        assert repr(confirmed) == repr(outcome)

    run(main())


def test_an_order_that_is_being_canceled_already_is_asked_about() -> None:
    """Its status stays closed; its state becomes final."""

    async def main() -> None:
        exchange = Exchange(cancel_after=0.2)
        ids = add(exchange, "swap", 1)
        async with in_process(exchange) as client:
            await cancel(client, "swap", ids)
            outcome = await cancel(client, "swap", ids)
            assert outcome.results[0].reason is CloseReason.CANCELING
            outcome = await client.confirm(outcome)
            assert states(outcome) == [(CancelStatus.CLOSED, OrderState.CANCELED)]

    run(main())


def test_nothing_to_ask_sends_nothing() -> None:
    """Settled and unsent ids need no query."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 2, state="filled")
        async with in_process(exchange) as client:
            outcome = await cancel(client, "swap", ids)
            assert states(await client.confirm(outcome)) == states(outcome)
        assert exchange.calls.total() == 1

    run(main())


def test_closing_the_client_ends_a_confirmation() -> None:
    """It returns what it knows; a closed client starts none."""

    async def main() -> None:
        exchange = Exchange(cancel_after=60.0)
        loop = asyncio.get_running_loop()
        client = in_process(exchange, retry=RetryPolicy(longest_pause=0.5))
        outcome = await cancel(client, "swap", add(exchange, "swap", 1))
        confirming = asyncio.create_task(client.confirm(outcome, timeout=100.0))
        await asyncio.sleep(1.0)
        await client.aclose()
        assert states(await confirming) == [(CancelStatus.ACCEPTED, OrderState.CANCELING)]
        assert loop.time() < 2.0
        with pytest.raises(ClientClosedError):
            await client.confirm(outcome)

    run(main())


def test_only_an_outcome_can_be_confirmed() -> None:
    """Anything else is a TypeError."""

    async def main() -> None:
        async with in_process(Exchange()) as client:
            with pytest.raises(InvalidTypeError, match="outcome is an Outcome"):
                await client.confirm([])  # type: ignore[arg-type]

    run(main())
