"""Write docs/benchmarks.md and its pictures from what was found."""

from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import Findings, machine, markdown, versions


def write(directory: Path, found: list[Findings]) -> None:
    """Write the page."""
    directory.joinpath("benchmarks.md").write_text(str(len(found)), encoding="utf-8")
