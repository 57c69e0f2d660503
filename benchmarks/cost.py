"""What one cancel costs: CPU and latency, beside bare aiohttp and ccxt, on asyncio and uvloop.

All clients send the same requests to a server that accepts them at once. *One at a time* and *50 at
a time* are calls with one usdt_m id each; *in bulk* is one call with all ids and 50 requests in
flight. The clients take turns, each turn in a fresh process; ratios are to others of the same turn.
"""

import asyncio
import time
from statistics import median

from benchmarks.peers import Peer, Setting, open_peer
from benchmarks.process import child, fresh
from benchmarks.ready import ready
from benchmarks.report import Findings, Target
from benchmarks.work import WORK, order_ids

COMPARED = ("ours", "aiohttp", "ccxt")
LOOPS = ("asyncio", "uvloop")
SHAPES = {1: "one at a time", 50: "50 at a time"}  #: by requests in flight
TURNS = 5

Figures = dict[str, float]


async def measure(name: str, url: str, requests: int) -> Figures:
    """Inside a client's process: measure every figure once, in seconds."""
    setting = Setting(url)
    figures: Figures = {}
    peer = open_peer(name, setting)
    figures["first call of the process"] = await _first(peer)
    for in_flight, title in SHAPES.items():
        await _singly(peer, requests // 2, in_flight, title)
        figures |= await _singly(peer, requests, in_flight, title)
    for product, work in WORK.items():
        ids = order_ids(product, requests * work.batch)
        await peer.cancel(product, ids[: len(ids) // 2])
        cpu = time.process_time()
        await peer.cancel(product, ids)
        cpu = time.process_time() - cpu
        figures[f"CPU a request in bulk, {product}"] = cpu / requests
    await peer.close()
    second = open_peer(name, setting)
    await second.warm_up()
    figures["first call of a second client"] = await _first(second)
    await second.close()
    return figures


async def _first(peer: Peer) -> float:
    ids = order_ids("usdt_m", 1)
    began = time.perf_counter()
    await peer.cancel("usdt_m", ids)
    return time.perf_counter() - began


async def _singly(peer: Peer, requests: int, in_flight: int, title: str) -> Figures:
    left, latencies = order_ids("usdt_m", requests), []
    clock = time.perf_counter

    async def worker() -> None:
        while left:
            ids = [left.pop()]
            began = clock()
            await peer.cancel("usdt_m", ids)
            latencies.append(clock() - began)

    cpu = time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    cpu = time.process_time() - cpu
    latencies.sort()
    return {
        f"CPU, {title}": cpu / requests,
        f"p50, {title}": latencies[requests // 2],
        f"p99, {title}": latencies[requests * 99 // 100],
    }


Found = dict[tuple[str, str], list[Figures]]  #: of each client on each loop, turn by turn


def _ratio(found: Found, what: str, loop: str, peer: str) -> float:
    """Return our own figure as a multiple of another client's."""
    turns = zip(found["ours", loop], found[peer, loop], strict=True)
    return median(ours[what] / other[what] for ours, other in turns)


async def run(*, quick: bool) -> Findings:
    """Let the clients measure in turns."""
    requests, turns = (40, 1) if quick else (1_500, TURNS)
    found: Found = {}
    async with child(ready) as ask:
        url = await ask()
        for turn in range(turns):
            for loop in LOOPS:
                for peer in COMPARED[turn % 3 :] + COMPARED[: turn % 3]:
                    figures = await fresh(measure, peer, url, requests, loop=loop)
                    found.setdefault((peer, loop), []).append(figures)
    columns = [
        f"{what}, {loop}" for loop in LOOPS for what in ("htx_cancel", "/ aiohttp", "/ ccxt")
    ]
    return Findings(
        "What does one cancel cost?",
        f"Microseconds of htx_cancel, and its ratio to the others. {turns} turns of {requests:,} "
        "requests, a server that accepts every cancel at once, no limit that is felt. CPU is the "
        "client's. The first call of a second client follows warm_up() where there is one.",
        _targets(found),
        ("", *columns),
        [
            (what, *(it for loop in LOOPS for it in _cells(found, what, loop)))
            for what in found["ours", LOOPS[0]][0]
        ],
    )


def _cells(found: Found, what: str, loop: str) -> list[str]:
    ours = median(turn[what] for turn in found["ours", loop]) * 1e6
    return [f"{ours:,.0f}", *(f"{_ratio(found, what, loop, it):.2f}" for it in COMPARED[1:])]


def _targets(found: Found) -> list[Target]:
    p50 = [
        _ratio(found, f"p50, {title}", loop, "aiohttp")
        for loop in LOOPS
        for title in SHAPES.values()
    ]
    targets = []
    for peer, most in (("aiohttp", 1.15), ("ccxt", 0.65)):
        bulk = {it: _ratio(found, f"CPU a request in bulk, {it}", "asyncio", peer) for it in WORK}
        figure = ", ".join(f"{ratio:.2f} ({product})" for product, ratio in bulk.items())
        words = f"CPU a request in bulk, on asyncio, at most {most} x that of {peer}"
        targets.append(Target(words, max(bulk.values()) <= most, figure))
    figure = f"{min(p50):.2f} to {max(p50):.2f}"
    return [*targets, Target("p50 of a call at most 1.15 x aiohttp's", max(p50) <= 1.15, figure)]
