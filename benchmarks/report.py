"""What a benchmark finds, and the page that shows it."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

_PACKAGES = ("htx-cancel", "aiohttp", "uvloop", "ccxt", "aiolimiter", "pyrate-limiter", "redis")
_PACKAGES += ("limits", "throttled-py")

_INTRO = """\
# Benchmarks

`make bench` ran all of this in {minutes:.0f} minutes and wrote this page, on {date}.
Machine: {machine}. Versions: {versions}.

Each client runs in a process of its own and the exchange in another, over loopback. Clients that
are compared run side by side or in turns; figures are medians of {rounds} rounds unless stated. The
exchange is the project's sandbox, or a server that accepts every cancel at once where the sandbox
would be slower than the clients; nothing was run against HTX. The aiohttp peer, and the loop around
ccxt that cuts ids to batches, were written for this comparison."""

ROUNDS = 3


class Target(Struct, frozen=True):
    """What is promised, and the figure found. ``must`` fails the whole run if it is not held."""

    words: str
    held: bool
    figure: str
    must: bool = False


class Table(Struct, frozen=True):
    """A table; its first column has the names of the rows."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


class Findings(Struct, frozen=True):
    """The answer to one question: how it was measured, what was promised, and a table."""

    question: str
    how: str
    targets: list[Target]
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    more: list[Table] = []
    pictures: dict[str, str] = {}  #: SVG, by the names of files beside the page


def machine() -> str:
    """Name the machine and the interpreter."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    return (
        f"{os.cpu_count()} x {model}, {platform.system()} {platform.release().split('-')[0]}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def intro(seconds: float) -> str:
    """Write the head of the page."""
    return _INTRO.format(
        minutes=seconds / 60,
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        versions=", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        rounds=ROUNDS,
    )


def section(number: int, findings: Findings, *, quick: bool) -> str:
    """Write one question's part of the page; a quick run judges only what must hold."""
    targets = [
        f"- {'held' if target.held else '**not held**'}: {target.words}. Found: {target.figure}."
        for target in findings.targets
        if target.must or not quick
    ]
    pictures = [f"![{findings.question}]({name})" for name in findings.pictures]
    tables = [Table(findings.columns, findings.rows), *findings.more]
    text = "\n".join([f"## {number}. {findings.question}", findings.how, *targets])
    return "\n\n".join([text, *map(_table, tables), *pictures])


def _table(table: Table) -> str:
    lines = (table.columns, [":--", *["--:"] * (len(table.columns) - 1)], *table.rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
