"""Test the writing of results: it appends, loses nothing, and delays no cancel."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from cli_sandbox import KEYS, lines, served, start

from htx_cancel import CancelStatus, OrderResult
from htx_cancel.cli import output as output_module
from htx_cancel.cli.groups import Group
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.cli.output import Output, opened
from htx_cancel.cli.results import Line, line
from htx_cancel.endpoints import coin_m_swap

GROUP = Group(coin_m_swap.ORDERS, "BTC-USD")


def results(first: int, number: int) -> list[Line]:
    """Make lines of results with consecutive ids."""
    ids = range(first, first + number)
    return [line(GROUP, OrderResult(str(key), CancelStatus.ACCEPTED)) for key in ids]


def test_lines_are_appended_in_their_order(tmp_path: Path) -> None:
    """The content of the file stays, and each line is written once."""
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"kept\n")
    with opened(path) as output:
        for first in range(0, 5000, 10):
            output.write(results(first, 10))
    assert not output.error
    first_line, *rest = path.read_text().splitlines()
    assert first_line == "kept"
    assert [row["order_id"] for row in lines("\n".join(rest))] == [str(key) for key in range(5000)]


def test_each_batch_is_in_the_file_while_the_run_goes_on(tmp_path: Path) -> None:
    """No line waits in a buffer until the end."""
    path = tmp_path / "results.jsonl"
    with opened(path) as output:
        output.write(results(0, 1))
        deadline = time.monotonic() + 5
        while not path.stat().st_size and time.monotonic() < deadline:
            time.sleep(0.001)
        assert msgspec.json.decode(path.read_bytes())["order_id"] == "0"


def test_a_file_that_cannot_be_opened_is_bad_input(tmp_path: Path) -> None:
    """The error names the file."""
    for path in (tmp_path / "nowhere" / "x.jsonl", tmp_path):
        with pytest.raises(BadInputError, match=str(path)), opened(path):
            pass


def test_no_file_writes_nothing() -> None:
    """``--output`` is optional."""
    with opened(None) as output:
        output.write(results(0, 1))
    assert not output.error


def test_a_full_disk_stops_the_writing_only() -> None:
    """The first error is reported, and the end does not wait."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no full device here")
    with opened(Path("/dev/full")) as output:
        output.write(results(0, 1))
        output.write(results(1, 1))
    assert output.error == "No space left on device"


def test_a_full_pipe_that_does_not_block_loses_nothing() -> None:
    """Another process may have made standard output non-blocking."""
    end, begin = os.pipe()
    os.set_blocking(begin, False)
    output = Output(lambda: os.fdopen(begin, "wb", buffering=0))
    output.write(results(0, 5000))
    with os.fdopen(end, "rb") as file:
        first = file.readline()
        rest = b"".join(file.readline() for _ in range(4999))
    output.close()
    assert not output.error
    text = first + rest
    assert [row["order_id"] for row in lines(text.decode())] == [str(key) for key in range(5000)]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Make a FIFO without a reader."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_a_file_that_takes_nothing_delays_only_the_end(
    fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening and writing return at once; the end waits, and counts the lost lines."""
    monkeypatch.setattr(output_module, "CLOSE_TIMEOUT", 0.2)
    began = time.monotonic()
    with opened(fifo) as output:
        output.write(results(0, 3))
        assert time.monotonic() - began < 0.2
    assert time.monotonic() - began < 2
    assert output.error == "3 of 3 lines were not written within 0.2 seconds of the end"
    os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))  # lets the thread end


def test_a_late_reader_gets_every_line(fifo: Path) -> None:
    """The reader of a FIFO gets every line and the end of the file."""
    with ThreadPoolExecutor() as threads, opened(fifo) as output:
        output.write(results(0, 1000))
        reading = threads.submit(fifo.read_text)
        output.close()
        assert len(lines(reading.result())) == 1000
    assert not output.error


def test_a_reader_that_stops_reading_costs_no_order_and_no_time() -> None:
    """The cancels end in the minimum time; five seconds later the run exits with 1."""
    with served() as sandbox:
        url, text = sandbox.server.base_url, sandbox.add_open(300)
        with start("run", "-", "--output", "-", url=url, pipesize=4096) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write(text)
            process.stdin.close()
            began = time.monotonic()
            while sandbox.exchange.book.open() and time.monotonic() < began + 20:
                time.sleep(0.01)
            canceled = time.monotonic()
            said = process.stderr.read()
            process.wait()
            ended = time.monotonic()
        assert not sandbox.exchange.book.open()
    assert process.returncode == 1
    assert "of 300 lines were not written within 5 seconds" in said
    assert "Traceback" not in said
    assert "Fatal" not in said
    assert canceled - began < 3.0
    assert 4.5 < ended - canceled < 8.0


def test_a_closed_standard_output_is_refused_before_anything_is_sent() -> None:
    """Another file could have taken the descriptor of standard output."""
    with served() as sandbox:
        text, url = sandbox.add_open(1), sandbox.server.base_url
        command = [sys.executable, "-m", "htx_cancel", "run", "-", "--output", "-"]
        done = subprocess.run(  # noqa: S603 - our own interpreter
            ["/bin/sh", "-c", 'exec "$0" "$@" >&-', *command, "--base-url", url],
            input=text,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | KEYS,
            check=False,
        )
        assert len(sandbox.exchange.book.open()) == 1
    assert done.returncode == 2
    words = "standard output must be open for --output -, got a closed one"
    assert done.stderr == f"htx-cancel: {words}\n"
