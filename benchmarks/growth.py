"""How does cost grow: CPU per id from ten ids to a million, and what an import costs."""

import gc
import subprocess
import sys
import time
from statistics import median
from typing import Any

from benchmarks.chart import lines
from benchmarks.inside import open_peer
from benchmarks.peers import PEERS
from benchmarks.process import Server, fresh
from benchmarks.report import Findings, Options, Table, Target
from benchmarks.workload import order_ids

NAME = "growth"
QUESTION = "5. How does cost grow?"
COMPARED = ("ours", "bare_aiohttp")
KIND = "linear_trigger"
_IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
IMPORTS = ("htx_cancel", "aiohttp", "httpx", "pybotters", "ccxt.async_support")


async def measure(task: dict[str, Any]) -> float:
    """Inside a peer's process: the CPU seconds per id of a call, a big one or many small."""
    setting = {"base_url": task["base_url"], "in_flight": 50}
    peer = await open_peer(task["peer"], setting)
    cancel = getattr(peer, "outcome", peer.cancel)
    await cancel(KIND, order_ids(task["warm"], seed=1))
    size, times = task["orders"], max(1, task["least"] // task["orders"])
    ids = order_ids(size)
    gc.collect()
    gc.freeze()
    cpu = time.process_time()
    for _ in range(times):
        await cancel(KIND, ids)
    cpu = time.process_time() - cpu
    await peer.close()
    per_id: float = cpu / (size * times)
    return per_id


async def run(options: Options) -> Findings:
    """Measure every size, in turn, and take medians."""
    sizes = [10, 100, 1_000] if options.quick else [10, 100, 1_000, 10_000, 100_000, 1_000_000]
    least, rounds = (1_000, 1) if options.quick else (40_000, options.rounds)
    raw: dict[tuple[str, int], list[float]] = {}
    async with Server("ready") as server:
        for number in range(rounds):
            for size in sizes:
                for peer in COMPARED:
                    if size == 1_000_000 and number and peer != "ours":
                        continue
                    task = {"do": "growth:measure", "peer": peer, "orders": size}
                    task |= {"least": least, "warm": 1_000 if options.quick else 100_000}
                    raw.setdefault((peer, size), []).append(
                        await fresh(task | {"base_url": server.said})
                    )
    found = {key: median(values) for key, values in raw.items()}
    imports = _imports(1 if options.quick else 7)
    return Findings(
        NAME,
        QUESTION,
        [
            (
                f"CPU of the client per id, {KIND} orders, 20 ids a request, 50 requests in "
                "flight, after 100,000 ids to warm up. What existed before the call is frozen out "
                "of the garbage collector."
            ),
        ],
        [_table(found, sizes), _import_table(imports)],
        _targets(found, sizes, imports),
        {"benchmark-growth.svg": _picture(found)},
    )


def _imports(rounds: int) -> dict[str, float]:
    """Measure imports in fresh interpreters, turn and turn about; the least counts."""
    found: dict[str, float] = {}
    for _ in range(rounds):
        for name in IMPORTS:
            code = _IMPORT.format(name)
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            found[name] = min(found.get(name, 1e9), float(done.stdout))
    return found


Found = dict[tuple[str, int], float]


def _table(found: Found, sizes: list[int]) -> Table:
    return Table(
        "CPU per id, microseconds, by the ids of one call",
        ("", *(f"{size:,}" for size in sizes)),
        [
            (PEERS[peer].title, *(f"{found[peer, size] * 1e6:.2f}" for size in sizes))
            for peer in COMPARED
        ],
        "A call of ten ids is one request that is half full.",
    )


def _import_table(imports: dict[str, float]) -> Table:
    base = imports["htx_cancel"]
    return Table(
        "Import time in a fresh interpreter, the least of seven",
        ("", "ratio to htx_cancel", "milliseconds"),
        [(name, f"{took / base:.2f}", f"{took * 1e3:.0f}") for name, took in imports.items()],
    )


def _targets(found: Found, sizes: list[int], imports: dict[str, float]) -> list[Target]:
    flat = [found["ours", size] for size in sizes if size >= 1_000]
    spread = max(flat) / min(flat) - 1
    return [
        Target(
            f"cost per id flat within 20 % from 1,000 to {sizes[-1]:,}",
            spread <= 0.2,
            f"{spread * 100:.0f} % between the least and the most",
        ),
        Target(
            "imports faster than ccxt",
            imports["htx_cancel"] < imports["ccxt.async_support"],
            f"{imports['htx_cancel'] / imports['ccxt.async_support']:.2f} x its time",
        ),
    ]


def _picture(found: Found) -> str:
    series = {
        PEERS[name].title: [
            (float(size), value * 1e6) for (peer, size), value in found.items() if peer == name
        ]
        for name in COMPARED
    }
    return lines(
        "CPU per id by the size of the call", series, across="ids in one call", up="µs per id"
    )
