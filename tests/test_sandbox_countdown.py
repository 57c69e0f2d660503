"""The sandbox's countdowns: what they take, what they tell, and what goes when they end."""

from typing import Any

import pytest
from clients import CONTRACTS
from sandbox_requests import NOW, ask

from htx_cancel.sandbox import Exchange

SWAP = "/swap-api/v1/swap-cancel-after"
LINEAR = "/linear-swap-api/v1/linear-cancel-after"
V5 = "/v5/trade/cancel-after"
MS = round(NOW * 1000)


def test_it_tells_its_clock_and_when_it_ends() -> None:
    """In milliseconds: numbers in v1, texts in v5; by a clock that may be ahead."""
    exchange = Exchange(clock_offset=5.0)
    told = ask(exchange, SWAP, {"on_off": 1, "time_out": 30000})
    times = {"current_time": MS + 5000, "trigger_time": MS + 35000}
    assert told == {"code": 200, "msg": "success", "data": times, "ts": MS + 5000}
    told = ask(exchange, V5, {"on_off": "1", "time_out": "30000"})
    assert told["data"] == {name: str(it) for name, it in times.items()}
    assert exchange.countdowns.ends == {SWAP: NOW + 30, V5: NOW + 30}


def test_it_is_disarmed_and_told_so() -> None:
    """With no time at which it ends."""
    exchange = Exchange()
    for body in ({"on_off": 1}, {"on_off": 0}):
        told = ask(exchange, SWAP, body)
    assert told["data"] == {"current_time": MS, "trigger_time": 0}
    assert exchange.countdowns.ends == {}


def test_without_a_time_it_counts_five_seconds() -> None:
    """As its page says."""
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
def test_what_it_does_not_take(path: str, body: Any, code: int) -> None:
    """A wrong type, a time that is too short, and no object; nothing is armed."""
    exchange = Exchange()
    told = ask(exchange, path, body)
    assert told.get("err_code", told.get("code")) == code
    assert exchange.countdowns.ends == {}


def test_an_exchange_may_take_milliseconds_for_seconds() -> None:
    """Then five are the least."""
    exchange = Exchange(countdown_unit="s")
    for time_out, code in ((4, 1067), (5, 200), (30000, 200)):
        told = ask(exchange, SWAP, {"on_off": 1, "time_out": time_out})
        assert told.get("err_code", told.get("code")) == code
    assert exchange.countdowns.ends == {SWAP: NOW + 30000}


def test_the_plain_orders_of_its_product_go() -> None:
    """At its end and once: others stay, and so does what comes later."""
    exchange = Exchange()
    kinds = ("linear", "cross", "linear_trigger", "v5", "swap")
    orders = {kind: exchange.book.add(kind, CONTRACTS[kind]) for kind in CONTRACTS if kind in kinds}
    filled = exchange.book.add("linear", "BTC-USDT", state="filled")
    ask(exchange, LINEAR, {"on_off": 1, "time_out": 30000})
    exchange.advance(NOW + 29.9)
    assert {order.state for order in orders.values()} == {"open"}
    exchange.advance(NOW + 30)
    gone = {kind for kind, order in orders.items() if order.state == "canceled"}
    assert gone == {"linear", "cross"}
    assert (orders["cross"].ends_at, orders["cross"].canceled_by_us) == (NOW + 30, False)
    assert filled.state == "filled"
    later = exchange.book.add("linear", "BTC-USDT")
    exchange.advance(NOW + 300)
    assert later.state == "open"


def test_an_accepted_cancel_takes_effect_before_it() -> None:
    """What was due first happened first."""
    exchange = Exchange(cancel_after=1.0)
    order = exchange.book.add("swap", "BTC-USD", ending="filled")
    ask(exchange, SWAP, {"on_off": 1, "time_out": 5000})
    exchange.book.cancel(order, NOW + 3)
    exchange.advance(NOW + 60)
    assert order.state == "filled"
