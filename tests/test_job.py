"""One cancel call under way: its timeout, its priority, its callback, and how it ends."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from clients import SECRET, add, cancel, credentials, in_process
from hypothesis import given
from hypothesis import strategies as st
from loops import task_factory
from net import ONE, Net
from transports import Scripted, v1_reply
from virtualtime import TICK, now, run

from htx_cancel import (
    CancelClient,
    CancelStatus,
    Limit,
    OrderResult,
    Outcome,
    Priority,
    RetryPolicy,
)
from htx_cancel.attempt import CANCELLED, TOO_LATE
from htx_cancel.errors import NoAnswerError
from htx_cancel.job import BROKEN, PER_TURN
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.rules import Kind
from htx_cancel.wire.transport import Reply, Request

pytestmark = pytest.mark.loops


# timeout and priority


def test_a_timeout_returns_what_is_known_and_drops_at_once_what_cannot_leave() -> None:
    """Five requests fit into half a second; the others are unsent before any reply arrives."""

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
        assert unsent.message.startswith("too late: its turn would come in 1.")
        assert unsent.attempts == 0
        assert {exchange.book[key].state for key in ids[50:]} == {"open"}

    run(main())


def test_a_timeout_that_ends_before_the_call_begins_drops_all() -> None:
    """Tokens are free, but the check of so many ids takes longer."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            outcome = await cancel(client, "swap", range(1, 1001), timeout=TICK)
        assert outcome.counts == {CancelStatus.UNSENT: 1000}
        assert {each.message for each in outcome} == {TOO_LATE}
        assert not exchange.calls

    run(main())


def test_a_call_behind_another_one_is_dropped_at_once_if_it_cannot_leave_in_time() -> None:
    """The other call takes the tokens of two windows."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 150)
        async with in_process(exchange, delay=0.01) as client:
            first = asyncio.create_task(cancel(client, "swap_trailing", ids[:100]))
            await asyncio.sleep(0.1)
            outcome = await cancel(client, "swap_trailing", ids[100:], timeout=1.5)
            assert now() < 0.11
            assert outcome.counts == {CancelStatus.UNSENT: 50}
            await first

    run(main())


def test_a_cancel_all_that_cannot_leave_in_time_is_unsent() -> None:
    """The budget is spent, and the next token is free after the timeout."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "swap_trailing", 1)
        async with in_process(exchange) as client:
            for _ in range(5):
                await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD")
            outcome = await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD", timeout=0.5)
        assert (outcome.call.status, outcome.call.attempts) == (CancelStatus.UNSENT, 0)
        assert outcome.call.message.startswith("too late: its turn would come in 1.0")

    run(main())


def test_a_call_that_loses_its_tokens_to_urgent_calls_is_unsent() -> None:
    """An urgent call takes the tokens that were predicted for a routine call."""

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
        assert (outcome.retry_in or 0.0) > 0.0
        assert all(each.message.startswith("too late: the next free token is") for each in outcome)
        assert loop.time() < 1.6

    run(main())


def test_a_reply_that_arrives_after_the_timeout_is_unknown() -> None:
    """The call returns in time; orders whose request was not answered may be canceled."""

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


def test_an_urgent_call_gets_the_next_token() -> None:
    """An urgent call does not wait behind a thousand routine orders."""

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


# callbacks and outcomes


def test_each_batch_is_passed_on_once_and_a_failing_callback_costs_nothing() -> None:
    """An exception in ``on_batch`` goes to the loop's handler; the outcome is complete."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 25)
        told: list[str] = []
        loop = asyncio.get_running_loop()
        problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _loop, context: problems.append(context))

        def on_batch(results: tuple[OrderResult, ...]) -> None:
            told.extend(result.order_id for result in results)
            raise RuntimeError("sabotage")

        async with in_process(exchange) as client:
            outcome = await cancel(client, "swap", ids, on_batch=on_batch)
        assert sorted(told) == sorted(ids)
        assert outcome.counts == {CancelStatus.ACCEPTED: 25}
        assert [context["message"] for context in problems] == ["on_batch raised"] * 3

    run(main())


@pytest.mark.parametrize("how", ["timeout", "close", "refused"])
def test_dropping_a_large_call_does_not_block_the_event_loop(how: str) -> None:
    """Unsent batches are passed on in slices, and the event loop turns between them."""

    async def main() -> None:
        exchange = Exchange(secret_key="another" if how == "refused" else SECRET)
        client = in_process(exchange, delay=0.01)
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        turns = [0]  # batches passed on in each turn of the loop

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


def test_a_burst_leaves_in_slices_even_if_tokens_come_back_meanwhile() -> None:
    """Each unusable connection returns its token to the feeder before the burst has left."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = lambda _request: "stale" if now() < 0.001 else "ok"
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 1000))
        assert outcome.counts == {CancelStatus.ACCEPTED: 1000}
        turns = Counter(at for at in net.to(ONE) if at < 1e-6)  # each turn has a time of its own
        assert turns.total() == 100
        assert max(turns.values()) == PER_TURN

    run(main())


def test_a_large_outcome_that_nobody_holds_is_freed_in_slices() -> None:
    """Freeing 100,000 results at once would stall the event loop; held results stay."""

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
            alone = sys.getrefcount(object()) + 1  # references to a result that one name holds
            for _ in range(5):
                await asyncio.sleep(0)
            del outcome
            assert sys.getrefcount(last) == alone
            assert sys.getrefcount(first) > alone  # its slice is not freed yet
            for _ in range(5):
                await asyncio.sleep(0)
            assert sys.getrefcount(first) == alone

    run(main())


def test_an_outcome_has_the_seconds_until_unsent_ids_could_leave() -> None:
    """After that wait, a second call cancels all that were live."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        async with in_process(exchange) as client:
            first = await cancel(client, "swap_trailing", ids, timeout=0.5)
            assert first.counts == {CancelStatus.ACCEPTED: 50, CancelStatus.UNSENT: 50}
            assert first.retry_in == pytest.approx(1.0, abs=0.05)
            assert all(result.retryable for result in first.live)
            await asyncio.sleep(first.retry_in or 0.0)
            live = [result.order_id for result in first.live]
            again = await cancel(client, "swap_trailing", live, timeout=0.5)
            nothing = await cancel(client, "swap", [])
        assert Outcome.merge(first, again).settled
        assert (again.retry_in, nothing.retry_in) == (None, None)
        assert (again.error, nothing.error) == (None, None)

    run(main())


def test_an_outcome_has_the_refusal_of_the_account() -> None:
    """The signature names another host: one refusal, and the other batches never leave."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1000)
        add(exchange, "swap_trailing", 1)
        async with in_process(exchange, signing_host="other.example") as client:
            outcome = await cancel(client, "swap", ids)
            every = await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD")
        assert outcome.error is not None
        assert outcome.error.code == 403
        assert outcome.counts.keys() == {CancelStatus.REJECTED, CancelStatus.UNSENT}
        assert not any(result.retryable for result in outcome.rejected)
        assert every.error == outcome.error
        assert not every.settled

    run(main())


order_ids = st.lists(st.integers(1, 30), min_size=1, max_size=60)
names = st.lists(st.integers(1, 40).map(str), max_size=30)
v1_replies = st.builds(v1_reply, names, names)


@given(
    order_ids,
    st.lists(st.binary(max_size=30) | v1_replies | v1_replies, max_size=12),
    st.sampled_from(["swap", "swap_trailing", "linear_trigger"]),
)
def test_every_id_has_one_result_in_order_whatever_the_replies(
    ids: list[int], replies: list[bytes], kind: Kind
) -> None:
    """With broken or contradictory replies, only ids that a success named are accepted."""
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
        assert [each.order_id for each in outcome.results] == [
            str(key) for key in dict.fromkeys(ids)
        ]
        assert {each.order_id for each in outcome.accepted} <= named

    run(main())


def successes(reply: bytes) -> list[str]:
    """Return the successes of a reply made by ``v1_reply``."""
    _, found, rest = reply.decode(errors="replace").partition('"successes":"')
    return rest.partition('"')[0].split(",") if found else []


# how it ends


def test_a_cancelled_caller_sends_no_more_and_still_gets_results() -> None:
    """Requests in flight are answered, the others are unsent, and no token is lost."""

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


def test_a_delivery_that_has_not_begun_is_not_sent_after_the_client_is_closed() -> None:
    """A window's burst starts in slices; closing the client ends it between two slices."""

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
        outcome = await call
        assert outcome.counts == {CancelStatus.ACCEPTED: 10 * sent, CancelStatus.UNSENT: unsent}
        assert [each.order_id for each in outcome.accepted] == ids[: 10 * sent]
        assert client.budgets.snapshot()[0].in_flight == 0

    run(main())


def test_a_delivery_that_has_not_begun_is_not_sent_after_all_tasks_are_cancelled() -> None:
    """The feeder has ended by then, so that only deliveries are cancelled."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange, delay=0.1) as client:
            call = asyncio.create_task(cancel(client, "swap", add(exchange, "swap", 360)))
            for _turn in range(100):
                if len(asyncio.all_tasks()) > PER_TURN:
                    break
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {call, asyncio.current_task()}:
                task.cancel()
            outcome = await call
            await asyncio.sleep(1.0)
        assert len(outcome.unsent) >= 360 - 2 * 10 * PER_TURN
        assert exchange.calls.total() <= 2 * PER_TURN
        assert {each.message for each in outcome.unsent} == {CANCELLED}

    run(main())


def test_a_batch_whose_task_cannot_be_started_is_unsent() -> None:
    """The other batches are sent."""

    async def main() -> None:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        problems: list[str] = []
        loop.set_exception_handler(lambda _loop, context: problems.append(context["message"]))
        make_task = task_factory(loop)

        def factory(loop: Any, work: Any, **options: Any) -> Any:
            if work.__qualname__ == "Job._deliver" and not problems:
                raise RuntimeError("sabotage")
            return make_task(loop, work, **options)

        async with in_process(exchange) as client:
            ids = add(exchange, "swap", 30)
            loop.set_task_factory(factory)
            outcome = await cancel(client, "swap", ids)
        assert [each.order_id for each in outcome.unsent] == ids[:10]
        assert {each.message for each in outcome.unsent} == {BROKEN}
        assert len(outcome.accepted) == 20
        assert problems == ["a task could not be started"]

    run(main())


@pytest.mark.parametrize("ids", [range(1, 5001), [7] * 5000])
def test_a_client_that_is_closed_while_ids_are_checked_sends_none_of_them(
    ids: Sequence[int],
) -> None:
    """The call, of many batches or of one, begins after the client was closed."""

    async def main() -> None:
        exchange = Exchange()
        client = in_process(exchange)
        call = asyncio.create_task(cancel(client, "swap", ids))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await client.aclose()
        outcome = await call
        assert outcome.counts == {CancelStatus.UNSENT: len(set(ids))}
        assert {each.message for each in outcome} == {"the client was closed"}
        assert not exchange.calls

    run(main())


def test_a_request_in_flight_that_a_closed_client_gave_up_has_that_reason() -> None:
    """Its order may be canceled."""

    async def main() -> None:
        exchange = Exchange()
        client = in_process(exchange, delay=5.0)
        call = asyncio.create_task(cancel(client, "swap", add(exchange, "swap", 1)))
        await asyncio.sleep(0.1)
        await client.aclose(drain=0.5)
        assert now() < 1.0
        (result,) = await call
        assert (result.status, result.message) == (CancelStatus.UNKNOWN, "the client was closed")

    run(main())


def test_a_call_of_one_batch_takes_one_task() -> None:
    """The feeder delivers the batch, and afterwards the client does not hold the call."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange, delay=0.1) as client:
            started: list[object] = []
            loop = asyncio.get_running_loop()
            make_task = task_factory(loop)

            def factory(loop: Any, work: Any, **options: Any) -> Any:
                started.append(work)
                return make_task(loop, work, **options)

            loop.set_task_factory(factory)
            await cancel(client, "swap", add(exchange, "swap", 10))
            await asyncio.sleep(0)
            assert len(started) == 1
            assert repr(client) == "<CancelClient for https://api.hbdm.com: 0 calls under way>"

    run(main())


@pytest.mark.parametrize(("ids", "unsent"), [(100, 50), (10, 0)])
def test_a_call_whose_tasks_are_all_cancelled_ends(ids: int, unsent: int) -> None:
    """``asyncio.run`` cancels all tasks at the end of a program; nothing is retried then."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange, delay=0.2) as client:
            call = asyncio.create_task(
                cancel(client, "swap_trailing", add(exchange, "swap_trailing", ids))
            )
            await asyncio.sleep(0.1)
            for task in asyncio.all_tasks() - {call, asyncio.current_task()}:
                task.cancel()
            outcome = await call
            assert asyncio.get_running_loop().time() < 0.11
        assert (len(outcome.unknown), len(outcome.unsent)) == (ids - unsent, unsent)
        assert {result.message for result in outcome} == {"the call's task was cancelled"}

    run(main())


def test_a_stopped_call_does_not_retry_what_is_in_flight() -> None:
    """The caller is cancelled before a busy reply arrives."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1)
        results: list[OrderResult] = []
        plan = FaultPlan({ids[0]: ["busy"]})
        async with in_process(exchange, delay=0.2, faults=plan) as client:
            call = asyncio.create_task(cancel(client, "swap", ids, on_batch=results.extend))
            await asyncio.sleep(0.1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.sleep(5.0)
        assert [(each.status, each.attempts) for each in results] == [(CancelStatus.REJECTED, 1)]

    run(main())


@pytest.mark.parametrize("fault", ["busy", "rate"])
def test_a_stopped_call_does_not_wait_to_retry(fault: str) -> None:
    """The caller is cancelled during a backoff, or while its batches wait for a token."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 20)
        results: list[OrderResult] = []
        plan = FaultPlan({key: [fault] * 9 for key in ids})
        random.seed(1)
        policy = RetryPolicy(backoff_initial=10.0, backoff_max=10.0)  # a backoff of a second
        async with in_process(exchange, faults=plan, retry=policy) as client:
            call = asyncio.create_task(
                cancel(client, "swap_trailing", ids, on_batch=results.extend)
            )
            await asyncio.sleep(0.1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.sleep(0.001)
            assert [(each.status, each.attempts) for each in results] == [
                (CancelStatus.REJECTED, 1)
            ] * 20
            await asyncio.sleep(20.0)
        assert exchange.calls.total() == 2

    run(main())


class Stubborn(Scripted):
    """A transport that swallows the cancellation of its task."""

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Answer when the task is cancelled."""
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(timeout)
        return await super().send(request, timeout=timeout)


def test_a_transport_that_swallows_a_cancellation_gets_no_retry() -> None:
    """The swallowed cancellation still ends the retries."""

    async def main() -> None:
        transport = Stubborn([NoAnswerError("lost"), v1_reply(["7"], [])])
        async with CancelClient(credentials(), transport=transport) as client:
            call = asyncio.create_task(cancel(client, "swap", [7]))
            await asyncio.sleep(0.1)
            for task in asyncio.all_tasks() - {call, asyncio.current_task()}:
                task.cancel()
            assert (await call).counts == {CancelStatus.UNKNOWN: 1}
        assert len(transport.replies) == 1

    run(main())


def test_a_refused_key_stops_the_call() -> None:
    """Only the requests in flight when the first reply arrived are sent."""

    async def main() -> None:
        exchange = Exchange(secret_key="another")
        net = Net(exchange)
        async with net.client(ONE) as client:
            ids = add(exchange, "v5", 2000)
            outcome = await cancel(client, "v5", ids)
            assert now() < 0.1
        assert len(net.log) == 72
        assert outcome.counts == {CancelStatus.REJECTED: 72, CancelStatus.UNSENT: 1928}
        assert "the exchange refused the account: 1003" in outcome.unsent[0].message

    run(main())


def test_the_first_reason_to_stop_is_the_message_of_all_that_is_unsent() -> None:
    """The client is closed while a refused call passes on its unsent batches."""

    async def main() -> None:
        exchange = Exchange(secret_key="another")
        client = in_process(exchange, delay=0.01)
        told = asyncio.Event()

        def on_batch(results: tuple[OrderResult, ...]) -> None:
            if results[0].status is CancelStatus.UNSENT:
                told.set()

        call = asyncio.create_task(cancel(client, "swap", range(1, 5001), on_batch=on_batch))
        await told.wait()
        assert not call.done()
        await client.aclose()
        (message,) = {result.message for result in (await call).unsent}
        assert message.startswith("the exchange refused the account")

    run(main())
