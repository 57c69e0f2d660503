"""The command line's results: what is written of each id, and what an earlier run settled."""

import io
from pathlib import Path

import msgspec
import pytest

from htx_cancel import CallResult, CancelStatus, CloseReason, OrderResult
from htx_cancel.cli.groups import Group
from htx_cancel.cli.orders import BadInputError
from htx_cancel.cli.results import Results, left, line, opened, settled
from htx_cancel.endpoints import SWAP_CANCEL, SWAP_TRACK_CANCELALL

ORDERS = Group(SWAP_CANCEL, "BTC-USD", ids=("1", "2", "3"))
BY_CLIENT_ID = Group(SWAP_CANCEL, "BTC-USD", "client_order_id", ids=("1", "2"))
ALL = Group(SWAP_TRACK_CANCELALL, "BTC-USD", "", "sell")


def lines(group: Group, *results: OrderResult | CallResult) -> list[bytes]:
    """Write results as the command does."""
    file = io.BytesIO()
    Results(file).write(group, results)
    return file.getvalue().splitlines(keepends=True)


def order(order_id: str, status: str) -> OrderResult:
    """Make a result."""
    return OrderResult(order_id, CancelStatus(status))


def test_a_line_has_everything_that_is_known_of_an_id() -> None:
    """A line has the ids' own field, and the exchange's words as they are."""
    closed = OrderResult("1", CancelStatus.CLOSED, 1063, "Done.", CloseReason.FILLED, 2)
    (text,) = lines(BY_CLIENT_ID, closed)
    assert msgspec.json.decode(text) == {
        "endpoint": "swap_cancel",
        "contract_code": "BTC-USD",
        "order_id": None,
        "client_order_id": "1",
        "direction": None,
        "offset": None,
        "status": "closed",
        "code": 1063,
        "message": "Done.",
        "reason": "filled",
        "attempts": 2,
    }


def test_a_call_without_ids_has_a_line_without_one() -> None:
    """The line of a cancel-all names its direction and offset."""
    said = line(ALL, CallResult(CancelStatus.ACCEPTED, attempts=1))
    assert (said.order_id, said.direction, said.offset, said.attempts) == (None, "sell", None, 1)


def test_what_is_settled_is_left_out() -> None:
    """Only ids of the same kind, contract and endpoint with a settled last line are left out."""
    done = settled(
        [
            *lines(ORDERS, order("1", "accepted"), order("2", "unknown"), order("3", "not_found")),
            *lines(BY_CLIENT_ID, order("1", "rejected"), order("2", "closed")),
        ]
    )
    other = Group(SWAP_CANCEL, "ETH-USD", ids=("1",))
    assert left([ORDERS, BY_CLIENT_ID, other], done) == [
        msgspec.structs.replace(ORDERS, ids=("2",)),
        msgspec.structs.replace(BY_CLIENT_ID, ids=("1",)),
        other,
    ]
    assert left([Group(SWAP_CANCEL, "BTC-USD", ids=("1", "3"))], done) == []


def test_the_last_line_about_an_id_counts() -> None:
    """A later line overrules an earlier one, either way."""
    first = lines(ORDERS, order("1", "unsent"), order("2", "accepted"))
    then = lines(ORDERS, order("1", "accepted"), order("2", "unknown"))
    assert left([ORDERS], settled(first + then))[0].ids == ("2", "3")


def test_a_cancel_all_is_settled_if_its_call_and_all_its_ids_are() -> None:
    """A listed id that is not settled asks for the call again; a later call settles it."""
    accepted = CallResult(CancelStatus.ACCEPTED)
    refused = lines(ALL, accepted, order("1", "rejected"), order("2", "accepted"))
    assert left([ALL], settled(refused)) == [ALL]
    assert left([ALL], settled([*refused, *lines(ALL, accepted, order("1", "accepted"))])) == []
    assert left([Group(SWAP_TRACK_CANCELALL, "BTC-USD", "")], settled(lines(ALL, accepted)))


def test_a_line_that_was_cut_off_says_nothing(tmp_path: Path) -> None:
    """The next run writes on a new line, and a third one reads past the cut."""
    path = tmp_path / "results.jsonl"
    path.write_bytes(lines(ORDERS, order("1", "accepted"))[0][:-20])
    with opened(path) as results:
        results.write(ORDERS, [order("2", "accepted")])
    with path.open("rb") as file:
        assert left([ORDERS], settled(file))[0].ids == ("1", "3")


@pytest.mark.parametrize("text", [b"endpoint,contract_code\n", b'{"a":1}\n', b"[]\n"])
def test_what_is_no_line_of_results_is_bad_input(text: bytes) -> None:
    """A wrong file to resume from is not taken for an empty one."""
    with pytest.raises(BadInputError, match="line 2: no line of results"):
        settled([b"\n", text])


def test_a_file_that_cannot_be_opened_is_bad_input(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(BadInputError, match="nowhere"), opened(tmp_path / "nowhere" / "x.jsonl"):
        pass


def test_a_full_disk_stops_the_writing_only() -> None:
    """The first error is kept and nothing more is written."""

    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    file = Full()
    results = Results(file)
    results.write(ORDERS, [order("1", "accepted")])
    size = len(file.getvalue())
    results.write(ORDERS, [order("2", "accepted")])
    assert results.error is not None
    assert len(file.getvalue()) == size
