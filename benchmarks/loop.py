"""What does the loop feel: the stalls that a neighbour task sees while orders are cancelled.

The neighbour wants to run every millisecond. How much later it runs is a stall; how much of the
stall the process spent computing is told apart from what the machine took away. Memory is the
resident peak during the call, above what the ids themselves took. What exists before the call is
frozen out of the garbage collector, as engines that mind their loop do; otherwise each full
collection walks through the caller's own million ids. One row shows how it is without.
"""

import asyncio
import gc
import time
from array import array
from pathlib import Path
from typing import Any

from benchmarks.chart import OTHERS, OURS, Bar, bars
from benchmarks.inside import open_peer
from benchmarks.peers import PEERS
from benchmarks.process import Server, fresh
from benchmarks.report import Findings, Options, Table, Target
from benchmarks.workload import order_ids

NAME = "loop"
QUESTION = "4. What does the loop feel?"
COMPARED = ("ours", "bare_aiohttp", "ccxt_by_hand")
UNFROZEN = "ours, without gc.freeze()"
TITLES = {name: PEERS[name].title for name in COMPARED} | {
    UNFROZEN: f"{PEERS['ours'].title}, without gc.freeze()"
}
KIND = "linear_trigger"
TICK = 0.001


class Neighbour:
    """A task that wants to run every millisecond, and notes when it does."""

    def __init__(self) -> None:
        self.late = array("d")
        self.computing = array("d")

    async def run(self) -> None:
        """Run until cancelled."""
        ran, spent = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(TICK)
            now, used = time.perf_counter(), time.thread_time()
            late = max(0.0, now - ran - TICK)
            self.late.append(late)
            self.computing.append(min(late, used - spent))
            ran, spent = now, used

    def report(self) -> dict[str, float]:
        """Return the distribution, in seconds."""
        late = sorted(self.late)
        shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
        found = {name: late[int((len(late) - 1) * share)] for name, share in shares.items()}
        return found | {"max": late[-1], "computing": max(self.computing)}


async def measure(task: dict[str, Any]) -> dict[str, float]:
    """Inside a peer's process: cancel many, beside a neighbour."""
    setting = {"base_url": task["base_url"], "in_flight": 20}
    peer = await open_peer(task["peer"], setting)
    await peer.cancel(KIND, order_ids(2_000, seed=1))
    cancel = getattr(peer, "outcome", peer.cancel)
    ids = order_ids(task["orders"])
    gc.collect()
    if task["freeze"]:
        gc.freeze()
    neighbour = Neighbour()
    running = asyncio.create_task(neighbour.run())
    await asyncio.sleep(0.01)
    before = _forget_peak()
    began, cpu = time.perf_counter(), time.process_time()
    result = await cancel(KIND, ids)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = _memory("VmHWM")
    running.cancel()
    missing = len(ids) - len(result)
    await peer.close()
    memory = {"memory": peak - before, "seconds": took, "cpu": cpu, "missing": missing}
    return neighbour.report() | memory


def _forget_peak() -> float:
    """Start to look for the peak of memory anew; return what is used now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name))) * 1024


async def alone(_task: dict[str, Any]) -> dict[str, float]:
    """Inside a fresh process: what the neighbour sees of a machine that is as busy as with us."""
    neighbour = Neighbour()
    running = asyncio.create_task(neighbour.run())
    end = time.perf_counter() + 5
    while (now := time.perf_counter()) < end:
        while time.perf_counter() < now + TICK:
            pass
        await asyncio.sleep(0)
    running.cancel()
    return neighbour.report()


async def run(options: Options) -> Findings:
    """Measure each size once for each peer, and what is judged as often as there are rounds."""
    sizes, rounds = (10_000, 100_000, 1_000_000), options.rounds
    if options.quick:
        sizes, rounds = (1_000,), 1
    found: dict[tuple[str, int], dict[str, float]] = {}
    machine, _ = await asyncio.gather(
        *(fresh({"do": "loop:alone", "peer": "ours"}) for _ in range(2))
    )
    async with Server("ready") as server:
        for size in sizes:
            for peer in COMPARED:
                judged = (peer, size) == ("ours", sizes[-1])
                runs = [
                    await _one(peer, size, server.said, freeze=True)
                    for _ in range(rounds if judged else 1)
                ]
                runs.sort(key=lambda each: each["computing"])
                found[peer, size] = runs[len(runs) // 2]
        found[UNFROZEN, size] = await _one("ours", size, server.said, freeze=False)
    return Findings(
        NAME,
        QUESTION,
        [
            (
                f"One call each, {KIND} orders, 20 ids a request, 20 requests in flight, a lean "
                "server. A stall is how late a task ran that wanted to run every millisecond; all "
                "replies that are there at once are handled in one turn of the loop, whatever the "
                "client. What existed before the call is frozen out of the garbage collector "
                f"(gc.freeze). Ours at {sizes[-1]:,} is the run with the middle of {rounds} worst "
                "stalls: the machine has hiccups of its own. The last row shows them: two "
                "processes that do nothing but compute for 1 ms a turn of the loop."
            ),
        ],
        [_stalls(found, machine), _sizes(found)],
        _targets(found, sizes[-1]),
        {"benchmark-loop.svg": _picture(found)},
    )


async def _one(peer: str, size: int, base_url: str, *, freeze: bool) -> dict[str, float]:
    task = {"do": "loop:measure", "peer": peer, "orders": size, "freeze": freeze}
    found: dict[str, float] = await fresh(task | {"base_url": base_url})
    return found


Found = dict[tuple[str, int], dict[str, float]]


def _stalls(found: Found, machine: dict[str, float]) -> Table:
    names = ("p50", "p99", "p99.9", "max", "computing")
    rows = [
        (TITLES[peer], f"{size:,}", *(f"{row[name] * 1e3:.2f}" for name in names))
        for (peer, size), row in found.items()
    ]
    rows.append(("none, 1 ms a turn", "0", *(f"{machine[n] * 1e3:.2f}" for n in names)))
    return Table(
        "Stalls, milliseconds",
        ("", "ids", "p50", "p99", "p99.9", "longest", "longest of own computing"),
        rows,
    )


def _sizes(found: Found) -> Table:
    return Table(
        "Memory and time of the call",
        ("", "ids", "peak MB", "bytes per id", "seconds", "CPU µs per id"),
        [
            (
                TITLES[peer],
                f"{size:,}",
                f"{row['memory'] / 1e6:.1f}",
                f"{row['memory'] / size:,.0f}",
                f"{row['seconds']:.2f}",
                f"{row['cpu'] / size * 1e6:.2f}",
            )
            for (peer, size), row in found.items()
        ],
    )


def _targets(found: Found, size: int) -> list[Target]:
    row = found["ours", size]
    return [
        Target(
            f"no stall above 5 ms at {size:,} ids",
            row["computing"] <= 0.005,
            f"longest {row['max'] * 1e3:.2f} ms on the clock, of which at most "
            f"{row['computing'] * 1e3:.2f} ms computing (this is what is judged)",
        ),
        Target(
            "every id comes back",
            not any(row["missing"] for (peer, _), row in found.items() if peer == "ours"),
            f"{int(row['missing'])} of {size:,} missing",
            must=True,
        ),
    ]


def _picture(found: Found) -> str:
    groups: dict[str, list[Bar]] = {}
    for (peer, size), row in found.items():
        groups.setdefault(f"{size:,} ids", []).append(
            Bar(
                TITLES[peer],
                row["max"],
                f"{row['max'] * 1e3:,.1f} ms",
                OURS if peer == "ours" else OTHERS,
            )
        )
    return bars("Longest stall that a neighbour task saw", groups)
