"""Test the reading of files of orders: what is accepted, and what is refused with its line."""

from pathlib import Path

import pytest

from htx_cancel.cli.groups import Group, workloads
from htx_cancel.cli.input_file import BadInputError, read
from htx_cancel.endpoints import coin_m_futures, coin_m_swap, usdt_m, usdt_m_v1_isolated
from htx_cancel.sandbox import Book
from htx_cancel.sandbox.seeding import add_from_csv

EXAMPLE = Path(__file__).parent.parent / "examples" / "orders.csv"
HEADER = b"endpoint,contract_code,order_id,client_order_id,direction,offset\n"
SWAP, V5 = HEADER + b"coin_m_swap.cancel_orders", HEADER + b"usdt_m.cancel_orders"
LINE = b'{"endpoint":"coin_m_swap.cancel_orders",'

ALL = "coin_m_swap.cancel_all_trailing_orders"


def test_rows_of_one_kind_are_one_group_in_their_order() -> None:
    """Rows are grouped by endpoint, contract and kind of id; an id counts once, blanks never."""
    rows = (
        b"coin_m_swap.cancel_orders,BTC-USD,3,,,\nusdt_m.cancel_orders,BTC-USDT,,8,,\n"
        b"coin_m_swap.cancel_orders,BTC-USD,1,,,\n\n , ,,,,\n"
        b" coin_m_swap.cancel_orders , ETH-USD , 2 ,,sell,\n"
        b"coin_m_swap.cancel_orders,BTC-USD,3,,,\ncoin_m_swap.cancel_orders,BTC-USD,,9,,\n"
    )
    assert read(HEADER + rows) == [
        Group(coin_m_swap.ORDERS, "BTC-USD", ids=("3", "1")),
        Group(usdt_m.ORDERS, "BTC-USDT", "client_order_id", ids=("8",)),
        Group(coin_m_swap.ORDERS, "ETH-USD", ids=("2",)),
        Group(coin_m_swap.ORDERS, "BTC-USD", "client_order_id", ids=("9",)),
    ]
    assert read(HEADER.replace(b",", b" , ") + rows) == read(HEADER + rows)


def test_json_lines_give_the_same_groups_as_csv() -> None:
    """JSON ids may be strings or whole numbers; other fields are ignored."""
    text = (
        b'\xef\xbb\xbf{"endpoint":"coin_m_swap.cancel_orders","contract_code":"BTC-USD","order_id":"7","x":[]}\n'
        b'\n{"endpoint":"coin_m_swap.cancel_orders","contract_code":"BTC-USD","order_id":1100000000000000001}\r\n'
        b'{"endpoint":"coin_m_swap.cancel_all_trailing_orders","contract_code":"BTC-USD","direction":"sell"}'
    )
    assert read(text) == [
        Group(coin_m_swap.ORDERS, "BTC-USD", ids=("7", "1100000000000000001")),
        Group(coin_m_swap.ALL_TRAILING_ORDERS, "BTC-USD", "", filters=(("direction", "sell"),)),
    ]


def test_equal_cancel_alls_are_one_call() -> None:
    """Cancel-all rows are one call per contract, direction and offset; a call counts as one id."""
    rows = b"coin_m_swap.cancel_all_trailing_orders,BTC-USD,,,%s\n"
    groups = read(HEADER + b"".join(rows % end for end in (b",", b",", b"sell,", b"sell,close")))
    sell = ("direction", "sell")
    assert [group.filters for group in groups] == [(), (sell,), (sell, ("offset", "close"))]
    assert (workloads(groups)[ALL].ids, workloads(groups)[ALL].requests) == (3, 3)


def test_a_row_with_both_ids_is_cancelled_by_its_order_id() -> None:
    """An export of the exchange has both ids."""
    assert read(V5 + b",BTC-USDT,5,6,,\n")[0].ids == ("5",)


def test_the_limits_decide_the_minimum_time() -> None:
    """The minimum time follows from the number of requests and the rate limit."""
    for number, requests, seconds in ((200, 10, 1.0), (201, 11, 2.0)):
        ids = tuple(map(str, range(1, number + 1)))
        group = Group(usdt_m_v1_isolated.TRIGGER_ORDERS, "BTC-USDT", ids=ids)
        loaded = workloads([group])["usdt_m_v1_isolated.cancel_trigger_orders"]
        assert (loaded.ids, loaded.requests, loaded.min_seconds) == (number, requests, seconds)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1: must be a CSV header or a JSON object, got an empty file"),
        (b" \n\n", "line 1: must be a CSV header or a JSON object, got an empty file"),
        (b"endpoint,order_id\n", "line 1: the header must name 'contract_code' once"),
        (b"contract_code,kind\n", "header must name 'endpoint', or 'product' and 'kind', got ["),
        (b"endpoint,contract_code,a,a\n", "line 1: the header must name each column once, got ["),
        (
            SWAP + b",BTC-USD,7\xff,,,\n",
            "line 2: text must be UTF-8, got b",
        ),
        (
            SWAP + b",BTC-USD,7,,,,8\n",
            "line 2: a row must have at most 6 values",
        ),
        (SWAP + b',BTC-USD,"7', "line 2: unexpected end of data"),
        (
            HEADER + b"swap,BTC-USD,7,,,\n",
            "line 2: endpoint must be one of coin_m_swap.",
        ),
        (SWAP + b",,7,,,\n", "line 2: contract_code "),
        (
            SWAP + b",BTC-USD,1,,,\ncoin_m_swap.cancel_orders,BTC-USD",
            "line 3: coin_m_swap.cancel_orders must have an",
        ),
        (
            HEADER + b"coin_m_swap.cancel_trailing_orders,BTC-USD,,,,\n",
            "line 2: coin_m_swap.cancel_trailing_orders must have an order_id, got none",
        ),
        (
            HEADER + b"coin_m_swap.cancel_trailing_orders,BTC-USD,,7,,\n",
            "order_id, got a client_order_id",
        ),
        (
            HEADER + b"coin_m_swap.cancel_all_trailing_orders,BTC-USD,7,,,\n",
            "must have no id, got order_id",
        ),
        (HEADER + b"coin_m_swap.cancel_all_trailing_orders,BTC-USD,,,up,\n", "line 2: direction "),
        (HEADER + b"coin_m_swap.cancel_all_trailing_orders,BTC-USD,,,,up\n", "line 2: offset "),
        (
            SWAP + b',BTC-USD,7,,,\ncoin_m_swap.cancel_orders,BTC-USD,"7,8",,,\n',
            "line 3: order_id ",
        ),
        (
            SWAP + b",BTC-USD,1.1E+18,,,\n",
            "line 2: order_id must be a whole number",
        ),
        (
            V5 + b",BTC-USDT,,12.0,,\n",
            "line 2: client_order_id must be a whole",
        ),
        (V5 + b",BTC-USDT,,1e5,,\n", "got the float 1e5"),
        (V5 + b",BTC-USDT,,-1.1E+18,,\n", "got the float -1.1E+18"),
        (
            b'{"endpoint":"coin_m_swap.cancel_all_orders","contract_code":"B","order_id":0}',
            "line 1: coin_m_swap.cancel_all_orders must have no id, got order_id",
        ),
        (
            LINE + b'"contract_code":"BTC-USD","order_id":1.0}',
            "the float 1.0",
        ),
        (
            LINE + b'"contract_code":"BTC-USD","order_id":-1}',
            "line 1: ",
        ),
        (
            LINE + b'"contract_code":"B","order_id":"1"}\n{"endpoi',
            "line 2: Inp",
        ),
        (SWAP + b",BTC-USD,1E5,,,\nswap,BTC-USD,7,,,\n", "line 2: order_id must be a whole"),
        (SWAP + b',BTC-USD,"7,8",,,\nswap,BTC-USD,7,,,\n', "line 2: order_id must be 1 to 64"),
        (b'\n{"contract_code":"BTC-USD","order_id":"1"}', "line 2: endpoint must be one of coin"),
        (
            LINE + b'"contract_code":"B","order_id":true}',
            "line 1: Expected",
        ),
    ],
)
def test_a_bad_row_is_refused_with_its_line(content: bytes, words: str) -> None:
    """The error names the line and the rule."""
    with pytest.raises(BadInputError) as error:
        read(content)
    assert words in str(error.value)


NARROWED = b"endpoint,contract_code,contract_type,side,position_side,direction,offset\n"


def test_a_cancel_all_takes_the_filters_of_its_endpoint() -> None:
    """Each filter has its column; the cancel-all of all contracts names no contract."""
    rows = (
        b"usdt_m.cancel_all_orders,BTC-USDT,,sell,long,,\n"
        b"usdt_m.cancel_all_account_orders,,,buy,,,\n"
        b"coin_m_futures.cancel_all_orders,BTC,quarter,,,buy,close\n"
    )
    assert read(NARROWED + rows) == [
        Group(
            usdt_m.ALL_ORDERS,
            "BTC-USDT",
            "",
            filters=(("side", "sell"), ("position_side", "long")),
        ),
        Group(usdt_m.ALL_ACCOUNT_ORDERS, "", "", filters=(("side", "buy"),)),
        Group(
            coin_m_futures.ALL_ORDERS,
            "BTC",
            "",
            filters=(("direction", "buy"), ("offset", "close"), ("contract_type", "quarter")),
        ),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            b"coin_m_swap.cancel_all_tpsl_orders,BTC-USD,,,,buy,open\n",
            "line 2: coin_m_swap.cancel_all_tpsl_orders must have no offset, got 'open'",
        ),
        (b"usdt_m.cancel_all_orders,BTC-USDT,,,,buy,\n", "must have no direction, got 'buy'"),
        (b"coin_m_swap.cancel_all_orders,BTC-USD,quarter,,,,\n", "must have no contract_type"),
        (b"coin_m_swap.cancel_all_orders,BTC-USD,,buy,,,\n", "must have no side, got 'buy'"),
        (b"usdt_m.cancel_all_orders,BTC-USDT,,,up,,\n", "line 2: position_side must be one of"),
        (b"coin_m_futures.cancel_all_orders,BTC,now,,,,\n", "line 2: contract_type must be one"),
        (b"usdt_m.cancel_all_orders,,,sell,,,\n", "line 2: contract_code must be a word"),
        (
            b"usdt_m.cancel_all_account_orders,BTC-USDT,,,,,\n",
            "line 2: usdt_m.cancel_all_account_orders must have no contract_code, got 'BTC-USDT'",
        ),
    ],
)
def test_a_filter_that_the_endpoint_does_not_take_is_refused(row: bytes, words: str) -> None:
    """Without the filter the call would cancel more orders than the user meant."""
    with pytest.raises(BadInputError) as error:
        read(NARROWED + row)
    assert words in str(error.value)


def test_a_row_may_name_product_and_kind() -> None:
    """Lists of open orders do so; their other columns are ignored."""
    text = (
        b'{"product":"usdt_m","kind":"algo_orders","contract_code":"BTC-USDT","order_id":"7",'
        b'"client_order_id":"8","direction":"buy","price":"1.5","type":"tpsl"}\n'
        b'{"product":"usdt_m","kind":"algo_orders","contract_code":"BTC-USDT",'
        b'"client_order_id":9}\n'
    )
    expected = [
        Group(usdt_m.ALGO_ORDERS, "BTC-USDT", ids=("7",)),
        Group(usdt_m.ALGO_ORDERS, "BTC-USDT", "client_order_id", ids=("9",)),
    ]
    assert read(text) == expected
    rows = b"usdt_m,algo_orders,BTC-USDT,7,8\nusdt_m,algo_orders,BTC-USDT,,9\n"
    assert read(b"product,kind,contract_code,order_id,client_order_id\n" + rows) == expected


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"usdt_m,tpsl_orders,BTC-USDT,7", "one of coin_m_swap orders, coin_m_swap trigger_ord"),
        (b"usdt_m,tpsl_orders,BTC-USDT,7", "got 'usdt_m' and 'tpsl_orders'"),
        (b"coin_m_swap,,BTC-USD,7", "got 'coin_m_swap' and ''"),
        (b"coin_m_swap,all_orders,BTC-USD,", "got 'coin_m_swap' and 'all_orders'"),
        (b"coin_m_swap,orders,BTC-USD,", "coin_m_swap.cancel_orders must have an order_id or a"),
        (b",,BTC-USD,7", "line 2: endpoint must be one of"),
    ],
)
def test_product_and_kind_never_name_a_cancel_all(row: bytes, words: str) -> None:
    """A row that lost its id, or its product or kind, never becomes a cancel-all."""
    with pytest.raises(BadInputError) as error:
        read(b"product,kind,contract_code,order_id\n" + row)
    assert words in str(error.value)


def test_the_endpoint_overrides_product_and_kind() -> None:
    """An older file may use these column names for something else."""
    header = b"endpoint,product,kind,contract_code,order_id\n"
    (group,) = read(header + b"coin_m_swap.cancel_orders,perpetual,limit,BTC-USD,7\n")
    assert group == Group(coin_m_swap.ORDERS, "BTC-USD", ids=("7",))
    with pytest.raises(BadInputError, match="line 2: endpoint must be one of"):
        read(header + b"coin_m_swap.cancel_order,coin_m_swap,orders,BTC-USD,7\n")


@pytest.mark.parametrize("word", ["a1e5", "1e", "e5", "1-5", "0x1.8", "abc"])
def test_a_word_that_is_no_float_is_an_id(word: str) -> None:
    """Only values that look like a float are taken for rounded numbers."""
    assert read(HEADER + f"usdt_m.cancel_orders,BTC-USDT,,{word},,".encode())[0].ids == (word,)


def test_the_example_is_read_by_the_sandbox_and_by_the_command_line() -> None:
    """The example has five endpoints and both kinds of ids."""
    book = Book()
    add_from_csv(book, EXAMPLE.read_text().splitlines())
    groups = read(EXAMPLE.read_bytes())
    assert len(workloads(groups)) == 5
    assert {group.field for group in groups} == {"order_id", "client_order_id", ""}
    assert sum(len(group.ids) for group in groups) - 2 == len(book) - 3
