"""Encode queries, and decode the states of orders from their replies."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_cancel.endpoints import QUERIES, Query, coin_m_futures, usdt_m
from htx_cancel.status import Finding, OrderState
from htx_cancel.wire import queries
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.queries import OrderStates

BY_IDS = QUERIES["coin_m_swap.cancel_orders"]
PAGED = QUERIES["coin_m_swap.cancel_trailing_orders"]
V5 = QUERIES["usdt_m.cancel_orders"]


def read(
    reply: object, query: Query = BY_IDS, field: str = "order_id", status: int = 200
) -> OrderStates:
    """Decode a reply."""
    return queries.decode(status, json.dumps(reply).encode(), query, field)


def says_nothing(states: OrderStates) -> bool:
    """Return whether a reply says nothing of any order."""
    return not states.complete and not set(states.states) - {""}


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (3, OrderState.OPEN),
        (4, OrderState.OPEN),
        (5, OrderState.PARTIALLY_CANCELED),
        (6, OrderState.FILLED),
        (7, OrderState.CANCELED),
        (10, OrderState.GONE),
        (11, OrderState.CANCELING),
        (99, None),
        ([], None),
    ],
)
def test_a_coin_m_order_has_a_numbered_status(number: object, state: OrderState | None) -> None:
    """The id is the string, not the number; an unknown status says nothing."""
    item = {"order_id": 1.3e18, "order_id_str": "1329854625038651393", "status": number}
    states = read({"status": "ok", "data": [item, 7]})
    assert (states.states, states.complete) == ({"1329854625038651393": state}, True)


def test_a_coin_m_order_is_found_by_its_client_id() -> None:
    """The exchange sends client ids as numbers."""
    item = {"order_id_str": "5", "client_order_id": 71, "status": 7}
    assert read({"status": "ok", "data": [item]}, field="client_order_id").states == {
        "71": OrderState.CANCELED
    }


def test_a_v5_order_has_a_state_in_words() -> None:
    """A reply about one order says nothing of other orders."""
    data = {"order_id": "5", "client_order_id": "", "state": "partially_canceled"}
    states = read({"code": 200, "data": data}, V5)
    assert (states.states, states.complete) == ({"5": OrderState.PARTIALLY_CANCELED}, False)
    assert says_nothing(read({"code": 200, "data": None}, V5))


@pytest.mark.parametrize("code", [1017, 1061])
def test_a_query_that_finds_no_order_is_complete(code: int) -> None:
    """None of the orders exists."""
    for states in (
        read({"status": "error", "err_code": code}),
        read({"code": code, "message": ""}, V5),
    ):
        assert (states.states, states.complete) == ({}, True)


@pytest.mark.parametrize("code", [1017, 1051, 1061])
def test_a_list_that_is_refused_is_not_complete(code: int) -> None:
    """Only a list that was received says that an order is not open any more."""
    assert says_nothing(read({"status": "error", "err_code": code}, PAGED))


def test_a_page_lists_open_orders() -> None:
    """With status 9 or 11 a cancel is under way; all other orders are open."""
    listed = [
        {"order_id_str": "1", "status": 2},
        {"order_id": 2, "status": 9},
        {"order_id": 3, "status": 11},
    ]
    data = {"orders": listed, "total_page": 3, "current_page": 1, "total_size": 120}
    page = read({"status": "ok", "data": data}, PAGED)
    assert page.states == {
        "1": OrderState.OPEN,
        "2": OrderState.CANCELING,
        "3": OrderState.CANCELING,
    }
    assert (page.complete, page.pages, page.min_orders) == (True, 3, 120)
    empty = read({"status": "ok", "data": {"orders": [], "total_page": 0}}, PAGED)
    assert (empty.states, empty.complete, empty.pages) == ({}, True, 1)


@pytest.mark.parametrize("query", [BY_IDS, PAGED, V5])
@pytest.mark.parametrize(
    "reply",
    [
        [],
        {},
        {"status": "error", "err_code": 1004},
        {"status": "ok", "data": None},
        {"status": "ok", "data": {"orders": None}},
        {"code": 1061.5},
    ],
)
def test_a_query_that_failed_says_nothing(reply: object, query: Query) -> None:
    """No order counts as gone because a reply is not readable."""
    states = read(reply, query)
    assert not states.complete
    assert not set(states.states) - {""}


def test_a_rate_limit_is_recognised() -> None:
    """Either envelope and a bare HTTP 429 can say so."""
    assert read({"status": "error", "err_code": 1032}).rate_limited
    assert queries.decode(429, b"", BY_IDS, "order_id").rate_limited


@pytest.mark.parametrize("query", [BY_IDS, PAGED, V5])
@pytest.mark.parametrize("code", [403, 1253, 6002, 4009])
def test_a_query_refused_for_the_account_is_account_wide(query: Query, code: int) -> None:
    """Such a reply says nothing of the orders."""
    states = read({"status": "error", "err_code": code, "err_msg": "m"}, query)
    assert says_nothing(states)
    assert states.account_wide
    assert states.whole == Finding(Meaning.AUTH, code, "m")


def test_a_query_s_code_is_read_in_its_envelope() -> None:
    """Code 1003 with this message is a refused signature in v5 only."""
    reply = {"code": 1003, "message": "invalid signature"}
    assert read(reply, V5).account_wide
    assert not read(reply, BY_IDS).account_wide


@pytest.mark.parametrize("code", [1032, 1004, 1067, 12001, 4999])
def test_any_other_refusal_of_a_query_is_not_account_wide(code: int) -> None:
    """A rate limit, a busy exchange, a parameter or the clock is not."""
    assert not read({"status": "error", "err_code": code}).account_wide


@pytest.mark.parametrize("query", [BY_IDS, PAGED, V5])
def test_htx_s_own_404_refuses_a_query(query: Query) -> None:
    """The exchange has no such query; the reply says nothing of the orders."""
    reply = {"timestamp": "t", "status": 404, "error": "Not Found", "path": query.path}
    states = read(reply, query, status=404)
    assert says_nothing(states)
    assert states.whole == Finding(Meaning.AUTH, 404, f"HTX has no such path: {query.path}")


@pytest.mark.parametrize("reply", [{"status": "error", "err_code": 12001}, {"code": 12001}])
def test_a_refused_query_has_the_exchange_s_time(reply: dict[str, object]) -> None:
    """The caller corrects its clock with it, if the timestamp was refused."""
    assert read(reply | {"ts": 1767323045123}).server_time == 1767323045.123
    assert read(reply).server_time is None


def test_a_refusal_that_echoes_the_request_is_not_quoted() -> None:
    """A query's parameters are in its URL, beside the key."""
    text = "bad: /v5/trade/order?AccessKeyId=key&Signature=c2VjcmV0"
    for reply in (
        {"code": 403, "message": text},
        {"status": "error", "err_code": 403} | {"err_msg": text},
    ):
        whole = read(reply, V5).whole
        assert whole == Finding(Meaning.AUTH, 403, "(a text that echoes the request)")


def test_a_query_has_the_parameters_of_its_page() -> None:
    """Ids are joined by commas; pages are counted from 1."""
    assert queries.id_params(BY_IDS, "BTC-USD", "order_id", ["1", "2"]) == {
        "contract_code": "BTC-USD",
        "order_id": "1,2",
    }
    by_page = {"contract_code": "BTC-USD", "page_index": 2, "page_size": 50}
    assert queries.page_params(PAGED, "BTC-USD", "2") == by_page
    futures = {"symbol": "BTC", "page_index": 1, "page_size": 50}
    assert queries.page_params(coin_m_futures.OPEN_ORDERS, "BTC260327", "1") == futures
    assert queries.page_params(usdt_m.OPEN_ORDERS, "", "") == {"limit": "100"}
    after = {"from": "77", "direct": "next", "limit": "100"}
    assert queries.page_params(usdt_m.OPEN_ORDERS, "", "77") == after


@pytest.mark.parametrize("bad", [None, True, "", "x", "NaN", "Infinity", float("nan"), [5]])
def test_a_price_is_the_first_field_with_a_finite_number(bad: object) -> None:
    """Other values are ignored."""
    row = {"algo_id": "1", "trigger_price": bad, "active_price": "5.5", "volume": bad}
    order = queries.open_order("usdt_m", "algo_orders", row)
    assert (order.order_id, order.price, order.volume) == ("1", Decimal("5.5"), None)


@pytest.mark.parametrize(
    ("kind", "row", "client_order_id"),
    [
        ("orders", {"client_order_id": 71}, "71"),
        ("orders", {"client_order_id": "", "algo_client_order_id": "7"}, None),
        ("algo_orders", {"client_order_id": "7", "algo_client_order_id": "71"}, "71"),
        ("algo_orders", {"algo_client_order_id": None}, None),
    ],
)
def test_an_open_order_has_the_client_order_id_of_its_kind(
    kind: str, row: dict[str, object], client_order_id: str | None
) -> None:
    """An order without a client order id has ``None``."""
    assert queries.open_order("usdt_m", kind, row).client_order_id == client_order_id


@given(st.binary(max_size=100), st.sampled_from([BY_IDS, PAGED, V5]), st.integers(100, 599))
def test_random_bytes_never_raise_and_say_nothing(body: bytes, query: Query, status: int) -> None:
    """Decoding does not fail, and says nothing of any order."""
    states = queries.decode(status, body, query, "order_id")
    assert not states.complete
    assert not states.states


@pytest.mark.parametrize("data", [None, {}, {"orders": []}, "none"])
def test_a_list_that_continues_after_an_id_must_be_a_list(data: object) -> None:
    """Any other data says nothing."""
    states = read({"code": 200, "data": data}, usdt_m.OPEN_ORDERS)
    assert states.whole.meaning is Meaning.UNREADABLE
    assert says_nothing(states)


def test_contracts_are_read() -> None:
    """Each is listed once, if not delisted or delivered; a reply without rows names none."""
    rows = [
        {"symbol": "BTC", "contract_code": "BTC260327", "contract_status": 1},
        {"symbol": "BTC", "contract_code": "BTC260626", "contract_status": 5},
        {"symbol": "ETH", "contract_code": "ETH251226", "contract_status": 8},
        {"symbol": "XRP", "contract_code": "XRP260327", "contract_status": 0},
    ]
    body = json.dumps({"status": "ok", "data": rows}).encode()
    assert queries.contracts(body, "symbol") == ["BTC"]
    assert queries.contracts(body, "contract_code") == ["BTC260327", "BTC260626"]
    rows = [{"symbol": "BTC"}, {"symbol": 7}]
    of_none = json.dumps({"status": "ok", "data": rows}).encode()
    for bad in (b"", b"[]", b'{"status":"error"}', b'{"data":{}}', b'{"data":[null]}', of_none):
        assert queries.contracts(bad, "symbol") is None
