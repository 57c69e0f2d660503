"""Listing open orders: every page, variant and contract, or a listing that is not complete."""

from decimal import Decimal
from operator import attrgetter
from typing import Any

import pytest
from clients import CONTRACTS, in_process, over_a_socket
from msgspec.structs import replace
from virtualtime import now, run

from htx_cancel import CancelStatus, InvalidTypeError, InvalidValueError, Limit, Priority
from htx_cancel.endpoints import ENDPOINTS, LISTS
from htx_cancel.listing import QueryBatch
from htx_cancel.orders import OpenOrder, OpenOrders
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.faults import Fault, FaultPlan
from htx_cancel.sandbox.rules import ALGO_TYPES, ROUTES
from htx_cancel.sandbox.seeding import KINDS

NAMES = pytest.mark.parametrize("name", LISTS)


def fill(exchange: Exchange, name: str, count: int) -> set[str]:
    """Put open and closed orders of a list's kind, in two contracts, into the book."""
    kind = KINDS[name.replace(".open_", ".cancel_")]
    contract = CONTRACTS[kind]
    other = contract.replace("BTC", "ETH")
    ids = set()
    for number in range(count):
        order: dict[str, Any] = {"contract_code": contract if number % 3 else other}
        if kind == "v5":
            order["margin_mode"] = ("cross", "isolated")[number % 2]
        if kind == "v5_algo":
            order["algo_type"] = ALGO_TYPES[number % len(ALGO_TYPES)]
        ids.add(exchange.book.add(kind, order.pop("contract_code"), **order).order_id)
        exchange.book.add(kind, contract, state="canceled", **order)
    return ids


@NAMES
async def test_all_open_orders_of_the_account_are_listed(name: str) -> None:
    """Over several pages, in both margin modes, of all types, and without closed orders."""
    exchange = Exchange()
    ids = fill(exchange, name, 260)
    async with over_a_socket(exchange) as client:
        orders = await attrgetter(name)(client)(timeout=30.0)
    assert {order.order_id for order in orders} == ids
    assert len(orders) == len(ids)
    assert orders[0] == orders[:2][0]
    assert orders.complete
    assert orders.walked == (not LISTS[name].all_contracts)
    product, _, kind = name.partition(".open_")
    assert {(order.product, order.kind) for order in orders} == {(product, kind)}
    assert not exchange.refused


@NAMES
async def test_the_open_orders_of_one_contract_are_listed(name: str) -> None:
    """Orders of another contract are not listed."""
    exchange = Exchange()
    fill(exchange, name, 30)
    contract = CONTRACTS[KINDS[name.replace(".open_", ".cancel_")]]
    async with over_a_socket(exchange) as client:
        orders = await attrgetter(name)(client)(contract)
    assert len(orders) == 20
    assert {order.contract_code for order in orders} == {contract}
    assert orders.complete


def test_an_open_order_has_the_fields_of_the_list() -> None:
    """Numbers are exact, and the id comes from ``order_id_str``."""
    exchange = Exchange()
    order = exchange.book.add(
        "swap", "BTC-USD", client_order_id=7, direction="sell", volume=5, traded=2
    )

    async def main() -> OpenOrder:
        async with in_process(exchange) as client:
            (found,) = await client.coin_m_swap.open_orders("BTC-USD")
        assert isinstance(found, OpenOrder)
        return found

    assert run(main()) == OpenOrder(
        "coin_m_swap",
        "orders",
        "BTC-USD",
        order.order_id,
        "7",
        direction="sell",
        price=Decimal(100_000),
        volume=Decimal(5),
        filled=Decimal(2),
        created=1767225600.0,
        state="4",
    )


def test_all_algo_orders_of_a_contract_are_listed_and_cancelled() -> None:
    """Of all types; if a list cannot be read, the call is unknown."""

    async def main() -> None:
        exchange = Exchange()
        fill(exchange, "usdt_m.open_algo_orders", 60)
        async with in_process(exchange) as client:
            outcome = await client.usdt_m.cancel_all_algo_orders("BTC-USDT")
            assert (outcome.call.status, len(outcome.accepted)) == (CancelStatus.ACCEPTED, 40)
            assert {order.contract_code for order in exchange.book.open()} == {"ETH-USDT"}
            nothing = await client.usdt_m.cancel_all_algo_orders("BTC-USDT")
            assert (nothing.call.status, len(nothing)) == (CancelStatus.NOT_FOUND, 0)
            with pytest.raises(InvalidValueError, match="contract_code"):
                await client.usdt_m.cancel_all_algo_orders("BTC USDT")
        lists = LISTS["usdt_m.open_algo_orders"].path
        async with in_process(Exchange(withdrawn=[lists])) as client:
            outcome = await client.usdt_m.cancel_all_algo_orders("ETH-USDT")
        assert outcome.call.status is CancelStatus.UNKNOWN
        assert "404" in outcome.call.message
        assert not outcome.settled

    run(main())


def test_the_outcome_of_a_listed_cancel_has_the_error_and_the_wait_of_its_cancels() -> None:
    """The exchange refuses the cancels to the account, or the budget has too few tokens."""

    async def main() -> None:
        cancels = ENDPOINTS["usdt_m.cancel_algo_orders"].path
        exchange = Exchange(withdrawn=[cancels])
        fill(exchange, "usdt_m.open_algo_orders", 60)
        async with in_process(exchange) as client:
            outcome = await client.usdt_m.cancel_all_algo_orders("BTC-USDT")
        assert outcome.error is not None
        assert outcome.error.code == 404
        exchange = Exchange()
        fill(exchange, "usdt_m.open_algo_orders", 60)
        limits = {"usdt_m_trade": Limit(1, 60.0)}
        async with in_process(exchange, limits=limits) as client:
            outcome = await client.usdt_m.cancel_all_algo_orders("BTC-USDT", timeout=5.0)
        assert outcome.unsent
        assert outcome.retry_in == pytest.approx(60.0, abs=1.0)

    run(main())


@NAMES
def test_a_listing_names_the_page_that_could_not_be_read(name: str) -> None:
    """The listing is not complete, and says why."""

    async def main() -> None:
        exchange = Exchange(withdrawn=[LISTS[name].path])
        async with in_process(exchange) as client:
            orders = await attrgetter(name)(client)(
                CONTRACTS[KINDS[name.replace(".open_", ".cancel_")]]
            )
        assert not orders
        assert not orders.complete
        assert all("404 HTX has no such path" in words for words in orders.missing)
        assert "404" in repr(orders)
        assert orders.refused

    run(main())


def test_the_repr_of_a_listing_is_one_line() -> None:
    """With the count, and the lists that are missing."""
    order = OpenOrder("coin_m_swap", "orders", "BTC-USD", "7")
    orders = OpenOrders([order, order])
    assert repr(orders) == "<OpenOrders: 2>"
    assert (orders.complete, orders.missing, orders.refused, orders.walked) == (
        True,
        (),
        False,
        False,
    )
    assert repr(OpenOrders([], missing=("a", "b"))) == "<OpenOrders: 0, but for a; b>"


def test_a_listing_is_not_complete_if_the_contracts_cannot_be_listed() -> None:
    """If each contract must be listed separately."""

    async def main() -> None:
        faults = FaultPlan(share=1.0, kinds=["html"])
        async with in_process(Exchange(), faults=faults) as client:
            orders = await client.coin_m_swap.open_trigger_orders(timeout=5.0)
        assert orders.missing == ("the list: the contracts could not be listed",)
        assert orders.walked
        assert not orders.refused

    run(main())


@pytest.mark.parametrize("name", ["coin_m_swap.open_orders", "coin_m_futures.open_orders"])
def test_a_list_that_requires_a_contract_after_all_is_read_for_each_contract(name: str) -> None:
    """As the older documentation says; ``walked`` is ``True`` then."""

    async def main() -> None:
        path = LISTS[name].path
        changed = {**ROUTES, path: replace(ROUTES[path], anywhere=False)}
        exchange = Exchange(interfaces=changed)
        ids = fill(exchange, name, 6)
        async with in_process(exchange) as client:
            orders = await attrgetter(name)(client)()
        assert {order.order_id for order in orders} == ids
        assert (orders.complete, orders.walked) == (True, True)

    run(main())


@pytest.mark.parametrize("code", [1013, 1014])
def test_other_refusals_that_require_a_contract_are_understood(code: int) -> None:
    """Of a list of the whole account; the refusal of a list of one contract stands."""

    async def main() -> None:
        exchange = Exchange()
        ids = fill(exchange, "coin_m_swap.open_orders", 6)
        refused = Fault("refused", executed=False, code=code)
        faults = FaultPlan({LISTS["coin_m_swap.open_orders"].path: [refused]})
        async with in_process(exchange, faults=faults) as client:
            orders = await client.coin_m_swap.open_orders()
        assert {order.order_id for order in orders} == ids
        assert (orders.complete, orders.walked) == (True, True)
        faults = FaultPlan({LISTS["coin_m_swap.open_orders"].path: [refused]})
        async with in_process(exchange, faults=faults) as client:
            orders = await client.coin_m_swap.open_orders("BTC-USD")
        assert (orders.complete, orders.walked) == (False, False)
        assert str(code) in orders.missing[0]

    run(main())


@NAMES
@pytest.mark.parametrize(
    ("contract_code", "error"), [("", InvalidValueError), (7, InvalidTypeError)]
)
def test_an_invalid_contract_is_refused(
    name: str, contract_code: Any, error: type[Exception]
) -> None:
    """Before anything is sent; an empty string does not mean the whole account."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            with pytest.raises(error):
                await attrgetter(name)(client)(contract_code)
        assert not exchange.calls

    run(main())


@NAMES
def test_parameters_are_in_the_url_or_in_the_body(name: str) -> None:
    """In the URL of a GET and in the body of a POST, never in both."""
    batch = QueryBatch(LISTS[name], "order_id", {"limit": 5})
    sent = {"GET": ({"limit": "5"}, b""), "POST": ({}, b'{"limit":5}')}
    assert (batch.params, batch.body()) == sent[LISTS[name].method]


def test_a_list_waits_for_its_budget_and_ends_by_its_timeout() -> None:
    """No request exceeds a limit, and lists that could not be read in time are named."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            orders = await client.usdt_m_v1_isolated.open_trigger_orders(
                timeout=0.5, priority=Priority.BACKGROUND
            )
            assert not orders.complete
            assert now() < 0.6
            assert any("in time" in words for words in orders.missing)
        assert not exchange.refused

    run(main())
