"""What does one cancel cost: CPU and latency beside bare aiohttp and the physical limit.

All peers send the same requests to a lean server in another process. *Bulk* is one call with all
ids; *singly* is one call a request, from as many tasks as requests in flight.
"""

import asyncio
import time
from typing import Any

from benchmarks.chart import OTHERS, OURS, Bar, bars
from benchmarks.inside import open_peer
from benchmarks.peers import PEERS, Peer
from benchmarks.process import Server, fresh
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


async def measure(task: dict[str, Any]) -> dict[str, Figures]:
    """Inside a peer's process: measure each shape of use once, warmed up."""
    found = {}
    for shape in SHAPES:
        kind, way, in_flight = shape.split()
        setting = {"base_url": task["base_url"], "in_flight": int(in_flight)}
        peer = await open_peer(task["peer"], setting)
        work, count = WORK[kind], task["requests"]
        ids = order_ids(count * work.batch, seed=int(in_flight))
        if hasattr(peer, "prepare"):
            peer.prepare(kind, ids)
        batches = cut(ids, work.batch)
        await _singly(peer, kind, batches[: count // 2], int(in_flight))
        if way == "singly":
            found[shape] = await _singly(peer, kind, batches, int(in_flight))
        else:
            found[shape] = await _bulk(peer, kind, ids, len(batches))
        await peer.close()
    return found


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
    for _ in range(2):
        await peer.cancel(kind, ids)
    return {"cpu": (time.process_time() - cpu) / requests / 2}


async def run(options: Options) -> Findings:
    """Measure all peers, turn and turn about, and take the least: a busy machine only adds."""
    requests, rounds = (40, 1) if options.quick else (2_000, options.rounds)
    raw: dict[tuple[str, str], list[dict[str, Figures]]] = {}
    async with Server("ready") as server:
        for _ in range(rounds):
            for loop in LOOPS:
                for peer in COMPARED:
                    task: dict[str, Any] = {"do": "cost:measure", "peer": peer, "loop": loop}
                    task |= {"base_url": server.said}
                    task["requests"] = requests // 10 if peer in SLOW else requests
                    raw.setdefault((peer, loop), []).append(await fresh(task))
    found = {
        key: {shape: _least([row[shape] for row in rows]) for shape in rows[0]}
        for key, rows in raw.items()
    }
    return Findings(
        NAME,
        QUESTION,
        [
            (
                f"{requests:,} requests a figure after half as many to warm up, in bulk 2 calls of "
                f"{requests:,}; least of {rounds} fresh processes, since "
                "a busy machine only adds; "
                "ratios are to bare aiohttp on the same loop. v5 carries one id a request, swap 10."
            ),
        ],
        [*_ratios(found), _per_order(found), _latency(found)],
        _targets(found),
        {"benchmark-cost.svg": _picture(found)},
    )


def _least(rows: list[Figures]) -> Figures:
    return {name: min(row[name] for row in rows) for name in rows[0]}


Found = dict[tuple[str, str], dict[str, Figures]]


def _ratios(found: Found) -> list[Table]:
    return [
        Table(
            f"CPU of the client per request, {loop}: ratio to bare aiohttp (microseconds)",
            ("", *SHAPES),
            [
                (
                    PEERS[peer].title,
                    *(_ratio(found[peer, loop][s]["cpu"], found["bare_aiohttp", loop][s]["cpu"])
                      for s in SHAPES),
                )
                for peer in COMPARED
            ],
        )
        for loop in LOOPS
    ]  # fmt: skip


def _ratio(value: float, base: float) -> str:
    return f"{value / base:.2f} ({value * 1e6:,.0f})"


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
    batch = WORK[kind].batch
    return [f"{found[peer, loop][f'{kind} bulk 50']['cpu'] * 1e6 / batch:.1f}" for loop in LOOPS]


def _latency(found: Found) -> Table:
    columns = [(loop, n, q) for loop in LOOPS for n in (1, 50) for q in ("p50", "p99")]
    return Table(
        "Latency of a call with one id (v5), ratio to bare aiohttp (milliseconds)",
        ("", *(f"{loop} {n} in flight {q}" for loop, n, q in columns)),
        [
            (
                PEERS[peer].title,
                *(
                    _milli(
                        found[peer, loop][f"v5 singly {n}"][q],
                        found["bare_aiohttp", loop][f"v5 singly {n}"][q],
                    )
                    for loop, n, q in columns
                ),
            )
            for peer in COMPARED
        ],
    )


def _milli(value: float, base: float) -> str:
    return f"{value / base:.2f} ({value * 1e3:.2f})"


def _targets(found: Found) -> list[Target]:
    def ratio(shape: str, name: str, base: str, loop: str) -> float:
        return found["ours", loop][shape][name] / found[base, loop][shape][name]

    cpu = [ratio(f"{kind} bulk 50", "cpu", "bare_aiohttp", "asyncio") for kind in KINDS]
    single = [ratio(f"v5 singly {n}", "cpu", "bare_aiohttp", "asyncio") for n in (1, 50)]
    ccxt = [ratio(f"{kind} bulk 50", "cpu", "ccxt_by_hand", "asyncio") for kind in KINDS]
    p50 = [ratio(f"v5 singly {n}", "p50", "bare_aiohttp", loop) for loop in LOOPS for n in (1, 50)]
    raw = [ratio(f"{kind} bulk 50", "cpu", "raw", "asyncio") for kind in KINDS]
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
                found[peer, loop][f"{kind} bulk 50"]["cpu"],
                f"{found[peer, loop][f'{kind} bulk 50']['cpu'] * 1e6:,.0f} µs",
                OURS if peer == "ours" else OTHERS,
            )
            for peer in COMPARED
        ]
        for kind in KINDS
        for loop in LOOPS
    }
    return bars("CPU of the client per request, in bulk, 50 in flight", groups)
