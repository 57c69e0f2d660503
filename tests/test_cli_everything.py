"""``htx-cancel everything`` against a sandbox on a socket: consent, progress, report and codes."""

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer
from cli_sandbox import KEYS, Sandbox, fill, runner, seen, served, typed
from rich.console import Console

from htx_cancel import EverythingReport, KindReport, Remaining
from htx_cancel.cli import app
from htx_cancel.cli.account import everything
from htx_cancel.cli.panic import PanicView, show_report
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
    """List which kinds of orders are open."""
    return {order.kind for order in sandbox.exchange.book.open()}


def test_all_products_and_kinds_are_proved_empty(sandbox: Sandbox) -> None:
    """With ``--yes`` nobody is asked, and the code is 0 for the proof."""
    words = ("--products", ALL_PRODUCTS, "--kinds", ALL_KINDS)
    result = sandbox.invoke("everything", "--yes", *words)
    assert result.exit_code == 0, result.output
    assert not sandbox.exchange.book.open()
    assert "nothing of it is open." in result.stderr
    assert "Not checked" not in result.stderr
    assert "NO" not in result.stderr.split()
    assert result.stdout == ""
    assert max(map(len, result.stderr.splitlines())) <= 80


def test_protective_orders_and_legacy_products_are_left_alone(sandbox: Sandbox) -> None:
    """Unless they are named; the report says what it did not look at."""
    result = sandbox.invoke("everything", "--yes")
    assert result.exit_code == 0, result.output
    left = kinds_open(sandbox)
    assert not left & {"swap", "swap_trigger", "futures", "futures_trigger", "v5"}
    assert left >= {"swap_tpsl", "swap_trailing", "linear", "cross", "v5_algo"}
    assert "Not checked: usdt_m, tpsl orders, trailing orders." in result.stderr
    assert "Not checked: usdt_m_v1_cross, all kinds." in result.stderr


def test_only_the_contracts_named_are_cancelled(sandbox: Sandbox) -> None:
    """Products of which none is named are not looked at."""
    result = sandbox.invoke("everything", "--yes", "--contracts", "BTC-USDT", *USDT_M)
    assert result.exit_code == 0, result.output
    assert {it.contract_code for it in sandbox.exchange.book.open("v5")} == {"ETH-USDT"}


def sent(sandbox: Sandbox) -> set[str]:
    """List the paths of the cancels that were sent."""
    return {call.path for call in sandbox.exchange.log if call.path not in QUERIES}


def test_yes_cancels_before_anything_is_listed(sandbox: Sandbox) -> None:
    """A script in a hurry does not wait for a list."""
    assert sandbox.invoke("everything", "--yes", *USDT_M).exit_code == 0
    assert sandbox.exchange.log[0].path == "/v5/trade/cancel_all_orders"


def test_the_word_is_asked_for_after_a_list_of_what_is_open(sandbox: Sandbox) -> None:
    """With counts by product and kind, and what is left alone; then it is done."""
    done = typed("cancel\n", "everything", *USDT_M, url=sandbox.server.base_url)
    assert done.returncode == 0, done.stderr
    before, _, after = done.stderr.partition("Type cancel to cancel all of it: ")
    rows = [it.split() for it in before.splitlines()]
    assert ["usdt_m", "orders", "2"] in rows
    assert ["usdt_m", "trigger", "orders", "2"] in rows
    assert "Take-profit, stop-loss and trailing orders protect positions and are left" in before
    assert f"--kinds {ALL_KINDS}" in before
    assert "Proved in" in after
    assert "canary" not in done.stderr
    assert not sandbox.exchange.book.open("v5")
    assert done.stdout == ""


def test_the_danger_of_protective_orders_is_said(sandbox: Sandbox) -> None:
    """Before the word is asked for, if one of their kinds is named."""
    words = ("everything", *USDT_M, "--kinds", "orders,tpsl_orders")
    done = typed("no\n", *words, url=sandbox.server.base_url)
    assert (
        "are cancelled as well: the positions that they\nprotect are not protected" in done.stderr
    )
    assert "left alone" not in done.stderr
    assert ["usdt_m", "tpsl", "orders", "6"] in [it.split() for it in done.stderr.splitlines()]


@pytest.mark.parametrize("word", ["\n", "yes\n", "Cancel\n", "cancel everything\n", "\x04"])
def test_another_word_cancels_nothing(sandbox: Sandbox, word: str) -> None:
    """Only lists are sent, and the code is 1."""
    done = typed(word, "everything", *USDT_M, url=sandbox.server.base_url)
    assert done.returncode == 1
    assert done.stderr.endswith("Nothing was cancelled.\n")
    assert not sent(sandbox)


def test_a_preview_that_is_not_complete_says_so() -> None:
    """Orders that could not be listed may be open as well."""
    with served(withdrawn=["/v5/algo/order/opens"]) as sandbox:
        done = typed("no\n", "everything", *USDT_M, url=sandbox.server.base_url)
    assert "Not listed: usdt_m algo_orders: " in done.stderr


def test_without_a_terminal_nobody_can_be_asked(sandbox: Sandbox) -> None:
    """Nothing is sent, whatever is piped in, and the code is 2."""
    result = sandbox.invoke("everything", given="cancel\n")
    assert result.exit_code == 2
    words = "standard input must be a terminal to ask for consent; or give --yes"
    assert result.stderr == f"htx-cancel: {words}\n"
    assert not sandbox.exchange.calls


@pytest.mark.parametrize("misread", [None, "", 1])
def test_a_parser_that_misreads_yes_is_refused(
    misread: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody has consented."""
    with pytest.raises(typer.Exit) as ending:
        everything(yes=misread)  # type: ignore[arg-type]
    assert ending.value.exit_code == 2
    assert "--yes must be True or False" in capsys.readouterr().err


def test_an_order_that_may_be_open_is_named_with_the_reason(sandbox: Sandbox) -> None:
    """The code is 1, and nothing is said to be proved."""
    stuck = sandbox.exchange.book.add("v5", "BTC-USDT", refusal=1088)
    result = sandbox.invoke("everything", "--yes", *USDT_M, "--timeout", "2")
    assert result.exit_code == 1
    assert sandbox.exchange.book.open("v5") == [stuck]
    assert "usdt_m orders, not proved: " in result.stderr
    assert f"  BTC-USDT {stuck.order_id}: rejected: 1088 " in result.stderr
    assert "NOT proved after 2." in result.stderr
    rows = [it.split() for it in result.stderr.splitlines()]
    assert ["usdt_m", "orders", "2", "-", "1", "NO"] in rows


def test_a_product_that_is_closed_to_the_account_is_not_proved() -> None:
    """The code is 1."""
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
def test_bad_input_is_told_and_nothing_is_sent(
    sandbox: Sandbox, words: tuple[str, ...], expected: str
) -> None:
    """In one line, with code 2."""
    result = sandbox.invoke("everything", "--yes", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"htx-cancel: {expected}")
    assert result.stderr.count("\n") == 1
    assert not sandbox.exchange.calls


def test_missing_keys_are_named() -> None:
    """As by ``run``."""
    env: dict[str, str | None] = {**KEYS, "HTX_SECRET_KEY": None}
    result = runner(env=env).invoke(app, ["everything", "--yes"])
    assert result.exit_code == 2
    assert result.stderr == "htx-cancel: HTX_SECRET_KEY must be set to the account's keys\n"


class Signalling(Exchange):
    """Sends this process a signal at its fifth call."""

    number = signal.SIGINT

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        """Answer as ever."""
        if self.calls.total() == 4:
            os.kill(os.getpid(), self.number)
        return super().handle(request, now, script)


class Terminating(Signalling):
    """Sends another one."""

    number = signal.SIGTERM


@pytest.mark.parametrize(("kind", "code"), [(Signalling, 130), (Terminating, 143)])
def test_a_signal_ends_it_with_a_report_of_what_is_known(kind: type[Exchange], code: int) -> None:
    """Nothing more is sent, it does not go on until its time is over, and nothing is proved."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with served(kind) as sandbox:
        fill(sandbox.exchange, 20)
        result = sandbox.invoke("everything", "--yes", "--kinds", ALL_KINDS, "--timeout", "20")
        assert sandbox.exchange.book.open()
        assert sandbox.exchange.calls.total() < 100
    assert result.exit_code == code, result.output
    assert "Stopping: nothing more is sent." in result.stderr
    (seconds,) = re.findall(r"NOT proved after ([0-9.]+) s", result.stderr)
    assert float(seconds) < 10.0
    assert "Traceback" not in result.stderr
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_ctrl_c_at_the_question_cancels_nothing(sandbox: Sandbox) -> None:
    """It need not be followed by a line, and the code is 130."""
    keyboard, terminal = os.openpty()
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "htx_cancel", "everything", *USDT_M, *_to(sandbox)],
        stdin=terminal,
        stderr=subprocess.PIPE,
        env=os.environ | KEYS | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stderr is not None
        said = b""
        while not said.endswith(b"all of it: "):
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


def test_a_terminal_sees_a_table_while_it_goes_on(sandbox: Sandbox) -> None:
    """It is drawn over itself, and the report comes after it."""
    code, text = seen("everything", "--yes", *USDT_M, url=sandbox.server.base_url)
    assert code == 0
    during, _, after = text.partition(b"What became of the orders")
    assert b"Cancelling for" in during
    assert b"\x1b[2K" in during
    assert b"Proved in" in after


def report(*kinds: KindReport, proved: bool = False) -> EverythingReport:
    """Make a report."""
    return EverythingReport(proved=proved, kinds=kinds, unchecked=(), seconds=1.5)


def screen() -> tuple[Console, io.StringIO]:
    """Make a console that is no terminal, and what is written to it."""
    file = io.StringIO()
    return Console(file=file, width=80, highlight=False, markup=False), file


async def test_where_there_is_no_terminal_a_line_is_written_when_something_changed() -> None:
    """Not for each listing."""
    console, file = screen()
    first = KindReport("usdt_m", "orders", accepted=1234, remaining=(Remaining("B", "1", "r"),))
    with PanicView(console, Scope(), live=False) as view:
        for each in (first, first, KindReport("usdt_m", "orders", proved=True, accepted=1235)):
            view.take(report(each))
    assert file.getvalue().splitlines() == [
        "Cancelling.",
        "1.5 s: 1,234 accepted, 1 listed last, 0 of 1 kinds proved empty",
        "1.5 s: 1,235 accepted, 0 listed last, 1 of 1 kinds proved empty",
    ]


async def test_before_the_first_listing_nothing_is_proved() -> None:
    """Each kind is named."""
    console, file = screen()
    view = PanicView(console, Scope(contracts=("BTC-USD",)), live=False)
    show_report(view.report, console)
    assert "coin_m_swap orders, not proved: the orders were not listed" in file.getvalue()
    assert "coin_m_swap trigger orders, not proved: the orders were not listed" in file.getvalue()
    assert "usdt_m" not in file.getvalue()
    assert "NOT proved" in file.getvalue()


def test_a_long_list_of_orders_is_cut_and_cannot_move_the_cursor() -> None:
    """Twenty of a kind are named, and the number of the others."""
    console, file = screen()
    some = tuple(Remaining("BTC-USDT", str(number), "\x1b[2J\nx") for number in range(1050))
    show_report(report(KindReport("usdt_m", "orders", remaining=some, why="a\x1b[2Jb")), console)
    text = file.getvalue()
    assert text.count("BTC-USDT") == 20
    assert "  and 1,030 more, which htx-cancel list names" in text
    assert "\x1b" not in text


def test_kinds_that_were_proved_at_different_times_are_no_proof() -> None:
    """The report's own word decides."""
    console, file = screen()
    show_report(report(KindReport("usdt_m", "orders", proved=True, why="")), console)
    assert "NOT proved after 1.5 s" in file.getvalue()


def test_the_help_lists_the_exit_codes() -> None:
    """Each with its meaning, and what is left alone."""
    text = " ".join(runner().invoke(app, ["everything", "--help"]).stdout.split())
    for words in ("0: it is proved", "1: something may be", "2: the input is bad", "130, 143"):
        assert words in text
    assert "protect positions, and are left alone" in text
