"""How much CPU time and latency one cancel costs, compared with bare aiohttp and ccxt.

All clients send the same requests to a stub that accepts them at once. They take turns, each turn
in a new process; a ratio compares two clients in the same turn.
"""

import asyncio
import time
from statistics import median

from benchmarks.clients import Client, Settings, open_client
from benchmarks.process import child, fresh
from benchmarks.report import Findings, Table, Target
from benchmarks.stub import stub
from benchmarks.workload import WORK, order_ids

COMPARED = ("ours", "aiohttp", "ccxt")
LOOPS = ("asyncio", "uvloop")
CONCURRENCY = {1: "one at a time", 50: "50 at a time"}  #: by requests in flight
TURNS = 3

Figures = dict[str, float]
Found = dict[tuple[str, str], list[Figures]]  #: by client and event loop, one for each turn


async def measure(name: str, url: str, requests: int) -> Figures:
    """Measure every figure once, in seconds. This runs in the client's process."""
    settings = Settings(url)
    client = open_client(name, settings)
    figures = {"first call of the process": await _first(client)}
    for in_flight, label in CONCURRENCY.items():
        await _single_ids(client, requests // 2, in_flight, label)
        figures |= await _single_ids(client, requests, in_flight, label)
    for product, work in WORK.items():
        ids = order_ids(product, requests * work.batch)
        await client.cancel(product, ids[: len(ids) // 2])
        cpu = time.process_time()
        await client.cancel(product, ids)
        figures[f"CPU per request in bulk, {product}"] = (time.process_time() - cpu) / requests
    await client.close()
    second = open_client(name, settings)
    await second.warm_up()
    figures["first call of a second client"] = await _first(second)
    await second.close()
    return figures


async def _first(client: Client) -> float:
    ids = order_ids("usdt_m", 1)
    began = time.perf_counter()
    await client.cancel("usdt_m", ids)
    return time.perf_counter() - began


async def _single_ids(client: Client, requests: int, in_flight: int, label: str) -> Figures:
    """Cancel one id in each call, with a fixed number of calls in flight."""
    remaining, latencies = order_ids("usdt_m", requests), []
    clock = time.perf_counter

    async def worker() -> None:
        while remaining:
            ids = [remaining.pop()]
            began = clock()
            await client.cancel("usdt_m", ids)
            latencies.append(clock() - began)

    cpu = time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    cpu = time.process_time() - cpu
    latencies.sort()
    return {
        f"CPU, {label}": cpu / requests,
        f"p50, {label}": latencies[requests // 2],
        f"p99, {label}": latencies[requests * 99 // 100],
    }


async def run(*, quick: bool) -> Findings:
    """Let the clients measure themselves in turns."""
    requests, turns = (40, 1) if quick else (1_500, TURNS)
    found: Found = {}
    async with child(stub) as ask:
        url = await ask()
        for turn in range(turns):
            for loop in LOOPS:
                for name in COMPARED[turn % 3 :] + COMPARED[: turn % 3]:
                    figures = await fresh(measure, name, url, requests, loop=loop)
                    found.setdefault((name, loop), []).append(figures)
    columns = ("htx_cancel", "/ aiohttp", "/ ccxt")
    table = Table(
        "Microseconds for htx_cancel, and the same divided by each other client's figure.",
        ("", *(f"{column}, {loop}" for loop in LOOPS for column in columns)),
        [_row(found, figure) for figure in found["ours", LOOPS[0]][0]],
    )
    return Findings(
        "How much CPU time and latency does one cancel cost?",
        f"{turns} turns of {requests:,} requests to a stub that accepts every cancel at once, "
        "under a limit that is never reached. One at a time, 50 at a time: calls with one usdt_m "
        "id each. In bulk: one call with all ids and 50 requests in flight. CPU is the client's. "
        "The first call of a second client follows its warm_up(), if it has one.",
        _targets(found),
        [table],
    )


def _ratio(found: Found, figure: str, loop: str, other: str) -> float:
    """Return a figure of ours, divided by that of another client."""
    turns = zip(found["ours", loop], found[other, loop], strict=True)
    return median(ours[figure] / theirs[figure] for ours, theirs in turns)


def _row(found: Found, figure: str) -> tuple[str, ...]:
    row = [figure]
    for loop in LOOPS:
        row.append(f"{median(turn[figure] for turn in found['ours', loop]) * 1e6:,.0f}")
        row += [f"{_ratio(found, figure, loop, other):.2f}" for other in COMPARED[1:]]
    return tuple(row)


def _targets(found: Found) -> list[Target]:
    targets = []
    for other, most in (("aiohttp", 1.15), ("ccxt", 0.65)):
        ratios = {
            product: _ratio(found, f"CPU per request in bulk, {product}", "asyncio", other)
            for product in WORK
        }
        promise = f"in bulk on asyncio, CPU per request is at most {most} x that of {other}"
        figure = ", ".join(f"{ratio:.2f} ({product})" for product, ratio in ratios.items())
        targets.append(Target(promise, max(ratios.values()) <= most, figure))
    p50 = [
        _ratio(found, f"p50, {label}", loop, "aiohttp")
        for loop in LOOPS
        for label in CONCURRENCY.values()
    ]
    promise = "the p50 of a call is at most 1.15 x that of aiohttp"
    figure = f"{min(p50):.2f} to {max(p50):.2f}"
    return [*targets, Target(promise, max(p50) <= 1.15, figure)]
