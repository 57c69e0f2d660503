"""Test the lines of results: what they contain, and what they settle."""

from pathlib import Path

import msgspec
import pytest

from htx_cancel import CallResult, CancelStatus, CloseReason, OrderResult
from htx_cancel.cli.groups import Group
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.cli.output import opened
from htx_cancel.cli.results import line, settled, unsettled
from htx_cancel.endpoints import coin_m_swap, usdt_m

ORDERS = Group(coin_m_swap.ORDERS, "BTC-USD", ids=("1", "2", "3"))
BY_CLIENT_ID = Group(coin_m_swap.ORDERS, "BTC-USD", "client_order_id", ids=("1", "2"))
SELL = (("direction", "sell"),)
ALL = Group(coin_m_swap.ALL_TRAILING_ORDERS, "BTC-USD", "", filters=SELL)


def lines(group: Group, *results: OrderResult | CallResult) -> list[bytes]:
    """Write results as the command does."""
    return [msgspec.json.encode(line(group, each)) + b"\n" for each in results]


def order(order_id: str, status: str) -> OrderResult:
    """Make a result."""
    return OrderResult(order_id, CancelStatus(status))


def test_a_line_has_every_field_of_a_result() -> None:
    """The id is in its own field, and the message is as the exchange wrote it."""
    closed = OrderResult("1", CancelStatus.CLOSED, 1063, "Done.", CloseReason.FILLED, 2)
    (text,) = lines(BY_CLIENT_ID, closed)
    assert msgspec.json.decode(text) == {
        "endpoint": "coin_m_swap.cancel_orders",
        "contract_code": "BTC-USD",
        "order_id": None,
        "client_order_id": "1",
        "direction": None,
        "offset": None,
        "contract_type": None,
        "side": None,
        "position_side": None,
        "status": "closed",
        "code": 1063,
        "message": "Done.",
        "reason": "filled",
        "attempts": 2,
    }


def test_a_call_without_ids_has_a_line_without_one() -> None:
    """The line of a cancel-all names its filters."""
    said = line(ALL, CallResult(CancelStatus.ACCEPTED, attempts=1))
    assert (said.order_id, said.direction, said.offset, said.attempts) == (None, "sell", None, 1)


def test_a_cancel_all_is_settled_for_its_filters_only() -> None:
    """A call with another side, or for all contracts, is another call."""
    sells, buys = (
        Group(usdt_m.ALL_ORDERS, "BTC-USDT", "", filters=(("side", side),))
        for side in ("sell", "buy")
    )
    account = Group(usdt_m.ALL_ACCOUNT_ORDERS, "", "")
    done = settled(lines(sells, CallResult(CancelStatus.ACCEPTED)))
    assert unsettled([sells, buys, account], done) == [buys, account]
    done |= settled(lines(account, CallResult(CancelStatus.ACCEPTED)))
    assert unsettled([sells, buys, account], done) == [buys]


def test_settled_ids_are_left_out() -> None:
    """Only ids of the same field, contract and endpoint are left out."""
    done = settled(
        [
            *lines(ORDERS, order("1", "accepted"), order("2", "unknown"), order("3", "not_found")),
            *lines(BY_CLIENT_ID, order("1", "rejected"), order("2", "closed")),
        ]
    )
    other = Group(coin_m_swap.ORDERS, "ETH-USD", ids=("1",))
    assert unsettled([ORDERS, BY_CLIENT_ID, other], done) == [
        msgspec.structs.replace(ORDERS, ids=("2",)),
        msgspec.structs.replace(BY_CLIENT_ID, ids=("1",)),
        other,
    ]
    assert unsettled([Group(coin_m_swap.ORDERS, "BTC-USD", ids=("1", "3"))], done) == []


def test_the_last_line_about_an_id_counts() -> None:
    """A later line overrides an earlier one, whichever of them is settled."""
    first = lines(ORDERS, order("1", "unsent"), order("2", "accepted"))
    then = lines(ORDERS, order("1", "accepted"), order("2", "unknown"))
    assert unsettled([ORDERS], settled(first + then))[0].ids == ("2", "3")


def test_a_cancel_all_is_settled_if_its_call_and_all_its_ids_are() -> None:
    """A listed id that is not settled repeats the call; a later call settles it."""
    accepted = CallResult(CancelStatus.ACCEPTED)
    refused = lines(ALL, accepted, order("1", "rejected"), order("2", "accepted"))
    assert unsettled([ALL], settled(refused)) == [ALL]
    assert (
        unsettled([ALL], settled([*refused, *lines(ALL, accepted, order("1", "accepted"))])) == []
    )
    assert unsettled(
        [Group(coin_m_swap.ALL_TRAILING_ORDERS, "BTC-USD", "")], settled(lines(ALL, accepted))
    )


WHOLE = lines(ORDERS, order("1", "accepted"))[0]
CUTS = [
    *(WHOLE[:size] for size in (1, 5, 20, len(WHOLE) - 20, len(WHOLE) - 2)),
    lines(ORDERS, OrderResult("1", CancelStatus.REJECTED, 1, "{a}"))[0].split(b"}")[0] + b"}",
    b"\0" * 5000,
    WHOLE[:30] + b"\0" * 5000,
    WHOLE[:-1] + b"\0",
]


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_last_line_is_ignored(cut: bytes) -> None:
    """The line may be cut anywhere, and may end in NUL bytes after a crash."""
    done = settled([*lines(ORDERS, order("2", "accepted")), cut])
    assert unsettled([ORDERS], done)[0].ids == ("1", "3")


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_line_is_removed_before_more_is_written(tmp_path: Path, cut: bytes) -> None:
    """The file then has only whole lines, and a later run can read it."""
    path = tmp_path / "results.jsonl"
    path.write_bytes(lines(ORDERS, order("3", "accepted"))[0] + cut)
    with opened(path) as output:
        output.write([line(ORDERS, order("2", "accepted"))])
    assert path.read_bytes().splitlines(keepends=True) == lines(
        ORDERS, order("3", "accepted"), order("2", "accepted")
    )


@pytest.mark.parametrize("last", [WHOLE.strip(), b"a note", b'{"a":1}', b'{"a":', b"}"])
def test_a_last_line_that_is_whole_or_not_ours_is_kept(tmp_path: Path, last: bytes) -> None:
    """Only an end of line is added."""
    path = tmp_path / "results.jsonl"
    path.write_bytes(WHOLE + last)
    with opened(path) as output:
        output.write([line(ORDERS, order("2", "accepted"))])
    assert path.read_bytes() == WHOLE + last + b"\n" + lines(ORDERS, order("2", "accepted"))[0]


@pytest.mark.parametrize("cut", CUTS)
def test_a_bad_line_before_the_last_is_an_error_with_its_number(cut: bytes) -> None:
    """Only the last line of a file can have been cut."""
    with pytest.raises(BadInputError, match="line 2: must be a line of results, got"):
        settled([WHOLE, cut + b"\n", WHOLE])


@pytest.mark.parametrize(
    "text",
    [b"endpoint,contract_code", b'{"a":1}', b"[]", b'{"endpoint":""}', b'{"endpoint":"\xff"}'],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_that_is_no_result_is_bad_input(text: bytes, end: bytes) -> None:
    """A wrong file to resume from is an error, not an empty list."""
    with pytest.raises(BadInputError, match="line 2: must be a line of results, got"):
        settled([b"\n", text + end])


def test_a_line_of_an_unknown_endpoint_settles_no_other_id() -> None:
    """Another version may have written the file."""
    done = settled([lines(ORDERS, order("1", "accepted"))[0].replace(b"coin_m_swap", b"spot")])
    assert unsettled([ORDERS], done) == [ORDERS]


def test_a_last_line_with_an_end_of_line_is_not_cut() -> None:
    """A bad whole line is an error, even if it is the last one."""
    with pytest.raises(BadInputError, match="line 1: must be a line of results"):
        settled([WHOLE[:40] + b"\n"])
