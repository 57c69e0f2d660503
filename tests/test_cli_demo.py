"""Test ``htx-cancel demo``: it succeeds, says what it checked, and notices wrong results."""

import io
import subprocess
import sys

import pytest
from cli_sandbox import runner
from msgspec.structs import replace
from rich.console import Console

from htx_cancel import CancelStatus, EverythingReport, OrderResult
from htx_cancel.cli import app, demo_orders
from htx_cancel.cli.demo import ORDERS_PER_KIND, judge_proof
from htx_cancel.cli.groups import workloads
from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS
from htx_cancel.sandbox import Book
from htx_cancel.sandbox.rules import PRODUCTS as KINDS


def test_it_exits_with_0_if_everything_agrees() -> None:
    """The output has the plan, every endpoint and the checks of both parts.

    In the second part all kinds of all products, protective kinds too, are proved empty.
    """
    result = runner().invoke(app, ["demo", "--scale", "0.02", "--seed", "3"])
    assert result.exit_code == 0, result.output
    for name in ("coin_m_swap orders", "usdt_m orders", "5 / 1 s", "accepted"):
        assert name in result.output
    assert "Neither accepted nor closed" in result.output
    assert "statuses checked against the exchange's book: all agree" in result.output
    plan, _, rest = result.output.partition("\n\n1. ")
    assert "Two parts, on this machine only" in plan
    assert "2. Cancel thousands of orders" in plan
    second_part = rest.partition("\n2. ")[2]
    rows = [line.split() for line in second_part.splitlines()]
    proved = {(row[0], row[1]) for row in rows if row and row[-1] == "yes"}
    kinds = [kind.partition("_orders")[0] for kind in ALL_KINDS]
    assert proved == {(product, kind) for product in ALL_PRODUCTS for kind in kinds}
    number = len(KINDS) * round(ORDERS_PER_KIND * 0.02)
    assert second_part.startswith(f"{number} orders of all products and kinds are open")
    assert "Proved in" in second_part
    assert (
        f"{number} orders were open; 0 are open in the exchange's book now: the proof is true"
        in second_part
    )


def test_a_false_proof_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the exchange lists nothing, orders of kinds without a cancel-all stay open."""
    monkeypatch.setattr(Book, "listed", lambda *_: [])
    result = runner().invoke(app, ["demo", "--scale", "0.01"])
    assert result.exit_code == 1
    assert "the proof is FALSE" in result.output


def test_a_missing_proof_is_noticed() -> None:
    """A report without proof fails the demo, even if the book is empty."""
    console = Console(file=io.StringIO())
    report = EverythingReport(proved=False, kinds=(), unchecked=(), seconds=1.0)
    assert judge_proof(report, Book(), 1, console) == 1
    assert judge_proof(replace(report, proved=True), Book(), 1, console) == 0


def test_each_endpoint_takes_at_most_a_little_over_twelve_seconds() -> None:
    """This keeps the whole demo below half a minute."""
    jobs = demo_orders.fill(Book(), 0, 1.0)
    loads = workloads(job.group for job in jobs)
    assert max(load.min_seconds for load in loads.values()) == 12.0


@pytest.mark.parametrize("window", ["epoch", "slide"])
def test_it_agrees_however_the_exchange_counts(window: str) -> None:
    """The demo also succeeds with the other two ways to count requests."""
    result = runner().invoke(app, ["demo", "--scale", "0.01", "--window", window])
    assert result.exit_code == 0, result.output


def test_a_pipe_gets_plain_text() -> None:
    """A pipe gets no control codes and no line above 80 columns."""
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


def job(field: str) -> tuple[Book, demo_orders.Job]:
    """Fill a book with one of the demo's jobs."""
    book = Book()
    jobs = demo_orders.fill(book, 0, 0.02)
    return book, next(job for job in jobs if job.group.field == field)


@pytest.mark.parametrize("field", ["order_id", "client_order_id"])
def test_every_untrue_status_is_named(field: str) -> None:
    """Each accepted status of an order that nobody canceled is named."""
    book, given = job(field)
    told = [OrderResult(key, CancelStatus.ACCEPTED) for key in given.expected]
    assert len(list(demo_orders.disagreements(book, given, told))) == len(told)


def test_ids_that_are_missing_from_an_outcome_are_noticed() -> None:
    """An outcome must have each expected id once."""
    book, given = job("order_id")
    (words,) = demo_orders.disagreements(book, given, [])
    assert "the reported ids are not the given ids" in words


def test_a_cancel_all_that_was_not_accepted_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status of the cancel-all itself is checked."""
    monkeypatch.setattr(Book, "open", lambda *_: [])
    result = runner().invoke(app, ["demo", "--scale", "0.01"])
    assert result.exit_code == 1
    assert "the call is not_found, not accepted" in result.output


def test_the_same_seed_makes_the_same_orders() -> None:
    """The seed makes a demo repeatable."""
    first, second, other = (
        [job.group for job in demo_orders.fill(Book(), seed, 0.1)] for seed in (1, 1, 2)
    )
    assert first == second != other
