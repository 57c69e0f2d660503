"""What benchmarks find, and how it is shown: plain tables to read, Markdown to keep."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import Struct

PACKAGES = (
    "htx-cancel",
    "aiohttp",
    "aiolimiter",
    "msgspec",
    "uvloop",
    "ccxt",
    "pybotters",
    "httpx",
    "sniffio",
    "pyrate-limiter",
    "throttled-py",
    "limits",
)


class Options(Struct, frozen=True):
    """How long to measure."""

    quick: bool = False  #: once, and small: only that all runs
    rounds: int = 3
    idle: float = 20.0  #: seconds for ``first``
    full: bool = False  #: the longest runs as well


class Table(Struct, frozen=True):
    """Rows of words; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""


class Target(Struct, frozen=True):
    """What was promised, and what was found. ``must`` fails the whole run if it does not hold."""

    words: str
    held: bool
    found: str
    must: bool = False


class Findings(Struct, frozen=True):
    """The answer to one question. ``pictures`` are SVG texts by file name."""

    name: str
    question: str
    summary: list[str]
    tables: list[Table]
    targets: list[Target]
    pictures: dict[str, str] = {}
    seconds: float = 0.0


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


def versions() -> str:
    """Name what was measured."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (not installed)")
    return ", ".join(found)


def plain(findings: Findings) -> str:
    """Show findings in a terminal."""
    parts = [f"\n== {findings.question}", *findings.summary]
    for table in findings.tables:
        parts += ["", table.title, *_columns(table)]
        parts += [table.note] if table.note else []
    parts += [
        "",
        *(f"{_held(target)} {target.words}: {target.found}" for target in findings.targets),
    ]
    return "\n".join(parts)


def _held(target: Target) -> str:
    return "[held]    " if target.held else "[NOT HELD]"


def _columns(table: Table) -> list[str]:
    lines = [table.columns, *table.rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.columns))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def markdown(findings: Findings) -> str:
    """Show findings on a page."""
    parts = [f"## {findings.question}", *findings.summary]
    parts += [f"![{findings.name}]({file})" for file in findings.pictures]
    for table in findings.tables:
        parts += [f"**{table.title}**", "\n".join(_markdown_rows(table))]
        parts += [table.note] if table.note else []
    return "\n\n".join(parts)


def _markdown_rows(table: Table) -> list[str]:
    rule = [":--" if at == 0 else "--:" for at in range(len(table.columns))]
    return [
        f"| {' | '.join(cell.replace('|', '/') for cell in line)} |"
        for line in (table.columns, rule, *table.rows)
    ]
