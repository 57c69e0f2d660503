"""The files that a user names: read them, say which one is wrong, and tell them apart."""

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
def named(name: str) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    shown = "<stdin>" if name == "-" else name
    try:
        yield
    except BadInputError as error:
        raise BadInputError(f"{shown}, {error}") from None
    except OSError as error:
        raise BadInputError(f"{shown}: {error.strerror}") from None


def check_different(file: str, output: Path | None, resume: Path | None) -> None:
    """Refuse to write results to the file of the orders, or to resume from it."""
    given = _identity(file, 0)
    if given is None:
        return
    for option, path in (("--output", output), ("--resume", resume)):
        if path is not None and _identity(str(path), 1) == given:
            raise BadInputError(f"{option} must be another file than FILE, got {path} for both")


def _identity(name: str, standard: int) -> tuple[int, int] | None:
    """Tell which regular file it is, by whatever name; ``-`` is a standard stream."""
    with suppress(OSError, ValueError):
        found = os.fstat(standard) if name == "-" else Path(name).stat()
        if stat.S_ISREG(found.st_mode):
            return found.st_dev, found.st_ino
    return None
