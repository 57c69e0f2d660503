"""What a user types: flags and files that are refused, texts of errors, and Ctrl-C at any time."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from cli_sandbox import KEYS, as_file, runner, served

from htx_cancel.cli import app
from htx_cancel.cli.commands import cancel, run


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Write two orders to a file."""
    path = tmp_path / "orders.csv"
    path.write_text(as_file(["7", "8"]))
    return path


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Listen where nobody may connect; yield the address."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_dry_run_opens_no_connection(orders: Path, unasked: str, place: int) -> None:
    """Wherever the flag stands and though the keys are set."""
    words = [str(orders), "--base-url", unasked]
    words.insert(place, "--dry-run")
    result = runner().invoke(app, ["run", *words])
    assert result.exit_code == 0, result.output
    assert "Nothing is sent" in result.output


@pytest.mark.parametrize("misread", [None, "", "False", "--output", 0, 1, ...])
def test_a_parser_that_misreads_the_dry_run_is_refused(
    orders: Path, unasked: str, misread: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typer before 0.15.4 gives None with click 8.2, whether or not the flag is there."""
    with pytest.raises(typer.Exit) as ending:
        run(str(orders), base_url=unasked, dry_run=misread)  # type: ignore[arg-type]
    assert ending.value.exit_code == 2
    expected = f"htx-cancel: --dry-run must be True or False, got {misread!r}: install a newer "
    assert capsys.readouterr().err.startswith(expected)


@pytest.mark.parametrize("misread", [None, "", 1])
def test_a_parser_that_misreads_client_ids_is_refused(
    unasked: str, misread: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """An id of one sort may be that of another order as one of the other."""
    with pytest.raises(typer.Exit) as ending:
        cancel("usdt_m", "orders", "BTC-USDT", ["7"], base_url=unasked, client_ids=misread)  # type: ignore[arg-type]
    assert ending.value.exit_code == 2
    assert "--client-ids must be True or False" in capsys.readouterr().err


Alias = Callable[[Path], Path]


def itself(path: Path) -> Path:
    """Return the same name."""
    return path


def symlink(path: Path) -> Path:
    """Return another name."""
    alias = path.with_name("symlink")
    alias.symlink_to(path)
    return alias


def hard_link(path: Path) -> Path:
    """Return an equal name."""
    alias = path.with_name("hard-link")
    alias.hardlink_to(path)
    return alias


@pytest.mark.parametrize("option", ["--output", "--resume"])
@pytest.mark.parametrize("alias", [itself, symlink, hard_link])
def test_the_file_of_the_orders_is_refused_for_results(
    orders: Path, unasked: str, option: str, alias: Alias
) -> None:
    """By whatever name; nothing is sent, and the file stays as it was."""
    before, other = orders.read_bytes(), alias(orders)
    result = runner().invoke(app, ["run", str(orders), "--base-url", unasked, option, str(other)])
    assert result.exit_code == 2
    words = f"{option} must be another file than FILE, got {other} for both"
    assert result.stderr == f"htx-cancel: {words}\n"
    assert orders.read_bytes() == before


@pytest.mark.parametrize("option", ["--output", "--resume"])
def test_the_file_that_standard_input_is_is_refused_for_results(
    orders: Path, unasked: str, option: str
) -> None:
    """A shell has opened it."""
    command = [sys.executable, "-m", "htx_cancel", "run", "-", option, str(orders)]
    with orders.open() as file:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [*command, "--base-url", unasked], stdin=file, capture_output=True, check=False
        )
    assert done.returncode == 2
    assert b"must be another file than FILE" in done.stderr


def test_standard_output_that_is_the_file_of_the_orders_is_refused(
    orders: Path, unasked: str
) -> None:
    """As with ``>> orders.csv``."""
    command = [sys.executable, "-m", "htx_cancel", "run", str(orders), "--output", "-"]
    with orders.open("a") as file:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [*command, "--base-url", unasked], stdout=file, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert b"must be another file than FILE" in done.stderr
    assert orders.read_text() == as_file(["7", "8"])


def test_a_device_may_be_both_ends(unasked: str) -> None:
    """Only a regular file is spoilt by being written; here reading it is what fails."""
    command = ["run", "/dev/null", "--output", "/dev/null", "--base-url", unasked]
    assert "line 1: must be a CSV header" in runner().invoke(app, command).stderr


def test_results_may_go_to_the_file_that_is_resumed(tmp_path: Path) -> None:
    """That is the way to finish a run."""
    with served() as sandbox:
        path, results = tmp_path / "orders.csv", tmp_path / "results.jsonl"
        path.write_text(sandbox.add_open(3))
        results.touch()
        options = ("--output", str(results), "--resume", str(results))
        assert sandbox.run(path, *options).exit_code == 0
        assert sandbox.run(path, *options).stderr == "There is nothing to cancel.\n"
    assert len(results.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run"], "Missing argument"),
        (["run", "x.csv", "--dryrun"], "No such option"),
        (["run", "x.csv", "--timeout", "soon"], "Invalid value for '--timeout'"),
        (["stop"], "No such command"),
        (["run", "x.csv"], "x.csv: No such file or directory"),
        (["run", "."], ".: Is a directory"),
        (["run", "/dev/null", "--resume", "y.jsonl"], "/dev/null, line 1: must be a CSV header"),
    ],
)
def test_every_error_has_one_form_and_code_2(words: list[str], expected: str) -> None:
    """``htx-cancel: <text>`` on one line of standard error, from the parser and from us."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "htx_cancel", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"htx-cancel: {expected}")
    assert done.stderr.count("\n") == 1


def test_a_missing_file_to_resume_from_is_named(orders: Path, unasked: str) -> None:
    """A name that was mistyped does not cancel everything again."""
    result = runner().invoke(
        app, ["run", str(orders), "--base-url", unasked, "--resume", "nowhere.jsonl"]
    )
    assert result.exit_code == 2
    assert result.stderr == "htx-cancel: nowhere.jsonl: No such file or directory\n"


def test_the_version_is_told() -> None:
    """It is that of the package."""
    result = runner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("htx-cancel 0.")


def test_no_words_at_all_show_the_help() -> None:
    """With code 0, as ``--help`` does."""
    command = [sys.executable, "-m", "htx_cancel"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0
    assert "demo" in done.stdout


def test_the_help_of_run_lists_the_exit_codes() -> None:
    """Each with its meaning."""
    text = runner().invoke(app, ["run", "--help"]).stdout
    for words in ("0: every id", "1: some", "2: the input", "130, 143: stopped", "none was found"):
        assert words in text


def test_a_run_that_found_none_of_its_orders_does_not_succeed(tmp_path: Path) -> None:
    """It says so and exits with 1; the reason is in the table."""
    path = tmp_path / "orders.csv"
    path.write_text(as_file(["7", "8", "9"]))
    with served() as sandbox:
        result = sandbox.run(path)
    assert result.exit_code == 1
    assert "None of the 3 orders was found: check contract_code and account." in result.stderr
    assert "1061" in result.stderr


def test_a_run_ends_with_the_reasons_and_the_number_of_live_orders(tmp_path: Path) -> None:
    """A rejection is never shown without its code and message."""
    path = tmp_path / "orders.csv"
    with served() as sandbox:
        path.write_text(sandbox.add_open(30))
        for order in sandbox.exchange.book.open()[:24]:
            order.refusal = 1088
        result = sandbox.run(path)
    assert result.exit_code == 1
    assert "24 orders may be live: 24 rejected." in result.stderr
    (row,) = [text for text in result.stderr.splitlines() if "1088" in text]
    assert row.split()[:2] == ["rejected", "1088"]
    assert row.split()[-1] == "24"


#: Runs the command, which says that it is ready when it looks for its first package.
START = """\
import sys
import htx_cancel.__main__ as command

find_spec = command.find_spec

def found(name):
    if name == "typer":
        print("ready", flush=True)
    return find_spec(name)

command.find_spec = found
sys.argv[1:] = ["run", "-"]
command.main()
"""


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32])
def test_an_interrupt_before_anything_was_sent_is_silent(delay: float) -> None:
    """During the imports as well as when the input is waited for; the code is 130."""
    end = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", START], stdin=end, stdout=end, stderr=end, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        said = process.stdout.read() + process.stderr.read()
    assert process.returncode == 130
    assert said == ""
