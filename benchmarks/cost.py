"""What does one cancel cost: CPU and latency beside bare aiohttp and the physical limit.

All peers send the same requests to a lean server in another process. *Bulk* is one call with all
ids; *singly* is one call a request, from as many tasks as requests in flight.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import product
from statistics import median
from typing import Any

from benchmarks.chart import OTHERS, OURS, Bar, bars
from benchmarks.inside import open_peer
from benchmarks.peers import PEERS, Peer
from benchmarks.process import Server, Worker
from benchmarks.report import Findings, Options, Table, Target
from benchmarks.workload import WORK, cut, order_ids

NAME = "cost"
QUESTION = "2. What does one cancel cost?"
COMPARED = ("ours", "bare_aiohttp", "ccxt_by_hand", "with_pybotters", "with_httpx", "raw")
KINDS = ("v5", "swap")
SHAPES = ("v5 singly 1", "v5 singly 50", "v5 bulk 50", "swap bulk 50")
LOOPS = ("asyncio", "uvloop")
SLOW = ("with_httpx",)  #: takes minutes otherwise

Figures = dict[str, float]


class Turns:
    """Inside a peer's process: one shape of use is measured a turn, warmed up."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._shape = ""
        self._peer: Peer | None = None

    async def turn(self, shape: str) -> Figures:
        """Measure once."""
        kind, way, in_flight = shape.split()
        count = self._task["requests"]
        work = WORK[kind]
        ids = order_ids(count * work.batch, seed=int(in_flight))
        batches = cut(ids, work.batch)
        if self._peer is None or shape != self._shape:
            await self.close()
            setting = {"base_url": self._task["base_url"], "in_flight": int(in_flight)}
            self._peer = await open_peer(self._task["peer"], setting)
            if hasattr(self._peer, "prepare"):
                self._peer.prepare(kind, ids)
            await _singly(self._peer, kind, batches[: count // 2], int(in_flight))
            self._shape = shape
        if way == "singly":
            return await _singly(self._peer, kind, batches, int(in_flight))
        return await _bulk(self._peer, kind, ids, len(batches))

    async def close(self) -> None:
        """Close the peer."""
        if self._peer is not None:
            await self._peer.close()


async def _singly(peer: Peer, kind: str, batches: list[list[str]], in_flight: int) -> Figures:
    left, latencies = list(batches), []
    clock = time.perf_counter

    async def worker() -> None:
        while left:
            batch = left.pop()
            began = clock()
            await peer.cancel(kind, batch)
            latencies.append(clock() - began)

    cpu = time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    cpu = time.process_time() - cpu
    latencies.sort()
    return {
        "cpu": cpu / len(batches),
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
    }


async def _bulk(peer: Peer, kind: str, ids: list[str], requests: int) -> Figures:
    cpu = time.process_time()
    await peer.cancel(kind, ids)
    return {"cpu": (time.process_time() - cpu) / requests}


async def run(options: Options) -> Findings:
    """Let all peers measure turn and turn about: what disturbs the machine disturbs all alike."""
    requests, turns = (40, 1) if options.quick else (1_600, 3 * options.rounds)
    rows: dict[tuple[str, str, str], list[Figures]] = {}
    async with Server("ready") as server:
        for loop in LOOPS:
            async with AsyncExitStack() as stack:
                workers = {}
                for peer in COMPARED:
                    task = {"do": "cost:Turns", "peer": peer, "loop": loop}
                    task |= {"base_url": server.said}
                    task["requests"] = requests // 10 if peer in SLOW else requests
                    workers[peer] = await stack.enter_async_context(Worker(task))
                for shape, number in product(SHAPES, range(turns)):
                    for peer, worker in workers.items():
                        if number == 0 or peer not in SLOW:
                            figures = await worker.turn(shape)
                            rows.setdefault((peer, loop, shape), []).append(figures)
    found = Found(rows)
    return Findings(
        NAME,
        QUESTION,
        [
            (
                f"{requests:,} requests a turn, after half as many to warm up; in bulk they are "
                f"one call. Each peer has a process of its own, and {turns} turns, one peer after "
                "the other. Times are medians; ratios, to bare aiohttp in the same turn and on the "
                "same loop, are medians, too. v5 carries one id a request, swap 10."
            ),
        ],
        [*_ratios(found), _per_order(found), _latency(found)],
        _targets(found),
        {"benchmark-cost.svg": _picture(found)},
    )


class Found:
    """What was measured, by peer, loop and shape of use, a row a turn."""

    def __init__(self, rows: dict[tuple[str, str, str], list[Figures]]) -> None:
        self._rows = rows

    def median(self, name: str, peer: str, loop: str, shape: str) -> float:
        """Return a figure, in seconds."""
        return median(row[name] for row in self._rows[peer, loop, shape])

    def ratio(
        self, name: str, loop: str, shape: str, peer: str = "ours", base: str = "bare_aiohttp"
    ) -> float:
        """Return a figure beside another peer's of the same turn."""
        turns = zip(self._rows[peer, loop, shape], self._rows[base, loop, shape], strict=False)
        return median(mine[name] / other[name] for mine, other in turns)


def _ratios(found: Found) -> list[Table]:
    return [
        Table(
            f"CPU of the client per request, {loop}: ratio to bare aiohttp (microseconds)",
            ("", *SHAPES),
            [
                (PEERS[peer].title, *(_beside(found, "cpu", loop, s, peer) for s in SHAPES))
                for peer in COMPARED
            ],
        )
        for loop in LOOPS
    ]


def _beside(found: Found, name: str, loop: str, shape: str, peer: str) -> str:
    value = found.median(name, peer, loop, shape)
    shown = f"{value * 1e6:,.0f}" if name == "cpu" else f"{value * 1e3:.2f}"
    return f"{found.ratio(name, loop, shape, peer):.2f} ({shown})"


def _per_order(found: Found) -> Table:
    return Table(
        "CPU of the client per order in bulk, microseconds, asyncio / uvloop",
        ("", "one id a request", "ten ids a request"),
        [
            (PEERS[peer].title, *(" / ".join(_order(found, peer, kind)) for kind in KINDS))
            for peer in COMPARED
        ],
    )


def _order(found: Found, peer: str, kind: str) -> list[str]:
    cpu = [found.median("cpu", peer, loop, f"{kind} bulk 50") for loop in LOOPS]
    return [f"{each * 1e6 / WORK[kind].batch:.1f}" for each in cpu]


def _latency(found: Found) -> Table:
    columns = [(loop, n, q) for loop in LOOPS for n in (1, 50) for q in ("p50", "p99")]
    return Table(
        "Latency of a call with one id (v5), ratio to bare aiohttp (milliseconds)",
        ("", *(f"{loop} {n} in flight {q}" for loop, n, q in columns)),
        [
            (
                PEERS[peer].title,
                *(_beside(found, q, loop, f"v5 singly {n}", peer) for loop, n, q in columns),
            )
            for peer in COMPARED
        ],
    )


def _targets(found: Found) -> list[Target]:
    bulk = [f"{kind} bulk 50" for kind in KINDS]
    singly = [f"v5 singly {n}" for n in (1, 50)]
    cpu = [found.ratio("cpu", "asyncio", shape) for shape in bulk]
    single = [found.ratio("cpu", "asyncio", shape) for shape in singly]
    ccxt = [found.ratio("cpu", "asyncio", shape, base="ccxt_by_hand") for shape in bulk]
    p50 = [found.ratio("p50", loop, shape) for loop in LOOPS for shape in singly]
    raw = [found.ratio("cpu", "asyncio", shape, base="raw") for shape in bulk]
    return [
        Target(
            "CPU per request at most 1.15 x bare aiohttp's, in bulk",
            max(cpu) <= 1.15,
            f"{cpu[0]:.2f} (v5), {cpu[1]:.2f} (swap); one call a request: "
            f"{single[0]:.2f} at 1 in flight, {single[1]:.2f} at 50",
        ),
        Target(
            "CPU per request at most 0.65 x ccxt's, in bulk",
            max(ccxt) <= 0.65,
            f"{ccxt[0]:.2f} (v5), {ccxt[1]:.2f} (swap)",
        ),
        Target(
            "added p50 latency at most 15 % of bare aiohttp's",
            max(p50) <= 1.15,
            ", ".join(f"{(value - 1) * 100:+.0f} %" for value in p50)
            + " (asyncio 1 and 50 in flight, uvloop 1 and 50)",
        ),
        Target(
            "distance to the raw protocol stated",
            True,
            f"{raw[0]:.1f} x (v5) and {raw[1]:.1f} x (swap) its CPU in bulk",
        ),
    ]


def _picture(found: Found) -> str:
    groups = {
        f"{kind}, {WORK[kind].batch} id{'s' * (WORK[kind].batch > 1)} a request, {loop}": [
            Bar(
                PEERS[peer].title,
                cpu := found.median("cpu", peer, loop, f"{kind} bulk 50"),
                f"{cpu * 1e6:,.0f} µs",
                OURS if peer == "ours" else OTHERS,
            )
            for peer in COMPARED
        ]
        for kind in KINDS
        for loop in LOOPS
    }
    return bars("CPU of the client per request, in bulk, 50 in flight", groups)
