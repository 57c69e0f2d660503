"""Test the parsing of commands: refused flags and files, error messages, help and Ctrl-C."""

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
from htx_cancel.cli.commands import cancel, everything, run


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Write two orders to a file."""
    path = tmp_path / "orders.csv"
    path.write_text(as_file(["7", "8"]))
    return path


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of a listener, and check that nothing has connected to it."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_dry_run_opens_no_connection(orders: Path, unasked: str, place: int) -> None:
    """The position of the flag does not matter, and neither do the keys."""
    words = [str(orders), "--base-url", unasked]
    words.insert(place, "--dry-run")
    result = runner().invoke(app, ["run", *words])
    assert result.exit_code == 0, result.output
    assert "nothing is sent" in result.output


FLAGS: dict[str, Callable[..., object]] = {
    "--dry-run": lambda value, url: run("nowhere.csv", base_url=url, dry_run=value),
    "--client-ids": lambda value, url: cancel(
        "usdt_m", "orders", "BTC-USDT", ["7"], base_url=url, client_ids=value
    ),
    "--yes": lambda value, url: everything(base_url=url, yes=value),
}


@pytest.mark.parametrize("misread", [None, "", "False", "--output", 0, 1, ...])
@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_that_the_parser_misread_is_refused(
    unasked: str, flag: str, misread: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typer before 0.15.4 gives None with click 8.2, whether or not the flag is there."""
    with pytest.raises(typer.Exit) as ending:
        FLAGS[flag](misread, unasked)
    assert ending.value.exit_code == 2
    expected = f"htx-cancel: {flag} must be True or False, got {misread!r}: install a newer typer"
    assert capsys.readouterr().err == f"{expected}\n"


@pytest.mark.parametrize("missing", KEYS)
@pytest.mark.parametrize(
    "words",
    [
        ["run", "-"],
        ["cancel", "coin_m_swap", "orders", "BTC-USD", "7"],
        ["list"],
        ["everything", "--yes"],
        ["guard"],
    ],
    ids=lambda words: words[0],
)
def test_a_missing_key_is_named(words: list[str], missing: str) -> None:
    """The error names the environment variable that is not set, and shows no key."""
    env: dict[str, str | None] = {**KEYS, missing: None}
    result = runner(env=env).invoke(app, words, input=as_file(["7"]))
    assert result.exit_code == 2
    assert result.stderr == f"htx-cancel: {missing} must be set to the account's keys\n"


HELP = {
    "run": ("0: every id", "1: some", "2: the input", "130, 143: stopped", "none was found"),
    "list": ("0: the list is complete", "1: something could not", "2: the input is bad"),
    "everything": (
        *("0: it is proved", "1: orders may be open", "2: the input is bad", "130, 143"),
        "They are left alone unless",
    ),
    "guard": (
        *("0: Ctrl-C or SIGTERM", "1: the switch could not be", "2: the input is bad"),
        "trailing orders are not known to be covered",
    ),
}


@pytest.mark.parametrize("name", HELP)
def test_the_help_lists_the_exit_codes(name: str) -> None:
    """Each code has its meaning; the help of some commands names what they leave alone."""
    text = " ".join(runner().invoke(app, [name, "--help"]).stdout.split())
    for words in HELP[name]:
        assert words in text


Alias = Callable[[Path], Path]


def itself(path: Path) -> Path:
    """Return the path itself."""
    return path


def symlink(path: Path) -> Path:
    """Return a symbolic link to the path."""
    alias = path.with_name("symlink")
    alias.symlink_to(path)
    return alias


def hard_link(path: Path) -> Path:
    """Return a hard link to the path."""
    alias = path.with_name("hard-link")
    alias.hardlink_to(path)
    return alias


@pytest.mark.parametrize("option", ["--output", "--resume"])
@pytest.mark.parametrize("alias", [itself, symlink, hard_link])
def test_the_file_of_the_orders_is_refused_for_results(
    orders: Path, unasked: str, option: str, alias: Alias
) -> None:
    """A link to the file is refused too; nothing is sent, and the file stays as it was."""
    before, other = orders.read_bytes(), alias(orders)
    result = runner().invoke(app, ["run", str(orders), "--base-url", unasked, option, str(other)])
    assert result.exit_code == 2
    words = f"{option} must be another file than FILE, got {other} for both"
    assert result.stderr == f"htx-cancel: {words}\n"
    assert orders.read_bytes() == before


@pytest.mark.parametrize("option", ["--output", "--resume"])
def test_the_file_behind_standard_input_is_refused_for_results(
    orders: Path, unasked: str, option: str
) -> None:
    """The shell has opened the file, so the command sees no name."""
    command = [sys.executable, "-m", "htx_cancel", "run", "-", option, str(orders)]
    with orders.open() as file:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [*command, "--base-url", unasked], stdin=file, capture_output=True, check=False
        )
    assert done.returncode == 2
    assert b"must be another file than FILE" in done.stderr


def test_a_redirection_to_the_file_of_the_orders_is_refused(orders: Path, unasked: str) -> None:
    """This is what ``>> orders.csv`` does."""
    command = [sys.executable, "-m", "htx_cancel", "run", str(orders), "--output", "-"]
    with orders.open("a") as file:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [*command, "--base-url", unasked], stdout=file, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert b"must be another file than FILE" in done.stderr
    assert orders.read_text() == as_file(["7", "8"])


def test_a_device_may_be_input_and_output(unasked: str) -> None:
    """Only regular files are compared; this run fails because the device has no orders."""
    command = ["run", "/dev/null", "--output", "/dev/null", "--base-url", unasked]
    assert "line 1: must be a CSV header" in runner().invoke(app, command).stderr


def test_results_may_go_to_the_file_that_is_resumed(tmp_path: Path) -> None:
    """This is how a user finishes a run."""
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
    """Errors of the parser and of our code are one line on standard error."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "htx_cancel", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"htx-cancel: {expected}")
    assert done.stderr.count("\n") == 1


def test_a_missing_file_to_resume_from_is_named(orders: Path, unasked: str) -> None:
    """A mistyped name does not make the run cancel every order again."""
    result = runner().invoke(
        app, ["run", str(orders), "--base-url", unasked, "--resume", "nowhere.jsonl"]
    )
    assert result.exit_code == 2
    assert result.stderr == "htx-cancel: nowhere.jsonl: No such file or directory\n"


def test_the_version_is_shown() -> None:
    """The version is the version of the package."""
    result = runner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("htx-cancel 0.")


def test_a_command_without_arguments_shows_the_help() -> None:
    """The exit code is 0, as with ``--help``."""
    command = [sys.executable, "-m", "htx_cancel"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0
    assert "demo" in done.stdout


def test_a_run_that_found_none_of_its_orders_does_not_succeed(tmp_path: Path) -> None:
    """The run says so and exits with 1; the table has the reason."""
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


#: A script that runs the command, and prints "ready" when the command looks for typer.
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
def test_an_interrupt_before_the_first_request_is_silent(delay: float) -> None:
    """Ctrl-C during the imports or while waiting for input exits with 130."""
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
