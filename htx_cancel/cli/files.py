"""Read the files that a user names, put their names before errors, and compare them."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from htx_cancel.cli.input_file import BadInputError


def content(name: str) -> bytes:
    """Read a file, or standard input for ``-``."""
    if name != "-":
        return Path(name).read_bytes()
    if sys.stdin is None:
        raise BadInputError("standard input must be open for -, got a closed one")
    return sys.stdin.buffer.read()


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the file's name before the error that its content or its opening raises."""
    shown = "<stdin>" if name == "-" else name
    try:
        yield
    except BadInputError as error:
        raise BadInputError(f"{shown}, {error}") from None
    except OSError as error:
        raise BadInputError(f"{shown}: {error.strerror}") from None


def check_different(file: str, output: Path | None, resume: Path | None) -> None:
    """Refuse to write results to the file of the orders, or to resume from that file."""
    orders = _identity(file, 0)
    if orders is None:
        return
    for option, path in (("--output", output), ("--resume", resume)):
        if path is not None and _identity(str(path), 1) == orders:
            raise BadInputError(f"{option} must be another file than FILE, got {path} for both")


def _identity(name: str, descriptor: int) -> tuple[int, int] | None:
    """Return the device and inode of a regular file; ``-`` is the standard stream given."""
    with suppress(OSError, ValueError):
        status = os.fstat(descriptor) if name == "-" else Path(name).stat()
        if stat.S_ISREG(status.st_mode):
            return status.st_dev, status.st_ino
    return None
