"""Test the end of a run: the reasons, the warnings and whether the run is settled."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from htx_cancel import CallResult, CancelStatus, OrderResult
from htx_cancel.cli.groups import Group, Workload
from htx_cancel.cli.progress import EndpointProgress
from htx_cancel.cli.run import show_reasons
from htx_cancel.cli.summary import Summary, status_table
from htx_cancel.endpoints import ENDPOINTS, coin_m_swap

ORDERS = Group(coin_m_swap.ORDERS, "BTC-USD")
ALL = Group(coin_m_swap.ALL_TRAILING_ORDERS, "BTC-USD", "", filters=(("direction", "sell"),))


def of(*results: OrderResult | CallResult, group: Group = ORDERS) -> Summary:
    """Summarise results."""
    summary = Summary()
    summary.add(group, results)
    return summary


def orders(
    number: int, status: str, code: int | None = None, message: str = ""
) -> list[OrderResult]:
    """Make equal results."""
    return [OrderResult("1", CancelStatus(status), code, message)] * number


def call(status: str) -> CallResult:
    """Make the result of a cancel-all."""
    return CallResult(CancelStatus(status))


def shown(summary: Summary, width: int = 80) -> list[str]:
    """Return the lines that are printed at the end."""
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    show_reasons(summary, console)
    assert isinstance(console.file, io.StringIO)
    return [text.rstrip() for text in console.file.getvalue().splitlines()]


def test_reasons_are_listed_by_frequency() -> None:
    """Every reason has its status, code, message and number of ids."""
    summary = of(
        *orders(3, "accepted", 1062, "Repeated."),
        *orders(2, "closed", 1063, "Filled."),
        *orders(2, "not_found", 1061, "This order doesnt exist."),
        *orders(24, "rejected", 1088, "Order is being processed."),
        *orders(1, "unknown", None, "no answer"),
    )
    assert [text.split(maxsplit=1)[0] for text in shown(summary)[4:7]] == [
        "rejected",
        "not",
        "unknown",
    ]
    assert shown(summary)[4].split() == [
        "rejected",
        "1088",
        "Order",
        "is",
        "being",
        "processed.",
        "24",
    ]
    assert shown(summary)[8:] == ["25 orders may be live: 24 rejected, 1 unknown."]


def test_messages_that_differ_in_numbers_only_are_one_reason() -> None:
    """The first message is shown."""
    waits = [f"the next free call is {wait} s away" for wait in ("2.123", "2.4", "15")]
    (only,) = of(*(orders(1, "unsent", None, words)[0] for words in waits)).reasons
    assert (only[0].message, only[1]) == (waits[0], 3)
    codes = of(*orders(1, "rejected", 1, "a 1"), *orders(1, "rejected", 2, "a 2"))
    assert len(codes.reasons) == 2


@pytest.mark.parametrize("width", [80, 160])
def test_messages_are_cut_and_cannot_move_the_cursor(width: int) -> None:
    """Each reason is one line that fits the width, without control characters."""
    lines = shown(of(*orders(5, "rejected", 1, "a\x1b[2Jb\nc " + "long " * 100)), width)
    assert max(map(len, lines)) <= width
    assert "\x1b" not in "".join(lines)
    assert sum("rejected" in text for text in lines) == 2
    assert lines[4].split()[-1] == "5"
    assert "…" in lines[4]


def test_many_reasons_are_cut_to_the_most_frequent() -> None:
    """One row counts the other reasons."""
    summary = of(*(orders(2, "rejected", code, "")[0] for code in range(1, 31)))
    assert any("15 other reasons" in text and text.endswith("15") for text in shown(summary))


def test_a_run_without_problems_prints_nothing() -> None:
    """There is no table and no warning."""
    assert shown(of(*orders(3, "accepted"), *orders(1, "closed"))) == []


@pytest.mark.parametrize("status", ["rejected", "unknown", "unsent", "open"])
def test_an_order_that_may_be_live_is_counted(status: str) -> None:
    """Each of the four statuses counts, and makes the run unsettled."""
    summary = of(*orders(9, "accepted"), *orders(1, status))
    assert list(summary.warnings()) == [f"1 order may be live: 1 {status}."]
    assert not summary.settled


@pytest.mark.parametrize("status", ["rejected", "unknown", "unsent"])
def test_a_call_without_ids_that_failed_may_leave_any_order_open(status: str) -> None:
    """Their number is not known; listed ids are counted apart."""
    summary = of(call(status), *orders(2, "rejected"), group=ALL)
    named = "coin_m_swap.cancel_all_trailing_orders BTC-USD sell"
    assert list(summary.warnings()) == [
        "2 orders may be live: 2 rejected.",
        f"Orders may be open: the call {named} is {status}.",
    ]
    assert not summary.settled


@pytest.mark.parametrize("status", ["accepted", "not_found"])
def test_a_call_without_ids_that_was_taken_or_found_nothing_is_settled(status: str) -> None:
    """A contract without orders causes no warning."""
    summary = of(call(status), group=ALL)
    assert summary.settled
    assert list(summary.warnings()) == []


SETTLED: list[tuple[Sequence[OrderResult], bool]] = [
    (orders(3, "not_found"), False),
    ([*orders(3, "not_found"), *orders(1, "accepted")], True),
    ([*orders(3, "not_found"), *orders(1, "closed")], True),
    ([], True),
]


@pytest.mark.parametrize(("results", "settled"), SETTLED)
def test_a_run_that_found_none_of_its_orders_is_not_settled(
    results: Sequence[OrderResult], settled: bool
) -> None:
    """The contract or the account is probably wrong."""
    summary = of(*results)
    assert summary.settled is settled
    expected = "None of the 3 orders was found: check contract_code and account."
    assert list(summary.warnings()) == ([] if settled else [expected])


def test_a_table_of_all_statuses_fits_80_columns() -> None:
    """Long names break at their first space; no number is cut."""
    used = [status for status in CancelStatus if status is not CancelStatus.OPEN]
    rows = []
    for row in ENDPOINTS.values():
        progress = EndpointProgress(Workload(row, 1, 1))
        progress.counts.update(dict.fromkeys(used, 12345))
        rows.append(progress)
    console = Console(file=io.StringIO(), width=80)
    console.print(status_table(rows))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(text.count("12,345") for text in lines) == len(rows) * len(used)
    assert [text.split()[0] for text in lines[5:7]] == ["coin_m_swap", "orders"]
