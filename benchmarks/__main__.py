"""Run the benchmarks: ``python -m benchmarks [NAME ...] [--quick] [--docs DIR]``."""

import argparse
import asyncio
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.report import Findings, intro, section

NAMES = ("pull", "truth", "cost", "loop", "limiters", "trouble", "shared")


async def run(names: list[str], *, quick: bool) -> tuple[list[str], list[Findings]]:
    """Run these benchmarks one after another; return their sections of the page, and findings."""
    sections, found = [], []
    for number, name in enumerate(names, 1):
        began = time.monotonic()
        findings: Findings = await import_module(f"benchmarks.{name}").run(quick=quick)
        sections.append(section(number, findings, quick=quick))
        found.append(findings)
        print(f"\n{sections[-1]}\n\n({time.monotonic() - began:.0f} s)", flush=True)
    return sections, found


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and write what was asked for; 1 if something that must hold does not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(NAMES)}; all if none")
    add("--quick", action="store_true", help="once and small; only what must hold is judged")
    add("--docs", type=Path, metavar="DIR", help="write DIR/benchmarks.md and its pictures")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    began = time.monotonic()
    sections, found = asyncio.run(run(given.names or list(NAMES), quick=given.quick))
    page = "\n\n".join([intro(time.monotonic() - began), *sections]) + "\n"
    if given.docs is not None:
        given.docs.joinpath("benchmarks.md").write_text(page, encoding="utf-8")
        for name, picture in [it for each in found for it in each.pictures.items()]:
            given.docs.joinpath(name).write_text(picture, encoding="utf-8")
    broken = [it for findings in found for it in findings.targets if it.must and not it.held]
    for target in broken:
        print(f"must hold and does not: {target.words}: {target.figure}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
