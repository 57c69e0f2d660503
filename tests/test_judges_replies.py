"""ccxt's HTX client cancels, lists and queries the sandbox's orders, over sockets.

Some methods of ccxt use the plain orders' call for every kind of orders. The sandbox answers as HTX
would, and the orders stay open.
"""

from decimal import Decimal
from typing import Any

import pytest
from clients import CONTRACTS, credentials
from judges import CALLED, FUTURES, LINEAR, OURS, SWAP, TYPES, ccxt, method, on_a_socket

from htx_cancel import CancelClient, CancelStatus
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.rules import ALGO_TYPES, Kind

KINDS = pytest.mark.parametrize("kind", CALLED)
BY_CLIENT_ID = pytest.mark.parametrize("kind", ["swap", "futures", "v5", "v5_algo"])
PLAIN = pytest.mark.parametrize("kind", ["swap", "futures", "v5"])
IN_V1 = [kind for kind in CALLED if not kind.startswith("v5")]


def add(exchange: Exchange, kind: Kind, count: int = 1, **order: Any) -> list[str]:
    """Add orders to the book; return their ids."""
    contract = order.pop("contract_code", CONTRACTS[kind])
    return [exchange.book.add(kind, contract, **order).order_id for _ in range(count)]


def add_one_of_each(exchange: Exchange) -> dict[Kind, str]:
    """Add an order of each kind to the book; return their ids."""
    return {kind: add(exchange, kind)[0] for kind in CALLED}


def open_ids(exchange: Exchange) -> set[str]:
    """Return the ids of the open orders."""
    return {order.order_id for order in exchange.book.open()}


def ids(orders: list[dict[str, Any]]) -> list[str]:
    """Return the ids of ccxt's orders."""
    return [order["id"] for order in orders]


async def test_ccxt_reads_the_contracts() -> None:
    """Swaps, futures with their expiry, and USDT-M swaps."""
    async with on_a_socket(Exchange()) as judge:
        markets = {name: judge.market(name) for name in (SWAP, FUTURES, LINEAR)}
        assert len(judge.markets) == 10 + 4 * 10 + 10
    fields = {
        name: [market[key] for key in ("id", "type", "inverse", "linear", "active")]
        for name, market in markets.items()
    }
    assert fields == {
        SWAP: ["BTC-USD", "swap", True, False, True],
        FUTURES: ["BTC260327", "future", True, False, True],
        LINEAR: ["BTC-USDT", "swap", False, True, True],
    }
    assert markets[FUTURES]["expiryDatetime"] == "2026-03-27T08:00:00.000Z"


async def test_ccxt_reads_a_usdt_m_futures_contract() -> None:
    """Listing and cancel-all work; in its cancel by id, ccxt leaves out the contract."""
    exchange = Exchange()
    add(exchange, "v5", contract_code="BTC-USDT-260327")
    async with on_a_socket(exchange) as judge:
        market = judge.market("BTC/USDT:USDT-260327")
        assert (market["type"], market["linear"]) == ("future", True)
        (order,) = await judge.fetch_open_orders(market["symbol"])
        with pytest.raises(ccxt.InvalidOrder, match="Invalid contract_code parameter"):
            await judge.cancel_order(order["id"], market["symbol"])
        assert open_ids(exchange) == {order["id"]}
        await judge.cancel_all_orders(market["symbol"])
    assert not open_ids(exchange)


@KINDS
async def test_one_order_is_canceled(kind: Kind) -> None:
    """All other orders stay open."""
    exchange = Exchange()
    orders = add_one_of_each(exchange)
    symbol, params = CALLED[kind]
    async with on_a_socket(exchange) as judge:
        canceled = await judge.cancel_order(orders[kind], symbol, params)
    assert (canceled["id"], canceled["status"]) == (orders[kind], "canceled")
    assert open_ids(exchange) == set(orders.values()) - {orders[kind]}
    assert exchange.book.verdict(orders[kind]) == "canceled"


@BY_CLIENT_ID
async def test_one_order_is_canceled_by_its_client_id(kind: Kind) -> None:
    """The kinds with client order ids take them."""
    exchange = Exchange()
    order_id, other = (add(exchange, kind, client_order_id=number)[0] for number in (5, 6))
    symbol, params = CALLED[kind]
    async with on_a_socket(exchange) as judge:
        await judge.cancel_order("", symbol, {**params, "clientOrderId": "5"})
    assert exchange.book.verdict(order_id) == "canceled"
    assert exchange.book.verdict(other) == "open"


@pytest.mark.parametrize("kind", [kind for kind in CALLED if kind != "v5_algo"])
async def test_an_order_that_does_not_exist(kind: Kind) -> None:
    """v1 has the code in an item, v5 in the whole reply; ccxt reads no code of algo items."""
    symbol, params = CALLED[kind]
    async with on_a_socket(Exchange()) as judge:
        with pytest.raises(ccxt.OrderNotFound):
            await judge.cancel_order("77", symbol, params)


@pytest.mark.parametrize(
    "kind", ["swap", "swap_trigger", "swap_tpsl", "futures", "futures_trigger", "futures_tpsl"]
)
async def test_many_orders_are_canceled_in_v1(kind: Kind) -> None:
    """The orders that were not canceled have another status."""
    exchange = Exchange()
    good = add(exchange, kind, 3)
    filled, refused = add(exchange, kind, state="filled") + add(exchange, kind, refusal=1088)
    rest = add(exchange, kind, 2)
    symbol, params = CALLED[kind]
    async with on_a_socket(exchange) as judge:
        replied = await judge.cancel_orders([filled, *good, refused], symbol, params)
    assert {order["id"]: order["status"] for order in replied} == {
        **dict.fromkeys(good, "canceled"),
        filled: "failed",
        refused: "failed",
    }
    assert open_ids(exchange) == {refused, *rest}


async def test_many_orders_are_canceled_in_v5() -> None:
    """The reply has an item for each, in reverse order; ccxt reads no code of an item."""
    exchange = Exchange()
    good, rest = add(exchange, "v5", 3), add(exchange, "v5", 2)
    async with on_a_socket(exchange) as judge:
        replied = await judge.cancel_orders([*good, "77"], LINEAR)
    assert ids(replied) == ["77", *good[::-1]]
    assert [order["info"]["code"] for order in replied] == [1061, 200, 200, 200]
    assert open_ids(exchange) == set(rest)


@PLAIN
async def test_many_orders_are_canceled_by_client_ids(kind: Kind) -> None:
    """v1 replies name them by these ids, v5 replies by both ids."""
    exchange = Exchange()
    orders = [add(exchange, kind, client_order_id=number)[0] for number in (5, 6, 7)]
    async with on_a_socket(exchange) as judge:
        replied = await judge.cancel_orders([], CALLED[kind][0], {"clientOrderIds": "5,6"})
    assert set(ids(replied)) == (set(orders[:2]) if kind == "v5" else {"5", "6"})
    assert open_ids(exchange) == {orders[2]}


@pytest.mark.parametrize("kind", [*IN_V1, "v5"])
async def test_all_orders_of_a_contract_are_canceled(kind: Kind) -> None:
    """Orders of another contract or kind stay open; a second call finds nothing to cancel."""
    exchange = Exchange()
    others = add_one_of_each(exchange)
    others.pop(kind)
    elsewhere = CONTRACTS[kind].replace("BTC", "ETH")
    kept = add(exchange, kind, 2, contract_code=elsewhere)
    if kind.startswith("futures"):
        kept += add(exchange, kind, contract_code="BTC260109")
    symbol, params = CALLED[kind]
    expected = open_ids(exchange) - set(kept) - set(others.values())
    expected |= set(add(exchange, kind, 4))
    async with on_a_socket(exchange) as judge:
        replied = await judge.cancel_all_orders(symbol, params)
        assert set(ids(replied)) == expected
        assert {order["status"] for order in replied} == {"canceled"}
        with pytest.raises(ccxt.InvalidOrder, match="1051"):
            await judge.cancel_all_orders(symbol, params)
    assert open_ids(exchange) == {*kept, *others.values()}


@pytest.mark.parametrize("kind", [*IN_V1, "v5"])
async def test_a_cancel_all_is_filtered(kind: Kind) -> None:
    """The judge passes the direction on to the call."""
    exchange = Exchange()
    buys, sells = (add(exchange, kind, 2, direction=side) for side in ("buy", "sell"))
    symbol, params = CALLED[kind]
    name = "side" if kind == "v5" else "direction"
    async with on_a_socket(exchange) as judge:
        replied = await judge.cancel_all_orders(symbol, {**params, name: "sell"})
    assert set(ids(replied)) == set(sells)
    assert open_ids(exchange) == set(buys)


@pytest.mark.parametrize("kind", IN_V1)
async def test_open_orders_are_listed_in_v1(kind: Kind) -> None:
    """Both clients read the same fields of every order."""
    exchange = Exchange()
    expected = set(add(exchange, kind, 3, price=99_000.5))
    expected |= set(add(exchange, kind, direction="sell", volume=5, placed_at=1767323045.5))
    if not OURS[kind][1].startswith("t"):
        expected |= set(add(exchange, kind, client_order_id=5, traded=4))
    add(exchange, kind, state="canceled")
    add(exchange, kind, contract_code="ETH260327" if kind.startswith("f") else "ETH-USD")
    if kind.startswith("futures"):
        add(exchange, kind, contract_code="BTC260109")
    await both_list(exchange, kind, expected, [CALLED[kind][1]])


@pytest.mark.parametrize("mode", ["cross", "isolated"])
async def test_open_orders_are_listed_in_v5(mode: Any) -> None:
    """A list has the orders of one margin mode."""
    exchange = Exchange()
    add(exchange, "v5", margin_mode="isolated" if mode == "cross" else "cross")
    expected = set(add(exchange, "v5", 3, margin_mode=mode, price=99_000.5))
    expected |= set(add(exchange, "v5", margin_mode=mode, client_order_id=5, traded=4))
    add(exchange, "v5", margin_mode=mode, state="filled")
    add(exchange, "v5", margin_mode=mode, contract_code="ETH-USDT")
    await both_list(exchange, "v5", expected, [{"margin_mode": mode}])


async def test_open_algo_orders_are_listed() -> None:
    """A list has one type of orders, with the orders' ids and not the rows' ids."""
    exchange = Exchange()
    expected = {
        add(exchange, "v5_algo", algo_type=algo_type, client_order_id=number)[0]
        for number, algo_type in enumerate(ALGO_TYPES, 1)
    }
    add(exchange, "v5_algo", algo_type="tp", contract_code="ETH-USDT")
    await both_list(exchange, "v5_algo", expected, list(TYPES.values()))


async def both_list(
    exchange: Exchange, kind: Kind, expected: set[str], lists: list[dict[str, Any]]
) -> None:
    """Check that ccxt lists these orders, and reads the same of each as our client."""
    symbol, _ = CALLED[kind]
    async with on_a_socket(exchange) as judge:
        theirs = [
            order
            for params in lists
            for order in await judge.fetch_open_orders(symbol, None, 50, params)
        ]
        async with CancelClient(credentials(), base_url=judge.urls["api"]["contract"]) as client:
            ours = {
                order.order_id: order
                for order in await method(client, kind, "open")(CONTRACTS[kind])
            }
    assert set(ids(theirs)) == expected
    assert len(theirs) == len(expected)
    for order in theirs:
        own = ours[order["id"]]
        assert (order["symbol"], order["status"]) == (symbol, "open")
        assert order["clientOrderId"] == own.client_order_id
        assert order["side"] == own.direction
        assert order["timestamp"] == round(own.created * 1000)
        assert Decimal(str(order["amount"])) == own.volume
        if own.filled is not None:
            assert Decimal(str(order["filled"])) == own.filled
        prices = [order[f"{name}Price"] for name in ("trigger", "takeProfit", "stopLoss")]
        price = next(filter(None, [*prices, order["price"]]), None)
        waits_to_trail = kind.endswith("trailing") or order["type"] == "trailing_stop"
        assert waits_to_trail == (price is None)  # ccxt reads no price of these
        if price is not None:
            assert Decimal(str(price)) == own.price


@pytest.mark.parametrize("kind", ["v5", "v5_algo"])
async def test_a_v5_list_continues_after_the_last_row(kind: Kind) -> None:
    """The next page starts after the row's own id, even if it is not the order's id."""
    exchange = Exchange()
    expected = add(exchange, kind, 23)
    listed: list[str] = []
    params = {**CALLED[kind][1], "direct": "next"}
    async with on_a_socket(exchange) as judge:
        while page := await judge.fetch_open_orders(LINEAR, None, 10, params):
            listed += ids(page)
            params["from"] = page[-1]["info"]["id"]
    assert listed == expected
    assert exchange.calls.total() == 3 + 4  # three calls list contracts, four return pages


@PLAIN
async def test_the_state_of_an_order(kind: Kind) -> None:
    """Each state has a status in ccxt."""
    exchange = Exchange()
    words = {"open": "open", "filled": "closed", "canceled": "canceled"}
    states = {add(exchange, kind, state=state)[0]: word for state, word in words.items()}
    async with on_a_socket(exchange) as judge:
        for order_id, word in states.items():
            assert (await judge.fetch_order(order_id, CALLED[kind][0]))["status"] == word
        with pytest.raises(ccxt.OrderNotFound):
            await judge.fetch_order("77", CALLED[kind][0])


@pytest.mark.parametrize("symbol", [SWAP, FUTURES, LINEAR])
async def test_a_wrong_key_is_recognised(symbol: str) -> None:
    """The judge raises its authentication error for either envelope."""
    async with on_a_socket(Exchange(), secret="another") as judge:
        with pytest.raises(ccxt.AuthenticationError):
            await judge.cancel_order("7", symbol)


@pytest.mark.parametrize(
    ("symbol", "kind", "plain"),
    [(SWAP, "swap_trailing", "swap"), (FUTURES, "futures_trailing", "futures")],
)
async def test_ccxt_finds_no_trailing_orders_among_plain_ones(
    symbol: str, kind: Kind, plain: Kind
) -> None:
    """Its ``cancel_orders`` uses the plain orders' call; our client does not."""
    exchange = Exchange()
    trailing = add(exchange, kind, 2)
    add(exchange, plain)
    before = open_ids(exchange)
    async with on_a_socket(exchange) as judge:
        with pytest.raises(ccxt.OrderNotFound):
            await judge.cancel_orders(trailing, symbol, {"trailing": True})
        assert open_ids(exchange) == before
        async with CancelClient(credentials(), base_url=judge.urls["api"]["contract"]) as client:
            outcome = await method(client, kind, "cancel")(CONTRACTS[kind], trailing)
    assert {result.status for result in outcome} == {CancelStatus.ACCEPTED}
    assert open_ids(exchange) == before - set(trailing)


@pytest.mark.parametrize("params", [{"trigger": True}, {"stopLossTakeProfit": True}])
async def test_ccxt_finds_no_algo_orders_among_plain_ones(params: dict[str, Any]) -> None:
    """Its ``cancel_orders`` uses the plain orders' call, which refuses each id."""
    exchange = Exchange()
    algo = add(exchange, "v5_algo", 2)
    async with on_a_socket(exchange) as judge:
        assert await judge.cancel_orders(algo, LINEAR, params) == []
    assert open_ids(exchange) == set(algo)
    assert exchange.calls["/v5/trade/cancel_batch_orders"] == 1


@pytest.mark.parametrize("params", TYPES.values(), ids=TYPES)
async def test_ccxt_s_cancel_all_of_algo_orders_cancels_the_plain_ones(
    params: dict[str, Any],
) -> None:
    """The exchange has no such call; ccxt ignores its parameters and cancels the plain orders."""
    exchange = Exchange()
    algo = [add(exchange, "v5_algo", algo_type=algo_type)[0] for algo_type in ALGO_TYPES]
    add(exchange, "v5", 2)
    async with on_a_socket(exchange) as judge:
        await judge.cancel_all_orders(LINEAR, params)
    assert open_ids(exchange) == set(algo)
    assert exchange.calls["/v5/trade/cancel_all_orders"] == 1
