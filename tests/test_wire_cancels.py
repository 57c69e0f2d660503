"""Encode batches, and decode what a reply says of each id."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import of, ok, read

from htx_cancel.endpoints import (
    Endpoint,
    coin_m_futures,
    coin_m_swap,
    usdt_m,
    usdt_m_v1_cross,
)
from htx_cancel.status import Finding
from htx_cancel.wire import cancels
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import CLIENT_ID_CAVEAT


@pytest.mark.parametrize(
    ("endpoint", "contract_code", "field", "single", "body"),
    [
        (coin_m_swap.ORDERS, "BTC-USD", "order_id", False, {"order_id": "1329854625038651393,2"}),
        (usdt_m.ORDERS, "BTC-USDT", "order_id", False, {"order_id": ["1329854625038651393", "2"]}),
        (
            usdt_m_v1_cross.ORDERS,
            "BTC-USDT",
            "order_id",
            False,
            {"order_id": "1329854625038651393,2"},
        ),
    ],
)
def test_ids_are_sent_as_the_page_says(
    endpoint: Endpoint, contract_code: str, field: str, single: bool, body: dict[str, object]
) -> None:
    """Ids are strings, joined by commas or in a list."""
    made = cancels.encode(
        endpoint, contract_code, field, ["1329854625038651393", "2"], single=single
    )
    assert json.loads(made) == {"contract_code": contract_code, **body}


def test_a_single_v5_id_is_a_string() -> None:
    """The call for one v5 order takes a string, the call for several a list."""
    made = cancels.encode(usdt_m.ORDERS, "BTC-USDT", "client_order_id", ["7"], single=True)
    assert json.loads(made) == {"contract_code": "BTC-USDT", "client_order_id": "7"}


def test_algo_ids_are_sent_in_objects() -> None:
    """The body is a list of objects, or one object if the exchange takes no list."""
    algo = usdt_m.ALGO_ORDERS
    one = {"contract_code": "BTC-USDT", "algo_id": "1"}
    made = cancels.encode(algo, "BTC-USDT", "algo_id", ["1", "2"])
    assert json.loads(made) == [one, {"contract_code": "BTC-USDT", "algo_id": "2"}]
    assert json.loads(cancels.encode(algo, "BTC-USDT", "algo_id", ["1"], single=True)) == one


@pytest.mark.parametrize(
    ("given", "coin"), [("BTC", "BTC"), ("BTC261225", "BTC"), ("1INCH261225", "1INCH")]
)
def test_a_delivery_contract_is_named_by_its_coin(given: str, coin: str) -> None:
    """A cancel-all also names the contract, unless a coin was given."""
    ids = cancels.encode(coin_m_futures.ORDERS, given, "order_id", ["7"])
    assert json.loads(ids) == {"symbol": coin, "order_id": "7"}
    narrower = {"contract_code": given} if given != coin else {}
    every = cancels.encode_all(coin_m_futures.ALL_ORDERS, given, {"direction": None})
    assert json.loads(every) == {"symbol": coin, **narrower}


def test_an_account_wide_call_names_no_contract() -> None:
    """An empty contract code is not sent."""
    assert cancels.encode_all(usdt_m.ALL_ACCOUNT_ORDERS, "", {"side": None}) == b"{}"


def test_a_filter_that_is_not_given_is_left_out() -> None:
    """Cancel-all sends no nulls."""
    body = cancels.encode_all(
        coin_m_swap.ALL_ORDERS, "BTC-USD", {"direction": "buy", "offset": None}
    )
    assert json.loads(body) == {"contract_code": "BTC-USD", "direction": "buy"}


def test_the_example_of_the_v1_page_is_decoded() -> None:
    """The reply of the swap_cancel page names one success and one missing order."""
    answer = read(
        ok(
            "771038212360937472",
            {
                "order_id": "768503271974985728",
                "err_code": 1061,
                "err_msg": "This order doesnt exist.",
            },
        )
    )
    assert of(answer, "771038212360937472") == Finding(Meaning.ACCEPTED)
    assert of(answer, "768503271974985728") == Finding(
        Meaning.NOT_FOUND, 1061, "This order doesnt exist."
    )
    assert of(answer, "1").meaning is Meaning.UNNAMED


def test_the_example_of_the_v5_page_is_decoded() -> None:
    """The reply of the v5 page names its order under both kinds of id."""
    reply = {
        "code": 200,
        "data": {"client_order_id": "7", "order_id": "1329854625038651392"},
        "message": "Success",
        "ts": 1737104050245,
    }
    answer = read(reply, endpoint=usdt_m.ORDERS)
    assert of(answer, "1329854625038651392").meaning is Meaning.ACCEPTED
    assert of(answer, "7").meaning is Meaning.UNNAMED
    by_client = read(reply, endpoint=usdt_m.ORDERS, field="client_order_id")
    assert of(by_client, "7").meaning is Meaning.ACCEPTED


def test_an_empty_string_of_successes_names_no_id() -> None:
    """The exchange sends ``""`` if no cancel was accepted."""
    assert read(ok("")).named == {}


def test_a_success_wins_over_an_error_and_keeps_its_code() -> None:
    """The exchange's own example shows an id in both lists."""
    answer = read(ok("5", {"order_id": "5", "err_code": 1062, "err_msg": "Cancelling."}))
    assert of(answer, "5") == Finding(Meaning.ACCEPTED, 1062, "Cancelling.")


def test_of_two_errors_for_one_id_the_first_counts() -> None:
    """The order in the reply decides."""
    answer = read(ok("", {"order_id": "5", "err_code": 1063}, {"order_id": "5", "err_code": 1061}))
    assert of(answer, "5").meaning is Meaning.FILLED


@pytest.mark.parametrize(
    "item",
    [
        {"order_id": "5", "err_code": 1063, "err_msg": "x"},
        {"order_id": 5, "err-code": "1063", "err-msg": "x"},
        {"client_order_id": "5", "code": 1063, "message": "x"},
        {"client_order_id": "5", "order_id": "7", "error_code": 1063, "error_msg": "x"},
    ],
)
def test_an_error_is_read_in_every_spelling(item: dict[str, object]) -> None:
    """Numbers and strings, underscores and dashes, either field for the id."""
    answer = read(ok("", item), field="client_order_id")
    assert answer.named == {"5": Finding(Meaning.FILLED, 1063, "x")}


@pytest.mark.parametrize("successes", ["5,6", " 5 , 6 ,", [" 5 ", 6]])
def test_successes_are_read_as_a_string_or_a_list(successes: object) -> None:
    """The exchange sends a comma-joined string; a list would mean the same."""
    assert set(read(ok(successes)).named) == {"5", "6"}


def test_an_id_that_is_a_float_names_no_order() -> None:
    """A float may have lost digits."""
    assert of(read(ok([5.0])), "5").meaning is Meaning.UNNAMED


def test_an_item_without_an_id_names_no_order() -> None:
    """Empty ids, missing ids, and lists that are no lists are ignored."""
    for data in (
        {"successes": ["", None]},
        {"errors": [{"err_code": 1063}]},
        {"errors": 5},
        [{"code": 200}],
    ):
        assert read({"status": "ok", "data": data}).named == {}


def test_a_reply_may_have_only_successes_or_only_errors() -> None:
    """The other list is then empty."""
    assert read({"status": "ok", "data": {"successes": "5"}}).named == {
        "5": Finding(Meaning.ACCEPTED)
    }
    errors = [{"order_id": "5", "err_code": 1063}]
    assert read({"status": "ok", "data": {"errors": errors}}).named == {
        "5": Finding(Meaning.FILLED, 1063)
    }


def test_an_order_id_in_a_v5_list_is_not_a_client_order_id() -> None:
    """The two kinds of ids may have equal values; only v1 errors carry any id as ``order_id``."""
    data = [{"code": 200, "order_id": "5", "client_order_id": None}]
    answer = read({"code": 200, "data": data}, endpoint=usdt_m.ORDERS, field="client_order_id")
    assert answer.named == {}


def test_each_item_of_a_v5_list_has_its_own_code() -> None:
    """The 200 of the whole reply does not accept an item that carries an error."""
    items = [
        {"code": 200, "message": "成功", "order_id": "1"},
        {"code": 1061, "message": "m", "order_id": "2"},
        {"code": "?", "message": "m", "order_id": "3"},
        {"order_id": "4"},
        {"success": False, "error_msg": "m", "order_id": "5"},
        {"success": False, "error_code": 1061, "order_id": "6"},
        {"success": True, "order_id": "7"},
        "junk",
    ]
    answer = read({"code": 200, "data": items}, endpoint=usdt_m.ORDERS)
    assert [of(answer, key).meaning for key in "12345678"] == [
        Meaning.ACCEPTED,
        Meaning.NOT_FOUND,
        Meaning.UNCLEAR,
        Meaning.UNCLEAR,
        Meaning.UNCLEAR,
        Meaning.NOT_FOUND,
        Meaning.ACCEPTED,
        Meaning.UNNAMED,
    ]


def test_a_failure_of_one_order_counts_more_than_the_200_around_it() -> None:
    """A v5 reply about one order may carry the order's own code."""
    for data in ({"order_id": "5", "success": False}, {"order_id": "5", "code": 1063}):
        answer = read({"code": 200, "data": data}, endpoint=usdt_m.ORDERS)
        assert of(answer, "5").meaning is not Meaning.ACCEPTED


@pytest.mark.parametrize("field", ["client_order_id", "algo_client_order_id"])
@pytest.mark.parametrize("text", ["This order doesnt exist.", ""])
def test_an_order_not_found_by_its_client_id_may_still_be_live(text: str, field: str) -> None:
    """The message of the whole call, or of the id, says so."""
    item = {"order_id": "5", "err_code": 1061, "err_msg": text}
    batch = read(ok("", item, {"order_id": "6", "err_code": 1063}), field=field)
    single = read({"code": 1061, "message": text}, endpoint=usdt_m.ORDERS, field=field)
    message = f"{text} {CLIENT_ID_CAVEAT}".strip()
    assert of(batch, "5") == of(single, "5") == Finding(Meaning.NOT_FOUND, 1061, message)
    assert "8 hours" in message
    assert of(batch, "6").message == ""


def test_an_order_not_found_by_its_order_id_has_the_exchange_s_message() -> None:
    """Order ids do not expire, so the message has no caveat."""
    item = {"order_id": "5", "err_code": 1061, "err_msg": "m"}
    assert of(read(ok("", item)), "5").message == "m"
    assert read({"status": "error", "err_code": 1017, "err_msg": "m"}).whole.message == "m"


ids = st.sampled_from([str(number) for number in range(8)])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | ids
items = st.dictionaries(
    st.sampled_from(["order_id", "client_order_id", "err_code", "code", "err_msg"]), scalars
)
values = st.recursive(scalars | items, lambda inner: st.lists(inner, max_size=5), max_leaves=10)
replies = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["ok", "error", "maintain", 404, None]),
        "code": st.sampled_from([200, "200", 1032, 1061, None, 200.0]),
        "err_code": values,
        "message": values,
        "data": values
        | st.fixed_dictionaries(
            {}, optional={"errors": values, "successes": values | st.lists(ids).map(",".join)}
        ),
    },
)


def names(value: object) -> set[str]:
    """Return every string in a reply that may be an id."""
    if isinstance(value, dict):
        return set().union(*map(names, value.values()))
    if isinstance(value, list):
        return set().union(*map(names, value))
    return {part.strip() for part in str(value).split(",")}


@given(replies, st.sampled_from([200, 201, 302, 404, 500]))
def test_no_reply_accepts_an_id_that_it_does_not_name(reply: object, status: int) -> None:
    """An id is accepted only by a 2xx reply that has the id in its data."""
    answer = read(reply, status=status)
    accepted = {key for key in map(str, range(8)) if of(answer, key).meaning is Meaning.ACCEPTED}
    assert not accepted or status < 300
    data = reply.get("data") if isinstance(reply, dict) else None
    assert accepted <= names(data)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_random_bytes_never_raise_and_never_accept(body: bytes, status: int) -> None:
    """Decoding does not fail, and accepts nothing."""
    answer = cancels.decode(status, body, coin_m_swap.ORDERS)
    assert of(answer, "1").meaning is not Meaning.ACCEPTED
