"""How long the event loop stands still while many ids are cancelled, and as the result is freed.

A neighbour task wants to run every millisecond; how much later it runs is a stall. Of a stall only
what this process spent computing counts, since the machine takes its time as well. After the call
the last reference to what it returned is dropped while the neighbour still runs. What exists before
is frozen out of the garbage collector, as the guide advises.
"""

import asyncio
import gc
import time
from statistics import median
from typing import Any

from benchmarks.peers import PEERS, Setting, open_peer
from benchmarks.process import child, fresh
from benchmarks.ready import ready
from benchmarks.report import ROUNDS, Findings, Target
from benchmarks.work import Product, order_ids

COMPARED = ("ours", "aiohttp", "ccxt")
PRODUCT: Product = "coin_m_swap"
TICK = 0.001
MOST = {10_000: 0.005, 100_000: 0.005}  #: ids, and the longest stall in seconds
PARTS = ("call", "free")


class Neighbour:
    """A task that wants to run every millisecond; ``longest`` is its longest stall."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        """Run until cancelled."""
        ran, spent = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(TICK)
            now, used = time.perf_counter(), time.thread_time()
            self.longest = max(self.longest, min(now - ran - TICK, used - spent))
            ran, spent = now, used

    async def report(self) -> float:
        """Wait for what still runs, tell the longest stall, and begin anew."""
        await asyncio.sleep(20 * TICK)
        longest, self.longest = self.longest, 0.0
        return longest


async def measure(name: str, url: str, orders: int) -> dict[str, float]:
    """Inside a client's process: cancel many, beside a neighbour."""
    peer = open_peer(name, Setting(url, in_flight=20))
    await peer.cancel(PRODUCT, order_ids(PRODUCT, 2_000, part=1))
    ids = order_ids(PRODUCT, orders)
    gc.collect()
    gc.freeze()
    neighbour = Neighbour()
    running = asyncio.create_task(neighbour.run())
    await neighbour.report()
    result: Any = await peer.cancel(PRODUCT, ids)
    found = {"call": await neighbour.report(), "missing": orders - len(result)}
    del result
    found["free"] = await neighbour.report()
    running.cancel()
    await peer.close()
    return found


async def run(*, quick: bool) -> Findings:
    """Measure each size, the clients in turns."""
    sizes, rounds = ([1_000], 1) if quick else (list(MOST), ROUNDS)
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    async with child(ready) as ask:
        url = await ask()
        for _ in range(rounds):
            for size in sizes:
                for peer in COMPARED:
                    row = await fresh(measure, peer, url, size)
                    found.setdefault((size, peer), []).append(row)
    columns = [(part, peer) for part in PARTS for peer in COMPARED]
    stalls = {
        size: [median(row[part] for row in found[size, peer]) for part, peer in columns]
        for size in sizes
    }
    missing = sum(int(row["missing"]) for size in sizes for row in found[size, "ours"])
    targets = [Target("every id comes back", missing == 0, f"{missing} missing", must=True)]
    for size in sizes:
        most, ours = MOST.get(size, 0.0), [stalls[size][0], stalls[size][len(COMPARED)]]
        words = f"no stall above {most * 1e3:.0f} ms at {size:,} ids"
        figure = f"{ours[0] * 1e3:.1f} ms in the call, {ours[1] * 1e3:.1f} ms in freeing"
        targets.append(Target(words, max(ours) <= most, figure))
    return Findings(
        "How long does the event loop stand still?",
        "The longest stall, in milliseconds, of a task that wants to run every millisecond: during "
        "one call, and as the last reference to its result is dropped (free). "
        f"{PRODUCT} orders, 20 requests in flight, a server that accepts every cancel at once.",
        targets,
        ("ids", *(f"{PEERS[peer][0].partition(',')[0]}, {part}" for part, peer in columns)),
        [(f"{size:,}", *(f"{stall * 1e3:.1f}" for stall in stalls[size])) for size in sizes],
    )
