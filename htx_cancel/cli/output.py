"""Write results without making any call wait for the file.

Rules:

* Results are appended; nothing is overwritten. Only a last line that was cut is removed first. A
  list of open orders replaces the content of its file.
* A thread writes each batch at once and without a buffer, so that a reader that stops reading does
  not slow a cancel.
* At the end the thread has ``CLOSE_TIMEOUT`` seconds to write the rest. After that time, or after
  the first error, the rest is dropped and ``error`` says why.
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

from htx_cancel.cli.input_file import BadInputError
from htx_cancel.cli.results import is_cut

CLOSE_TIMEOUT = 5.0  #: seconds that the thread has to write the rest at the end


class Output:
    """Writes JSON lines in a thread; without a file it writes nothing."""

    def __init__(self, open_file: Callable[[], BinaryIO] | None) -> None:
        self.error = ""
        self._given = self._written = 0
        self._queue: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self._thread: Thread | None = None
        if open_file is not None:
            self._thread = Thread(target=self._run, args=(open_file,), daemon=True)
            self._thread.start()

    def write(self, items: Iterable[Struct]) -> None:
        """Queue a line for each item; return at once."""
        if self._thread is not None and not self.error:
            lines = [msgspec.json.encode(item) + b"\n" for item in items]
            self._given += len(lines)
            self._queue.put(lines)

    def close(self) -> None:
        """Wait up to ``CLOSE_TIMEOUT`` seconds until all is written; only the first time."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._queue.put(None)
        thread.join(CLOSE_TIMEOUT)
        if thread.is_alive():
            lost = self._given - self._written
            self.error = (
                f"{lost:,} of {self._given:,} lines were not written within"
                f" {CLOSE_TIMEOUT:g} seconds of the end"
            )

    def _run(self, open_file: Callable[[], BinaryIO]) -> None:
        try:
            with open_file() as file:
                while (lines := self._queue.get()) is not None:
                    _write(file, b"".join(lines))
                    self._written += len(lines)
        except OSError as error:
            self.error = error.strerror or str(error)


def _write(file: BinaryIO, content: bytes) -> None:
    """Write all of the content to an unbuffered file, which may take a part at a time."""
    rest = memoryview(content)
    while rest:
        taken: int | None = file.write(rest)
        if taken is None:  # another process made the pipe non-blocking, and the pipe is full
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
    if path.is_fifo():  # opening a FIFO waits for a reader
        return lambda: path.open(mode, buffering=0)
    file = path.open(mode, buffering=0)
    if path.is_file():
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
