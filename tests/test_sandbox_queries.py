"""The sandbox's replies to queries."""

from typing import Any

import pytest
from sandbox_requests import (
    CANCEL,
    HOST,
    NOW,
    TS,
    V5,
    ask,
    batch,
    decoded,
    error,
    error_v5,
    get,
    in_v5,
    post,
)

from htx_cancel.sandbox import Exchange, Order
from htx_cancel.sandbox.exchange import Call, HttpRequest, HttpResponse
from htx_cancel.sandbox.rules import INTERFACES, QUERIES, Kind, MarginMode, Rules

INFO = "/swap-api/v1/swap_order_info"
TRACKS = "/swap-api/v1/swap_track_openorders"
TRIGGERS = "/linear-swap-api/v1/swap_trigger_openorders"
ORDER = "/v5/trade/order"
TIMESTAMP = "/api/v1/timestamp"
MODES: tuple[MarginMode, ...] = ("cross", "isolated")
LISTS: list[tuple[str, Kind, str]] = [
    (TRACKS, "swap_trailing", "BTC-USD"),
    (TRIGGERS, "linear_trigger", "BTC-USDT"),
]


@pytest.fixture
def exchange() -> Exchange:
    """Return an exchange whose cancels take effect after one second."""
    return Exchange(cancel_after=1.0)


def look_up(exchange: Exchange, fields: dict[str, str]) -> Any:
    """Return the decoded reply to a v5 query of one order."""
    return decoded(exchange.handle(get(ORDER, fields), NOW))


def states(exchange: Exchange, kind: Kind, contract_code: str) -> list[Order]:
    """Return an order in each state: open, partly filled, three that ended, one canceling."""
    add = exchange.book.add
    orders = [
        add(kind, contract_code),
        add(kind, contract_code, traded=4),
        add(kind, contract_code, state="filled"),
        add(kind, contract_code, state="canceled"),
        add(kind, contract_code, traded=4, state="partially_canceled"),
        add(kind, contract_code),
    ]
    exchange.book.cancel(orders[-1], NOW)
    return orders


# Orders by id, in v1


def test_an_order_in_full(exchange: Exchange) -> None:
    """The row has both forms of the id, and the traded volume."""
    order = exchange.book.add("swap", "BTC-USD", client_order_id=5, direction="sell", traded=4)
    assert ask(exchange, INFO, batch("btc-usd", order.order_id)) == {
        "status": "ok",
        "data": [
            {
                "symbol": "BTC",
                "contract_code": "BTC-USD",
                "order_id": int(order.order_id),
                "order_id_str": order.order_id,
                "client_order_id": 5,
                "volume": 10,
                "trade_volume": 4,
                "direction": "sell",
                "offset": "open",
                "order_source": "api",
                "price": 100_000.0,
                "order_price_type": "limit",
                "created_at": 1767225600000,
                "status": 4,
                "canceled_at": 0,
                "canceled_source": "",
            }
        ],
        "ts": TS,
    }


def test_the_status_of_every_state(exchange: Exchange) -> None:
    """The status is a number; the row also has the traded volume."""
    orders = states(exchange, "swap", "BTC-USD")
    data = ask(exchange, INFO, batch("BTC-USD", *(order.order_id for order in orders)))["data"]
    assert [(row["status"], row["trade_volume"]) for row in data] == [
        (3, 0),
        (4, 4),
        (6, 10),
        (7, 0),
        (5, 4),
        (11, 0),
    ]


def test_a_canceled_order_has_the_time_of_its_cancel(exchange: Exchange) -> None:
    """The order was canceled through the API."""
    order = exchange.book.add("swap", "BTC-USD")
    ask(exchange, CANCEL, batch("BTC-USD", order.order_id))
    data = ask(exchange, INFO, batch("BTC-USD", order.order_id), now=NOW + 2)["data"]
    assert [data[0][name] for name in ("status", "canceled_at", "canceled_source")] == [
        7,
        TS + 1000,
        "api",
    ]


def test_orders_by_client_id(exchange: Exchange) -> None:
    """The rows keep the order of the request; unknown ids are left out."""
    for client_id in (5, 6):
        exchange.book.add("swap", "BTC-USD", client_order_id=client_id)
    fields = {"contract_code": "BTC-USD", "client_order_id": "6,77,5"}
    data = ask(exchange, INFO, fields)["data"]
    assert [row["client_order_id"] for row in data] == [6, 5]


def test_none_found(exchange: Exchange) -> None:
    """If no id is known, the call is refused with 1017."""
    exchange.book.add("swap_trailing", "BTC-USD", order_id=7)
    assert ask(exchange, INFO, batch("BTC-USD", "7", "8")) == error(1017, "Order doesnt exist.")
    assert exchange.log == [Call(NOW, INFO, ("7", "8"), "refused", 1017)]


def test_fifty_ids_at_most(exchange: Exchange) -> None:
    """A query with more ids is refused."""
    ids = [exchange.book.add("swap", "BTC-USD").order_id for _ in range(51)]
    assert len(ask(exchange, INFO, batch("BTC-USD", *ids[:50]))["data"]) == 50
    assert ask(exchange, INFO, batch("BTC-USD", *ids))["err_code"] == 1052


# One order, in v5


def test_a_v5_order_in_full(exchange: Exchange) -> None:
    """The data is one object whose values are strings."""
    order = exchange.book.add("v5", "BTC-USDT", client_order_id=5, traded=4)
    assert look_up(exchange, batch("BTC-USDT", order.order_id)) == in_v5(
        200,
        "Success",
        {
            "order_id": order.order_id,
            "client_order_id": "5",
            "contract_code": "BTC-USDT",
            "margin_mode": "cross",
            "side": "buy",
            "position_side": "both",
            "state": "partially_filled",
            "type": "limit",
            "price": "100000.0",
            "created_time": "1767225600000",
            "volume": "10",
            "trade_volume": "4",
            "order_source": "api",
        },
    )
    assert exchange.log == [Call(NOW, ORDER, (order.order_id,), "ok", 200)]


def test_the_v5_state_of_every_order(exchange: Exchange) -> None:
    """v5 has no state for an order whose cancel is under way."""
    orders = states(exchange, "v5", "BTC-USDT")
    assert [
        look_up(exchange, batch("BTC-USDT", order.order_id))["data"]["state"] for order in orders
    ] == ["new", "partially_filled", "filled", "canceled", "partially_canceled", "new"]


def test_a_v5_order_by_client_id(exchange: Exchange) -> None:
    """A client order id finds the order, too."""
    order = exchange.book.add("v5", "BTC-USDT", client_order_id=5)
    reply = look_up(exchange, {"contract_code": "BTC-USDT", "client_order_id": "5"})
    assert reply["data"]["order_id"] == order.order_id


def test_a_v5_order_without_a_client_id_has_its_order_id_instead(exchange: Exchange) -> None:
    """The exchange does the same."""
    order = exchange.book.add("v5", "BTC-USDT")
    data = look_up(exchange, batch("BTC-USDT", order.order_id))["data"]
    assert data["client_order_id"] == data["order_id"] == order.order_id


@pytest.mark.parametrize(
    ("order_mode", "fields", "found"),
    [
        ("cross", {}, True),
        ("cross", {"margin_mode": "cross"}, True),
        ("cross", {"margin_mode": "isolated"}, False),
        ("isolated", {}, False),
        ("isolated", {"margin_mode": "cross"}, False),
        ("isolated", {"margin_mode": "isolated"}, True),
    ],
)
@pytest.mark.parametrize("by_client_id", [False, True])
def test_a_v5_query_finds_orders_of_one_margin_mode(
    exchange: Exchange,
    order_mode: MarginMode,
    fields: dict[str, str],
    found: bool,
    by_client_id: bool,
) -> None:
    """The mode is cross by default; an order of the other mode is not found."""
    order = exchange.book.add("v5", "BTC-USDT", margin_mode=order_mode, client_order_id=5)
    name, value = ("client_order_id", "5") if by_client_id else ("order_id", order.order_id)
    reply = look_up(exchange, {"contract_code": "BTC-USDT", name: value, **fields})
    if found:
        assert (reply["code"], reply["data"]["margin_mode"]) == (200, order_mode)
    else:
        assert reply == error_v5(1061, "The order does not exist.")


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        (
            {"contract_code": "BTC-USDT", "order_id": "1", "margin_mode": "portfolio"},
            1067,
            "Illegal parameter margin_mode.",
        ),
        ({"contract_code": "BTC-USDT", "order_id": "1"}, 1061, "The order does not exist."),
        ({"contract_code": "BTC-USDT"}, 1066, "order_id cannot be empty."),
        ({"contract_code": "BTC-USDT", "order_id": "x y"}, 1067, "Illegal parameter order_id."),
        ({"order_id": "1"}, 1067, "Invalid contract_code parameter"),
    ],
)
def test_bad_parameters_of_a_v5_query(
    exchange: Exchange, fields: dict[str, str], code: int, message: str
) -> None:
    """The query is refused in the v5 envelope."""
    assert look_up(exchange, fields) == error_v5(code, message)


def test_the_whole_query_of_a_get_is_signed(exchange: Exchange) -> None:
    """The signature is not valid for another order_id."""
    request = get(ORDER, batch("BTC-USDT", "11"))
    target = request.target.replace("order_id=11", "order_id=12")
    reply = decoded(exchange.handle(HttpRequest("GET", HOST, target, {}, b""), NOW))
    assert reply == error_v5("1003", "invalid signature")


@pytest.mark.parametrize("path", [CANCEL, INFO, TRACKS, TRIGGERS, V5])
def test_the_method_of_each_call(exchange: Exchange, path: str) -> None:
    """v5 queries are a GET, all other calls a POST."""
    assert exchange.handle(get(path, {}), NOW).status == 405
    assert exchange.handle(post(ORDER, {}), NOW).status == 405
    assert not exchange.calls


# Lists of open orders


@pytest.mark.parametrize(("path", "kind", "contract_code"), LISTS)
def test_open_orders_newest_first(
    exchange: Exchange, path: str, kind: Kind, contract_code: str
) -> None:
    """The open orders of one kind and contract, with those whose cancel is under way."""
    orders = states(exchange, kind, contract_code)
    exchange.book.add(kind, "ETH-USD")
    exchange.book.add("swap", contract_code)
    data = ask(exchange, path, {"contract_code": contract_code})["data"]
    listed = [(row["order_id"], row["order_id_str"], row["status"]) for row in data["orders"]]
    assert listed == [
        (int(order.order_id), order.order_id, status)
        for order, status in ((orders[5], 9), (orders[1], 2), (orders[0], 2))
    ]
    assert [data[name] for name in ("total_page", "current_page", "total_size")] == [1, 1, 3]
    later = ask(exchange, path, {"contract_code": contract_code}, now=NOW + 2)["data"]
    assert later["total_size"] == 2


@pytest.mark.parametrize(("path", "kind", "contract_code"), LISTS)
def test_pages(exchange: Exchange, path: str, kind: Kind, contract_code: str) -> None:
    """A page after the last is empty."""
    ids = [exchange.book.add(kind, contract_code).order_id for _ in range(45)][::-1]
    pages = [
        ask(exchange, path, {"contract_code": contract_code, **page})["data"]
        for page in (
            {},
            {"page_index": 3},
            {"page_index": "4"},
            {"page_index": None, "page_size": 50},
        )
    ]
    listed = [[row["order_id_str"] for row in page["orders"]] for page in pages]
    assert listed == [ids[:20], ids[40:], [], ids]
    assert [(page["total_page"], page["current_page"]) for page in pages] == [
        (3, 1),
        (3, 3),
        (3, 4),
        (1, 1),
    ]


def test_a_list_of_all_contracts_has_the_newest_order_first(exchange: Exchange) -> None:
    """The contracts' orders are mixed."""
    codes = ["BTC-USD", "ETH-USD", "BTC-USD"]
    ids = [exchange.book.add("swap", code).order_id for code in codes]
    data = ask(exchange, "/swap-api/v1/swap_openorders", {})["data"]
    assert [row["order_id_str"] for row in data["orders"]] == ids[::-1]


def test_an_empty_list(exchange: Exchange) -> None:
    """The list has one empty page, and is not refused."""
    assert ask(exchange, TRACKS, {"contract_code": "BTC-USD"})["data"] == {
        "orders": [],
        "total_page": 1,
        "current_page": 1,
        "total_size": 0,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("page_size", 51), ("page_size", -1), ("page_index", "x"), ("page_index", 1.5)],
)
def test_bad_pages(exchange: Exchange, name: str, value: object) -> None:
    """A page number is an integer of at least 1; a page has 50 orders at most."""
    reply = ask(exchange, TRACKS, {"contract_code": "BTC-USD", name: value})
    assert reply == error(1067, f"Illegal parameter {name}.")


def test_unknown_contracts(exchange: Exchange) -> None:
    """A query is refused with the same code as the product's cancels."""
    codes = [
        ask(exchange, path, {"contract_code": "NONE-9", "order_id": "1"})["err_code"]
        for path in (INFO, TRACKS, TRIGGERS)
    ]
    assert codes == [1014, 1014, 1332]


# The clock, and the limits


def clock(exchange: Exchange, method: str = "GET") -> HttpResponse:
    """Request the exchange's time."""
    return exchange.handle(HttpRequest(method, HOST, TIMESTAMP, {}, b""), NOW)


def test_the_time_is_public() -> None:
    """The call needs no signature and charges no budget."""
    exchange = Exchange(clock_offset=2.5)
    replies = [clock(exchange) for _ in range(200)]
    assert decoded(replies[-1]) == {"status": "ok", "ts": TS + 2500}
    assert list(replies[-1].headers) == ["Content-Type"]
    assert (exchange.log, exchange.calls[TIMESTAMP]) == ([], 200)
    assert clock(exchange, "POST").status == 405


def test_the_reset_header_is_on_the_exchange_s_clock() -> None:
    """The reply's ``ts`` is on the same clock."""
    exchange = Exchange(clock_offset=2.0)
    response = exchange.handle(post(CANCEL, batch("BTC-USD", "1")), NOW)
    assert response.headers["ratelimit-reset"] == str(TS + 5000)


def test_queries_have_their_own_budgets() -> None:
    """A product's queries share a budget that its cancels do not charge."""
    rules = Rules()

    def admitted(path: str) -> int:
        count = 0
        while (state := rules.admit(path, 10.0)) is not None and state.admitted:
            count += 1
        return count

    paths = (CANCEL, INFO, TRACKS, V5, TRIGGERS, ORDER)
    assert [admitted(path) for path in paths] == [36, 36, 0, 72, 5, 72]


def test_a_query_beyond_the_limit() -> None:
    """The query is refused with 1032 and the headers of its pool."""
    exchange = Exchange(limits={"usdt_m_read": (1, 3)})
    request = get(ORDER, batch("BTC-USDT", "1"))
    replies = [exchange.handle(request, NOW) for _ in range(2)]
    assert [decoded(reply)["code"] for reply in replies] == [1061, 1032]
    assert [reply.headers["ratelimit-remaining"] for reply in replies] == ["0", "0"]


def test_the_table_of_queries_as_the_pages_state_it() -> None:
    """No path is in both tables, and only v5 queries are a GET."""
    assert not INTERFACES.keys() & QUERIES.keys()
    table = {
        path: (row.method, row.max_ids, row.client_ids, row.envelope, row.pool.name)
        for path, row in QUERIES.items()
    }
    expected = {
        INFO: ("POST", 50, True, "v1", "coin_m_swap_read"),
        "/api/v1/contract_order_info": ("POST", 50, True, "v1", "coin_m_futures_read"),
        "/swap-api/v1/swap_trigger_openorders": ("POST", 0, False, "v1", "coin_m_swap_read"),
        TRACKS: ("POST", 0, False, "v1", "coin_m_swap_read"),
        TRIGGERS: ("POST", 0, False, "v1", "usdt_m_read"),
        ORDER: ("GET", 1, True, "v5", "usdt_m_read"),
        "/v5/trade/order/opens": ("GET", 0, False, "v5", "usdt_m_read"),
        "/v5/algo/order/opens": ("GET", 0, True, "v5", "usdt_m_read"),
    }
    assert expected.items() <= table.items()
    assert len(table) == 4 * 5 + 3  # for each of four v1 products a query by ids and four lists
    assert [path for path, row in QUERIES.items() if row.own is not None] == [TRIGGERS]


def test_the_list_of_open_trigger_orders_has_its_own_limit() -> None:
    """The limit is 5 calls per second; the read pool is charged only with ``charge_pools``."""
    headers = Exchange().handle(post(TRIGGERS, {"contract_code": "BTC-USDT"}), NOW).headers
    assert [headers[f"ratelimit-{name}"] for name in ("limit", "interval", "remaining")] == [
        "5",
        "1000",
        "4",
    ]
    rules = Rules(charge_pools=True)
    rules.admit(TRIGGERS, 10.0)
    state = rules.admit(ORDER, 10.0)
    assert state is not None
    assert (state.limit, state.remaining) == (72, 70)


@pytest.mark.parametrize(
    ("fields", "mode"), [({}, "cross"), *(({"margin_mode": mode}, mode) for mode in MODES)]
)
def test_a_v5_list_has_the_orders_of_one_margin_mode(
    exchange: Exchange, fields: dict[str, str], mode: str
) -> None:
    """The mode is cross by default."""
    for each in MODES:
        exchange.book.add("v5", "BTC-USDT", margin_mode=each)
    rows = decoded(exchange.handle(get("/v5/trade/order/opens", fields), NOW))["data"]
    assert [row["margin_mode"] for row in rows] == [mode]


def test_a_v5_list_of_all_contracts_is_sorted_by_the_ids_of_its_rows(exchange: Exchange) -> None:
    """The contracts' orders are mixed."""
    codes = ("BTC-USDT", "ETH-USDT", "BTC-USDT")
    ids = [exchange.book.add("v5", code).order_id for code in codes]
    rows = decoded(exchange.handle(get("/v5/trade/order/opens", {}), NOW))["data"]
    assert [row["order_id"] for row in rows] == ids


def test_a_list_of_algo_orders_needs_their_type(exchange: Exchange) -> None:
    """The type is one of five."""
    for fields, code in (({}, 1066), ({"type": "stops"}, 1067), ({"type": "tp"}, 200)):
        request = get("/v5/algo/order/opens", fields)
        assert decoded(exchange.handle(request, NOW))["code"] == code
