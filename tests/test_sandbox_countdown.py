"""The sandbox's countdowns: their parameters, their replies, and what they cancel."""

from typing import Any

import pytest
from clients import CONTRACTS
from sandbox_requests import NOW, ask

from htx_cancel.sandbox import Exchange

SWAP = "/swap-api/v1/swap-cancel-after"
LINEAR = "/linear-swap-api/v1/linear-cancel-after"
V5 = "/v5/trade/cancel-after"
MS = round(NOW * 1000)


def test_a_reply_has_the_exchange_s_time_and_the_end() -> None:
    """Both are milliseconds of the exchange's clock: numbers in v1, strings in v5."""
    exchange = Exchange(clock_offset=5.0)
    reply = ask(exchange, SWAP, {"on_off": 1, "time_out": 30000})
    times = {"current_time": MS + 5000, "trigger_time": MS + 35000}
    assert reply == {"code": 200, "msg": "success", "data": times, "ts": MS + 5000}
    reply = ask(exchange, V5, {"on_off": "1", "time_out": "30000"})
    assert reply["data"] == {name: str(time) for name, time in times.items()}
    assert exchange.countdowns.ends == {SWAP: NOW + 30, V5: NOW + 30}


def test_a_reply_to_disarming_has_no_end() -> None:
    """Its ``trigger_time`` is 0."""
    exchange = Exchange()
    for body in ({"on_off": 1}, {"on_off": 0}):
        reply = ask(exchange, SWAP, body)
    assert reply["data"] == {"current_time": MS, "trigger_time": 0}
    assert exchange.countdowns.ends == {}


def test_a_countdown_takes_five_seconds_by_default() -> None:
    """The page gives this default."""
    exchange = Exchange()
    ask(exchange, SWAP, {"on_off": 1})
    assert exchange.countdowns.ends == {SWAP: NOW + 5}


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (SWAP, {"on_off": "1"}, 1067),
        (SWAP, {"on_off": 2}, 1067),
        (SWAP, {"on_off": True}, 1067),
        (SWAP, {}, 1067),
        (V5, {"on_off": 1}, 1067),
        (SWAP, {"on_off": 1, "time_out": 4999}, 1067),
        (SWAP, {"on_off": 1, "time_out": "soon"}, 1067),
        (SWAP, [{"on_off": 1}], 1030),
        (SWAP, "1", 1030),
    ],
)
def test_bad_parameters_arm_nothing(path: str, body: Any, code: int) -> None:
    """A wrong type, a time that is too short, or a body that is no object."""
    exchange = Exchange()
    reply = ask(exchange, path, body)
    assert reply.get("err_code", reply.get("code")) == code
    assert exchange.countdowns.ends == {}


def test_an_exchange_may_count_in_seconds() -> None:
    """The minimum is 5 seconds in either unit."""
    exchange = Exchange(countdown_unit="s")
    for time_out, code in ((4, 1067), (5, 200), (30000, 200)):
        reply = ask(exchange, SWAP, {"on_off": 1, "time_out": time_out})
        assert reply.get("err_code", reply.get("code")) == code
    assert exchange.countdowns.ends == {SWAP: NOW + 30000}


def test_the_end_cancels_the_plain_orders_of_the_product() -> None:
    """Once: other orders, and orders added later, stay open."""
    exchange = Exchange()
    kinds = ("linear", "cross", "linear_trigger", "v5", "swap")
    orders = {kind: exchange.book.add(kind, CONTRACTS[kind]) for kind in CONTRACTS if kind in kinds}
    filled = exchange.book.add("linear", "BTC-USDT", state="filled")
    ask(exchange, LINEAR, {"on_off": 1, "time_out": 30000})
    exchange.advance(NOW + 29.9)
    assert {order.state for order in orders.values()} == {"open"}
    exchange.advance(NOW + 30)
    canceled = {kind for kind, order in orders.items() if order.state == "canceled"}
    assert canceled == {"linear", "cross"}
    assert (orders["cross"].ends_at, orders["cross"].canceled_by_us) == (NOW + 30, False)
    assert filled.state == "filled"
    later = exchange.book.add("linear", "BTC-USDT")
    exchange.advance(NOW + 300)
    assert later.state == "open"


def test_orders_end_when_their_countdown_ends() -> None:
    """A list that lags shows the orders until then, whenever the next request arrives."""
    exchange = Exchange(list_lag=10.0)
    exchange.advance(NOW - 60)
    exchange.book.add("swap", "BTC-USD")
    ask(exchange, SWAP, {"on_off": 1, "time_out": 30000})
    for seconds, listed in ((39, 1), (41, 0)):
        exchange.advance(NOW + seconds)
        assert len(exchange.book.listed("swap", "")) == listed


def test_an_accepted_cancel_takes_effect_before_the_countdown_ends() -> None:
    """The cancel was due first."""
    exchange = Exchange(cancel_after=1.0)
    order = exchange.book.add("swap", "BTC-USD", ending="filled")
    ask(exchange, SWAP, {"on_off": 1, "time_out": 5000})
    exchange.book.cancel(order, NOW + 3)
    exchange.advance(NOW + 60)
    assert order.state == "filled"
