"""The queries of ``confirm``: rounds, pages, margin modes, and queries that fail."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from clients import CONTRACTS, EPOCH, ONCE, add, cancel, in_process, nothing_is_left, over_a_socket
from confirmations import BY_ID, PAGED, SOURCES, reports, states, unanswered
from msgspec.structs import replace
from transports import Answering, found, lost, missing
from virtualtime import now, run

from htx_cancel import (
    BudgetEvent,
    Budgets,
    CancelStatus,
    Limit,
    OrderResult,
    OrderState,
    Outcome,
    Refusal,
    RetryPolicy,
    Source,
)
from htx_cancel.endpoints import QUERIES
from htx_cancel.errors import NoAnswerError
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.rules import Kind
from htx_cancel.wire.transport import Reply

pytestmark = pytest.mark.loops


@pytest.mark.parametrize("kind", BY_ID)
def test_an_order_is_queried_until_its_state_is_final(kind: Kind) -> None:
    """Cancels take a while; some orders fill first, and some partly."""

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


@pytest.mark.parametrize("kind", [*BY_ID, *PAGED])
def test_queries_that_fail_are_sent_again(kind: Kind) -> None:
    """After every kind of failure, and without a wrong state in between."""
    path = {
        "swap": "/swap-api/v1/swap_order_info",
        "v5": "/v5/trade/order",
        "swap_trailing": "/swap-api/v1/swap_track_openorders",
        "swap_trigger": "/swap-api/v1/swap_trigger_openorders",
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
        assert plan.injected.total() == len(trouble)

    run(main())


def test_pauses_grow_but_leave_room_for_more_rounds() -> None:
    """Each pause is twice the last, and at most a quarter of the time that is left."""

    async def main() -> None:
        asked: list[float] = []

        def answer(params: Mapping[str, Any]) -> object:
            asked.append(now())
            return found("new")(params)

        async with Answering(answer).client() as client:
            await client.confirm(unanswered("v5", "7"), timeout=20.0)
        pauses = [later - earlier for earlier, later in pairwise(asked)]
        doubled = [0.1 * 2**number for number in range(6)]
        assert pauses[:6] == pytest.approx(doubled, abs=0.001)
        quarters = [(20.0 - when) / 4 for when in asked[6:-1]]
        assert pauses[6:] == pytest.approx([max(0.1, each) for each in quarters], abs=0.001)

    run(main())


def test_a_query_by_ids_has_one_attempt_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next round repeats a query that failed, so that no other query waits for it."""
    monkeypatch.setattr("htx_cancel.attempt.random", lambda: 0.0)  # no backoff between attempts

    async def main() -> None:
        times: list[float] = []

        def answer(_params: Mapping[str, Any]) -> object:
            times.append(now())
            return NoAnswerError("lost")

        async with Answering(answer).client() as client:
            await client.confirm(unanswered("v5", "7"), timeout=3.0)
        assert times[:3] == pytest.approx([0.0, 0.1, 0.3], abs=0.001)

    run(main())


def test_orders_that_stay_open_do_not_delay_the_queries_of_others() -> None:
    """Each round takes a new place in the queue, behind calls that came meanwhile."""

    async def main() -> None:
        exchange = Exchange()
        limits = {"usdt_m_read": Limit(1, 1.0)}
        async with in_process(exchange, limits=limits) as client:
            long = asyncio.create_task(
                client.confirm(unanswered("v5", *add(exchange, "v5", 5)), timeout=60.0)
            )
            await asyncio.sleep(0.5)
            outcome = await client.confirm(
                unanswered("v5", *add(exchange, "v5", 1, state="filled")), timeout=30.0
            )
            assert {result.status for result in outcome} == {CancelStatus.CLOSED}
            assert now() < 7.0
            long.cancel()

    run(main())


def test_confirming_more_than_the_read_budget_allows_confirms_as_many_as_it_can() -> None:
    """Orders that there is no time to query stay as they were."""

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


@pytest.mark.parametrize("kind", [*BY_ID, *PAGED])
def test_a_query_charges_the_budget_that_its_row_names(kind: Kind) -> None:
    """No other budget is charged."""

    async def main() -> None:
        async with in_process(Exchange(), delay=1.0) as client:
            confirming = asyncio.create_task(client.confirm(unanswered(kind, "1"), timeout=10.0))
            await asyncio.sleep(0.5)
            charged = {state.name for state in client.budgets.snapshot() if state.in_flight}
            assert charged == {QUERIES[SOURCES[kind].endpoint].budget}
            await confirming

    run(main())


def test_a_query_refused_for_the_rate_is_reported_to_its_budget() -> None:
    """So that the next query waits until the exchange accepts it."""

    async def main() -> None:
        events: list[BudgetEvent] = []
        transport = Answering(lambda _params: {"code": 1032, "message": "too many"})
        async with transport.client(budgets=Budgets(on_event=events.append)) as client:
            await client.confirm(unanswered("v5", "7"), timeout=0.5)
        assert next((event.kind, event.names) for event in events) == ("refused", ("usdt_m_read",))

    run(main())


def test_a_query_that_had_not_started_returns_its_token() -> None:
    """A task may be cancelled after its permit was taken and before its first step."""

    async def main() -> None:
        client = in_process(Exchange(), delay=1.0)
        for turns in range(12):
            confirming = asyncio.create_task(client.confirm(unanswered("v5", "1", "2", "3")))
            for _ in range(turns):
                await asyncio.sleep(0)
            confirming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await confirming
            nothing_is_left(client)

    run(main())


@pytest.mark.parametrize("kind", ["v5", "swap_trailing"])
def test_no_permit_is_lost_to_a_failure_of_our_own(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither before a query is sent, nor while the next permit is awaited."""

    async def main() -> None:
        problems = reports()
        async with Answering(missing).client() as client:
            with monkeypatch.context() as patch:
                patch.setattr(client._sender, "_ask", failing)
                await client.confirm(unanswered(kind, "1", "2"), timeout=1.0)
            nothing_is_left(client)
            assert [context["message"] for context in problems] == ["an attempt failed"]
            acquire, calls = client.budgets.acquire_some, 0

            async def second_fails(*args: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == 2:
                    raise ZeroDivisionError
                return await acquire(*args, **options)

            with monkeypatch.context() as patch:
                patch.setattr(client.budgets, "acquire_some", second_fails)
                await client.confirm(unanswered(kind, "1", "2"), timeout=1.0)
            nothing_is_left(client)
            assert [context["message"] for context in problems[1:]] == ["confirm failed"]

    async def failing(*_args: Any, **_options: Any) -> Reply:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    run(main())


def algo_list(
    pages: Callable[[str, bool], list[dict[str, Any]]],
) -> Callable[[Mapping[str, Any]], object]:
    """Answer with the rows of a type, on the first page or on the second."""
    return lambda params: {"code": 200, "data": pages(params["type"], "from" in params)}


def test_one_of_several_lists_with_two_pages_makes_an_absence_uncertain() -> None:
    """The order is not listed in the first round, and is listed again in the second."""

    async def main() -> None:
        rounds = 0

        def pages(algo_type: str, second: bool) -> list[dict[str, Any]]:
            nonlocal rounds
            if algo_type != "trigger":
                return []
            if not second:
                rounds += 1
                return [{"id": str(number), "algo_id": str(number)} for number in range(100, 300)]
            return [{"id": "7", "algo_id": "7"}] if rounds > 1 else []

        source = Source("usdt_m.cancel_algo_orders", "BTC-USDT", "algo_id")
        outcome = Outcome.of([OrderResult("7", CancelStatus.UNKNOWN)], source=source)
        async with Answering(algo_list(pages)).client() as client:
            confirmed = await client.confirm(outcome, timeout=3.0)
        assert rounds > 1
        assert states(confirmed) == [(CancelStatus.OPEN, OrderState.OPEN)]

    run(main())


def test_an_order_without_a_client_order_id_is_no_order_that_has_one() -> None:
    """The list has one order, which another program placed without such an id."""

    async def main() -> None:
        source = Source("usdt_m.cancel_algo_orders", "BTC-USDT", "algo_client_order_id")
        outcome = Outcome.of([OrderResult("7", CancelStatus.UNKNOWN)], source=source)
        row = {"id": "1", "algo_id": "1", "algo_client_order_id": None}
        async with Answering(algo_list(lambda _type, _second: [row])).client() as client:
            confirmed = await client.confirm(outcome, timeout=3.0)
        assert states(confirmed) == [(CancelStatus.CLOSED, OrderState.GONE)]

    run(main())


@pytest.mark.parametrize("kind", ["v5", "swap_trailing"])
def test_a_refusal_of_the_account_ends_the_queries(kind: Kind) -> None:
    """The next query would be refused too; ``outcome.error`` is the refusal."""

    async def main() -> None:
        reply = {
            "status": "error",
            "err_code": 1220,
            "err_msg": "no permission",
            "ts": EPOCH * 1000,
        }
        transport = Answering(lambda _params: reply)
        async with transport.client() as client:
            outcome = await client.confirm(unanswered(kind, "7"), timeout=10.0)
        assert states(outcome) == [(CancelStatus.UNKNOWN, None)]
        assert outcome.error == Refusal(1220, "no permission")
        assert len(transport.asked) == 1
        assert now() < 1.0

    run(main())


def test_a_refusal_of_the_account_ends_a_round() -> None:
    """One request is in flight at a time; the second one took its permit before the refusal."""

    async def main() -> None:
        refused = {"code": 1220, "message": "no permission", "ts": EPOCH * 1000}
        transport = Answering(lambda _params: refused)
        async with transport.client(max_in_flight=1) as client:
            outcome = await client.confirm(unanswered("v5", "7", "8", "9"), timeout=10.0)
        assert outcome.error == Refusal(1220, "no permission")
        assert [params["order_id"] for params in transport.asked] == ["7", "8"]

    run(main())


@pytest.mark.parametrize("kind", BY_ID)
def test_an_order_in_a_state_that_no_page_describes_is_queried_again(kind: Kind) -> None:
    """It exists, so it is not called not found; its result stays as it was."""

    async def main() -> None:
        rows = {"status": "ok", "data": [{"order_id": 7, "order_id_str": "7", "status": 99}]}
        transport = Answering(found("exotic") if kind == "v5" else lambda _params: rows)
        async with transport.client() as client:
            outcome = await client.confirm(unanswered(kind, "7"), timeout=2.0)
        assert states(outcome) == [(CancelStatus.UNKNOWN, None)]
        assert len(transport.asked) > 1

    run(main())


def test_a_reply_after_a_refusal_of_the_account_does_not_continue_the_queries() -> None:
    """Two queries are in flight, and only the first is refused."""

    async def main() -> None:
        refused = {"code": 1220, "message": "no permission", "ts": EPOCH * 1000}
        transport = Answering(
            lambda params: refused if params["order_id"] == "7" else found("new")(params)
        )
        async with transport.client() as client:
            outcome = await client.confirm(unanswered("v5", "7", "8"), timeout=10.0)
        assert states(outcome) == [
            (CancelStatus.UNKNOWN, None),
            (CancelStatus.OPEN, OrderState.OPEN),
        ]
        assert outcome.error == Refusal(1220, "no permission")
        assert now() < 1.0

    run(main())


@pytest.mark.parametrize(("skew", "asked"), [(30.0, 1), (3600.0, 2)])
def test_a_query_refused_for_its_signature_is_signed_again_if_a_wrong_clock_explains_it(
    skew: float, asked: int
) -> None:
    """HTX also refuses a timestamp that is far from its own as a wrong signature."""

    async def main() -> None:
        refused = {"code": 403, "message": "signature", "ts": int((EPOCH + skew) * 1000)}
        replies = [refused, found("canceled")({"order_id": "7"})]
        transport = Answering(lambda _params: replies[len(transport.asked) - 1])
        async with transport.client() as client:
            outcome = await client.confirm(unanswered("v5", "7"), timeout=10.0)
        assert len(transport.asked) == asked
        assert outcome.settled == (asked == 2)
        assert (outcome.error is None) == (asked == 2)

    run(main())


# queries by id


def test_orders_are_confirmed_by_the_client_ids_that_were_given() -> None:
    """The query sends the same ids as the cancel."""

    async def main() -> None:
        exchange = Exchange()
        for kind in BY_ID:
            exchange.book.add(kind, CONTRACTS[kind], client_order_id=71)
        async with in_process(exchange) as client:
            swap = await client.coin_m_swap.cancel_orders("BTC-USD", client_order_ids=[71, 72])
            v5 = await client.usdt_m.cancel_orders("BTC-USDT", client_order_ids=[71, 72])
            for outcome in (swap, v5):
                assert states(await client.confirm(outcome)) == [
                    (CancelStatus.ACCEPTED, OrderState.CANCELED),
                    (CancelStatus.NOT_FOUND, None),
                ]

    run(main())


def test_an_unknown_order_that_does_not_exist_is_not_found() -> None:
    """A query settles every unknown order."""

    async def main() -> None:
        exchange = Exchange()
        known = add(exchange, "swap", 1)
        plan = FaultPlan({"5": ["lost_before"]})
        async with in_process(exchange, retry=ONCE, request_timeout=1.0, faults=plan) as client:
            outcome = await cancel(client, "swap", ["5", *known])
            outcome = await client.confirm(outcome, timeout=0.5)
            assert [result.status for result in outcome] == [
                CancelStatus.NOT_FOUND,
                CancelStatus.OPEN,
            ]
            outcome = await client.confirm(await cancel(client, "swap", ["5", *known]))
            assert [result.status for result in outcome] == [
                CancelStatus.NOT_FOUND,
                CancelStatus.ACCEPTED,
            ]

    run(main())


@pytest.mark.parametrize("kind", BY_ID)
def test_an_order_not_found_by_client_id_says_that_it_may_be_live(kind: Kind) -> None:
    """HTX finds client ids for eight hours; the exchange's own message about a cancel stands."""

    async def main() -> None:
        async with in_process(Exchange()) as client:
            known = OrderResult("3", CancelStatus.ACCEPTED, 1062, "canceling")
            outcome = await client.confirm(
                unanswered(kind, "1", field="client_order_id"),
                Outcome.of(
                    [OrderResult("2", CancelStatus.ACCEPTED), known],
                    source=replace(SOURCES[kind], field="client_order_id"),
                ),
                unanswered(kind, "4"),
            )
        first, second, third, by_order_id = outcome
        assert first.status is CancelStatus.NOT_FOUND
        assert "8 hours" in first.message
        assert (second.status, second.message) == (CancelStatus.ACCEPTED, first.message)
        assert third == known
        assert (by_order_id.status, by_order_id.message) == (CancelStatus.NOT_FOUND, "")

    run(main())


@pytest.mark.parametrize(
    ("cross", "isolated", "status"),
    [
        (found("new"), missing, CancelStatus.OPEN),
        (missing, found("new"), CancelStatus.OPEN),
        (missing, found("canceled"), CancelStatus.CLOSED),
        (missing, missing, CancelStatus.NOT_FOUND),
        (missing, lost, CancelStatus.UNKNOWN),
        (lost, missing, CancelStatus.UNKNOWN),
        (lost, lost, CancelStatus.UNKNOWN),
    ],
)
def test_a_v5_order_is_not_found_only_if_neither_margin_mode_has_it(
    cross: Callable[[Mapping[str, Any]], object],
    isolated: Callable[[Mapping[str, Any]], object],
    status: CancelStatus,
) -> None:
    """The exchange looks in cross by default; a query that failed settles nothing."""

    async def main() -> None:
        transport = Answering(
            lambda params: (isolated if "margin_mode" in params else cross)(params)
        )
        async with transport.client() as client:
            outcome = await client.confirm(unanswered("v5", "7"), timeout=1.0)
        assert [result.status for result in outcome] == [status]
        modes = [params.get("margin_mode", "") for params in transport.asked]
        assert set(modes) == ({"", "isolated"} if cross is missing else {""})

    run(main())


def test_only_v5_queries_have_a_margin_mode() -> None:
    """A coin-M swap order that is not found is queried once."""

    async def main() -> None:
        transport = Answering(lambda _params: {"status": "ok", "data": []})
        async with transport.client() as client:
            assert (await client.confirm(unanswered("swap", "7")))["7"].status == "not_found"
        assert transport.asked == [{"contract_code": "BTC-USD", "order_id": "7"}]

    run(main())


def test_orders_in_isolated_and_cross_margin_are_confirmed_together() -> None:
    """Open, filled and missing orders, in either mode."""

    async def main() -> None:
        exchange = Exchange()
        modes: list[dict[str, Any]] = [{}, {"margin_mode": "isolated"}]
        live = [key for mode in modes for key in add(exchange, "v5", 1, **mode)]
        ended = [key for mode in modes for key in add(exchange, "v5", 1, state="filled", **mode)]
        async with in_process(exchange) as client:
            outcome = await client.confirm(unanswered("v5", *live, *ended, "7"), timeout=1.0)
        assert states(outcome) == [
            *[(CancelStatus.OPEN, OrderState.OPEN)] * 2,
            *[(CancelStatus.CLOSED, OrderState.FILLED)] * 2,
            (CancelStatus.NOT_FOUND, None),
        ]

    run(main())


# lists of open orders


@pytest.mark.parametrize("kind", PAGED)
async def test_trailing_and_trigger_orders_are_gone_when_not_listed(kind: Kind) -> None:
    """Their only query is the list of open orders; other orders on it do not matter."""
    exchange = Exchange()
    ids = add(exchange, kind, 5)
    add(exchange, kind, 120)
    async with over_a_socket(exchange) as client:
        outcome = await client.confirm(await cancel(client, kind, ids))
    assert states(outcome) == [(CancelStatus.ACCEPTED, OrderState.GONE)] * 5


def test_an_order_that_is_listed_again_is_not_gone() -> None:
    """One round is not enough if the list has several pages."""

    async def main() -> None:
        exchange = Exchange(cancel_after=1.0)
        ids = add(exchange, "swap_trailing", 2)
        add(exchange, "swap_trailing", 120)
        async with in_process(exchange, delay=0.01) as client:
            outcome = await client.confirm(await cancel(client, "swap_trailing", ids))
        assert states(outcome) == [(CancelStatus.ACCEPTED, OrderState.GONE)] * 2
        assert now() > 1.0

    run(main())


class Shrinking:
    """A list of open orders that loses its first page just before its last order is read.

    Whenever the last order is on the page after the one that was read, the orders of the first page
    end, so that the last order moves to the page that was read already.
    """

    def __init__(self, pages: int) -> None:
        self.orders = [str(number) for number in range(1, 50 * pages + 1)]
        self.last = self.orders[-1]

    def __call__(self, params: Mapping[str, Any]) -> object:
        """Answer a request for a page."""
        index, size = params["page_index"], params["page_size"]
        page = self.orders[(index - 1) * size : index * size]
        total = -(-len(self.orders) // size)
        if index == total - 1:
            del self.orders[:size]
        listed = [{"order_id_str": key, "status": 2} for key in page]
        return {"status": "ok", "data": {"orders": listed, "total_page": total}}


@pytest.mark.parametrize("pages", range(1, 8))
def test_an_order_is_not_gone_because_the_list_shrank_between_two_pages(pages: int) -> None:
    """The order is open all the time, and moves to pages that were read already."""

    async def main() -> None:
        book = Shrinking(pages)
        async with Answering(book).client() as client:
            outcome = await client.confirm(
                unanswered("swap_trailing", book.last, "999"), timeout=5.0
            )
        assert states(outcome) == [
            (CancelStatus.OPEN, OrderState.OPEN),
            (CancelStatus.CLOSED, OrderState.GONE),
        ]

    run(main())


@pytest.mark.parametrize(("pages", "rounds"), [(1, 1), (3, 2)])
def test_an_order_is_gone_when_enough_rounds_did_not_list_it(pages: int, rounds: int) -> None:
    """One round if the list has one page, else two in a row."""

    async def main() -> None:
        page = {"orders": [], "total_page": pages}
        transport = Answering(lambda _params: {"status": "ok", "data": page})
        async with transport.client() as client:
            outcome = await client.confirm(unanswered("swap_trailing", "7"), timeout=5.0)
        assert states(outcome) == [(CancelStatus.CLOSED, OrderState.GONE)]
        assert len(transport.asked) == (pages if pages == 1 else pages + 1) * rounds

    run(main())


@pytest.mark.parametrize("order_id", [None, 1.3e18])
def test_a_row_without_an_id_may_be_any_order(order_id: object) -> None:
    """So no order is gone because it is not listed."""

    async def main() -> None:
        page = {"orders": [{"order_id": order_id, "status": 2}], "total_page": 1}
        transport = Answering(lambda _params: {"status": "ok", "data": page})
        async with transport.client() as client:
            outcome = await client.confirm(unanswered("swap_trailing", "7"), timeout=5.0)
        assert states(outcome) == [(CancelStatus.UNKNOWN, None)]

    run(main())


def test_only_absences_in_consecutive_rounds_count() -> None:
    """An order that every other round lists is not gone."""
    seen = Counter[int]()

    def answer(params: Mapping[str, Any]) -> object:
        seen[params["page_index"]] += 1
        is_listed = params["page_index"] == 2 and seen[2] % 2 == 0
        listed = [{"order_id_str": "7", "status": 2}] * is_listed
        return {"status": "ok", "data": {"orders": listed, "total_page": 2}}

    async def main() -> None:
        async with Answering(answer).client() as client:
            outcome = await client.confirm(unanswered("swap_trailing", "7"), timeout=5.0)
        assert states(outcome) == [(CancelStatus.OPEN, OrderState.OPEN)]
        assert seen[2] > 4

    run(main())


@pytest.mark.parametrize("trouble", ["empty", "lost_before"])
def test_a_list_that_cannot_be_read_to_its_end_settles_nothing(trouble: str) -> None:
    """If the last pages fail every time, every order stays as it was."""
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


def test_a_list_with_a_missing_page_settles_nothing() -> None:
    """The order may be on the page that could not be read."""

    def answer(params: Mapping[str, Any]) -> object:
        if params["page_index"] == 2:
            return NoAnswerError("lost")
        return {"status": "ok", "data": {"orders": [], "total_page": 3}}

    async def main() -> None:
        async with Answering(answer).client(retry=ONCE) as client:
            outcome = await client.confirm(unanswered("swap_trailing", "7"), timeout=20.0)
        assert states(outcome) == [(CancelStatus.UNKNOWN, None)]

    run(main())


def test_a_page_that_cannot_be_read_is_tried_as_often_as_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the same backoff; the pages before it are not read again."""
    monkeypatch.setattr("htx_cancel.attempt.random", lambda: 1.0)

    async def main() -> None:
        times: list[float] = []

        def answer(params: Mapping[str, Any]) -> object:
            if params["page_index"] == 2:
                times.append(now())
                if len(times) < 4:
                    return NoAnswerError("lost")
            return {"status": "ok", "data": {"orders": [], "total_page": 2}}

        transport = Answering(answer)
        async with transport.client(retry=RetryPolicy(max_attempts=4)) as client:
            outcome = await client.confirm(unanswered("swap_trailing", "7"), timeout=60.0)
        assert outcome["7"].state is OrderState.GONE
        asked = [params["page_index"] for params in transport.asked]
        assert asked == [1, 2, 2, 2, 2, 1, 1, 2, 1]
        pauses = [later - earlier for earlier, later in pairwise(times[:4])]
        assert pauses == pytest.approx([0.1, 0.2, 0.4], abs=0.001)

    run(main())
