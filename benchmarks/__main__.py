"""Run the benchmarks: ``python -m benchmarks [NAME ...] [--quick] [--docs DIR]``."""

import argparse
import asyncio
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.report import Findings, page, section

NAMES = ("pull", "truth", "cost", "loop", "limiters", "trouble", "shared")


async def run(names: list[str], *, quick: bool) -> tuple[list[str], list[Findings]]:
    """Run the named benchmarks one after another; return the page's sections and the findings."""
    sections, results = [], []
    for number, name in enumerate(names, 1):
        began = time.monotonic()
        findings: Findings = await import_module(f"benchmarks.{name}").run(quick=quick)
        results.append(findings)
        sections.append(section(number, findings, quick=quick))
        print(f"\n{sections[-1]}\n\n({time.monotonic() - began:.0f} s)", flush=True)
    return sections, results


def main(arguments: list[str] | None = None) -> int:
    """Run benchmarks, print and write their findings; return 1 if a ``must`` target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; default: all")
    add("--quick", action="store_true", help="run once with little work; judge only `must` targets")
    add("--docs", type=Path, metavar="DIR", help="write DIR/benchmarks.md and its pictures")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"NAME must be one of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    began = time.monotonic()
    sections, results = asyncio.run(run(options.names or list(NAMES), quick=options.quick))
    if options.docs is not None:
        text = page(sections, time.monotonic() - began)
        options.docs.joinpath("benchmarks.md").write_text(text, encoding="utf-8")
        for findings in results:
            for name, picture in findings.pictures.items():
                options.docs.joinpath(name).write_text(picture, encoding="utf-8")
    targets = [target for findings in results for target in findings.targets]
    missed = [target for target in targets if target.must and not target.held]
    for target in missed:
        print(f"missed a target that must hold: {target.promise}: {target.figure}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
