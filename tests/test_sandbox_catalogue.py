"""The sandbox's rows of contracts, and of lists of open orders."""

from typing import Any

import pytest
from sandbox_requests import HOST, NOW, ask, decoded, get

from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.exchange import HttpRequest
from htx_cancel.sandbox.rules import ALGO_TYPES, Kind

OPENS = "/v5/algo/order/opens"


def contracts(path: str, exchange: Exchange) -> dict[str, dict[str, Any]]:
    """Return the rows of a public call by contract."""
    reply = decoded(exchange.handle(HttpRequest("GET", HOST, path, {}, b""), NOW))
    return {row["contract_code"]: row for row in reply["data"]}


def test_the_row_of_a_swap() -> None:
    """The swap has no delivery time, and no field that names its type."""
    row = contracts("/swap-api/v1/swap_contract_info", Exchange())["BTC-USD"]
    assert (row["symbol"], row["delivery_time"]) == ("BTC", "")
    assert not {"delivery_date", "contract_type", "business_type"} & row.keys()


def test_the_row_of_a_delivery_contract() -> None:
    """It has the delivery day and hour; a day without a contract type counts as a quarter."""
    exchange = Exchange()
    exchange.book.add("futures", "BTC261225")
    rows = contracts("/api/v1/contract_contract_info", exchange)
    names = ("symbol", "contract_type", "delivery_date", "delivery_time")
    assert [rows["BTC260109"][name] for name in names] == [
        "BTC",
        "next_week",
        "20260109",
        "1767945600000",
    ]
    assert rows["BTC261225"]["contract_type"] == "quarter"
    assert len(rows) == 41


def test_the_rows_of_usdt_m_contracts() -> None:
    """They have the pair, and say whether the contract is a swap or a future."""
    exchange = Exchange()
    exchange.book.add("v5", "BTC-USDT-260327")
    rows = contracts("/linear-swap-api/v1/swap_contract_info", exchange)
    names = ("symbol", "pair", "business_type", "contract_type", "delivery_date")
    assert [rows["BTC-USDT"][name] for name in names] == ["BTC", "BTC-USDT", "swap", "swap", ""]
    assert [rows["BTC-USDT-260327"][name] for name in names] == [
        "BTC",
        "BTC-USDT",
        "futures",
        "quarter",
        "20260327",
    ]


@pytest.mark.parametrize(
    ("path", "kind", "narrowed"),
    [
        ("/api/v1/contract_openorders", "futures", False),
        ("/api/v1/contract_trigger_openorders", "futures_trigger", True),
        ("/api/v1/contract_tpsl_openorders", "futures_tpsl", True),
        ("/api/v1/contract_track_openorders", "futures_trailing", True),
    ],
)
def test_a_list_of_futures_orders_takes_a_contract(path: str, kind: Kind, narrowed: bool) -> None:
    """The page of plain orders does not have this parameter."""
    exchange = Exchange()
    wanted = exchange.book.add(kind, "BTC260327").order_id
    other = exchange.book.add(kind, "BTC260109").order_id
    data = ask(exchange, path, {"symbol": "btc", "contract_code": "btc260327"})["data"]
    expected = {wanted} if narrowed else {wanted, other}
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
def test_a_trigger_order_has_its_price(sort: str, fields: dict[str, object]) -> None:
    """The price is in the field of its kind; the row also has the time of placing."""
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
def test_an_algo_order_has_its_prices(algo_type: str, prices: set[str]) -> None:
    """Prices are strings in the fields of the order's type."""
    assert algo_type in ALGO_TYPES
    exchange = Exchange()
    exchange.book.add("v5_algo", "BTC-USDT", algo_type=algo_type, price=5.5)
    reply = decoded(exchange.handle(get(OPENS, {"type": algo_type}), NOW))
    (row,) = reply["data"]
    assert {name for name, value in row.items() if value == "5.5"} == prices


def test_a_list_of_algo_orders_continues_after_the_id_of_a_row() -> None:
    """A row's id is a small number, not the order's id."""
    exchange = Exchange()
    exchange.book.add("v5", "BTC-USDT")
    orders = [exchange.book.add("v5_algo", "BTC-USDT").order_id for _ in range(3)]
    first = decoded(exchange.handle(get(OPENS, {"type": "trigger", "limit": "2"}), NOW))["data"]
    assert [(row["id"], row["algo_id"]) for row in first] == [("2", orders[0]), ("3", orders[1])]
    rest = decoded(exchange.handle(get(OPENS, {"type": "trigger", "from": "3"}), NOW))["data"]
    assert [row["algo_id"] for row in rest] == orders[2:]
