"""Write results without making anybody wait for the file.

Rules:

* Results are appended, never written over others. Only a last line that was cut is removed before.
  A list of orders replaces what a file had: it is about now.
* One thread writes, each batch as it comes and without a buffer: a reader that stops reading does
  not slow a cancel.
* At the end the thread has ``WAIT`` seconds to write what is left. After that, or after the first
  error, the rest is given up and ``error`` says why.
"""

import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO, Literal

import msgspec
from msgspec import Struct

from htx_cancel import CallResult, OrderResult
from htx_cancel.cli.groups import Group
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.cli.results import is_cut, line

WAIT = 5.0  #: seconds after the last result until a file that takes no more is given up


class Output:
    """Writes lines of results in a thread of its own; without a file it writes nothing."""

    def __init__(self, open_file: Callable[[], BinaryIO] | None) -> None:
        self.error = ""
        self._given = self._written = 0
        self._queue: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self._thread: Thread | None = None
        if open_file is not None:
            self._thread = Thread(target=self._run, args=(open_file,), daemon=True)
            self._thread.start()

    def write(self, group: Group, results: Iterable[OrderResult | CallResult]) -> None:
        """Hand over a line for each result of a group; returns at once."""
        self.put(line(group, it) for it in results)

    def put(self, items: Iterable[Struct]) -> None:
        """Hand over a line for each item; returns at once."""
        if self._thread is not None and not self.error:
            lines = [msgspec.json.encode(it) + b"\n" for it in items]
            self._given += len(lines)
            self._queue.put(lines)

    def close(self) -> None:
        """Wait until all is written, for up to ``WAIT`` seconds; the second time does nothing."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._queue.put(None)
        thread.join(WAIT)
        if thread.is_alive():
            lost = self._given - self._written
            self.error = f"{lost:,} of {self._given:,} lines were not taken within {WAIT:g} seconds"

    def _run(self, open_file: Callable[[], BinaryIO]) -> None:
        try:
            with open_file() as file:
                while (lines := self._queue.get()) is not None:
                    _write(file, b"".join(lines))
                    self._written += len(lines)
        except OSError as error:
            self.error = error.strerror or str(error)


def _write(file: BinaryIO, content: bytes) -> None:
    """Write all of it to a file without a buffer, which may take only a part at a time."""
    rest = memoryview(content)
    while rest:
        taken: int | None = file.write(rest)
        if taken is None:  # somebody made the pipe non-blocking, and it is full
            select.select((), (file,), ())
        rest = rest[taken or 0 :]


@contextmanager
def opened(path: Path | None, *, replace: bool = False) -> Iterator[Output]:
    """Open a file to append to or to replace, standard output for ``-``, or nothing."""
    try:
        output = Output(_opener(path, "wb" if replace else "ab"))
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from None
    try:
        yield output
    finally:
        output.close()


def _opener(path: Path | None, mode: Literal["wb", "ab"]) -> Callable[[], BinaryIO] | None:
    if path is None:
        return None
    if str(path) == "-":
        if sys.stdout is None:
            raise BadInputError("standard output must be open for --output -, got a closed one")
        return lambda: open(1, "wb", buffering=0, closefd=False)
    if path.is_fifo():  # opening it waits for a reader
        return lambda: path.open(mode, buffering=0)
    file = path.open(mode, buffering=0)
    if path.is_file() and mode == "ab":
        _mend_end(path, file)
    return lambda: file


def _mend_end(path: Path, file: BinaryIO) -> None:
    """Make a file end with a whole line: remove a last line that was cut, or end it."""
    size, last = 0, b""
    with path.open("rb") as lines:
        for last in lines:
            size += len(last)
    if last and is_cut(last):
        os.truncate(path, size - len(last))
    elif last and not last.endswith(b"\n"):
        file.write(b"\n")
