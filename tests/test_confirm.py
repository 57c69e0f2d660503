"""``client.confirm``: the orders it queries, the results it reports, and how it ends."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from clients import ONCE, add, cancel, credentials, in_process, nothing_is_left, over_a_socket
from confirmations import BY_ID, PAGED, SOURCES, reports, states, unanswered
from transports import Answering, Scripted, v1_reply
from virtualtime import now, run

from htx_cancel import (
    CallResult,
    CancelAllOutcome,
    CancelClient,
    CancelStatus,
    ClientClosedError,
    CloseReason,
    InvalidTypeError,
    InvalidValueError,
    Limit,
    OrderResult,
    OrderState,
    Outcome,
    Refusal,
    RetryPolicy,
)
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.rules import Kind
from htx_cancel.wire.transport import Reply, Request

pytestmark = pytest.mark.loops


@pytest.mark.parametrize("kind", BY_ID)
async def test_accepted_orders_are_confirmed_over_a_socket(kind: Kind) -> None:
    """The exchange accepts the signature and parameters of the queries, GET and POST."""
    exchange = Exchange()
    live = add(exchange, kind, 3)
    filled = add(exchange, kind, 1, state="filled")
    async with over_a_socket(exchange) as client:
        outcome = await client.confirm(await cancel(client, kind, [*live, *filled]))
    assert states(outcome) == [(CancelStatus.ACCEPTED, OrderState.CANCELED)] * 3 + [
        (CancelStatus.CLOSED, None)
    ]
    assert {call.outcome for call in exchange.log} <= {"ok", "refused"}


@pytest.mark.parametrize("kind", [*BY_ID, *PAGED])
def test_an_unknown_order_is_settled_by_its_state(kind: Kind) -> None:
    """A cancel that was executed is closed; one that was never executed is open."""

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


def test_an_order_that_an_earlier_cancel_is_canceling_is_queried() -> None:
    """The status stays closed, and the state becomes final."""

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


def test_a_confirmed_cancel_all_has_the_result_of_its_call() -> None:
    """The orders that its reply lists are queried."""

    async def main() -> None:
        exchange = Exchange(cancel_after=0.05)
        add(exchange, "swap_trailing", 3)
        async with in_process(exchange) as client:
            outcome = await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD")
            confirmed = await client.confirm(outcome)
        assert states(confirmed) == [(CancelStatus.ACCEPTED, OrderState.GONE)] * 3
        assert repr(confirmed) == repr(outcome)

    run(main())


def test_several_outcomes_are_confirmed_at_once_into_one() -> None:
    """Each kind has its own query and budget, and the slowest sets the time."""

    async def main() -> None:
        exchange = Exchange()
        kinds: list[Kind] = ["swap", "swap_trailing", "linear_trigger", "v5"]
        async with in_process(exchange, delay=0.2) as client:
            outcomes = [await cancel(client, kind, add(exchange, kind, 3)) for kind in kinds]
            twice = await cancel(client, "swap", [result.order_id for result in outcomes[0]])
            began = now()
            confirmed = await client.confirm(*outcomes, twice)
            assert now() - began == pytest.approx(0.4, abs=0.01)
            nothing_is_left(client)
        assert [result.order_id for result in confirmed] == [
            result.order_id for outcome in outcomes for result in outcome
        ]
        assert {result.status for result in confirmed} == {CancelStatus.ACCEPTED}
        assert all(result.state is not None and result.state.final for result in confirmed)
        assert [result.attempts for result in confirmed] == [2] * 3 + [1] * 9
        assert [part.source for part in confirmed.parts] == [SOURCES[kind] for kind in kinds]

    run(main())


def test_a_confirmed_outcome_has_what_was_known_about_the_calls() -> None:
    """The error, the wait, and the results of calls without ids."""

    async def main() -> None:
        async with in_process(Exchange()) as client:
            error = Refusal(403, "wrong key")
            one = Outcome.of([], source=SOURCES["swap"], error=error, retry_in=2.0)
            confirmed = await client.confirm(one)
            assert (confirmed.error, confirmed.retry_in) == (error, 2.0)
            lost = CallResult(CancelStatus.UNKNOWN)
            every = CancelAllOutcome.of(
                call=lost, source=SOURCES["swap_trailing"], error=error, retry_in=1.0
            )
            alone = await client.confirm(every)
            assert isinstance(alone, CancelAllOutcome)
            assert (alone.call, alone.error, alone.retry_in) == (lost, error, 1.0)
            both = await client.confirm(every, one)
            assert not both.settled
            assert both.calls == (lost,)

    run(main())


def test_on_batch_gets_each_result_that_changed_once_as_soon_as_it_is_final() -> None:
    """Results that are not final come at the end; results that did not change do not come."""

    async def main() -> None:
        exchange = Exchange()
        done, live = add(exchange, "v5", 2, state="canceled"), add(exchange, "v5", 1)
        batches: list[tuple[float, tuple[OrderResult, ...]]] = []
        accepted = OrderResult("5", CancelStatus.ACCEPTED)
        async with in_process(exchange, delay=0.01) as client:
            confirmed = await client.confirm(
                unanswered("v5", *done, *live, "7"),
                Outcome.of([accepted], source=SOURCES["v5"]),
                timeout=3.0,
                on_batch=lambda results: batches.append((now(), results)),
            )
        assert [len(results) for _, results in batches] == [1] * 4
        last = batches.pop()
        assert [result.order_id for result in last[1]] == live
        assert all(when < 0.2 for when, _ in batches)
        assert last[0] > 1.0
        batches.append(last)
        results = {result.order_id: result for _, batch in batches for result in batch}
        assert results == {result.order_id: result for result in confirmed if result != accepted}
        assert [result.status for result in confirmed] == [
            "closed",
            "closed",
            "open",
            "not_found",
            "accepted",
        ]

    run(main())


def test_confirming_a_large_outcome_yields_to_the_event_loop() -> None:
    """Collecting the results and rebuilding the outcome pause after some batches."""

    async def main() -> None:
        exchange = Exchange()
        results = [OrderResult(str(number), CancelStatus.CLOSED) for number in range(1, 20_001)]
        turns = 0
        batches: list[tuple[OrderResult, ...]] = []

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        async with in_process(exchange) as client:
            outcome = Outcome.of(results, source=SOURCES["swap"])
            await client.confirm(outcome, on_batch=batches.append)
        counting.cancel()
        assert batches == []
        assert turns > 2 * 20

    run(main())


def test_an_outcome_without_unsettled_results_sends_no_query() -> None:
    """Closed orders need no query."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 2, state="filled")
        async with in_process(exchange) as client:
            outcome = await cancel(client, "swap", ids)
            assert states(await client.confirm(outcome)) == states(outcome)
        assert exchange.calls.total() == 1

    run(main())


@pytest.mark.parametrize(
    ("outcomes", "options", "error", "words"),
    [
        ((), {}, InvalidValueError, "one outcome or more must be given, got none"),
        ((7,), {}, InvalidTypeError, "each outcome must be an Outcome, got 7"),
        (
            (Outcome.of([OrderResult("7", CancelStatus.UNKNOWN)]),),
            {},
            InvalidValueError,
            "cancel call",
        ),
        ((unanswered("v5", "7"),), {"on_batch": 7}, InvalidTypeError, "on_batch must be a plain"),
        (
            (unanswered("v5", "7"),),
            {"priority": 1},
            InvalidTypeError,
            "priority must be a Priority",
        ),
        ((unanswered("v5", "7"),), {"timeout": None}, InvalidTypeError, "timeout must be a number"),
        ((unanswered("v5", "7"),), {"timeout": 0}, InvalidValueError, "timeout must be above 0"),
    ],
)
def test_invalid_outcomes_and_options_are_refused_before_anything_is_sent(
    outcomes: tuple[Any, ...], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Options are checked as those of a cancel are."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            with pytest.raises(error, match=words):
                await client.confirm(*outcomes, **options)
        assert not exchange.calls

    run(main())


# ending


@pytest.mark.parametrize("kind", [*BY_ID, *PAGED])
def test_confirming_ends_by_its_timeout_and_returns_what_is_known(kind: Kind) -> None:
    """An order whose cancel takes longer than the timeout is canceling."""

    async def main() -> None:
        exchange = Exchange(cancel_after=60.0)
        ids = add(exchange, kind, 1)
        async with in_process(exchange) as client:
            outcome = await cancel(client, kind, ids)
            began = now()
            outcome = await client.confirm(outcome, timeout=5.0)
            assert now() - began <= 5.0
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


def test_closing_the_client_ends_a_confirmation() -> None:
    """It returns what is known; a closed client refuses to confirm."""

    async def main() -> None:
        exchange = Exchange(cancel_after=60.0)
        client = in_process(exchange, retry=RetryPolicy(backoff_max=0.5))
        outcome = await cancel(client, "swap", add(exchange, "swap", 1))
        confirming = asyncio.create_task(client.confirm(outcome, timeout=100.0))
        await asyncio.sleep(1.0)
        await client.aclose()
        assert states(await confirming) == [(CancelStatus.ACCEPTED, OrderState.CANCELING)]
        assert now() < 2.0
        with pytest.raises(ClientClosedError):
            await client.confirm(outcome)

    run(main())


#: Where a confirmation waits when it must end: the kind of orders, their count, the delay in s.
MOMENTS: dict[str, tuple[Kind, int, float]] = {
    "between two rounds": ("swap", 1, 0.0),
    "waiting for a token": ("v5", 100, 0.0),
    "with queries in flight": ("v5", 5, 20.0),
    "with a page in flight": ("swap_trailing", 5, 20.0),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("ended_by", ["aclose", "its caller"])
def test_a_confirmation_ends_at_once_wherever_it_waits(moment: str, ended_by: str) -> None:
    """``aclose`` makes it return what is known; cancelling its caller raises. No task is left."""
    kind, count, delay = MOMENTS[moment]

    async def main() -> None:
        exchange = Exchange()
        outcome = unanswered(kind, *add(exchange, kind, count))
        client = in_process(exchange, delay=delay, request_timeout=50.0)
        confirming = asyncio.create_task(client.confirm(outcome, timeout=200.0))
        await asyncio.sleep(1.0)
        ended = now()
        if ended_by == "aclose":
            await client.aclose()
            known = states(await confirming)
            asked = 0 if delay else min(count, 72)
            assert known.count((CancelStatus.OPEN, OrderState.OPEN)) == asked
            assert known.count((CancelStatus.UNKNOWN, None)) == count - asked
        else:
            confirming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await confirming
        assert now() - ended < 0.001
        nothing_is_left(client)
        await client.aclose()

    run(main())


class Stubborn(Answering):
    """A transport that ignores cancellation for ten seconds."""

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Sleep for ten seconds, then answer."""
        until = now() + 10.0
        while now() < until:
            try:
                await asyncio.sleep(until - now())
            except asyncio.CancelledError:
                continue
        return await super().send(request, timeout=timeout)


@pytest.mark.parametrize("kind", ["v5", "swap_trailing"])
def test_closing_waits_for_a_confirmation_no_longer_than_its_drain(kind: Kind) -> None:
    """If a transport ignores cancellation, the confirmation ends with its answer."""

    async def main() -> None:
        transport = Stubborn(lambda _params: {"status": "error", "err_code": 1000})
        client = transport.client(request_timeout=60.0)
        confirming = asyncio.create_task(client.confirm(unanswered(kind, "1"), timeout=100.0))
        await asyncio.sleep(1.0)
        await client.aclose(drain=2.0)
        assert now() == pytest.approx(3.0, abs=0.001)
        assert states(await confirming) == [(CancelStatus.UNKNOWN, None)]
        assert now() < 11.0
        assert len(transport.asked) == 1
        nothing_is_left(client)

    run(main())


# failures inside


def test_confirming_survives_a_transport_that_raises_anything() -> None:
    """A public call or query that fails changes nothing; the result of the cancel stands."""

    async def main() -> None:
        problems = reports()
        replies: list[bytes | Exception] = [v1_reply(["1"], [])]
        replies += [RuntimeError(str(number)) for number in range(5)]
        async with CancelClient(credentials(), transport=Scripted(replies)) as client:
            accepted = await cancel(client, "swap", ["1"])
            assert await client.warm_up() == 0
            batches: list[tuple[OrderResult, ...]] = []
            outcome = await client.confirm(accepted, timeout=2.0, on_batch=batches.append)
        assert not batches
        assert [str(context["exception"]) for context in problems[:4]] == ["0", "1", "2", "3"]
        assert outcome.results == accepted.results
        assert outcome["1"].status is CancelStatus.ACCEPTED

    run(main())


@pytest.mark.parametrize("kind", ["v5", "swap_trailing"])
@pytest.mark.parametrize("error", [RuntimeError("mine"), asyncio.CancelledError("mine")])
def test_an_exception_of_a_custom_transport_is_reported_once_and_changes_nothing(
    kind: Kind, error: BaseException
) -> None:
    """Even a ``CancelledError`` of its own neither ends the confirmation nor costs a permit."""

    async def main() -> None:
        problems = reports()
        transport = Answering(lambda _params: error)
        async with transport.client(limits={"usdt_m_read": Limit(100, 1.0)}) as client:
            outcome = await client.confirm(unanswered(kind, "1", "2"), timeout=5.0)
            assert states(outcome) == [(CancelStatus.UNKNOWN, None)] * 2
            assert now() > 3.0
            nothing_is_left(client)
        assert len(transport.asked) > 5
        assert [(it["message"], it["exception"]) for it in problems] == [
            ("an attempt failed", error)
        ]

    run(main())


@pytest.mark.parametrize("error", [RuntimeError("mine"), asyncio.CancelledError("mine")])
def test_an_exception_in_on_batch_is_reported_and_costs_nothing(error: BaseException) -> None:
    """It is reported each time, as in a cancel, and the outcome is complete."""

    async def main() -> None:
        problems = reports()

        def on_batch(_results: tuple[OrderResult, ...]) -> None:
            raise error

        exchange = Exchange()
        ids = [*add(exchange, "v5", 2, state="filled"), *add(exchange, "v5", 1)]
        async with in_process(exchange) as client:
            outcome = await client.confirm(unanswered("v5", *ids), timeout=1.0, on_batch=on_batch)
            nothing_is_left(client)
        assert [it.status for it in outcome] == ["closed", "closed", "open"]
        assert [(it["message"], it["exception"]) for it in problems] == [
            ("on_batch raised", error)
        ] * 3

    run(main())


def test_a_failure_in_one_source_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in our own code is reported, and the other source is confirmed."""

    async def main() -> None:
        problems = reports()
        exchange = Exchange()
        filled = add(exchange, "swap", 1, state="filled")
        async with in_process(exchange, delay=0.1) as client:
            outcome = await client.confirm(unanswered("v5", "1"), unanswered("swap", *filled))
            nothing_is_left(client)
        assert [it.status for it in outcome] == ["unknown", "closed"]
        assert [context["message"] for context in problems] == ["confirm failed"]

    monkeypatch.setattr("htx_cancel.inquiry.ById._query_all", broken_for("/v5/trade/order"))
    run(main())


def broken_for(path: str) -> Callable[..., Any]:
    """Return a version of a private method that fails for the queries of one path."""
    from htx_cancel.inquiry import ById  # noqa: PLC0415 - the original, before it is replaced

    original = ById._query_all

    async def query_all(self: ById, *args: Any, **options: Any) -> list[str]:
        if self._query.path == path:
            raise ZeroDivisionError
        return await original(self, *args, **options)

    return query_all
