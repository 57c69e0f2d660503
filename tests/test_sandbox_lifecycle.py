"""How an order ends after a cancel is accepted."""

import random
from typing import Any

import pytest
from sandbox_requests import CANCEL, NOW, TRACK_ALL, V5, ask, batch

from htx_cancel.sandbox import Book, Exchange, Order
from htx_cancel.sandbox.lifecycle import Ending, Lifecycle
from htx_cancel.sandbox.rules import State

DELAY = 0.05


def placed(exchange: Exchange, **order: Any) -> Order:
    """Add an order to the exchange's book."""
    return exchange.book.add("swap", "BTC-USD", **order)


def cancel(exchange: Exchange, order: Order, *, now: float = NOW) -> int | None:
    """Cancel an order; return the code that refuses it."""
    data = ask(exchange, CANCEL, batch("BTC-USD", order.order_id), now=now)["data"]
    return None if data["successes"] else data["errors"][0]["err_code"]


def test_a_cancel_takes_effect_later() -> None:
    """It takes effect exactly ``cancel_after`` seconds later."""
    exchange = Exchange(cancel_after=DELAY)
    order = placed(exchange)
    assert cancel(exchange, order) is None
    assert (order.state, order.instructed, order.canceled_by_us) == ("canceling", True, False)
    exchange.book.advance(NOW + DELAY - 0.001)
    assert order.state == "canceling"
    exchange.book.advance(NOW + DELAY)
    assert (order.state, order.canceled_by_us) == ("canceled", True)


def test_any_request_applies_the_cancels_that_are_due() -> None:
    """A repeated cancel is refused with 1062, and with 1071 after the first took effect."""
    exchange = Exchange(cancel_after=DELAY)
    order = placed(exchange)
    codes = [cancel(exchange, order, now=NOW + after) for after in (0, 0.04, 0.06)]
    assert codes == [None, 1062, 1071]


def test_advance_without_a_time_applies_every_cancel() -> None:
    """A test need not wait for them."""
    exchange = Exchange(cancel_after=DELAY)
    orders = [placed(exchange) for _ in range(3)]
    for order in orders:
        cancel(exchange, order)
    exchange.book.advance()
    assert [order.state for order in orders] == ["canceled"] * 3


@pytest.mark.parametrize("cancel_after", [0.0, DELAY])
@pytest.mark.parametrize(
    ("ending", "traded", "end"),
    [
        (None, 0, ("canceled", 0, True, 1071)),
        (None, 3, ("partially_canceled", 3, True, 1071)),
        ("canceled", 0, ("canceled", 0, True, 1071)),
        ("partially_canceled", 0, ("partially_canceled", 5, True, 1071)),
        ("partially_canceled", 3, ("partially_canceled", 3, True, 1071)),
        ("filled", 3, ("filled", 3, False, 1063)),
    ],
)
def test_an_order_ends_as_its_ending_says(
    cancel_after: float, ending: Ending | None, traded: int, end: tuple[State, int, bool, int]
) -> None:
    """The cancel is accepted; the ending and the traded volume decide the state."""
    exchange = Exchange(cancel_after=cancel_after)
    order = placed(exchange, ending=ending, traded=traded)
    assert cancel(exchange, order) is None
    code = cancel(exchange, order, now=NOW + 1)
    assert (order.state, order.traded, order.canceled_by_us, code) == end
    assert order.instructed


def test_an_order_too_small_to_be_partly_filled_is_canceled() -> None:
    """Half of a volume of 1 rounds to 0."""
    exchange = Exchange()
    order = placed(exchange, ending="partially_canceled", volume=1)
    cancel(exchange, order)
    assert (order.state, order.traded) == ("canceled", 0)


def test_an_order_that_is_filled_first_stays_filled() -> None:
    """A cancel does not change an order that ended before the cancel took effect."""
    exchange = Exchange(cancel_after=DELAY)
    order = placed(exchange)
    cancel(exchange, order)
    order.state = "filled"
    exchange.book.advance()
    assert (order.state, order.instructed, order.canceled_by_us) == ("filled", True, False)


@pytest.mark.parametrize(
    ("order", "code"),
    [({"refusal": 1088}, 1088), ({"state": "filled"}, 1063), ({"state": "canceling"}, 1062)],
)
def test_a_refused_cancel_changes_nothing(order: dict[str, Any], code: int) -> None:
    """The order keeps its state."""
    exchange = Exchange(cancel_after=DELAY)
    added = placed(exchange, **order)
    assert cancel(exchange, added) == code
    exchange.book.advance()
    assert (added.state, added.instructed) == (order.get("state", "open"), False)


@pytest.mark.parametrize(
    ("drawn", "state"),
    [
        (0.0, "filled"),
        (0.19, "filled"),
        (0.2, "partially_canceled"),
        (0.49, "partially_canceled"),
        (0.5, "canceled"),
    ],
)
def test_an_ending_is_drawn(drawn: float, state: State) -> None:
    """A random number decides: first the share of lost races, then of partial fills."""
    exchange = Exchange(lost_races=0.2, partial_fills=0.3, random=lambda: drawn)
    order = placed(exchange)
    cancel(exchange, order)
    assert order.state == state


def test_endings_repeat_with_their_seed() -> None:
    """The shares are about right."""

    def ends(seed: int) -> list[State]:
        rng = random.Random(seed)
        exchange = Exchange(limits=False, lost_races=0.3, random=rng.random)
        orders = [placed(exchange) for _ in range(300)]
        for order in orders:
            cancel(exchange, order)
        return [order.state for order in orders]

    assert ends(1) == ends(1) != ends(2)
    assert 60 < ends(1).count("filled") < 120


def test_shares_need_a_random() -> None:
    """Shares cannot be drawn without ``random``."""
    with pytest.raises(ValueError, match=r"^random must be given"):
        Lifecycle(lost_races=0.1)


def test_an_order_whose_cancel_is_under_way_is_not_open() -> None:
    """A cancel-all does not cancel it twice, and a v5 cancel is refused with 1062."""
    exchange = Exchange(cancel_after=DELAY)
    exchange.book.add("swap_trailing", "BTC-USD")
    order = exchange.book.add("v5", "BTC-USDT")
    codes = [
        ask(exchange, TRACK_ALL, {"contract_code": "BTC-USD"}).get("err_code") for _ in range(2)
    ]
    v5_codes = [ask(exchange, V5, batch("BTC-USDT", order.order_id))["code"] for _ in range(2)]
    assert (codes, v5_codes) == ([None, 1051], [200, 1062])


@pytest.mark.parametrize(
    ("state", "code"), [("open", 1408), ("canceling", 1408), ("canceled", None), ("filled", None)]
)
def test_a_tpsl_order_is_cancelled_only_after_its_entry_order(
    state: State, code: int | None
) -> None:
    """An entry order whose cancel is under way may still be filled."""
    book = Book()
    entry = book.add("swap", "BTC-USD", state=state)
    tpsl = book.add("swap_tpsl", "BTC-USD", entry=entry.order_id)
    assert book.cancel(tpsl, NOW) == code


def test_a_list_that_lags_does_not_show_new_orders() -> None:
    """It shows them after the lag."""
    book = Book(list_lag=10.0)
    book.advance(NOW)
    book.add("swap", "BTC-USD")
    listed = []
    for seconds in (9, 11):
        book.advance(NOW + seconds)
        listed.append(len(book.listed("swap", "")))
    assert listed == [0, 1]


def test_a_book_without_a_lifecycle_cancels_at_once() -> None:
    """A cancel takes effect at once by default."""
    book = Book()
    order = book.add("swap", "BTC-USD")
    assert book.cancel(order, NOW) is None
    assert (order.state, order.ends_at) == ("canceled", NOW)


def test_the_exchange_s_clock_can_be_ahead() -> None:
    """Timestamps are then refused, and replies have the wrong time."""
    exchange = Exchange(clock_offset=600.0)
    order = placed(exchange)
    reply = ask(exchange, CANCEL, batch("BTC-USD", order.order_id))
    assert (reply["err_code"], reply["ts"]) == (12001, round((NOW + 600) * 1000))
    assert order.state == "open"
    exchange.clock_offset = 0.0
    assert cancel(exchange, order) is None


def test_a_triggered_order_becomes_a_plain_order() -> None:
    """An order is triggered once, and only if it is open."""
    exchange = Exchange()
    trigger = exchange.book.add("v5_algo", "BTC-USDT", direction="sell", margin_mode="isolated")
    plain = exchange.book.trigger(trigger)
    assert plain is not None
    assert (plain.kind, plain.direction, plain.margin_mode) == ("v5", "sell", "isolated")
    assert (trigger.state, exchange.book.open()) == ("filled", [plain])
    assert exchange.book.trigger(trigger) is None
