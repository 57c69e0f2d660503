"""The findings of a benchmark, and the page that shows them."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

ROUNDS = 3

_PACKAGES = (
    *("htx-cancel", "aiohttp", "uvloop", "ccxt", "aiolimiter", "pyrate-limiter", "redis"),
    *("limits", "throttled-py"),
)

_INTRO = """\
# Benchmarks

`make bench` ran every benchmark in {minutes:.0f} minutes and wrote this page on {date}.
Machine: {machine}. Versions: {versions}.

Each client runs in its own process and the exchange in another, over the loopback interface.
Clients that are compared run at the same time or in turns. Figures are medians of {rounds} rounds
unless stated otherwise. The exchange is the project's sandbox or, where the sandbox would be slower
than the clients, a stub that accepts every cancel at once. Nothing was run against HTX. The aiohttp
client, and the loop that cuts ids into batches for ccxt, were written for this comparison.

Efficiency is the minimum time that a limit of N requests per T seconds allows, divided by the time
taken. The minimum is floor((requests - 1) / N) * T plus one round trip. More than 100 % means that
requests were refused, and a client whose requests are refused still has to send them again.

HTX does not say when its windows begin, so refusals are counted under three rules: fixed windows
that start with their first request (first), fixed windows of the clock (epoch), and sliding windows
(slide)."""


class Target(Struct, frozen=True):
    """A promise and the figure measured. The whole run fails if a ``must`` target is missed."""

    promise: str
    held: bool
    figure: str
    must: bool = False


class Table(Struct, frozen=True):
    """A table and its caption; the first column names the rows."""

    caption: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


class Findings(Struct, frozen=True):
    """The answer to one question."""

    question: str
    setup: str
    targets: list[Target]
    tables: list[Table]
    pictures: dict[str, str] = {}  #: SVG texts by file name


def _machine() -> str:
    """Return the processor, the operating system and the interpreter."""
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


def page(sections: list[str], seconds: float) -> str:
    """Return the whole page."""
    intro = _INTRO.format(
        minutes=seconds / 60,
        date=datetime.now(UTC).date().isoformat(),
        machine=_machine(),
        versions=", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        rounds=ROUNDS,
    )
    return "\n\n".join([intro, *sections]) + "\n"


def section(number: int, findings: Findings, *, quick: bool) -> str:
    """Return the page's section about one question; a quick run shows only ``must`` targets."""
    targets = [
        f"- {'held' if target.held else '**not held**'}: {target.promise}. Found: {target.figure}."
        for target in findings.targets
        if target.must or not quick
    ]
    pictures = [f"![{findings.question}]({name})" for name in findings.pictures]
    heading = f"## {number}. {findings.question}"
    parts = [heading, findings.setup, "\n".join(targets), *map(_table, findings.tables), *pictures]
    return "\n\n".join(filter(None, parts))


def _table(table: Table) -> str:
    lines = (table.columns, [":--", *["--:"] * (len(table.columns) - 1)], *table.rows)
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table.caption}\n\n{rows}"
