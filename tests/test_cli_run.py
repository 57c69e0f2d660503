"""Test ``htx-cancel run`` against a sandbox: files, results, exit codes and signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cli_sandbox import EXAMPLE, Sandbox, as_file, lines, runner, seen, served, start
from rich.console import Console

from htx_cancel import CancelStatus, Credentials
from htx_cancel.cli import app, progress
from htx_cancel.cli.groups import workloads
from htx_cancel.cli.input_file import read
from htx_cancel.cli.output import opened
from htx_cancel.cli.run import Report, _cancel
from htx_cancel.cli.summary import Summary
from htx_cancel.client import CancelClient
from htx_cancel.endpoints import ENDPOINTS
from htx_cancel.sandbox import Exchange, Fault, FaultPlan, SandboxServer
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
    """Compare each line with the exchange's book."""
    kinds: dict[str, Any] = {
        "coin_m_swap.cancel_orders": "swap",
        "coin_m_swap.cancel_trailing_orders": "swap_trailing",
        "coin_m_swap.cancel_all_trailing_orders": "swap_trailing",
        "usdt_m_v1_isolated.cancel_trigger_orders": "linear_trigger",
        "usdt_m.cancel_orders": "v5",
    }
    for line in results:
        key = line["order_id"] or line["client_order_id"]
        if key is None:
            continue
        order = exchange.book.find(
            kinds[line["endpoint"]],
            line["contract_code"],
            key,
            by_client_id=line["order_id"] is None,
        )
        if order is None:
            assert (line["status"], line["code"]) == ("not_found", 1061)
        elif order.canceled_by_us:
            assert (line["status"], line["code"]) == ("accepted", None)
        elif order.state != "open":
            assert (line["status"], line["reason"]) == ("closed", order.state)
        else:
            assert (line["status"], line["code"]) == ("rejected", order.refusal)


def test_a_file_is_cancelled_and_every_result_is_true(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each row has one line that agrees with the book; the refused order makes the exit code 1."""
    output = tmp_path / "results.jsonl"
    result = sandbox.run(EXAMPLE, "--output", str(output))
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert "Results by endpoint" in result.stderr
    results = lines(output.read_text())
    assert_true(results, sandbox.exchange)
    assert [order.refusal for order in sandbox.exchange.book.open()] == [1088]
    ids = Counter(line["order_id"] or line["client_order_id"] for line in results if _named(line))
    assert ids == Counter(key for group in read(EXAMPLE.read_bytes()) for key in group.ids)
    of_all = [line for line in results if not _named(line)]
    assert [line["order_id"] is None for line in of_all] == [True, False, False, False]


def _named(line: dict[str, Any]) -> bool:
    return bool(line["endpoint"] != "coin_m_swap.cancel_all_trailing_orders")


def test_settled_ids_are_not_sent_again(sandbox: Sandbox, tmp_path: Path) -> None:
    """A second run sends only the refused id, and appends to the same file."""
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
    """JSON lines go in and out through pipes; standard output has only data."""
    order = sandbox.exchange.book.add("v5", "ETH-USDT", client_order_id=77)
    row = '{"endpoint":"usdt_m.cancel_orders","contract_code":"ETH-USDT","client_order_id":77}\n'
    result = sandbox.run("-", "--output", "-", given=row)
    assert result.exit_code == 0, result.output
    (line,) = lines(capfd.readouterr().out)
    assert (line["client_order_id"], line["status"], line["attempts"]) == ("77", "accepted", 1)
    assert order.canceled_by_us


ALL_TRAILING = "endpoint,contract_code\ncoin_m_swap.cancel_all_trailing_orders,BTC-USD\n"


def test_progress_counts_the_orders_of_a_cancel_all() -> None:
    """The call itself does not count beside its orders."""
    with served() as sandbox:
        for _ in range(2):
            sandbox.exchange.book.add("swap_trailing", "BTC-USD")
        result = sandbox.run("-", given=ALL_TRAILING)
    assert ": 2 of 2 ids answered" in result.stderr


def test_progress_counts_a_cancel_all_that_was_refused() -> None:
    """The orders that the reply names do not imply the status of the call."""
    errors = [{"order_id": "5", "err_code": 1088, "err_msg": "m"}]
    reply = {"status": "error", "err_code": 1067, "err_msg": "m", "data": {"errors": errors}}
    fault = Fault(
        "refused", executed=False, reply=HttpResponse(200, {}, json.dumps(reply).encode())
    )
    exchange = Exchange()
    plan = FaultPlan({ENDPOINTS["coin_m_swap.cancel_all_trailing_orders"].path: [fault]})
    with Sandbox(exchange, SandboxServer(exchange, faults=plan)) as sandbox:
        result = sandbox.run("-", given=ALL_TRAILING)
    assert ": 2 of 2 ids answered" in result.stderr


def test_a_cancel_all_that_finds_nothing_is_settled(sandbox: Sandbox, capfd: Capture) -> None:
    """Its only line has the status."""
    text = "endpoint,contract_code,direction\ncoin_m_swap.cancel_all_trailing_orders,BTC-USD,sell\n"
    result = sandbox.run("-", "--output", "-", given=text)
    assert result.exit_code == 0
    (line,) = lines(capfd.readouterr().out)
    assert (line["status"], line["order_id"], line["direction"]) == ("not_found", None, "sell")


def test_a_cancel_all_is_narrowed_and_may_be_for_the_whole_account(
    sandbox: Sandbox, capfd: Capture
) -> None:
    """The filters reach the exchange, so other orders stay open; the lines repeat the filters."""
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
    of_calls = [line for line in lines(capfd.readouterr().out) if line["order_id"] is None]
    assert sorted(
        (line["contract_code"], line["side"], line["position_side"]) for line in of_calls
    ) == [
        ("", "sell", "long"),
        ("XRP-USDT", "sell", "short"),
    ]


def test_algo_orders_are_resumed_by_both_sorts_of_ids(sandbox: Sandbox, tmp_path: Path) -> None:
    """Algo orders use the same columns as other orders."""
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
    """The plan shows the requests and limit of each group, and the minimum time."""
    text = as_file([str(number) for number in range(1, 1300)])
    result = runner().invoke(app, ["run", "-", "--dry-run"], input=text)
    assert result.exit_code == 0, result.output
    assert "1,299       130  36 / 3 s   9 s" in result.stdout
    assert "Requests: 130. Time: at least 9 s, because of the rate limits." in result.stdout
    shown = sandbox.run(EXAMPLE, "--dry-run")
    assert "DOGE-USDT" in shown.stdout
    assert "BTC-USDT client ids" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert not sandbox.exchange.calls
    empty = sandbox.run("-", "--dry-run", given="endpoint,contract_code\n")
    assert "Requests: 0. Time: at least 0 s, because of the rate limits." in empty.stdout


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
def test_bad_input_is_refused_and_nothing_is_sent(
    sandbox: Sandbox, text: str, options: tuple[str, ...], words: str
) -> None:
    """Every row and option is checked before the first request."""
    result = sandbox.run("-", *options, given=text)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert not sandbox.exchange.calls


def test_a_missing_file_is_bad_input(sandbox: Sandbox) -> None:
    """The exit code is 2."""
    assert sandbox.run("nowhere.csv").exit_code == 2


def test_ids_that_do_not_fit_the_timeout_are_unsent(capfd: Capture) -> None:
    """Ids that cannot be sent in time are reported at once; the exit code is 1."""
    with served() as sandbox:
        text = sandbox.add_open(400)
        result = sandbox.run("-", "--output", "-", "--timeout", "2", given=text)
        counts = Counter(line["status"] for line in lines(capfd.readouterr().out))
    assert result.exit_code == 1
    assert counts == {"accepted": 360, "unsent": 40}
    assert "unsent" in result.stderr


def test_results_that_cannot_be_written_are_reported(sandbox: Sandbox) -> None:
    """The run continues to cancel, and the exit code is 1."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no full device here")
    order = sandbox.exchange.book.add("swap", "BTC-USD")
    result = sandbox.run("-", "--output", "/dev/full", given=as_file([order.order_id]))
    assert result.exit_code == 1
    assert "results could not be written" in result.stderr
    assert order.canceled_by_us


class Interrupting(Exchange):
    """Interrupts this process at the third request."""

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        """Send SIGINT if this is the third request; answer as usual."""
        if self.calls.total() == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().handle(request, now, script)


def test_an_interrupt_lets_requests_in_flight_end(capfd: Capture) -> None:
    """Each id has one true line, the rest is unsent, and the exit code is 130."""
    with served(Interrupting) as sandbox:
        text = sandbox.add_open(1000)
        result = sandbox.run("-", "--output", "-", given=text)
        results = lines(capfd.readouterr().out)
        canceled = {key for key, line in _by_id(results).items() if line["status"] == "accepted"}
        assert all(sandbox.exchange.book[key].canceled_by_us for key in canceled)
        assert len(sandbox.exchange.book.open()) == 1000 - len(canceled)
    assert result.exit_code == 130
    assert {line["status"] for line in results} == {"accepted", "unsent"}
    assert len(_by_id(results)) == len(results) == 1000
    assert "Stopping: no more requests are sent" in result.stderr


def test_an_interrupt_decides_the_exit_code_if_results_are_lost() -> None:
    """The lost results are reported, too."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no full device here")
    with served(Interrupting) as sandbox:
        result = sandbox.run("-", "--output", "/dev/full", given=sandbox.add_open(1000))
    assert result.exit_code == 130
    assert "results could not be written" in result.stderr


def _by_id(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {line["order_id"]: line for line in results}


class Mute(SandboxServer):
    """Never answers; at the first request sends this process SIGINT and SIGTERM."""

    asked = False

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not self.asked:
            self.asked = True
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        await self._connections.wait(request)
        return await super()._handle(request)


@pytest.fixture
def handlers() -> Iterator[Callable[[], list[Any]]]:
    """Return a function that reads the signal handlers; check that a test restores them."""

    def now() -> list[Any]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before = now()
    yield now
    assert now() == before


def test_a_second_signal_gives_up_requests_in_flight(
    handlers: Callable[[], list[Any]], capfd: Capture
) -> None:
    """Sent ids without an answer are unknown at once; the first signal decides the exit code."""
    assert handlers()
    exchange = Exchange()
    began = time.monotonic()
    with Sandbox(exchange, Mute(exchange)) as sandbox:
        result = sandbox.run("-", "--output", "-", given=as_file(["7"]))
    assert time.monotonic() - began < 4.0
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
async def test_a_group_of_a_closed_client_is_unsent(
    tmp_path: Path, text: str, ids: list[str | None]
) -> None:
    """If the client is closed before a call, no id is lost."""
    client = CancelClient(Credentials("a", "b"), base_url="http://127.0.0.1:1")
    await client.aclose()
    (group,) = read(text.encode())
    path = tmp_path / "results"
    with opened(path) as output:
        view = progress.ProgressView(Console(), workloads([group]), live=False)
        with view:
            await _cancel(group, client, None, Report(output, view, Summary()))
    written = lines(path.read_text())
    assert [(line["order_id"], line["status"]) for line in written] == [
        (order_id, "unsent") for order_id in ids
    ]
    assert view.endpoints[group.endpoint.name].counts == {CancelStatus.UNSENT: len(ids)}


def test_ctrl_c_in_a_process_of_its_own() -> None:
    """Lines are written during the run, and after the signal every id has one."""
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
        canceled = [line for line in results if line["status"] == "accepted"]
        assert len(canceled) == 1500 - len(sandbox.exchange.book.open())
    assert len(_by_id(results)) == len(results) == 1500
    assert "canary" not in said
    assert "Traceback" not in said


def test_a_reader_that_goes_away_costs_no_order() -> None:
    """If standard output closes early, the run continues to cancel, without a traceback."""
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
def test_a_missing_extra_is_named(name: str) -> None:
    """If typer or rich is missing, the error is one line and the exit code is 2."""
    script = f"import sys; sys.modules[{name!r}] = None; import htx_cancel.__main__ as m; m.main()"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'htx-cancel[cli]'" in done.stderr


@pytest.mark.parametrize(("option", "bars"), [("-", False), ("results.jsonl", True)])
def test_bars_and_results_do_not_share_a_terminal(tmp_path: Path, option: str, bars: bool) -> None:
    """If the results go to the terminal, the progress is lines instead of bars."""
    path = tmp_path / "orders.csv"
    with served() as sandbox:
        path.write_text(sandbox.add_open(3))
        words = ["run", str(path), "--output", option]
        code, text = seen(*words, url=sandbox.server.base_url, folder=tmp_path)
    assert code == 0
    assert (b"\x1b[2K" in text) is bars
    assert (b"3 of 3 ids answered" in text) is not bars
