"""Run the benchmarks: ``python -m benchmarks [NAME ...]``."""

import argparse
import asyncio
import sys
import time
from importlib import import_module
from pathlib import Path

import msgspec

from benchmarks.page import write
from benchmarks.report import Findings, Options, machine, plain, versions

NAMES = ("pull", "trouble", "cost", "first", "loop", "growth", "truth", "limiters", "matrix")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(NAMES)}; all if none")
    add("--rounds", type=int, default=3, help="rounds of which medians are taken")
    add("--quick", action="store_true", help="one small round: only that everything runs")
    add("--idle", type=float, default=20.0, metavar="S", help="idle seconds before a first cancel")
    add("--full", action="store_true", help="10,000 orders on every endpoint, about 8 min more")
    add("--docs", type=Path, metavar="DIR", help="write benchmarks.md and its pictures there")
    add("--save", type=Path, metavar="FILE", help="keep what was found as JSON")
    add("--load", type=Path, metavar="FILE", help="take what is not run from such a file")
    return parser


async def run(names: list[str], options: Options) -> list[Findings]:
    """Run these benchmarks, one after another."""
    found = []
    for name in names:
        began = time.monotonic()
        findings: Findings = await import_module(f"benchmarks.{name}").run(options)
        findings = msgspec.structs.replace(findings, seconds=time.monotonic() - began)
        print(plain(findings), f"\n({findings.seconds:.0f} s)", flush=True)
        found.append(findings)
    return found


def _in_order(found: list[Findings], earlier: list[Findings]) -> list[Findings]:
    by_name = {findings.name: findings for findings in (*earlier, *found)}
    return [by_name[name] for name in NAMES if name in by_name]


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and write what was asked for; 1 if something that must hold does not."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    options = Options(
        quick=given.quick,
        rounds=given.rounds,
        idle=1.0 if given.quick else given.idle,
        full=given.full,
    )
    earlier = []
    if given.load is not None:
        earlier = msgspec.json.decode(given.load.read_bytes(), type=list[Findings])
    names = given.names or ([] if earlier else list(NAMES))
    print(f"{machine()}\n{versions()}", flush=True)
    found = _in_order(asyncio.run(run(names, options)), earlier)
    if given.save is not None:
        given.save.write_bytes(msgspec.json.encode(found))
    if given.docs is not None:
        write(given.docs, found)
    broken = [
        target for each in found for target in each.targets if target.must and not target.held
    ]
    for target in broken:
        print(f"must hold and does not: {target.words}: {target.found}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
