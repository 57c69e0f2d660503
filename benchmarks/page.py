"""Write docs/benchmarks.md and its pictures from what was found."""

from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import Findings, machine, markdown, versions

_INTRO = """\
# Benchmarks

Written questions, answered in one run beside what a user would pick instead. `make bench` runs all
of it and prints it; `python -m benchmarks --docs docs` writes this page and its pictures as well.
`python -m benchmarks --help` tells how to run one question, more rounds, or the longest runs.

Measured on {date}, in {minutes:.0f} minutes, on {machine}. Versions: {versions}.

**How to read it.** Ratios come first; the absolute figures belong to this machine. Every client
runs in a fresh process, the server in another, the work is fixed and seeded, and clients that are
compared take turns or run side by side within one run. The server is the project's sandbox where
limits or orders matter, and a leaner one, which answers at once, where the sandbox would be the
bottleneck.

**Our bias.** We wrote the client, the sandbox, the lean server and the hand-written peers. The
sandbox is a second reading of the exchange's pages, but it is our reading; nothing here was run
against HTX. The hand-written peers sign, cut and read replies as carefully as we know how, yet
they are ours. The questions are those that our design cares about: a user who cancels one order an
hour needs none of this. Everything is on loopback, where a client's CPU weighs more than it does
over a real network.

**Who is missing.** HTX's own Python SDK for contracts (HuobiRDCenter/huobi_python_contract) is not
in the package index, and what is not there is not run here. hummingbot installs as an application;
its throttler's rule was written anew from what it does, and is named "after hummingbot's". No
peer's pins clash today, so all share one environment, each in a process of its own.
"""


def write(directory: Path, found: list[Findings]) -> None:
    """Write the page."""
    directory.mkdir(exist_ok=True)
    intro = _INTRO.format(
        date=datetime.now(UTC).date().isoformat(),
        minutes=sum(findings.seconds for findings in found) / 60,
        machine=machine(),
        versions=versions(),
    )
    parts = [intro.rstrip(), _targets(found), *(markdown(findings) for findings in found)]
    directory.joinpath("benchmarks.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    for findings in found:
        for name, picture in findings.pictures.items():
            directory.joinpath(name).write_text(picture, encoding="utf-8")


def _targets(found: list[Findings]) -> str:
    lines = ["## What was promised, and what was found", ""]
    lines += ["| question | target | | found |", "| :-- | :-- | :-- | :-- |"]
    lines += [
        f"| {findings.question} | {target.words} | {'held' if target.held else '**not held**'} "
        f"| {target.found} |"
        for findings in found
        for target in findings.targets
    ]
    return "\n".join(lines)
