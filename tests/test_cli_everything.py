"""Test ``htx-cancel everything`` against a sandbox: consent, progress, report and exit codes."""

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cli_sandbox import KEYS, Sandbox, fill, seen, served, typed
from rich.console import Console

from htx_cancel import EverythingReport, KindReport, Remaining
from htx_cancel.cli.everything import EverythingView, show_report
from htx_cancel.cli.scope import Scope
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.exchange import HttpRequest, HttpResponse, Script
from htx_cancel.sandbox.rules import QUERIES

ALL_KINDS = "orders,trigger_orders,tpsl_orders,trailing_orders"
ALL_PRODUCTS = "coin_m_swap,coin_m_futures,usdt_m,usdt_m_v1_isolated,usdt_m_v1_cross"
#: Quick: its lists need no walk through the contracts.
USDT_M = ("--products", "usdt_m")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Serve orders of every kind."""
    with served() as one:
        fill(one.exchange)
        yield one


def kinds_open(sandbox: Sandbox) -> set[str]:
    """Return the kinds of the open orders."""
    return {order.kind for order in sandbox.exchange.book.open()}


def test_all_products_and_kinds_are_proved_empty(sandbox: Sandbox) -> None:
    """With ``--yes`` the command does not ask; the proof makes the exit code 0."""
    words = ("--products", ALL_PRODUCTS, "--kinds", ALL_KINDS)
    result = sandbox.invoke("everything", "--yes", *words)
    assert result.exit_code == 0, result.output
    assert not sandbox.exchange.book.open()
    assert "no order of the chosen products, kinds and contracts is open." in result.stderr
    assert "Not checked" not in result.stderr
    assert "NO" not in result.stderr.split()
    assert result.stdout == ""
    assert max(map(len, result.stderr.splitlines())) <= 80


def test_protective_orders_and_legacy_products_are_left_alone(sandbox: Sandbox) -> None:
    """The report names the products and kinds that were not checked."""
    result = sandbox.invoke("everything", "--yes")
    assert result.exit_code == 0, result.output
    left = kinds_open(sandbox)
    assert not left & {"swap", "swap_trigger", "futures", "futures_trigger", "v5"}
    assert left >= {"swap_tpsl", "swap_trailing", "linear", "cross", "v5_algo"}
    assert "Not checked: usdt_m (tpsl orders, trailing orders)" in result.stderr
    assert "Not checked: usdt_m_v1_cross (all kinds)" in result.stderr


def test_only_the_contracts_named_are_cancelled(sandbox: Sandbox) -> None:
    """Products without any of the named contracts are left out."""
    result = sandbox.invoke("everything", "--yes", "--contracts", "BTC-USDT", *USDT_M)
    assert result.exit_code == 0, result.output
    assert {order.contract_code for order in sandbox.exchange.book.open("v5")} == {"ETH-USDT"}


def sent(sandbox: Sandbox) -> set[str]:
    """Return the paths of the cancels that were sent."""
    return {call.path for call in sandbox.exchange.log if call.path not in QUERIES}


def test_yes_cancels_before_anything_is_listed(sandbox: Sandbox) -> None:
    """The first request is a cancel, not a list."""
    assert sandbox.invoke("everything", "--yes", *USDT_M).exit_code == 0
    assert sandbox.exchange.log[0].path == "/v5/trade/cancel_all_orders"


def test_the_word_is_asked_for_after_a_preview(sandbox: Sandbox) -> None:
    """The preview has counts by product and kind, and names the kinds that are left alone."""
    done = typed("cancel\n", "everything", *USDT_M, url=sandbox.server.base_url)
    assert done.returncode == 0, done.stderr
    before, _, after = done.stderr.partition("Type cancel to cancel all of these orders: ")
    rows = [line.split() for line in before.splitlines()]
    assert ["usdt_m", "orders", "2"] in rows
    assert ["usdt_m", "trigger", "orders", "2"] in rows
    assert "Take-profit, stop-loss and trailing orders protect positions and are left" in before
    assert f"--kinds {ALL_KINDS}" in before
    assert "Proved in" in after
    assert "canary" not in done.stderr
    assert not sandbox.exchange.book.open("v5")
    assert done.stdout == ""


def test_the_preview_warns_about_protective_orders(sandbox: Sandbox) -> None:
    """The preview warns if a protective kind is named."""
    words = ("everything", *USDT_M, "--kinds", "orders,tpsl_orders")
    done = typed("no\n", *words, url=sandbox.server.base_url)
    assert (
        "are cancelled as well:\nthe positions that they protect will not be protected"
        in done.stderr
    )
    assert "left alone" not in done.stderr
    assert ["usdt_m", "tpsl", "orders", "6"] in [line.split() for line in done.stderr.splitlines()]


@pytest.mark.parametrize("word", ["\n", "yes\n", "Cancel\n", "cancel everything\n", "\x04"])
def test_another_word_cancels_nothing(sandbox: Sandbox, word: str) -> None:
    """Only lists are sent, and the exit code is 1."""
    done = typed(word, "everything", *USDT_M, url=sandbox.server.base_url)
    assert done.returncode == 1
    assert done.stderr.endswith("Nothing was cancelled.\n")
    assert not sent(sandbox)


def test_a_preview_that_is_not_complete_says_so() -> None:
    """The preview names what could not be listed."""
    with served(withdrawn=["/v5/algo/order/opens"]) as sandbox:
        done = typed("no\n", "everything", *USDT_M, url=sandbox.server.base_url)
    assert "Not listed: usdt_m algo_orders: " in done.stderr


def test_without_a_terminal_nothing_is_asked_or_sent(sandbox: Sandbox) -> None:
    """Nothing is sent, whatever standard input holds, and the exit code is 2."""
    result = sandbox.invoke("everything", given="cancel\n")
    assert result.exit_code == 2
    words = "standard input must be a terminal to ask for consent; or give --yes"
    assert result.stderr == f"htx-cancel: {words}\n"
    assert not sandbox.exchange.calls


def test_an_order_that_may_be_open_is_named_with_the_reason(sandbox: Sandbox) -> None:
    """The exit code is 1, and the report says that nothing is proved."""
    stuck = sandbox.exchange.book.add("v5", "BTC-USDT", refusal=1088)
    result = sandbox.invoke("everything", "--yes", *USDT_M, "--timeout", "2")
    assert result.exit_code == 1
    assert sandbox.exchange.book.open("v5") == [stuck]
    assert "usdt_m orders, not proved: " in result.stderr
    assert f"  BTC-USDT {stuck.order_id}: rejected: 1088 " in result.stderr
    assert "NOT proved after 2." in result.stderr
    rows = [line.split() for line in result.stderr.splitlines()]
    assert ["usdt_m", "orders", "2", "-", "1", "NO"] in rows


def test_a_product_that_is_closed_to_the_account_is_not_proved() -> None:
    """The exit code is 1."""
    with served(withdrawn=[path for path in QUERIES if path.startswith("/v5/")]) as sandbox:
        result = sandbox.invoke("everything", "--yes", *USDT_M)
    assert result.exit_code == 1
    assert "usdt_m orders, not proved: " in result.stderr
    assert "404" in result.stderr


BAD = [
    (("--products", "spot"), "--products must be some of "),
    (("--kinds", "algo_orders"), "--kinds must be some of "),
    (("--contracts", "BTC-USD", "--products", "usdt_m"), "--contracts must be of usdt_m, got"),
    (("--timeout", "-1"), "timeout must be above 0 seconds"),
    (("--base-url", "http://api.hbdm.com"), "base_url "),
]


@pytest.mark.parametrize(("words", "expected"), BAD)
def test_bad_input_is_refused_and_nothing_is_sent(
    sandbox: Sandbox, words: tuple[str, ...], expected: str
) -> None:
    """The error is one line, and the exit code is 2."""
    result = sandbox.invoke("everything", "--yes", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"htx-cancel: {expected}")
    assert result.stderr.count("\n") == 1
    assert not sandbox.exchange.calls


class Signalling(Exchange):
    """Sends this process a signal at the fifth request."""

    number = signal.SIGINT

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        """Send the signal, and answer as usual."""
        if self.calls.total() == 4:
            os.kill(os.getpid(), self.number)
        return super().handle(request, now, script)


class Terminating(Signalling):
    """Sends SIGTERM instead of SIGINT."""

    number = signal.SIGTERM


@pytest.mark.parametrize(("kind", "code"), [(Signalling, 130), (Terminating, 143)])
def test_a_signal_ends_the_command_with_the_last_report(kind: type[Exchange], code: int) -> None:
    """After the signal no more requests are sent, and the command does not wait for its timeout."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with served(kind) as sandbox:
        fill(sandbox.exchange, 20)
        result = sandbox.invoke("everything", "--yes", "--kinds", ALL_KINDS, "--timeout", "20")
        assert sandbox.exchange.book.open()
        assert sandbox.exchange.calls.total() < 100
    assert result.exit_code == code, result.output
    assert "Stopping: no more requests are sent." in result.stderr
    (seconds,) = re.findall(r"NOT proved after ([0-9.]+) s", result.stderr)
    assert float(seconds) < 10.0
    assert "Traceback" not in result.stderr
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_ctrl_c_at_the_question_cancels_nothing(sandbox: Sandbox) -> None:
    """No line needs to follow Ctrl-C, and the exit code is 130."""
    keyboard, terminal = os.openpty()
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "htx_cancel", "everything", *USDT_M, *_to(sandbox)],
        stdin=terminal,
        stderr=subprocess.PIPE,
        env=os.environ | KEYS | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stderr is not None
        said = b""
        while not said.endswith(b"these orders: "):
            said += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    os.close(terminal)
    os.close(keyboard)
    assert process.returncode == 130
    assert rest == b"\nNothing was cancelled.\n"
    assert not sent(sandbox)


def _to(sandbox: Sandbox) -> tuple[str, str]:
    return "--base-url", sandbox.server.base_url


def test_a_terminal_shows_a_table_during_the_cancel(sandbox: Sandbox) -> None:
    """The table is redrawn in place, and the report follows."""
    code, text = seen("everything", "--yes", *USDT_M, url=sandbox.server.base_url)
    assert code == 0
    during, _, after = text.partition(b"Results by kind of order")
    assert b"Cancelling for" in during
    assert b"\x1b[2K" in during
    assert b"Proved in" in after


def report(*kinds: KindReport, proved: bool = False) -> EverythingReport:
    """Make a report."""
    return EverythingReport(proved=proved, kinds=kinds, unchecked=(), seconds=1.5)


def screen() -> tuple[Console, io.StringIO]:
    """Return a console that is not a terminal, and the file it writes to."""
    file = io.StringIO()
    return Console(file=file, width=80, highlight=False, markup=False), file


async def test_without_a_terminal_a_line_is_printed_when_a_count_changes() -> None:
    """A report with the same counts prints no line."""
    console, file = screen()
    first = KindReport("usdt_m", "orders", accepted=1234, remaining=(Remaining("B", "1", "r"),))
    view = EverythingView(console, Scope())
    with view.shown():
        for each in (first, first, KindReport("usdt_m", "orders", proved=True, accepted=1235)):
            view.take(report(each))
    assert file.getvalue().splitlines() == [
        "Cancelling.",
        "1.5 s: 1,234 accepted, 1 still listed, 0 of 1 kinds proved empty",
        "1.5 s: 1,235 accepted, 0 still listed, 1 of 1 kinds proved empty",
    ]


async def test_before_the_first_listing_nothing_is_proved() -> None:
    """Each kind of the scope is named as not proved."""
    console, file = screen()
    view = EverythingView(console, Scope(contracts=("BTC-USD",)))
    show_report(view.report, console)
    assert "coin_m_swap orders, not proved: the orders were not listed" in file.getvalue()
    assert "coin_m_swap trigger orders, not proved: the orders were not listed" in file.getvalue()
    assert "usdt_m" not in file.getvalue()
    assert "NOT proved" in file.getvalue()


def test_a_long_list_of_orders_is_cut_and_cannot_move_the_cursor() -> None:
    """Twenty orders of a kind are named, and the number of the others."""
    console, file = screen()
    some = tuple(Remaining("BTC-USDT", str(number), "\x1b[2J\nx") for number in range(1050))
    show_report(report(KindReport("usdt_m", "orders", remaining=some, why="a\x1b[2Jb")), console)
    text = file.getvalue()
    assert text.count("BTC-USDT") == 20
    assert "  and 1,030 more; htx-cancel list shows all" in text
    assert "\x1b" not in text


def test_proved_kinds_alone_are_no_proof() -> None:
    """``proved`` of the whole report decides."""
    console, file = screen()
    show_report(report(KindReport("usdt_m", "orders", proved=True, why="")), console)
    assert "NOT proved after 1.5 s" in file.getvalue()
