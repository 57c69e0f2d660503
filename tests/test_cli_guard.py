"""Test ``htx-cancel guard`` against a sandbox: armed while it runs, disarmed by a signal."""

import inspect
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cli_sandbox import KEYS, Sandbox, served, start
from rich.console import Console

from htx_cancel import Alert, AlertKind, CancelClient
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
    """Wait for the first line, which says that the switch is armed; return it."""
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_switch_is_armed_until_a_signal(sandbox: Sandbox, number: signal.Signals) -> None:
    """A signal disarms the switch, and the exit code is 0."""
    with start("guard", url=sandbox.server.base_url) as process:
        assert armed(process) == f"Armed: {', '.join(PRODUCTS)}. Press Ctrl-C to disarm.\n"
        assert set(sandbox.exchange.countdowns.ends) == PATHS
        process.send_signal(number)
        assert process.stderr is not None
        assert process.stderr.read() == "Disarming.\nDisarmed.\n"
    assert process.returncode == 0
    assert sandbox.exchange.countdowns.ends == {}


def test_a_killed_process_leaves_the_switch_armed(sandbox: Sandbox) -> None:
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
        """Answer as usual, then send SIGINT if a countdown is armed."""
        reply = super().handle(request, now, script)
        if self.countdowns.ends:
            os.kill(os.getpid(), signal.SIGINT)
        return reply


class Clinging(Interrupting):
    """Refuses to disarm a countdown."""

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        """Answer as usual, except to a disarming."""
        if self.countdowns.ends and request.path == V5:
            return HttpResponse(404, {}, b"")
        return super().handle(request, now, script)


def test_a_signal_during_arming_disarms_the_switch() -> None:
    """An interrupt never leaves the switch armed."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with served(Interrupting) as sandbox:
        result = sandbox.invoke("guard")
        assert sandbox.exchange.countdowns.ends == {}
    assert result.exit_code == 0, result.output
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_switch_that_may_still_be_armed_is_reported() -> None:
    """An alert and the last line say so, and the exit code is 1."""
    with served(Clinging) as sandbox:
        result = sandbox.invoke("guard", "--products", "usdt_m")
    assert result.exit_code == 1
    assert "usdt_m not disarmed: " in result.stderr
    assert "The switch may still be armed: when its countdown ends" in result.stderr


def test_alerts_are_printed() -> None:
    """In this test the reply shows that the exchange counts in seconds."""
    with served(Interrupting) as sandbox:
        sandbox.exchange.countdowns.unit = "s"
        result = sandbox.invoke("guard", "--products", "usdt_m")
    assert result.exit_code == 0, result.output
    assert "usdt_m wrong unit: " in result.stderr
    assert "the exchange counts in seconds; " in result.stderr


def test_an_alert_is_one_line_that_cannot_move_the_cursor() -> None:
    """The line has the product, the kind, the message and the remaining seconds."""
    file = io.StringIO()
    alerts = Alerts(Console(file=file, width=80, highlight=False, markup=False))
    alerts.take(Alert("usdt_m", AlertKind.LATE, "a\x1b[2Jb\nc", 12.345))
    assert file.getvalue() == "usdt_m late: a [2Jb c; 12.3 s remaining\n"
    assert not alerts.not_disarmed
    for kind in (AlertKind.NOT_DISARMED, AlertKind.LATE):
        alerts.take(Alert("usdt_m", kind, "", 0.0))
    assert alerts.not_disarmed


def test_a_product_that_cannot_be_armed_is_reported() -> None:
    """The exit code is 1, and the other products are not left armed."""
    with served(withdrawn=[V5]) as sandbox:
        result = sandbox.invoke("guard", "--seconds", "5")
        assert sandbox.exchange.countdowns.ends == {}
    assert result.exit_code == 1
    assert "htx-cancel: not armed: usdt_m: 404" in result.stderr
    assert "Armed" not in result.stderr


def test_a_terminal_shows_the_remaining_seconds(sandbox: Sandbox) -> None:
    """The line is redrawn, and has every product."""
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
def test_bad_input_is_refused_and_nothing_is_sent(
    sandbox: Sandbox, words: tuple[str, ...], expected: str
) -> None:
    """The error is one line, and the exit code is 2."""
    result = sandbox.invoke("guard", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"htx-cancel: {expected}")
    assert result.stderr.count("\n") == 1
    assert not sandbox.exchange.calls


def test_the_products_are_those_of_the_client() -> None:
    """The defaults are equal, and every product has a countdown."""
    given = inspect.signature(CancelClient.dead_man_switch).parameters
    assert given["products"].default == PRODUCTS
    assert set(COUNTDOWNS) == set(ALL_PRODUCTS)
