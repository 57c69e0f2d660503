"""The sandbox's replies: parameters, codes and shapes."""

import gzip
import json
from typing import Any

import pytest
from sandbox_requests import (
    CANCEL,
    HOST,
    NOW,
    PATHS,
    TRACK,
    TRACK_ALL,
    TRIGGER,
    TS,
    V1_BATCHES,
    V5,
    ask,
    batch,
    decoded,
    error,
    error_v5,
    in_v5,
    post,
    signed_target,
)

from htx_cancel.sandbox.exchange import Book, Call, Exchange, HttpRequest, Order
from htx_cancel.sandbox.parameters import ids_in
from htx_cancel.sandbox.rules import Kind, MarginMode, State


@pytest.fixture
def exchange() -> Exchange:
    """Return an exchange with an empty book."""
    return Exchange()


# Paths and methods


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/swap-api/v1/swap_cancels", 404, "Not Found"),
        ("GET", CANCEL, 405, "Method Not Allowed"),
    ],
)
def test_a_request_that_matches_no_call(
    exchange: Exchange, method: str, path: str, status: int, words: str
) -> None:
    """HTX's web framework answers it, with a number as status."""
    response = exchange.handle(HttpRequest(method, HOST, f"{path}?a=1", {}, b""), NOW)
    assert response.status == status
    assert decoded(response) == {
        "timestamp": "2026-01-02T03:04:05.000+00:00",
        "status": status,
        "error": words,
        "path": path,
    }
    assert not exchange.calls


def test_a_path_may_be_withdrawn() -> None:
    """A withdrawn path is answered like an unknown one."""
    exchange = Exchange(withdrawn=(TRIGGER,))
    response = exchange.handle(post(TRIGGER, batch("BTC-USDT", "1")), NOW)
    assert (response.status, decoded(response)["path"]) == (404, TRIGGER)
    assert ask(exchange, CANCEL, batch("BTC-USD", "1"))["status"] == "ok"
    assert not exchange.calls[TRIGGER]


# Lists of orders in v1


@pytest.mark.parametrize(("path", "kind", "contract_code"), V1_BATCHES)
def test_a_batch_names_successes_and_errors(
    exchange: Exchange, path: str, kind: Kind, contract_code: str
) -> None:
    """The whole reply is a success; each order is in one of two lists."""
    states: list[State] = ["open", "filled", "canceling", "canceled", "open"]
    orders = [exchange.book.add(kind, contract_code, state=state) for state in states]
    ids = [order.order_id for order in orders]
    assert ask(exchange, path, batch(contract_code, *ids, "77")) == {
        "status": "ok",
        "data": {
            "errors": [
                item(ids[1], 1063, "The order has been executed."),
                item(ids[2], 1062, "Cancelling. Please be patient."),
                item(ids[3], 1071, "Repeated cancellation. Your order has been canceled."),
                item("77", 1061, "This order doesnt exist."),
            ],
            "successes": f"{ids[0]},{ids[4]}",
        },
        "ts": TS,
    }
    assert [order.state for order in orders] == [
        "canceled",
        "filled",
        "canceling",
        "canceled",
        "canceled",
    ]
    assert [order.canceled_by_us for order in orders] == [True, False, False, False, True]


def item(order_id: str, code: int, message: str) -> dict[str, Any]:
    """Return one order's error."""
    return {"order_id": order_id, "err_code": code, "err_msg": message}


def test_the_successes_may_be_an_empty_string(exchange: Exchange) -> None:
    """No cancel was accepted."""
    data = ask(exchange, CANCEL, batch("BTC-USD", "77"))["data"]
    assert data["successes"] == ""


@pytest.mark.parametrize("path", [CANCEL, TRACK, TRIGGER])
@pytest.mark.parametrize(
    ("kind", "contract_code"),
    [
        ("swap", "ETH-USD"),
        ("swap_trailing", "ETH-USD"),
        ("linear_trigger", "ETH-USDT"),
        ("v5", "BTC-USDT"),
        ("v5", "BTC-USD"),
    ],
)
def test_an_order_of_another_kind_or_contract_is_not_found(
    exchange: Exchange, path: str, kind: Kind, contract_code: str
) -> None:
    """A call finds only orders of its own kind, in the given contract."""
    order = exchange.book.add(kind, contract_code)
    own = "BTC-USDT" if path == TRIGGER else "BTC-USD"
    errors = ask(exchange, path, batch(own, order.order_id))["data"]["errors"]
    assert [error["err_code"] for error in errors] == [1061]
    assert order.state == "open"


@pytest.mark.parametrize(("path", "kind", "contract_code"), V1_BATCHES)
def test_a_contract_code_may_be_in_lower_case(
    exchange: Exchange, path: str, kind: Kind, contract_code: str
) -> None:
    """The request and the book accept lower case."""
    order = exchange.book.add(kind, contract_code.lower())
    reply = ask(exchange, path, batch(contract_code.lower(), order.order_id))
    assert reply["data"]["successes"] == order.order_id


@pytest.mark.parametrize(("path", "kind", "contract_code"), V1_BATCHES)
def test_a_v1_id_may_be_a_number(
    exchange: Exchange, path: str, kind: Kind, contract_code: str
) -> None:
    """HTX's own test suite sends one id as a JSON number; the reply has it as a string."""
    order = exchange.book.add(kind, contract_code)
    fields = {"contract_code": contract_code, "order_id": int(order.order_id)}
    assert ask(exchange, path, fields)["data"] == {"errors": [], "successes": order.order_id}


def test_a_v1_client_id_may_be_a_number(exchange: Exchange) -> None:
    """Some clients send numbers."""
    order = exchange.book.add("swap", "BTC-USD", client_order_id=5)
    fields = {"contract_code": "BTC-USD", "client_order_id": 5}
    assert ask(exchange, CANCEL, fields)["data"] == {"errors": [], "successes": "5"}
    assert order.state == "canceled"


def test_a_reply_to_client_ids_has_client_ids(exchange: Exchange) -> None:
    """The errors have them as ``order_id``."""
    exchange.book.add("swap", "BTC-USD", client_order_id=5)
    fields = {"contract_code": "BTC-USD", "client_order_id": "5,6"}
    assert ask(exchange, CANCEL, fields)["data"] == {
        "errors": [item("6", 1061, "This order doesnt exist.")],
        "successes": "5",
    }


@pytest.mark.parametrize("path", [CANCEL, V5])
def test_an_order_id_counts_before_a_client_order_id(exchange: Exchange, path: str) -> None:
    """The client order id is ignored if a request has both."""
    kind: Kind = "swap" if path == CANCEL else "v5"
    first, second = (exchange.book.add(kind, "X-1", client_order_id=number) for number in (5, 6))
    fields = {"contract_code": "X-1", "order_id": first.order_id, "client_order_id": "6"}
    ask(exchange, path, fields)
    assert (first.state, second.state) == ("canceled", "open")


@pytest.mark.parametrize("absent", [None, ""])
@pytest.mark.parametrize("path", [CANCEL, V5])
def test_a_null_or_empty_id_counts_as_absent(
    exchange: Exchange, path: str, absent: str | None
) -> None:
    """HTX's Python SDK sends null for the id that it does not use."""
    order = exchange.book.add("swap" if path == CANCEL else "v5", "X-1", client_order_id=5)
    ask(exchange, path, {"contract_code": "X-1", "order_id": absent, "client_order_id": "5"})
    assert order.state == "canceled"


@pytest.mark.parametrize("path", [TRACK, TRIGGER])
def test_other_kinds_of_v1_orders_take_no_client_ids(exchange: Exchange, path: str) -> None:
    """Their calls ignore a client order id."""
    contract_code = "BTC-USDT" if path == TRIGGER else "BTC-USD"
    fields = {"contract_code": contract_code, "client_order_id": "5"}
    assert ask(exchange, path, fields) == error(1066, "order_id cannot be empty.")


def test_an_order_with_a_refusal_stays_open(exchange: Exchange) -> None:
    """Every cancel of the order is refused with this code."""
    order = exchange.book.add("swap", "BTC-USD", refusal=1088)
    replies = [ask(exchange, CANCEL, batch("BTC-USD", order.order_id)) for _ in range(2)]
    message = (
        "BTC-USD contract is restricted of withdraw order on API. Please contact customer service."
    )
    assert [reply["data"]["errors"] for reply in replies] == [
        [item(order.order_id, 1088, message)]
    ] * 2
    assert exchange.book.verdict(order.order_id) == "open"


def test_a_repeated_id_is_canceled_once(exchange: Exchange) -> None:
    """The second cancel in the same call is refused."""
    order = exchange.book.add("swap", "BTC-USD")
    data = ask(exchange, CANCEL, batch("BTC-USD", order.order_id, order.order_id))["data"]
    assert data["successes"] == order.order_id
    assert [error["err_code"] for error in data["errors"]] == [1071]


@pytest.mark.parametrize(
    ("path", "contract_code", "limit"),
    [(CANCEL, "BTC-USD", 10), (TRACK, "BTC-USD", 10), (TRIGGER, "BTC-USDT", 20)],
)
def test_a_batch_has_a_size_limit(
    exchange: Exchange, path: str, contract_code: str, limit: int
) -> None:
    """A call with more ids than the page allows is refused as a whole."""
    ids = [str(number) for number in range(1, limit + 2)]
    assert len(ask(exchange, path, batch(contract_code, *ids[:-1]))["data"]["errors"]) == limit
    assert ask(exchange, path, batch(contract_code, *ids)) == error(
        1052, "The number exceeds the batch limit."
    )


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        (b"{", 1030, "Input error."),
        (b'{"contract_code":"\xff"}', 1030, "Input error."),
        (b"[]", 1030, "Input error."),
        (b"", 1030, "Input error."),
        ({"contract_code": 5, "order_id": "1"}, 1030, "Input error."),
        ({"contract_code": "BTC-USD", "order_id": ["1"]}, 1030, "Input error."),
        ({"contract_code": "BTC-USD", "order_id": 1.5}, 1030, "Input error."),
        ({"contract_code": "BTC-USD", "order_id": True}, 1030, "Input error."),
        ({"contract_code": "BTC-USD", "order_id": -1}, 1067, "Illegal parameter order_id."),
        ({"order_id": "1"}, 1066, "contract_code cannot be empty."),
        ({"contract_code": None, "order_id": "1"}, 1066, "contract_code cannot be empty."),
        ({"contract_code": ""}, 1066, "contract_code cannot be empty."),
        ({"contract_code": "BTC-USDT", "order_id": "1"}, 1014, "This contract doesnt exist."),
        ({"contract_code": "BTC-USD"}, 1066, "order_id cannot be empty."),
        ({"contract_code": "BTC-USD", "order_id": ""}, 1066, "order_id cannot be empty."),
        ({"contract_code": "BTC-USD", "order_id": "1,"}, 1067, "Illegal parameter order_id."),
        ({"contract_code": "BTC-USD", "order_id": "1, 2"}, 1067, "Illegal parameter order_id."),
        ({"contract_code": "BTC-USD", "order_id": "x"}, 1067, "Illegal parameter order_id."),
        ({"contract_code": "BTC-USD", "order_id": "²"}, 1067, "Illegal parameter order_id."),
    ],
)
def test_bad_parameters_in_v1(exchange: Exchange, fields: Any, code: int, message: str) -> None:
    """The whole call is refused, and has charged its budget."""
    response = exchange.handle(post(CANCEL, fields), NOW)
    assert response.status == 200
    assert decoded(response) == error(code, message)
    assert response.headers["ratelimit-remaining"] == "35"
    assert exchange.log[0].outcome == "invalid"


@pytest.mark.parametrize("given_id", ["0", "x", "-1", "9223372036854775808", "1" * 5000])
def test_client_ids_are_integers_of_63_bits(exchange: Exchange, given_id: str) -> None:
    """A client order id is an integer from 1 to 2^63 - 1."""
    fields = {"contract_code": "BTC-USD", "client_order_id": given_id}
    message = "The form number of client isnt an integer."
    assert ask(exchange, CANCEL, fields) == error(1065, message)
    fields["client_order_id"] = "9223372036854775807"
    assert ask(exchange, CANCEL, fields)["status"] == "ok"


def test_unknown_contract_on_linear(exchange: Exchange) -> None:
    """The USDT-M calls have another code for an unknown contract."""
    assert ask(exchange, TRIGGER, batch("BTC-USD", "1")) == error(
        1332, "The contract doesnt exist."
    )


@pytest.mark.parametrize(
    ("path", "kind"), [(CANCEL, "swap_trailing"), (TRIGGER, "v5"), (V5, "linear_trigger")]
)
def test_a_contract_of_any_order_of_the_product_is_known(
    exchange: Exchange, path: str, kind: Kind
) -> None:
    """The product need not trade the contract."""
    exchange.book.add(kind, "NEW-9")
    ask(exchange, path, batch("NEW-9", "1"))
    assert exchange.log[0].outcome in ("ok", "refused")


# All trailing orders


@pytest.fixture
def trailing(exchange: Exchange) -> list[Order]:
    """Return four trailing orders: buy open, buy close, sell open, sell close."""
    return [
        exchange.book.add("swap_trailing", "BTC-USD", direction=direction, offset=offset)
        for direction in ("buy", "sell")
        for offset in ("open", "close")
    ]


@pytest.mark.parametrize(
    ("filters", "canceled"),
    [
        ({}, [0, 1, 2, 3]),
        ({"direction": "buy"}, [0, 1]),
        ({"direction": "sell", "offset": None}, [2, 3]),
        ({"offset": "close"}, [1, 3]),
        ({"direction": "sell", "offset": "open"}, [2]),
    ],
)
def test_cancel_all_applies_its_filters(
    exchange: Exchange, trailing: list[Order], filters: dict[str, str], canceled: list[int]
) -> None:
    """Direction and offset, alone or together."""
    exchange.book.add("swap", "BTC-USD")
    exchange.book.add("swap_trailing", "ETH-USD")
    data = ask(exchange, TRACK_ALL, {"contract_code": "btc-usd", **filters})["data"]
    assert data == {
        "errors": [],
        "successes": ",".join(trailing[index].order_id for index in canceled),
    }
    assert len(exchange.book.open()) == 6 - len(canceled)


def test_cancel_all_names_refused_orders(exchange: Exchange, trailing: list[Order]) -> None:
    """Orders that are not open are not named."""
    trailing[0].refusal = 1056
    trailing[1].state = "filled"
    data = ask(exchange, TRACK_ALL, {"contract_code": "BTC-USD", "direction": "buy"})["data"]
    assert data == {
        "errors": [
            item(
                trailing[0].order_id,
                1056,
                "In settlement. Your order can’t be placed/withdrew currently.",  # noqa: RUF001
            )
        ],
        "successes": "",
    }


def test_cancel_all_with_nothing_open(exchange: Exchange) -> None:
    """The whole call is refused."""
    exchange.book.add("swap_trailing", "BTC-USD", state="canceled")
    assert ask(exchange, TRACK_ALL, {"contract_code": "BTC-USD"}) == error(
        1051, "No orders to cancel."
    )
    assert exchange.log[0].outcome == "refused"


@pytest.mark.parametrize("name", ["direction", "offset"])
def test_cancel_all_with_a_bad_choice(exchange: Exchange, name: str) -> None:
    """An unknown direction or offset is refused."""
    fields = {"contract_code": "BTC-USD", name: "up"}
    assert ask(exchange, TRACK_ALL, fields) == error(1067, f"Illegal parameter {name}.")


# v5


def test_v5_success(exchange: Exchange) -> None:
    """A canceled order is named by both of its ids, as strings."""
    order = exchange.book.add("v5", "BTC-USDT", client_order_id=5)
    assert ask(exchange, V5, batch("BTC-USDT", order.order_id)) == in_v5(
        200, "Success", {"order_id": order.order_id, "client_order_id": "5"}
    )
    assert order.canceled_by_us


@pytest.mark.parametrize("margin_mode", ["cross", "isolated"])
def test_a_v5_cancel_finds_orders_of_both_margin_modes(
    exchange: Exchange, margin_mode: MarginMode
) -> None:
    """The cancel call ignores a margin mode."""
    order = exchange.book.add("v5", "BTC-USDT", margin_mode=margin_mode)
    fields = batch("BTC-USDT", order.order_id) | {"margin_mode": "nonsense"}
    assert ask(exchange, V5, fields)["code"] == 200
    assert order.canceled_by_us


@pytest.mark.parametrize("by", [str, int])
def test_v5_ids_are_strings_or_numbers(exchange: Exchange, by: type) -> None:
    """The page's table has strings, and its example numbers."""
    first = exchange.book.add("v5", "BTC-USDT", order_id=1329854625038651392)
    second = exchange.book.add("v5", "BTC-USDT", client_order_id=77)
    replies = [
        ask(exchange, V5, {"contract_code": "BTC-USDT", "order_id": by(first.order_id)}),
        ask(exchange, V5, {"contract_code": "BTC-USDT", "client_order_id": by(77)}),
    ]
    assert [reply["data"] for reply in replies] == [
        {"order_id": "1329854625038651392", "client_order_id": "1329854625038651392"},
        {"order_id": second.order_id, "client_order_id": "77"},
    ]


@pytest.mark.parametrize(
    ("state", "refusal", "code", "message"),
    [
        ("filled", None, 1063, "The order has been executed."),
        ("canceling", None, 1062, "Canceling. Thank you for your patience."),
        ("canceled", None, 1071, "Repeated cancellation. Your order has been canceled."),
        ("open", 4999, 4999, "Unknown error."),
    ],
)
def test_v5_refusal_of_the_order(
    exchange: Exchange, state: State, refusal: int | None, code: int, message: str
) -> None:
    """An order's refusal is the code of the whole reply."""
    order = exchange.book.add("v5", "BTC-USDT", state=state, refusal=refusal)
    assert ask(exchange, V5, batch("BTC-USDT", order.order_id)) == error_v5(code, message)
    assert exchange.log == [Call(NOW, V5, (order.order_id,), "refused", code)]


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        (b"nonsense", 1030, "Input error."),
        ({"order_id": "1"}, 1067, "Invalid contract_code parameter"),
        ({"contract_code": "BTC-USD", "order_id": "1"}, 1067, "Invalid contract_code parameter"),
        ({"contract_code": "BTC-USDT"}, 1066, "order_id cannot be empty."),
        ({"contract_code": "BTC-USDT", "order_id": "1"}, 1061, "The order does not exist."),
        ({"contract_code": "BTC-USDT", "order_id": "1,2"}, 1067, "Illegal parameter order_id."),
        ({"contract_code": "BTC-USDT", "order_id": True}, 1030, "Input error."),
        ({"contract_code": 5, "order_id": "1"}, 1030, "Input error."),
        (
            {"contract_code": "BTC-USDT", "client_order_id": "a"},
            1065,
            "Customer order numbers should be integers.",
        ),
    ],
)
def test_bad_parameters_in_v5(exchange: Exchange, fields: Any, code: int, message: str) -> None:
    """v5 calls refuse in their own envelope and texts."""
    assert ask(exchange, V5, fields) == error_v5(code, message)


def test_a_v5_batch_has_an_item_for_each_order(exchange: Exchange) -> None:
    """The last order comes first, because v5 keeps no order; an unknown order has the given id."""
    path = "/v5/trade/cancel_batch_orders"
    order = exchange.book.add("v5", "BTC-USDT", client_order_id=5)
    none = {"code": 1061, "message": "The order does not exist."}
    fields = {"contract_code": "BTC-USDT", "order_id": [order.order_id, "77"]}
    assert ask(exchange, path, fields)["data"] == [
        none | {"order_id": "77", "client_order_id": None},
        {"code": 200, "message": "Success", "order_id": order.order_id, "client_order_id": "5"},
    ]
    fields = {"contract_code": "BTC-USDT", "client_order_id": ["6"]}
    assert ask(exchange, path, fields)["data"] == [
        none | {"order_id": None, "client_order_id": "6"}
    ]


def test_a_v5_cancel_of_algo_orders_names_algo_ids(exchange: Exchange) -> None:
    """Both ids have other names than those of plain orders."""
    order = exchange.book.add("v5_algo", "BTC-USDT", client_order_id=5)
    fields = [{"contract_code": "BTC-USDT", "algo_id": order.order_id}]
    (item,) = ask(exchange, "/v5/algo/cancel_orders", fields)["data"]
    assert (item["algo_id"], item["algo_client_order_id"]) == (order.order_id, "5")


@pytest.mark.parametrize("narrower", [{"contract_code": "btc260327"}, {"contract_type": "quarter"}])
def test_a_cancel_all_of_futures_takes_a_contract(
    exchange: Exchange, narrower: dict[str, str]
) -> None:
    """Without one it is about every contract of the coin."""
    orders = [exchange.book.add("futures", code) for code in ("BTC260327", "BTC260109")]
    for fields, left in ((narrower, [orders[1]]), ({}, [])):
        ask(exchange, "/api/v1/contract_cancelall", {"symbol": "BTC", **fields})
        assert exchange.book.open() == left


def test_a_contract_in_settlement_refuses_cancels(exchange: Exchange) -> None:
    """Its queries are answered."""
    order = exchange.book.add("swap", "BTC-USD")
    exchange.settling.add("BTC-USD")
    fields = batch("BTC-USD", order.order_id)
    assert ask(exchange, CANCEL, fields)["err_code"] == 1056
    assert ask(exchange, "/swap-api/v1/swap_order_info", fields)["status"] == "ok"
    assert order.state == "open"


# Rate limits and transport


def test_rate_headers_count_down(exchange: Exchange) -> None:
    """Every signed reply has the call's limit, its remaining calls and the window's end."""
    seen = []
    for now in (NOW, NOW + 0.5, NOW + 1):
        headers = exchange.handle(post(TRACK, batch("BTC-USD", "1"), now=now), now).headers
        seen.append({name: value for name, value in headers.items() if "ratelimit" in name})
    assert seen == [
        {
            "ratelimit-limit": "5",
            "ratelimit-interval": "1000",
            "ratelimit-remaining": remaining,
            "ratelimit-reset": str(reset),
        }
        for remaining, reset in (("4", TS + 1000), ("3", TS + 1000), ("4", TS + 2000))
    ]


@pytest.mark.parametrize("path", PATHS)
def test_rate_rejection(path: str) -> None:
    """A call beyond the limit is refused with 1032 and not executed."""
    exchange = Exchange(limits={path: (1, 1)})
    order = exchange.book.add("swap", "BTC-USD")
    ask(exchange, path, {})
    response = exchange.handle(post(path, batch("BTC-USD", order.order_id)), NOW)
    assert response.status == 200
    assert decoded(response) == (
        error_v5(1032, "Maximum number of access attempts exceeded.")
        if path == V5
        else error(1032, "The number of access exceeded the limit.")
    )
    assert response.headers["ratelimit-remaining"] == "0"
    assert (exchange.calls[path], exchange.refused[path]) == (2, 1)
    assert exchange.log[1] == Call(NOW, path, (order.order_id,), "rate", 1032)
    assert order.state == "open"


def test_a_bad_signature_charges_nothing(exchange: Exchange) -> None:
    """Only a valid signature charges a budget."""
    for _ in range(9):
        exchange.handle(HttpRequest("POST", HOST, TRACK, {}, b"{}"), NOW)
    assert ask(exchange, TRACK, batch("BTC-USD", "1"))["status"] == "ok"


def test_without_limits_no_rate_header() -> None:
    """No call is refused."""
    exchange = Exchange(limits=False)
    headers = [exchange.handle(post(TRACK, {}), NOW).headers for _ in range(9)]
    assert all(list(names) == ["Content-Type"] for names in headers)


def test_a_reply_is_sent_as_plain_text(exchange: Exchange) -> None:
    """The content type is text/plain, although the body is JSON."""
    headers = exchange.handle(post(CANCEL, {}), NOW).headers
    assert headers["Content-Type"] == "text/plain;charset=UTF-8"


@pytest.mark.parametrize(
    ("option", "accepted", "compressed"),
    [
        (True, {"Accept-Encoding": "gzip, deflate"}, True),
        (True, {"accept-encoding": "deflate"}, False),
        (True, {}, False),
        (False, {"Accept-Encoding": "gzip"}, False),
    ],
)
def test_gzip(option: bool, accepted: dict[str, str], compressed: bool) -> None:
    """A reply is compressed if the request accepts gzip and the option is on."""
    exchange = Exchange(gzip=option)
    target = signed_target(CANCEL)
    response = exchange.handle(HttpRequest("POST", HOST, target, accepted, b"{}"), NOW)
    assert (response.headers.get("Content-Encoding") == "gzip") == compressed
    body = gzip.decompress(response.body) if compressed else response.body
    assert json.loads(body) == error(1066, "contract_code cannot be empty.")


# The log and the book


def test_the_log_has_every_call(exchange: Exchange) -> None:
    """An entry has the call's time, path, ids and outcome."""
    ask(exchange, CANCEL, batch("BTC-USD", "1", "2"))
    ask(exchange, CANCEL, {"contract_code": "BTC-USD", "client_order_id": "3"}, now=NOW + 1)
    assert exchange.log == [
        Call(NOW, CANCEL, ("1", "2"), "ok", 200),
        Call(NOW + 1, CANCEL, ("3",), "ok", 200),
    ]


def test_the_log_can_be_switched_off() -> None:
    """Calls are still counted."""
    exchange = Exchange(keep_log=False)
    ask(exchange, CANCEL, batch("BTC-USD", "1"))
    assert (exchange.log, exchange.calls[CANCEL]) == ([], 1)


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b"{", ()),
        (b"{}", ()),
        (b'{"order_id": "1,2", "client_order_id": "3"}', ("1", "2")),
        (b'{"order_id": null, "client_order_id": 3}', ("3",)),
    ],
)
def test_the_ids_of_a_request(body: bytes, ids: tuple[str, ...]) -> None:
    """A body that cannot be decoded has none."""
    assert ids_in(HttpRequest("POST", HOST, CANCEL, {}, body)) == ids


def test_new_ids_lose_digits_in_floats() -> None:
    """New ids increase and have 19 digits, more than a float can hold."""
    book = Book()
    ids = [int(book.add("swap", "BTC-USD").order_id) for _ in range(3)]
    assert ids == sorted(ids)
    assert {len(str(order_id)) for order_id in ids} == {19}
    assert len({float(order_id) for order_id in ids}) < len(set(ids))


def test_new_ids_avoid_given_ids() -> None:
    """The next free id is used."""
    book = Book()
    first = int(book.add("swap", "BTC-USD").order_id)
    book.add("v5", "BTC-USDT", order_id=first + 1)
    assert int(book.add("swap", "BTC-USD").order_id) == first + 2


def test_a_duplicate_id_is_an_error() -> None:
    """The id may be a string or a number."""
    book = Book()
    book.add("swap", "BTC-USD", order_id=7)
    with pytest.raises(ValueError, match=r"^order 7 already exists$"):
        book.add("v5", "BTC-USDT", order_id="7")


def test_the_book_finds_orders_and_their_states() -> None:
    """Orders are found by an id as string or number, or by kind and contract."""
    book = Book()
    first = book.add("swap", "btc-usd")
    second = book.add("swap", "ETH-USD")
    third = book.add("v5", "BTC-USDT", state="filled")
    assert book[first.order_id] is book[int(first.order_id)] is first
    assert (len(book), first.contract_code) == (3, "BTC-USD")
    assert book.open() == [first, second]
    assert book.open("swap", "ETH-USD") == [second]
    assert book.open(contract_code="BTC-USDT") == []
    assert [book.verdict(order_id) for order_id in (first.order_id, third.order_id, 5)] == [
        "open",
        "filled",
        "missing",
    ]


@pytest.mark.parametrize(
    ("path", "fields", "code"),
    [
        ("/v5/algo/cancel_orders", {"contract_code": "BTC-USDT", "algo_id": "1"}, 1030),
        ("/v5/algo/cancel_orders", [], 1030),
        (
            "/v5/algo/cancel_orders",
            [
                {"contract_code": "BTC-USDT", "algo_id": "1"},
                {"contract_code": "ETH-USDT", "algo_id": "2"},
            ],
            1067,
        ),
        ("/v5/trade/cancel_batch_orders", {"contract_code": "BTC-USDT", "order_id": "1"}, 1030),
        ("/v5/trade/cancel_order", [{"contract_code": "BTC-USDT", "order_id": "1"}], 1030),
    ],
)
def test_a_body_of_another_form_is_refused(path: str, fields: object, code: int) -> None:
    """A list instead of an object, an object instead of a list, or two contracts in a call."""
    assert ask(Exchange(), path, fields)["code"] == code
