"""``htx-cancel run`` against a sandbox on a socket: from a file to results, codes and signals."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cli_sandbox import EXAMPLE, KEYS, Sandbox, as_file, lines, runner, seen, served, start
from rich.console import Console

from htx_cancel import CancelStatus, Credentials
from htx_cancel.cli import app, progress
from htx_cancel.cli.groups import workloads
from htx_cancel.cli.input_file import read
from htx_cancel.cli.output import opened
from htx_cancel.cli.run import Report, _cancel
from htx_cancel.client import CancelClient
from htx_cancel.sandbox import Exchange, SandboxServer
from htx_cancel.sandbox.exchange import HttpRequest, HttpResponse, Script
from htx_cancel.sandbox.seeding import add_from_csv

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Serve the example's orders."""
    with served() as one:
        add_from_csv(one.exchange.book, EXAMPLE.read_text().splitlines())
        yield one


def assert_true(results: list[dict[str, Any]], exchange: Exchange) -> None:
    """Hold each line against the exchange's book."""
    kinds: dict[str, Any] = {
        "coin_m_swap.cancel_orders": "swap",
        "coin_m_swap.cancel_trailing_orders": "swap_trailing",
        "coin_m_swap.cancel_all_trailing_orders": "swap_trailing",
        "usdt_m_v1_isolated.cancel_trigger_orders": "linear_trigger",
        "usdt_m.cancel_orders": "v5",
    }
    for it in results:
        key = it["order_id"] or it["client_order_id"]
        if key is None:
            continue
        order = exchange.book.find(
            kinds[it["endpoint"]], it["contract_code"], key, by_client_id=it["order_id"] is None
        )
        if order is None:
            assert (it["status"], it["code"]) == ("not_found", 1061)
        elif order.canceled_by_us:
            assert (it["status"], it["code"]) == ("accepted", None)
        elif order.state != "open":
            assert (it["status"], it["reason"]) == ("closed", order.state)
        else:
            assert (it["status"], it["code"]) == ("rejected", order.refusal)


def test_a_file_is_cancelled_and_every_result_is_true(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each row has one line that agrees with the book; the refused one makes the code 1."""
    output = tmp_path / "results.jsonl"
    result = sandbox.run(EXAMPLE, "--output", str(output))
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert "What became of the orders" in result.stderr
    results = lines(output.read_text())
    assert_true(results, sandbox.exchange)
    assert [order.refusal for order in sandbox.exchange.book.open()] == [1088]
    told = Counter(it["order_id"] or it["client_order_id"] for it in results if _named(it))
    assert told == Counter(key for group in read(EXAMPLE.read_bytes()) for key in group.ids)
    of_all = [it for it in results if not _named(it)]
    assert [it["order_id"] is None for it in of_all] == [True, False, False, False]


def _named(line: dict[str, Any]) -> bool:
    return bool(line["endpoint"] != "coin_m_swap.cancel_all_trailing_orders")


def test_what_is_settled_is_not_sent_again(sandbox: Sandbox, tmp_path: Path) -> None:
    """A second run sends the one refused id alone, and appends to the same file."""
    output = tmp_path / "results.jsonl"
    options = ("--output", str(output), "--resume", str(output))
    output.touch()
    assert sandbox.run(EXAMPLE, *options).exit_code == 1
    calls, size = sandbox.exchange.calls.total(), len(output.read_text().splitlines())
    for order in sandbox.exchange.book.open():
        order.refusal = None
    assert sandbox.run(EXAMPLE, *options).exit_code == 0
    assert sandbox.exchange.calls.total() == calls + 1
    assert len(output.read_text().splitlines()) == size + 1
    again = sandbox.run(EXAMPLE, *options)
    assert (again.exit_code, again.stderr) == (0, "There is nothing to cancel.\n")
    assert sandbox.exchange.calls.total() == calls + 1


def test_standard_input_and_standard_output(sandbox: Sandbox, capfd: Capture) -> None:
    """JSON lines go in and out through pipes; what is for people stays out of the data."""
    order = sandbox.exchange.book.add("v5", "ETH-USDT", client_order_id=77)
    row = '{"endpoint":"usdt_m.cancel_orders","contract_code":"ETH-USDT","client_order_id":77}\n'
    result = sandbox.run("-", "--output", "-", given=row)
    assert result.exit_code == 0, result.output
    (line,) = lines(capfd.readouterr().out)
    assert (line["client_order_id"], line["status"], line["attempts"]) == ("77", "accepted", 1)
    assert order.canceled_by_us


def test_a_cancel_all_that_finds_nothing_is_settled(sandbox: Sandbox, capfd: Capture) -> None:
    """Its one line says so."""
    text = "endpoint,contract_code,direction\ncoin_m_swap.cancel_all_trailing_orders,BTC-USD,sell\n"
    result = sandbox.run("-", "--output", "-", given=text)
    assert result.exit_code == 0
    (line,) = lines(capfd.readouterr().out)
    assert (line["status"], line["order_id"], line["direction"]) == ("not_found", None, "sell")


def test_a_cancel_all_is_narrowed_and_may_be_for_the_whole_account(
    sandbox: Sandbox, capfd: Capture
) -> None:
    """The words arrive: the others stay open. The lines repeat them."""
    exchange = sandbox.exchange
    for code in ("BTC-USDT", "XRP-USDT"):
        for direction in ("buy", "sell"):
            exchange.book.add("v5", code, direction=direction, position_side="long")
    exchange.book.add("v5", "XRP-USDT", direction="sell", position_side="short")
    before = len(exchange.book.open("v5"))
    text = (
        "endpoint,contract_code,side,position_side\n"
        "usdt_m.cancel_all_orders,XRP-USDT,sell,short\n"
        "usdt_m.cancel_all_account_orders,,sell,long\n"
    )
    result = sandbox.run("-", "--output", "-", given=text)
    assert result.exit_code == 0, result.output
    assert "usdt_m all account" in result.stderr
    assert before - len(exchange.book.open("v5")) == 3
    of_calls = [it for it in lines(capfd.readouterr().out) if it["order_id"] is None]
    assert sorted((it["contract_code"], it["side"], it["position_side"]) for it in of_calls) == [
        ("", "sell", "long"),
        ("XRP-USDT", "sell", "short"),
    ]


def test_algo_orders_are_resumed_by_both_sorts_of_ids(sandbox: Sandbox, tmp_path: Path) -> None:
    """Their columns are those of any order."""
    book, output = sandbox.exchange.book, tmp_path / "results.jsonl"
    first, second = (book.add("v5_algo", "BTC-USDT", client_order_id=key) for key in (70, 71))
    text = (
        "endpoint,contract_code,order_id,client_order_id\n"
        f"usdt_m.cancel_algo_orders,BTC-USDT,{first.order_id},\n"
        "usdt_m.cancel_algo_orders,BTC-USDT,,71\n"
    )
    output.touch()
    options = ("--output", str(output), "--resume", str(output))
    assert sandbox.run("-", *options, given=text).exit_code == 0
    assert first.canceled_by_us
    assert second.canceled_by_us
    assert sandbox.run("-", *options, given=text).stderr == "There is nothing to cancel.\n"


def test_a_dry_run_needs_no_keys_and_sends_nothing(sandbox: Sandbox) -> None:
    """It shows each group's calls, its limit and the least time of all."""
    text = as_file([str(number) for number in range(1, 1300)])
    result = runner().invoke(app, ["run", "-", "--dry-run"], input=text)
    assert result.exit_code == 0, result.output
    assert "1,299    130  36 / 3 s    9 s" in result.stdout
    assert "130 calls in all; the limits allow them in 9 s at the least." in result.stdout
    shown = sandbox.run(EXAMPLE, "--dry-run")
    assert "DOGE-USDT" in shown.stdout
    assert "BTC-USDT client ids" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert not sandbox.exchange.calls


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("endpoint,contract_code\nswap,BTC-USD\n", (), "<stdin>, line 2: endpoint must be one of"),
        (
            as_file(["7"]) + "coin_m_swap.cancel_orders,BTC-USD,1E5\n",
            (),
            "<stdin>, line 3: order_id must be",
        ),
        (as_file(["7"]), ("--timeout", "0"), "htx-cancel: timeout "),
        (as_file(["7"]), ("--output", "nowhere/x"), "nowhere/x: No such file"),
        (
            as_file(["7"]),
            ("--resume", str(EXAMPLE)),
            "orders.csv, line 1: must be a",
        ),
        (as_file(["7"]), ("--base-url", "http://api.hbdm.com"), "htx-cancel: base_url "),
    ],
)
def test_bad_input_is_told_and_nothing_is_sent(
    sandbox: Sandbox, text: str, options: tuple[str, ...], words: str
) -> None:
    """Every row and option is checked before the first call."""
    result = sandbox.run("-", *options, given=text)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert not sandbox.exchange.calls


def test_a_file_that_is_not_there_is_bad_input(sandbox: Sandbox) -> None:
    """The parser says so."""
    assert sandbox.run("nowhere.csv").exit_code == 2


@pytest.mark.parametrize("missing", KEYS)
def test_missing_keys_are_named(missing: str) -> None:
    """The error names the variable that is not set, and shows none."""
    env: dict[str, str | None] = {**KEYS, missing: None}
    result = runner(env=env).invoke(app, ["run", "-"], input=as_file(["7"]))
    assert result.exit_code == 2
    assert result.stderr == f"htx-cancel: {missing} must be set to the account's keys\n"


def test_what_does_not_fit_the_timeout_is_unsent(capfd: Capture) -> None:
    """The ids whose turn comes too late are told at once, with code 1 for the run."""
    with served() as sandbox:
        text = sandbox.add_open(400)
        result = sandbox.run("-", "--output", "-", "--timeout", "2", given=text)
        counts = Counter(it["status"] for it in lines(capfd.readouterr().out))
    assert result.exit_code == 1
    assert counts == {"accepted": 360, "unsent": 40}
    assert "unsent" in result.stderr


def test_results_that_cannot_be_written_are_told(sandbox: Sandbox) -> None:
    """The canceling goes on, and the code is 1."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no full device here")
    order = sandbox.exchange.book.add("swap", "BTC-USD")
    result = sandbox.run("-", "--output", "/dev/full", given=as_file([order.order_id]))
    assert result.exit_code == 1
    assert "results could not be written" in result.stderr
    assert order.canceled_by_us


class Interrupting(Exchange):
    """Interrupts this process at its third call."""

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        """Answer as ever."""
        if self.calls.total() == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().handle(request, now, script)


def test_an_interrupt_lets_what_is_in_flight_land(capfd: Capture) -> None:
    """Each id has one true line, the rest is unsent, and the code is 130."""
    with served(Interrupting) as sandbox:
        text = sandbox.add_open(1000)
        result = sandbox.run("-", "--output", "-", given=text)
        results = lines(capfd.readouterr().out)
        canceled = {key for key, it in _by_id(results).items() if it["status"] == "accepted"}
        assert all(sandbox.exchange.book[key].canceled_by_us for key in canceled)
        assert len(sandbox.exchange.book.open()) == 1000 - len(canceled)
    assert result.exit_code == 130
    assert {it["status"] for it in results} == {"accepted", "unsent"}
    assert len(_by_id(results)) == len(results) == 1000
    assert "Stopping: nothing more is sent" in result.stderr


def _by_id(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {it["order_id"]: it for it in results}


class Mute(SandboxServer):
    """Never answers; at the first request it has this process interrupted, then terminated."""

    asked = False

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not self.asked:
            self.asked = True
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        assert request.transport is not None
        request.transport.close()
        return await super()._handle(request)


@pytest.fixture
def handlers() -> Iterator[Callable[[], list[Any]]]:
    """Read the handlers of the signals; they are the same in the end."""

    def now() -> list[Any]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before = now()
    yield now
    assert now() == before


def test_a_second_signal_gives_up_what_is_in_flight(
    handlers: Callable[[], list[Any]], capfd: Capture
) -> None:
    """What had left without an answer is unknown, at once; the first signal makes the code."""
    assert handlers()
    exchange = Exchange()
    with Sandbox(exchange, Mute(exchange)) as sandbox:
        result = sandbox.run("-", "--output", "-", given=as_file(["7"]))
    assert result.exit_code == 130
    (line,) = lines(capfd.readouterr().out)
    assert (line["status"], line["attempts"]) == ("unknown", 1)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (as_file(["7", "8"]), ["7", "8"]),
        ("endpoint,contract_code\ncoin_m_swap.cancel_all_trailing_orders,BTC-USD\n", [None]),
    ],
)
async def test_a_group_that_comes_after_the_end_is_unsent(
    tmp_path: Path, text: str, ids: list[str | None]
) -> None:
    """A client that was closed before a call loses no id."""
    client = CancelClient(Credentials("a", "b"), base_url="http://127.0.0.1:1")
    await client.aclose()
    (group,) = read(text.encode())
    path = tmp_path / "results"
    with opened(path) as output:
        view = progress.ProgressView(Console(), workloads([group]), live=False)
        with view:
            await _cancel(group, client, None, Report(output, view))
    written = lines(path.read_text())
    assert [(it["order_id"], it["status"]) for it in written] == [(it, "unsent") for it in ids]
    assert view.endpoints[group.endpoint.name].counts == {CancelStatus.UNSENT: len(ids)}


def test_ctrl_c_in_a_process_of_its_own() -> None:
    """Lines come while the run is under way, and after the signal every id has one."""
    with served() as sandbox:
        text = sandbox.add_open(1500)
        with start("run", "-", "--output", "-", url=sandbox.server.base_url) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(text)
            process.stdin.close()
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            results = lines(first + process.stdout.read())
            said = process.stderr.read()
        assert process.returncode == 130
        canceled = [it for it in results if it["status"] == "accepted"]
        assert len(canceled) == 1500 - len(sandbox.exchange.book.open())
    assert len(_by_id(results)) == len(results) == 1500
    assert "canary" not in said
    assert "Traceback" not in said


def test_a_reader_that_goes_away_costs_no_order() -> None:
    """With standard output closed early the canceling goes on, without a traceback."""
    with served() as sandbox:
        text = sandbox.add_open(300)
        with start("run", "-", "--output", "-", url=sandbox.server.base_url) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            process.stdin.write(text)
            process.stdin.close()
            said = process.stderr.read()
        assert not sandbox.exchange.book.open()
    assert process.returncode == 1
    assert "results could not be written" in said
    assert "Traceback" not in said
    assert "Exception ignored" not in said


@pytest.mark.parametrize("name", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(name: str) -> None:
    """One line and code 2, whichever of its packages is missing."""
    script = f"import sys; sys.modules[{name!r}] = None; import htx_cancel.__main__ as m; m.main()"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'htx-cancel[cli]'" in done.stderr


@pytest.mark.parametrize(("option", "bars"), [("-", False), ("results.jsonl", True)])
def test_bars_and_results_do_not_share_a_terminal(tmp_path: Path, option: str, bars: bool) -> None:
    """Where the results go to the terminal as well there are lines instead of bars."""
    path = tmp_path / "orders.csv"
    with served() as sandbox:
        path.write_text(sandbox.add_open(3))
        words = ["run", str(path), "--output", option]
        code, text = seen(*words, url=sandbox.server.base_url, folder=tmp_path)
    assert code == 0
    assert (b"\x1b[2K" in text) is bars
    assert (b"3 of 3 ids answered" in text) is not bars
