"""What a query's reply tells of each order."""

import json

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
    """Read a reply given as what its JSON holds."""
    return queries.decode(status, json.dumps(reply).encode(), query, field)


def tells_nothing(states: OrderStates) -> bool:
    """Say whether a reply says nothing of any order."""
    return not states.complete and not set(states.of) - {""}


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
    """The id is read as a string, whatever the number beside it; a new number says nothing."""
    item = {"order_id": 1.3e18, "order_id_str": "1329854625038651393", "status": number}
    states = read({"status": "ok", "data": [item, 7]})
    assert (states.of, states.complete) == ({"1329854625038651393": state}, True)


def test_a_coin_m_order_is_found_by_its_client_id() -> None:
    """The exchange sends client ids as numbers."""
    item = {"order_id_str": "5", "client_order_id": 71, "status": 7}
    assert read({"status": "ok", "data": [item]}, field="client_order_id").of == {
        "71": OrderState.CANCELED
    }


def test_a_v5_order_has_a_state_in_words() -> None:
    """A reply about one order says nothing about another."""
    data = {"order_id": "5", "client_order_id": "", "state": "partially_canceled"}
    states = read({"code": 200, "data": data}, V5)
    assert (states.of, states.complete) == ({"5": OrderState.PARTIALLY_CANCELED}, False)
    assert tells_nothing(read({"code": 200, "data": None}, V5))


@pytest.mark.parametrize("code", [1017, 1061])
def test_an_exchange_that_knows_none_of_the_orders_is_complete(code: int) -> None:
    """Then each of them does not exist."""
    for states in (
        read({"status": "error", "err_code": code}),
        read({"code": code, "message": ""}, V5),
    ):
        assert (states.of, states.complete) == ({}, True)


@pytest.mark.parametrize("code", [1017, 1051, 1061])
def test_a_list_that_is_refused_is_not_complete(code: int) -> None:
    """Only a list that is there says of an order that it is not open any more."""
    assert tells_nothing(read({"status": "error", "err_code": code}, PAGED))


def test_a_page_lists_open_orders() -> None:
    """Status 9 is being canceled, all others are open; the number of pages is told."""
    listed = [{"order_id_str": "1", "status": 2}, {"order_id": 2, "status": 9}]
    data = {"orders": listed, "total_page": 3, "current_page": 1, "total_size": 120}
    page = read({"status": "ok", "data": data}, PAGED)
    assert page.of == {"1": OrderState.OPEN, "2": OrderState.CANCELING}
    assert (page.complete, page.pages, page.least) == (True, 3, 120)
    empty = read({"status": "ok", "data": {"orders": [], "total_page": 0}}, PAGED)
    assert (empty.of, empty.complete, empty.pages) == ({}, True, 1)


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
    """No order is called gone for want of a readable reply."""
    states = read(reply, query)
    assert not states.complete
    assert not set(states.of) - {""}


def test_a_refusal_for_the_rate_is_told() -> None:
    """In either envelope, and as a bare HTTP 429."""
    assert read({"status": "error", "err_code": 1032}).rate_limited
    assert queries.decode(429, b"", BY_IDS, "order_id").rate_limited


@pytest.mark.parametrize("query", [BY_IDS, PAGED, V5])
@pytest.mark.parametrize("code", [403, 1253, 6002, 4009])
def test_a_query_that_the_account_may_not_make_is_told(query: Query, code: int) -> None:
    """Asking again would tell no more; of the orders it says nothing."""
    states = read({"status": "error", "err_code": code, "err_msg": "m"}, query)
    assert tells_nothing(states)
    assert states.account_wide
    assert states.whole == Finding(Meaning.AUTH, code, "m")


@pytest.mark.parametrize("code", [1032, 1004, 1067, 12001, 4999])
def test_any_other_refusal_of_a_query_is_not_account_wide(code: int) -> None:
    """The rate, a busy exchange, a parameter and the clock are no reason to stop asking."""
    assert not read({"status": "error", "err_code": code}).account_wide


@pytest.mark.parametrize("query", [BY_IDS, PAGED, V5])
def test_htx_s_own_404_refuses_a_query(query: Query) -> None:
    """The exchange has no such query, so asking again tells nothing."""
    reply = {"timestamp": "t", "status": 404, "error": "Not Found", "path": query.path}
    states = read(reply, query, status=404)
    assert tells_nothing(states)
    assert states.whole == Finding(Meaning.AUTH, 404, f"HTX has no such path: {query.path}")


@pytest.mark.parametrize("reply", [{"status": "error", "err_code": 12001}, {"code": 12001}])
def test_a_query_that_was_refused_tells_the_exchange_s_time(reply: dict[str, object]) -> None:
    """So that the clock can be set where its time was the reason."""
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


def test_a_query_carries_what_its_page_asks_for() -> None:
    """Ids are joined by commas; pages are counted from one."""
    assert queries.params(BY_IDS, "BTC-USD", "order_id", ["1", "2"]) == {
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


@given(st.binary(max_size=100), st.sampled_from([BY_IDS, PAGED, V5]), st.integers(100, 599))
def test_random_bytes_never_raise_and_say_nothing(body: bytes, query: Query, status: int) -> None:
    """Only the exchange's own replies tell anything."""
    states = queries.decode(status, body, query, "order_id")
    assert not states.complete
    assert not states.of


@pytest.mark.parametrize("data", [None, {}, {"orders": []}, "none"])
def test_a_list_that_goes_on_after_an_id_must_be_one(data: object) -> None:
    """Anything else is no list, and says nothing."""
    states = read({"code": 200, "data": data}, usdt_m.OPEN_ORDERS)
    assert states.whole.meaning is Meaning.UNREADABLE
    assert tells_nothing(states)


def test_the_contracts_are_read_where_the_reply_tells_them() -> None:
    """Each once; those that are over are left out, and a reply without rows tells nothing."""
    rows = [
        {"symbol": "BTC", "contract_code": "BTC260327", "contract_status": 1},
        {"symbol": "BTC", "contract_code": "BTC260626", "contract_status": 5},
        {"symbol": "ETH", "contract_code": "ETH251226", "contract_status": 8},
    ]
    body = json.dumps({"status": "ok", "data": rows}).encode()
    assert queries.contracts(body, "symbol") == ["BTC"]
    assert queries.contracts(body, "contract_code") == ["BTC260327", "BTC260626"]
    rows = [{"symbol": "BTC"}, {"symbol": 7}]
    of_none = json.dumps({"status": "ok", "data": rows}).encode()
    for bad in (b"", b"[]", b'{"status":"error"}', b'{"data":{}}', b'{"data":[null]}', of_none):
        assert queries.contracts(bad, "symbol") is None
