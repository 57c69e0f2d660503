"""Each row of the endpoint table over sockets: requests, statuses, filters and ``confirm``.

The end of a test run prints which row passed which check.
"""

from collections.abc import Callable
from math import ceil
from operator import attrgetter
from typing import Any

import pytest
from clients import CONTRACTS, by_status, over_a_socket

from htx_cancel import CancelStatus, CloseReason, OrderState, arguments
from htx_cancel.endpoints import ENDPOINTS, Endpoint
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.seeding import KINDS

BY_IDS = [row for row in ENDPOINTS.values() if row.batch_size]
ALL = [row for row in ENDPOINTS.values() if not row.batch_size]
IDS = pytest.mark.parametrize("row", BY_IDS, ids=attrgetter("name"))

Record = Callable[[str, object], None]

#: Of each filter: a value, the fields of an order that matches, and of one that does not.
FITTING: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "direction": ("buy", {"direction": "buy"}, {"direction": "sell"}),
    "offset": ("close", {"offset": "close"}, {"offset": "open"}),
    "side": ("sell", {"direction": "sell"}, {"direction": "buy"}),
    "position_side": ("long", {"position_side": "long"}, {"position_side": "short"}),
    "contract_type": ("quarter", {}, {"contract_code": "BTC260109"}),
    "contract_code": ("BTC260327", {}, {"contract_code": "BTC260109"}),
}


def check(record: Record, row: Endpoint, what: str) -> None:
    """Record the row and the check for the table."""
    record("row", row.name)
    record("check", what)


def add(exchange: Exchange, row: Endpoint, **order: Any) -> str:
    """Add an order of the row's kind, with its own client order id, to the book."""
    kind = KINDS[row.name]
    contract = order.pop("contract_code", CONTRACTS[kind])
    client_id = len(exchange.book) + 1
    return exchange.book.add(kind, contract, client_order_id=client_id, **order).order_id


@IDS
async def test_forty_seven_ids_take_the_fewest_requests(
    row: Endpoint, record_property: Record
) -> None:
    """Each id comes back with the exchange's answer."""
    check(record_property, row, "47 ids")
    exchange = Exchange()
    groups = {
        "accepted": [add(exchange, row) for _ in range(40)],
        "filled": [add(exchange, row, state="filled")],
        "canceling": [add(exchange, row, state="canceling")],
        "canceled": [add(exchange, row, state="canceled")],
        "refused": [add(exchange, row, refusal=1088) for _ in range(2)],
        "missing": ["77", "78"],
    }
    ids = [order_id for group in groups.values() for order_id in group]
    assert len(ids) == 47
    async with over_a_socket(exchange) as client:
        outcome = await attrgetter(row.name)(client)(CONTRACTS[KINDS[row.name]], ids)
    assert [result.order_id for result in outcome] == ids
    assert sum(exchange.calls.values()) == ceil(47 / row.batch_size)
    assert not exchange.refused
    assert by_status(outcome) == {
        CancelStatus.ACCEPTED: set(groups["accepted"]),
        CancelStatus.CLOSED: {groups[state][0] for state in ("filled", "canceling", "canceled")},
        CancelStatus.REJECTED: set(groups["refused"]),
        CancelStatus.NOT_FOUND: set(groups["missing"]),
    }
    assert [result.reason for result in outcome.closed] == [
        CloseReason.FILLED,
        CloseReason.CANCELING,
        CloseReason.CANCELED,
    ]
    for order_id in groups["accepted"]:
        assert exchange.book.verdict(order_id) == "canceled"


@IDS
async def test_one_id_takes_one_request(row: Endpoint, record_property: Record) -> None:
    """If the exchange has a call for a single order, that call is sent."""
    check(record_property, row, "1 id")
    exchange = Exchange()
    order_id = add(exchange, row)
    async with over_a_socket(exchange) as client:
        outcome = await attrgetter(row.name)(client)(CONTRACTS[KINDS[row.name]], [order_id])
    assert outcome[order_id].status is CancelStatus.ACCEPTED
    assert exchange.calls == {row.single_id_path or row.path: 1}


@pytest.mark.parametrize("row", [row for row in BY_IDS if row.client_ids], ids=attrgetter("name"))
async def test_orders_are_canceled_by_client_ids(row: Endpoint, record_property: Record) -> None:
    """The results are in the order given."""
    check(record_property, row, "client ids")
    exchange = Exchange()
    orders = [exchange.book[add(exchange, row)] for _ in range(12)]
    client_ids = [str(order.client_order_id) for order in orders]
    async with over_a_socket(exchange) as client:
        method = attrgetter(row.name)(client)
        given = {f"{row.fields[1]}s": [*client_ids, "99"]}
        outcome = await method(CONTRACTS[KINDS[row.name]], **given)
    assert [result.order_id for result in outcome.accepted] == client_ids
    assert [result.order_id for result in outcome.not_found] == ["99"]
    assert {order.state for order in orders} == {"canceled"}


@IDS
async def test_accepted_orders_are_confirmed(row: Endpoint, record_property: Record) -> None:
    """The state is final, or ``gone`` if the exchange has only a list of open orders."""
    check(record_property, row, "confirm")
    exchange = Exchange()
    ids = [add(exchange, row) for _ in range(12)]
    async with over_a_socket(exchange) as client:
        outcome = await attrgetter(row.name)(client)(CONTRACTS[KINDS[row.name]], ids)
        confirmed = await client.confirm(outcome, timeout=5.0)
    ended = OrderState.GONE if row.query.paging else OrderState.CANCELED
    assert {result.state for result in confirmed} == {ended}
    assert len(confirmed.accepted) == 12
    assert not exchange.refused


@pytest.mark.parametrize("row", ALL, ids=attrgetter("name"))
async def test_a_cancel_all_narrows_to_each_filter(row: Endpoint, record_property: Record) -> None:
    """Without a filter it cancels all orders of the contract; then no order is left."""
    check(record_property, row, "all, and filters")
    contract = "BTC" if row.by_symbol else CONTRACTS[KINDS[row.name]]
    account_wide = row.name == "usdt_m.cancel_all_account_orders"
    for name in row.filters:
        exchange = Exchange()
        word, fits, fits_not = FITTING[name]
        fitting = {add(exchange, row, **fits) for _ in range(2)}
        others = {add(exchange, row, **fits_not) for _ in range(2)}
        async with over_a_socket(exchange) as client:
            method = attrgetter(row.name)(client)
            where = [] if account_wide else [word if name == "contract_code" else contract]
            filters = {} if name == "contract_code" else {name: word}
            outcome = await method(*where, **filters)
            assert outcome.call.status is CancelStatus.ACCEPTED
            assert {result.order_id for result in outcome.accepted} == fitting
            assert {exchange.book.verdict(order_id) for order_id in others} == {"open"}
            outcome = await method(*(where and [contract]))
            assert {result.order_id for result in outcome.accepted} == others
            nothing = await method(*(where and [contract]))
        assert (nothing.call.status, nothing.call.code) == (CancelStatus.NOT_FOUND, 1051)


def test_every_filter_is_tried() -> None:
    """The filters are those that ``arguments`` knows, and the contract of a delivery."""
    assert set(FITTING) == {*arguments.FILTERS, "contract_code"}
    assert {name for row in ALL for name in row.filters} == set(FITTING)
