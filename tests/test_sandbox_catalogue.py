"""What the sandbox tells of contracts, and of prices and times in lists of orders."""

from typing import Any

import pytest
from sandbox_requests import HOST, NOW, ask, decoded
from test_sandbox_queries import get

from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.exchange import HttpRequest
from htx_cancel.sandbox.rules import ALGO_TYPES, Kind

OPENS = "/v5/algo/order/opens"


def contracts(path: str, exchange: Exchange) -> dict[str, dict[str, Any]]:
    """Return what a public call tells of each contract."""
    reply = decoded(exchange.handle(HttpRequest("GET", HOST, path, {}, b""), NOW))
    return {each["contract_code"]: each for each in reply["data"]}


def test_a_swap() -> None:
    """It is not delivered, and has no field that says what it is."""
    told = contracts("/swap-api/v1/swap_contract_info", Exchange())["BTC-USD"]
    assert (told["symbol"], told["delivery_time"]) == ("BTC", "")
    assert not {"delivery_date", "contract_type", "business_type"} & told.keys()


def test_a_delivery() -> None:
    """It tells its day, and the hour of it; one that is not traded any more is of no known type."""
    exchange = Exchange()
    exchange.book.add("futures", "BTC261225")
    told = contracts("/api/v1/contract_contract_info", exchange)
    names = ("symbol", "contract_type", "delivery_date", "delivery_time")
    assert [told["BTC260109"][name] for name in names] == [
        "BTC",
        "next_week",
        "20260109",
        "1767945600000",
    ]
    assert told["BTC261225"]["contract_type"] == "quarter"
    assert len(told) == 41


def test_a_linear_swap_and_a_linear_delivery() -> None:
    """They tell their pair, and which of both they are."""
    exchange = Exchange()
    exchange.book.add("v5", "BTC-USDT-260327")
    told = contracts("/linear-swap-api/v1/swap_contract_info", exchange)
    names = ("symbol", "pair", "business_type", "contract_type", "delivery_date")
    assert [told["BTC-USDT"][name] for name in names] == ["BTC", "BTC-USDT", "swap", "swap", ""]
    assert [told["BTC-USDT-260327"][name] for name in names] == [
        "BTC",
        "BTC-USDT",
        "futures",
        "quarter",
        "20260327",
    ]


@pytest.mark.parametrize(
    ("path", "kind", "narrows"),
    [
        ("/api/v1/contract_openorders", "futures", False),
        ("/api/v1/contract_trigger_openorders", "futures_trigger", True),
        ("/api/v1/contract_tpsl_openorders", "futures_tpsl", True),
        ("/api/v1/contract_track_openorders", "futures_trailing", True),
    ],
)
def test_a_list_of_futures_narrows_to_a_contract(path: str, kind: Kind, narrows: bool) -> None:
    """Where its page has that parameter; the page of plain orders has not."""
    exchange = Exchange()
    wanted = exchange.book.add(kind, "BTC260327").order_id
    other = exchange.book.add(kind, "BTC260109").order_id
    data = ask(exchange, path, {"symbol": "btc", "contract_code": "btc260327"})["data"]
    expected = {wanted} if narrows else {wanted, other}
    assert {order["order_id_str"] for order in data["orders"]} == expected
    assert data["total_size"] == len(expected)


@pytest.mark.parametrize(
    ("sort", "fields"),
    [
        ("trigger", {"trigger_price": 5.5, "order_price": 5.5, "order_price_type": "limit"}),
        ("tpsl", {"trigger_price": 5.5, "tpsl_order_type": "tp", "source_order_id": None}),
        ("track", {"active_price": 5.5, "callback_rate": 0.05, "is_active": 0}),
    ],
)
def test_an_order_that_waits_tells_for_what(sort: str, fields: dict[str, object]) -> None:
    """Each sort in its own fields, and when it was placed."""
    exchange = Exchange()
    kind: Any = f"swap_{sort.replace('track', 'trailing')}"
    exchange.book.add(kind, "BTC-USD", price=5.5, placed_at=NOW)
    path = f"/swap-api/v1/swap_{sort}_openorders"
    (order,) = ask(exchange, path, {"contract_code": "BTC-USD"})["data"]["orders"]
    assert fields.items() <= order.items()
    assert order["created_at"] == 1767323045000


@pytest.mark.parametrize(
    ("algo_type", "prices"),
    [
        ("trigger", {"trigger_price"}),
        ("tpsl", {"tp_trigger_price", "sl_trigger_price"}),
        ("tp", {"tp_trigger_price"}),
        ("sl", {"sl_trigger_price"}),
        ("trailing_stop", {"active_price"}),
    ],
)
def test_an_algo_order_tells_its_prices(algo_type: str, prices: set[str]) -> None:
    """In text, under the names of its type."""
    assert algo_type in ALGO_TYPES
    exchange = Exchange()
    exchange.book.add("v5_algo", "BTC-USDT", algo_type=algo_type, price=5.5)
    reply = decoded(exchange.handle(get(OPENS, {"type": algo_type}), NOW))
    (row,) = reply["data"]
    assert {name for name, it in row.items() if it == "5.5"} == prices


def test_a_list_of_algo_orders_goes_on_after_the_id_of_a_row() -> None:
    """That is a small number, and not the order's own id."""
    exchange = Exchange()
    exchange.book.add("v5", "BTC-USDT")
    orders = [exchange.book.add("v5_algo", "BTC-USDT").order_id for _ in range(3)]
    first = decoded(exchange.handle(get(OPENS, {"type": "trigger", "limit": "2"}), NOW))["data"]
    assert [(row["id"], row["algo_id"]) for row in first] == [("2", orders[0]), ("3", orders[1])]
    rest = decoded(exchange.handle(get(OPENS, {"type": "trigger", "from": "3"}), NOW))["data"]
    assert [row["algo_id"] for row in rest] == orders[2:]
