"""``htx-cancel guard`` against a sandbox on a socket: armed while it runs, disarmed by a signal."""

import inspect
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cli_sandbox import KEYS, Sandbox, runner, served, start
from rich.console import Console

from htx_cancel import Alert, AlertKind, CancelClient
from htx_cancel.cli import app
from htx_cancel.cli.guard import Alerts
from htx_cancel.endpoints import ALL_PRODUCTS, COUNTDOWNS, PRODUCTS
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.exchange import HttpRequest, HttpResponse, Script

PATHS = {COUNTDOWNS[product].path for product in PRODUCTS}
V5 = COUNTDOWNS["usdt_m"].path


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Serve an empty book."""
    with served() as one:
        yield one


def armed(process: "subprocess.Popen[str]") -> str:
    """Wait until it says that it is armed."""
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_armed_until_a_signal_disarms_it(sandbox: Sandbox, number: signal.Signals) -> None:
    """The code is 0."""
    with start("guard", url=sandbox.server.base_url) as process:
        assert armed(process) == f"Armed: {', '.join(PRODUCTS)}. Ctrl-C disarms.\n"
        assert set(sandbox.exchange.countdowns.ends) == PATHS
        process.send_signal(number)
        assert process.stderr is not None
        assert process.stderr.read() == "Disarming.\nDisarmed.\n"
    assert process.returncode == 0
    assert sandbox.exchange.countdowns.ends == {}


def test_a_process_that_is_killed_leaves_it_armed(sandbox: Sandbox) -> None:
    """The exchange cancels when the countdown ends."""
    url = sandbox.server.base_url
    with start("guard", "--products", "usdt_m", "--seconds", "5", url=url) as process:
        armed(process)
        process.kill()
    assert set(sandbox.exchange.countdowns.ends) == {V5}
    order = sandbox.exchange.book.add("v5", "BTC-USDT")
    sandbox.exchange.advance(sandbox.exchange.countdowns.ends[V5])
    assert order.state == "canceled"


class Interrupting(Exchange):
    """Interrupts this process once a countdown is armed."""

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        """Answer as ever."""
        reply = super().handle(request, now, script)
        if self.countdowns.ends:
            os.kill(os.getpid(), signal.SIGINT)
        return reply


class Clinging(Interrupting):
    """Knows no way to disarm it."""

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        """Answer as ever but a disarming."""
        if self.countdowns.ends and request.path == V5:
            return HttpResponse(404, {}, b"")
        return super().handle(request, now, script)


def test_a_signal_while_it_is_being_armed_disarms_it() -> None:
    """It is never left armed by an interrupt."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with served(Interrupting) as sandbox:
        result = sandbox.invoke("guard")
        assert sandbox.exchange.countdowns.ends == {}
    assert result.exit_code == 0, result.output
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_it_says_if_it_may_still_be_armed() -> None:
    """With an alert, and code 1."""
    with served(Clinging) as sandbox:
        result = sandbox.invoke("guard", "--products", "usdt_m")
    assert result.exit_code == 1
    assert "usdt_m not disarmed: " in result.stderr
    assert result.stderr.endswith("It may still be armed.\n")


def test_alerts_are_printed() -> None:
    """Here the exchange counts in seconds, which its reply shows."""
    with served(Interrupting) as sandbox:
        sandbox.exchange.countdowns.unit = "s"
        result = sandbox.invoke("guard", "--products", "usdt_m")
    assert result.exit_code == 0, result.output
    assert "usdt_m wrong unit: " in result.stderr
    assert "the exchange counts in seconds; " in result.stderr


def test_an_alert_is_one_line_that_cannot_move_the_cursor() -> None:
    """With the product, the kind, the words and what remains."""
    file = io.StringIO()
    alerts = Alerts(Console(file=file, width=80, highlight=False, markup=False))
    alerts.take(Alert("usdt_m", AlertKind.LATE, "a\x1b[2Jb\nc", 12.345))
    assert file.getvalue() == "usdt_m late: a [2Jb c; 12.3 s remaining\n"
    assert not alerts.not_disarmed


def test_what_cannot_be_armed_is_told() -> None:
    """With code 1; the others are not left armed."""
    with served(withdrawn=[V5]) as sandbox:
        result = sandbox.invoke("guard", "--seconds", "5")
        assert sandbox.exchange.countdowns.ends == {}
    assert result.exit_code == 1
    assert "htx-cancel: not armed: usdt_m: 404" in result.stderr
    assert "Armed" not in result.stderr


def test_a_terminal_sees_how_many_seconds_remain(sandbox: Sandbox) -> None:
    """All the time, of each product."""
    screen, terminal = os.openpty()
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "htx_cancel", "guard", "--base-url", sandbox.server.base_url],
        stderr=terminal,
        env=os.environ | KEYS | {"TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        said = b""
        while said.count(b"s remaining: coin_m_swap ") < 3:
            said += os.read(screen, 4096)
        process.send_signal(signal.SIGINT)
    os.close(terminal)
    os.close(screen)
    assert process.returncode == 0
    assert b", coin_m_futures " in said
    assert b", usdt_m " in said
    assert b"canary" not in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--seconds", "4"), "seconds must be at least 5, got 4.0"),
        (("--products", "spot"), "--products must be some of coin_m_swap,"),
        (("--base-url", "http://api.hbdm.com"), "base_url "),
    ],
)
def test_bad_input_is_told_and_nothing_is_sent(
    sandbox: Sandbox, words: tuple[str, ...], expected: str
) -> None:
    """In one line, with code 2."""
    result = sandbox.invoke("guard", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"htx-cancel: {expected}")
    assert result.stderr.count("\n") == 1
    assert not sandbox.exchange.calls


def test_missing_keys_are_named() -> None:
    """As by ``run``."""
    env: dict[str, str | None] = {**KEYS, "HTX_SECRET_KEY": None}
    result = runner(env=env).invoke(app, ["guard"])
    assert result.exit_code == 2
    assert result.stderr == "htx-cancel: HTX_SECRET_KEY must be set to the account's keys\n"


def test_the_products_are_those_of_the_client() -> None:
    """By default, and all that have a countdown."""
    given = inspect.signature(CancelClient.dead_man_switch).parameters
    assert given["products"].default == PRODUCTS
    assert set(COUNTDOWNS) == set(ALL_PRODUCTS)


def test_the_help_says_what_is_covered_and_lists_the_exit_codes() -> None:
    """Strategy orders are not."""
    text = " ".join(runner().invoke(app, ["guard", "--help"]).stdout.split())
    assert "trailing orders are not established to be covered" in text
    for words in ("0: it was stopped", "1: it could not be armed", "2: the input is bad"):
        assert words in text
