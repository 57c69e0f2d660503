"""How long a call that cancels many ids blocks the event loop, and how long freeing its result.

A second task wants to run every millisecond; a stall is how much later it runs. Of a stall only the
CPU time of this process counts, because the machine takes time as well. After the call the
last reference to its result is dropped while the second task still runs. As the guide advises,
older objects are frozen out of the garbage collector.
"""

import asyncio
import gc
import time
from statistics import median
from typing import Any

from benchmarks.clients import Settings, open_client, title
from benchmarks.process import child, fresh
from benchmarks.report import ROUNDS, Findings, Table, Target
from benchmarks.stub import stub
from benchmarks.workload import Product, order_ids

COMPARED = ("ours", "aiohttp", "ccxt")
PRODUCT: Product = "coin_m_swap"
TICK = 0.001  #: seconds
LONGEST = 0.005  #: seconds that a stall may last
SIZES = (10_000, 100_000)
PARTS = ("call", "free")


class StallMeter:
    """A task that wants to run every millisecond; ``longest`` is its longest stall."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        """Run until cancelled."""
        ran, used = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(TICK)
            now, cpu = time.perf_counter(), time.thread_time()
            self.longest = max(self.longest, min(now - ran - TICK, cpu - used))
            ran, used = now, cpu

    async def read(self) -> float:
        """Wait for running callbacks, return the longest stall, and reset it."""
        await asyncio.sleep(20 * TICK)
        longest, self.longest = self.longest, 0.0
        return longest


async def measure(name: str, url: str, orders: int) -> dict[str, float]:
    """Cancel many orders beside a stall meter. This runs in the client's process."""
    client = open_client(name, Settings(url, in_flight=20))
    await client.cancel(PRODUCT, order_ids(PRODUCT, 2_000, part=1))
    ids = order_ids(PRODUCT, orders)
    gc.collect()
    gc.freeze()
    meter = StallMeter()
    running = asyncio.create_task(meter.run())
    await meter.read()
    result: Any = await client.cancel(PRODUCT, ids)
    stalls = {"call": await meter.read(), "missing": orders - len(result)}
    del result
    stalls["free"] = await meter.read()
    running.cancel()
    await client.close()
    return stalls


async def run(*, quick: bool) -> Findings:
    """Measure each size with each client in turn."""
    sizes, rounds = ((1_000,), 1) if quick else (SIZES, ROUNDS)
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    async with child(stub) as ask:
        url = await ask()
        for _ in range(rounds):
            for size in sizes:
                for name in COMPARED:
                    stalls = await fresh(measure, name, url, size)
                    found.setdefault((size, name), []).append(stalls)

    def longest(size: int, name: str, part: str) -> float:
        return median(stalls[part] for stalls in found[size, name])

    missing = sum(int(stalls["missing"]) for size in sizes for stalls in found[size, "ours"])
    targets = [Target("every id comes back", missing == 0, f"{missing} missing", must=True)]
    for size in sizes:
        call, free = (longest(size, "ours", part) for part in PARTS)
        promise = f"no stall is longer than {LONGEST * 1e3:.0f} ms with {size:,} ids"
        figure = f"{call * 1e3:.1f} ms in the call, {free * 1e3:.1f} ms while freeing"
        targets.append(Target(promise, max(call, free) <= LONGEST, figure))
    columns = [(part, name) for part in PARTS for name in COMPARED]
    table = Table(
        "The longest stall in milliseconds, during the call and while its result is freed.",
        ("ids", *(f"{title(name)}, {part}" for part, name in columns)),
        [
            (f"{size:,}", *(f"{longest(size, name, part) * 1e3:.1f}" for part, name in columns))
            for size in sizes
        ],
    )
    return Findings(
        "How long does a bulk cancel block the event loop?",
        f"One call cancels {PRODUCT} orders at a stub that accepts every cancel at once, with 20 "
        "requests in flight. Meanwhile a second task wants to run every millisecond. A stall is "
        "how much later it runs; of it only CPU time of this process counts.",
        targets,
        [table],
    )
