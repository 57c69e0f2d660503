"""What one request carries, and what its attempts have found out so far."""

import asyncio
from typing import Any

import pytest
from clients import add, cancel, in_process
from msgspec.structs import replace
from virtualtime import run

from htx_cancel import RetryPolicy
from htx_cancel.batch import CancelAll, CancelBatch, Form
from htx_cancel.endpoints import coin_m_swap, usdt_m
from htx_cancel.retry import SETTLEMENT_BACKOFF, RetryAction
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.rules import ROUTES
from htx_cancel.status import CancelStatus, Finding
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import AttemptResult


def batch(*ids: str) -> CancelBatch:
    """Return a batch whose first attempt begins."""
    made = CancelBatch(coin_m_swap.ORDERS, "BTC-USD", "order_id", ids, number=0, form=Form(10))
    made.begin(0.0)
    return made


def test_only_ids_that_are_not_settled_are_retried() -> None:
    """``attempts`` counts the requests that carried an id."""
    attempts = batch("1", "2", "3")
    first = {"1": Finding(Meaning.ACCEPTED), "2": Finding(Meaning.BUSY, 1004)}
    assert (
        attempts.record(AttemptResult(Finding(Meaning.ACCEPTED), None, first))
        is RetryAction.BACKOFF
    )
    assert attempts.pending == ["2", "3"]
    attempts.begin(1.0)
    assert attempts.record(AttemptResult(Finding(Meaning.NOT_SENT))) is RetryAction.BACKOFF
    attempts.begin(2.0)
    second = {"2": Finding(Meaning.CANCELED, 1071), "3": Finding(Meaning.NOT_FOUND, 1061)}
    assert (
        attempts.record(AttemptResult(Finding(Meaning.ACCEPTED), None, second)) is RetryAction.STOP
    )
    assert [(each.order_id, each.status, each.attempts) for each in attempts.results()] == [
        ("1", CancelStatus.ACCEPTED, 1),
        ("2", CancelStatus.CLOSED, 2),
        ("3", CancelStatus.NOT_FOUND, 2),
    ]


def test_a_refusal_of_a_retry_does_not_hide_that_the_first_request_may_have_arrived() -> None:
    """The ids, or the request that names no ids, stay unknown."""
    attempts, every = batch("1", "2"), CancelAll(coin_m_swap.ALL_TRAILING_ORDERS, b"{}")
    for finding in (Finding(Meaning.NO_ANSWER), Finding(Meaning.RATE_LIMITED, 1032)):
        attempts.record(AttemptResult(finding))
        every.record(AttemptResult(finding))
    assert {each.status for each in attempts.results()} == {CancelStatus.UNKNOWN}
    assert every.call().status is CancelStatus.UNKNOWN


def test_a_cancel_all_settles_as_a_whole() -> None:
    """The ids that any reply listed are in the results."""
    attempts = CancelAll(coin_m_swap.ALL_TRAILING_ORDERS, b"{}")
    assert attempts.record(AttemptResult(Finding(Meaning.UNREADABLE))) is RetryAction.BACKOFF
    listed = {"7": Finding(Meaning.ACCEPTED)}
    assert (
        attempts.record(AttemptResult(Finding(Meaning.ACCEPTED), None, listed)) is RetryAction.STOP
    )
    assert (attempts.call().status, attempts.call().attempts) == (CancelStatus.ACCEPTED, 2)
    assert [(each.order_id, each.attempts) for each in attempts.results()] == [("7", 2)]


@pytest.mark.parametrize(
    ("meanings", "action"),
    [
        ((Meaning.RATE_LIMITED, Meaning.BUSY), RetryAction.BACKOFF),
        ((Meaning.SETTLING, Meaning.BUSY), RetryAction.BACKOFF),
        ((Meaning.RATE_LIMITED, Meaning.SETTLING), RetryAction.WAIT_FOR_SETTLEMENT),
        ((Meaning.CLOCK, Meaning.BUSY), RetryAction.RESYNC_CLOCK),
        ((Meaning.AUTH, Meaning.RATE_LIMITED), RetryAction.WAIT_FOR_BUDGET),
    ],
)
def test_one_action_serves_all_ids_of_a_batch(
    meanings: tuple[Meaning, Meaning], action: RetryAction
) -> None:
    """Whichever of its ids failed first."""
    failed = dict(zip(("1", "2"), map(Finding, meanings), strict=True))
    for ids in (("1", "2"), ("2", "1")):
        answer = AttemptResult(Finding(Meaning.ACCEPTED), 1.0, failed)
        assert batch(*ids).record(answer) is action


def test_a_wrong_clock_is_not_corrected_without_the_time_of_the_exchange() -> None:
    """A retry would have the same wrong timestamp."""
    wrong = Finding(Meaning.CLOCK, 12001)
    assert batch("1").record(AttemptResult(wrong, 1.0)) is RetryAction.RESYNC_CLOCK
    assert batch("1").record(AttemptResult(wrong)) is RetryAction.STOP


def test_ids_beyond_the_size_that_another_call_learned_are_sent_next() -> None:
    """The size shrank after the batch was made; all ids of its first request are accepted."""
    form = Form(10)
    ids = ("1", "2", "3")
    attempts = CancelBatch(coin_m_swap.ORDERS, "BTC-USD", "order_id", ids, number=0, form=form)
    form.max_ids = 2
    attempts.begin(0.0)
    accepted = dict.fromkeys(ids[:2], Finding(Meaning.ACCEPTED))
    answer = AttemptResult(Finding(Meaning.ACCEPTED), None, accepted)
    assert attempts.record(answer) is RetryAction.WAIT_FOR_BUDGET
    assert attempts.pending == ["3"]


def test_the_last_id_of_a_batch_is_retried_on_the_path_for_a_single_id() -> None:
    """v5 has a path of its own for one order."""
    attempts = CancelBatch(
        usdt_m.ORDERS, "BTC-USDT", "order_id", ("1", "2"), number=0, form=Form(10)
    )
    attempts.begin(0.0)
    assert (attempts.path, attempts.body()[-5:]) == (usdt_m.ORDERS.path, b'"2"]}')
    answer = AttemptResult(Finding(Meaning.ACCEPTED), None, {"1": Finding(Meaning.ACCEPTED)})
    attempts.record(answer)
    attempts.begin(1.0)
    assert (attempts.path, attempts.body()[-4:]) == (usdt_m.ORDERS.single_id_path, b'"2"}')


def test_a_refusal_of_the_account_ends_a_batch_that_was_sent_in_part() -> None:
    """The ids that were not sent yet are not sent."""
    form = Form(2)
    ids = ("1", "2", "3")
    attempts = CancelBatch(coin_m_swap.ORDERS, "BTC-USD", "order_id", ids, number=0, form=form)
    attempts.begin(0.0)
    assert attempts.record(AttemptResult(Finding(Meaning.AUTH, 1200, "no"))) is RetryAction.STOP
    assert [(each.status, each.attempts, each.message) for each in attempts.results()] == [
        (CancelStatus.REJECTED, 1, "no"),
        (CancelStatus.REJECTED, 1, "no"),
        (CancelStatus.UNSENT, 0, "only other ids of its batch were sent"),
    ]


def test_only_a_request_that_was_refused_as_a_whole_is_sent_in_another_form() -> None:
    """A request with an answer for an id, or with a single id, is not."""
    form = Form(10)
    for ids, named in ((("1", "2"), {"1": Finding(Meaning.ACCEPTED)}), (("1",), {})):
        attempts = CancelBatch(usdt_m.ORDERS, "BTC-USDT", "order_id", ids, number=0, form=form)
        attempts.begin(0.0)
        answer = AttemptResult(Finding(Meaning.INVALID, 1052), None, named)
        assert attempts.record(answer) is RetryAction.STOP
        assert form == Form(10)


def v5_algo(**changes: Any) -> Exchange:
    """Return an exchange whose call for algo orders differs from our table."""
    path = usdt_m.ALGO_ORDERS.path
    return Exchange(interfaces={**ROUTES, path: replace(ROUTES[path], **changes)})


def bodies(exchange: Exchange, path: str) -> list[int]:
    """List the number of ids in each request to a path, negative if it was refused."""
    return [
        len(call.ids) * (1 if call.outcome == "ok" else -1)
        for call in exchange.log
        if call.path == path
    ]


def test_a_request_that_is_refused_for_too_many_ids_is_halved() -> None:
    """Until the exchange accepts it; the client remembers the number for later calls."""

    async def main() -> None:
        exchange = v5_algo(max_ids=3)
        ids = [exchange.book.add("v5_algo", "BTC-USDT").order_id for _ in range(20)]
        async with in_process(exchange) as client:
            outcome = await client.usdt_m.cancel_algo_orders("BTC-USDT", ids[:10])
            assert [each.order_id for each in outcome.accepted] == ids[:10]
            assert {each.attempts for each in outcome} == {2, 3}
            path = usdt_m.ALGO_ORDERS.path
            assert bodies(exchange, path) == [-10, -5, 2, 2, 2, 2, 2]
            assert asyncio.get_running_loop().time() < 0.01
            exchange.log.clear()
            outcome = await client.usdt_m.cancel_algo_orders("BTC-USDT", ids[10:])
        assert len(outcome.accepted) == 10
        assert bodies(exchange, path) == [2] * 5

    run(main())


def test_a_list_that_is_refused_for_its_form_is_tried_as_an_object_once() -> None:
    """If the exchange accepts the object, later requests carry one id each."""

    async def main() -> None:
        exchange = v5_algo(ids_as="object")
        ids = [exchange.book.add("v5_algo", "BTC-USDT").order_id for _ in range(5)]
        async with in_process(exchange) as client:
            outcome = await client.usdt_m.cancel_algo_orders("BTC-USDT", ids[:3])
            assert len(outcome.accepted) == 3
            path = usdt_m.ALGO_ORDERS.path
            assert bodies(exchange, path) == [-3, 1, 1, 1]
            exchange.log.clear()
            outcome = await client.usdt_m.cancel_algo_orders("BTC-USDT", ids[3:])
        assert len(outcome.accepted) == 2
        assert bodies(exchange, path) == [1, 1]

    run(main())


def test_a_refusal_of_both_forms_is_final() -> None:
    """A wrong contract is refused in any form; each call tries both forms once."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            outcome = await client.usdt_m.cancel_algo_orders("NONE-USDT", ["1", "2"])
            assert {each.status for each in outcome} == {CancelStatus.REJECTED}
            assert [len(call.ids) for call in exchange.log] == [2, 1, 1]
            outcome = await client.usdt_m.cancel_algo_orders("NONE-USDT", ["1", "2"])
        assert {each.status for each in outcome} == {CancelStatus.REJECTED}
        assert [len(call.ids) for call in exchange.log][3:] == [2, 1, 1]

    run(main())


@pytest.mark.parametrize("form", ["object", "objects"])
@pytest.mark.parametrize("first", [("BTC-USDT", None), ("NONE-USDT", "7"), ("BTC-USDT", "bad")])
def test_the_form_that_worked_stays(form: str, first: tuple[str, str | None]) -> None:
    """Whatever else was refused before the form was confirmed, and afterwards."""

    async def main() -> None:
        exchange = v5_algo(ids_as=form)
        ids = [exchange.book.add("v5_algo", "BTC-USDT").order_id for _ in range(30)]
        code, order_id = first
        async with in_process(exchange) as client:
            cancel_algo = client.usdt_m.cancel_algo_orders
            await cancel_algo(code, [order_id or ids.pop()])
            assert len((await cancel_algo("BTC-USDT", ids[:10])).accepted) == 10
            refused = await cancel_algo("BTC-USDT", ["bad"])
            assert [(each.status, each.code) for each in refused] == [(CancelStatus.REJECTED, 1067)]
            assert [each.code for each in exchange.log][-2:] == [200, 1067]  # one attempt
            exchange.log.clear()
            assert len((await cancel_algo("BTC-USDT", ids[10:20])).accepted) == 10
        assert bodies(exchange, usdt_m.ALGO_ORDERS.path) == ([1] * 10 if form == "object" else [10])

    run(main())


@pytest.mark.parametrize(("form", "requests"), [("objects", [-3, 2]), ("object", [-1, 1, 1])])
def test_a_wrong_contract_does_not_change_the_form_that_worked(
    form: str, requests: list[int]
) -> None:
    """Its refusal says nothing about the form, before the first success or after it."""

    async def main() -> None:
        exchange = v5_algo(ids_as=form)
        ids = [exchange.book.add("v5_algo", "BTC-USDT").order_id for _ in range(3)]
        async with in_process(exchange) as client:
            method = client.usdt_m.cancel_algo_orders
            wrong = [await method("NONE-USDT", ["1", "2", "3"])]
            assert len((await method("BTC-USDT", ids[:1])).accepted) == 1
            exchange.log.clear()
            wrong.append(await method("NONE-USDT", ["1", "2", "3"]))
            assert len((await method("BTC-USDT", ids[1:])).accepted) == 2
        assert all(each.status is CancelStatus.REJECTED for outcome in wrong for each in outcome)
        path = usdt_m.ALGO_ORDERS.path
        assert bodies(exchange, path)[-len(requests) :] == requests

    run(main())


def test_a_refusal_of_the_form_of_another_call_is_final() -> None:
    """Only the form of algo cancels is uncertain."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            outcome = await client.usdt_m.cancel_orders("BTC-USDT", ["bad", "7"])
            assert {(each.status, each.code) for each in outcome} == {(CancelStatus.REJECTED, 1067)}
            await client.coin_m_swap.cancel_orders("BTC-USD", ["bad", "7"])
        assert [len(call.ids) for call in exchange.log] == [2, 2]

    run(main())


@pytest.mark.parametrize("changes", [{"ids_as": "object"}, {"max_ids": 2}])
def test_small_requests_of_a_later_call_leave_at_the_same_time(changes: dict[str, Any]) -> None:
    """The batches of a later call have the size that the first call learned."""

    async def main() -> None:
        exchange = v5_algo(**changes)
        ids = [exchange.book.add("v5_algo", "BTC-USDT").order_id for _ in range(30)]
        loop = asyncio.get_running_loop()
        async with in_process(exchange, delay=0.1) as client:
            await client.usdt_m.cancel_algo_orders("BTC-USDT", ids[:10])
            await asyncio.sleep(10.0)
            began = loop.time()
            outcome = await client.usdt_m.cancel_algo_orders("BTC-USDT", ids[10:])
            assert len(outcome.accepted) == 20
            assert loop.time() - began < 0.25

    run(main())


def test_a_form_that_is_refused_needs_more_than_one_attempt() -> None:
    """With a single attempt the ids are rejected, and the next call uses the learned size."""

    async def main() -> None:
        exchange = v5_algo(max_ids=5)
        ids = [exchange.book.add("v5_algo", "BTC-USDT").order_id for _ in range(10)]
        async with in_process(exchange, retry=RetryPolicy(max_attempts=1)) as client:
            outcome = await client.usdt_m.cancel_algo_orders("BTC-USDT", ids)
            assert {each.code for each in outcome.rejected} == {1052}
            assert len(outcome.rejected) == 10
            outcome = await client.usdt_m.cancel_algo_orders("BTC-USDT", ids)
        assert len(outcome.accepted) == 10

    run(main())


def test_a_lost_reply_does_not_change_the_form_of_the_retry() -> None:
    """A lost reply says nothing about the form."""

    async def main() -> None:
        exchange = v5_algo(ids_as="object")
        ids = [exchange.book.add("v5_algo", "BTC-USDT").order_id for _ in range(3)]
        plan = FaultPlan({usdt_m.ALGO_ORDERS.path: [None, "reset_before"]})
        async with in_process(exchange, faults=plan) as client:
            outcome = await client.usdt_m.cancel_algo_orders("BTC-USDT", ids)
        assert len(outcome.accepted) == 3

    run(main())


@pytest.mark.parametrize(("timeout", "accepted"), [(None, 0), (60.0, 1)])
def test_a_contract_in_settlement_is_retried_slowly_until_the_deadline(
    timeout: float | None, accepted: int
) -> None:
    """Without a deadline until ``max_elapsed``; these attempts do not count."""

    async def main() -> None:
        exchange = Exchange()
        order_id = add(exchange, "swap", 1)[0]
        loop = asyncio.get_running_loop()
        exchange.settling.add("BTC-USD")
        loop.call_later(45.0, exchange.settling.clear)
        policy = RetryPolicy(max_attempts=2, max_elapsed=10.0)
        async with in_process(exchange, retry=policy) as client:
            await asyncio.sleep(5.0)
            outcome = await cancel(client, "swap", [order_id], timeout=timeout)
        assert len(outcome.accepted) == accepted
        assert len(outcome.rejected) == 1 - accepted
        assert all(each.retryable for each in outcome.rejected)
        assert len(exchange.log) <= loop.time() / SETTLEMENT_BACKOFF + 1
        assert 45.0 < loop.time() < 48.0 if accepted else 12.0 < loop.time() < 13.5

    run(main())


def test_a_tpsl_order_with_an_open_entry_order_is_refused_for_now() -> None:
    """A retry at once would not help: the entry order has to be canceled first."""

    async def main() -> None:
        exchange = Exchange()
        entry = exchange.book.add("swap", "BTC-USD")
        tpsl = exchange.book.add("swap_tpsl", "BTC-USD", entry=entry.order_id)
        async with in_process(exchange) as client:
            outcome = await client.coin_m_swap.cancel_tpsl_orders("BTC-USD", [tpsl.order_id])
            (result,) = outcome
            assert (result.status, result.code) == (CancelStatus.REJECTED, 1408)
            assert (result.retryable, result.attempts) == (True, 1)
            await client.coin_m_swap.cancel_orders("BTC-USD", [entry.order_id])
            outcome = await client.coin_m_swap.cancel_tpsl_orders("BTC-USD", [tpsl.order_id])
        assert len(outcome.accepted) == 1

    run(main())


def test_v5_orders_are_canceled_ten_a_request_or_one_by_one() -> None:
    """Items of a reply are matched by id, because the exchange lists the last one first."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "v5", 40)
        async with in_process(exchange) as client:
            outcome = await client.usdt_m.cancel_orders("BTC-USDT", [*ids[:15], "7"])
            assert [each.order_id for each in outcome.accepted] == ids[:15]
            assert [each.order_id for each in outcome.not_found] == ["7"]
            assert exchange.calls == {usdt_m.ORDERS.path: 2}
            outcome = await client.usdt_m.cancel_orders("BTC-USDT", ids[15:], one_by_one=True)
        assert len(outcome.accepted) == 25
        assert exchange.calls[usdt_m.ORDERS_ONE_BY_ONE.path] == 25

    run(main())
