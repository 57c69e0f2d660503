"""``htx-cancel demo``: it ends well, says what it checked, and would notice a lie."""

import io
import random
import subprocess
import sys

import pytest
from cli_sandbox import runner
from msgspec.structs import replace
from rich.console import Console

from htx_cancel import CancelStatus, EverythingReport, OrderResult
from htx_cancel.cli import app, demo
from htx_cancel.cli.drill import EACH, judge
from htx_cancel.cli.groups import workloads
from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS
from htx_cancel.sandbox import Book
from htx_cancel.sandbox.rules import PRODUCTS as KINDS


def test_it_exits_with_0_if_everything_agrees() -> None:
    """It says first what it will do, names every endpoint, and says what was checked.

    It ends with a panic: all products and kinds, protective ones too, are proved empty.
    """
    result = runner().invoke(app, ["demo", "--scale", "0.02", "--seed", "3"])
    assert result.exit_code == 0, result.output
    for name in ("coin_m_swap orders", "usdt_m orders", "5 / 1 s", "accepted"):
        assert name in result.output
    assert "Neither accepted nor closed" in result.output
    assert "statuses checked against the exchange's book: all agree" in result.output
    plan, _, rest = result.output.partition("\n\n1. ")
    assert "Two parts, on this machine alone" in plan
    assert "2. A panic" in plan
    panic = rest.partition("\n2. Panic: ")[2]
    rows = [line.split() for line in panic.splitlines()]
    proved = {(row[0], row[1]) for row in rows if row and row[-1] == "yes"}
    kinds = [kind.partition("_orders")[0] for kind in ALL_KINDS]
    assert proved == {(product, kind) for product in ALL_PRODUCTS for kind in kinds}
    number = len(KINDS) * round(EACH * 0.02)
    assert panic.startswith(f"{number} orders of all products and kinds are open")
    assert "Proved in" in panic
    assert f"{number} orders were open, and 0 are in the exchange's book: agree" in panic


def test_a_proof_that_is_not_true_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange that lists nothing keeps the orders that have no call to cancel all."""
    monkeypatch.setattr(Book, "listed", lambda *_: [])
    result = runner().invoke(app, ["demo", "--scale", "0.01"])
    assert result.exit_code == 1
    assert "in the exchange's book: DISAGREE" in result.output


def test_a_panic_that_proves_nothing_is_noticed() -> None:
    """Though the book is empty."""
    console = Console(file=io.StringIO())
    report = EverythingReport(proved=False, kinds=(), unchecked=(), seconds=1.0)
    assert judge(report, Book(), 1, console) == 1
    assert judge(replace(report, proved=True), Book(), 1, console) == 0


def test_each_endpoint_takes_a_little_over_twelve_seconds_or_less() -> None:
    """So that all of it is over in half a minute."""
    jobs = demo.fill(Book(), random.Random(0), 1.0)
    loads = workloads(job.group for job in jobs)
    assert max(load.least for load in loads.values()) == 12.0


@pytest.mark.parametrize("window", ["epoch", "slide"])
def test_it_agrees_however_the_exchange_counts(window: str) -> None:
    """The other two readings of a limit end the same."""
    result = runner().invoke(app, ["demo", "--scale", "0.01", "--window", window])
    assert result.exit_code == 0, result.output


def test_it_is_plain_where_there_is_no_terminal() -> None:
    """In a pipe of 80 columns there is no control code and no long line."""
    done = subprocess.run(
        [sys.executable, "-m", "htx_cancel", "demo", "--scale", "0.01"],
        capture_output=True,
        check=True,
    )
    assert b"\x1b" not in done.stdout
    assert done.stderr == b""
    assert max(map(len, done.stdout.decode().splitlines())) <= 80


def test_a_lying_exchange_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange that accepts and cancels nothing ends the demo with 1."""
    monkeypatch.setattr(Book, "cancel", lambda *_: None)
    result = runner().invoke(app, ["demo", "--scale", "0.01"])
    assert result.exit_code == 1
    assert "disagree" in result.output
    assert "was left open" in result.output


def job(field: str) -> tuple[Book, demo.Job]:
    """Fill a book with one of the demo's jobs."""
    book = Book()
    jobs = demo.fill(book, random.Random(0), 0.02)
    return book, next(job for job in jobs if job.group.field == field)


@pytest.mark.parametrize("field", ["order_id", "client_order_id"])
def test_every_untrue_status_is_named(field: str) -> None:
    """Of orders that nobody canceled, those told as accepted are untrue, one by one."""
    book, given = job(field)
    told = [OrderResult(key, CancelStatus.ACCEPTED) for key in given.expected]
    assert len(list(demo.disagreements(book, given, told))) == len(told)


def test_ids_that_are_missing_from_an_outcome_are_noticed() -> None:
    """An outcome has each id that was to be told, once."""
    book, given = job("order_id")
    (words,) = demo.disagreements(book, given, [])
    assert "the ids told of are not those given" in words


def test_a_cancel_all_that_was_not_accepted_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fate of the call itself is checked."""
    monkeypatch.setattr(Book, "open", lambda *_: [])
    result = runner().invoke(app, ["demo", "--scale", "0.01"])
    assert result.exit_code == 1
    assert "a call without ids was told as not_found" in result.output


def test_the_same_seed_makes_the_same_orders() -> None:
    """A demo can be repeated."""
    first, second, other = (
        [it.group for it in demo.fill(Book(), random.Random(seed), 0.1)] for seed in (1, 1, 2)
    )
    assert first == second != other
