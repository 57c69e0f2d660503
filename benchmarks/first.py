"""How soon does the first cancel leave: cold, warmed up, warm, and after idling, over TLS.

The time is from the caller's call to the moment at which the server has the whole request, both
on the system's one clock. Whether a connection was opened for it, the server tells.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import certificate
from benchmarks.chart import OTHERS, OURS, Bar, bars
from benchmarks.inside import open_peer
from benchmarks.peers import PEERS
from benchmarks.process import Server, fresh
from benchmarks.report import Findings, Options, Table, Target
from benchmarks.workload import order_ids

NAME = "first"
QUESTION = "3. How soon does the first cancel leave?"
COMPARED = ("ours", "bare_aiohttp", "ccxt_by_hand", "with_pybotters", "with_httpx")
KIND = "swap"
WARM = 20
WHEN = ("cold", "warmed up", "warm", "idle")


async def measure(task: dict[str, Any]) -> dict[str, list[float]]:
    """Inside a peer's process: note when each cancel was asked for."""
    ids = order_ids(10)
    setting = {"base_url": task["base_url"], "certificate": task["certificate"]}
    asked: dict[str, list[float]] = {when: [] for when in WHEN}

    async def ask(when: str) -> None:
        asked[when].append(time.monotonic())
        await peer.cancel(KIND, ids)

    peer = await open_peer(task["peer"], setting)
    await ask("cold")
    for _ in range(WARM):
        await ask("warm")
    if task["idle"]:
        await asyncio.sleep(task["idle"])
        await ask("idle")
    await peer.close()
    peer = await open_peer(task["peer"], setting)
    if warm_up := getattr(peer, "warm_up", None):
        await warm_up()
        await ask("warmed up")
    await peer.close()
    return asked


async def run(options: Options) -> Findings:
    """Measure cold and warm in turn, then let all idle at the same time."""
    rounds = 1 if options.quick else max(5, options.rounds)
    raw: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    with tempfile.TemporaryDirectory() as directory:
        files = certificate.make(Path(directory))
        for _ in range(rounds):
            for peer in COMPARED:
                _note(raw, peer, await _one(peer, files, 0.0), WHEN)
        lazy = COMPARED * (1 if options.quick else 3)
        idles = [_one(peer, files, options.idle + n / 4) for n, peer in enumerate(lazy)]
        for peer, seen in zip(lazy, await asyncio.gather(*idles), strict=True):
            _note(raw, peer, seen, ("idle",))
    found = {
        key: (median(t for t, _ in seen), any(new for _, new in seen)) for key, seen in raw.items()
    }
    return Findings(
        NAME,
        QUESTION,
        [
            (
                "From the call to the whole request at the server, over TLS on loopback: median of "
                f"{rounds} fresh processes (imports not counted), and of {WARM} cancels in each. "
                f"Idle is {options.idle:g} s after the last, three times (--idle). Warmed up "
                "is the first cancel after ours' warm_up(); the others have none."
            ),
        ],
        [_table(found)],
        _targets(found),
        {"benchmark-first.svg": _picture(found)},
    )


Seen = dict[str, list[tuple[float, bool]]]


async def _one(peer: str, files: tuple[str, str], idle: float) -> Seen:
    async with Server("ready", certificate=files[0], key=files[1]) as server:
        task = {"do": "first:measure", "peer": peer, "base_url": server.said, "idle": idle}
        asked = await fresh(task | {"certificate": files[0]})
        arrivals = (await server.ask())["arrivals"]
    return {when: [_after(at, arrivals) for at in moments] for when, moments in asked.items()}


def _after(asked: float, arrivals: list[tuple[float, int]]) -> tuple[float, bool]:
    """Find the request that a call made; say how late it came, and whether a line was opened."""
    earlier = [lines for at, lines in arrivals if at < asked]
    at, lines = next((at, lines) for at, lines in arrivals if at >= asked)
    return at - asked, lines > (earlier[-1] if earlier else 0)


def _note(
    raw: dict[tuple[str, str], list[tuple[float, bool]]],
    peer: str,
    seen: Seen,
    what: tuple[str, ...],
) -> None:
    for when in what:
        if seen[when]:
            raw.setdefault((peer, when), []).extend(seen[when])


Found = dict[tuple[str, str], tuple[float, bool]]


def _table(found: Found) -> Table:
    return Table(
        "Ratio to bare aiohttp (milliseconds); + where a connection was opened",
        ("", *WHEN),
        [(PEERS[peer].title, *(_cell(found, peer, when) for when in WHEN)) for peer in COMPARED],
    )


def _cell(found: Found, peer: str, when: str) -> str:
    if (peer, when) not in found:
        return "none"
    took, opened = found[peer, when]
    base = found["bare_aiohttp", "warm" if when == "warmed up" else when][0]
    return f"{took / base:.2f} ({took * 1e3:.2f}){' +' if opened else ''}"


def _targets(found: Found) -> list[Target]:
    warm = [when for when in ("warmed up", "warm", "idle") if ("ours", when) in found]
    opened = [when for when in warm if found["ours", when][1]]
    return [
        Target(
            "a warm client's first cancel makes no new connection",
            not opened,
            f"{', '.join(warm)}: "
            + (f"opened when {', '.join(opened)}" if opened else "none opened"),
        )
    ]


def _picture(found: Found) -> str:
    groups = {
        when: [
            Bar(
                PEERS[peer].title,
                found[peer, when][0],
                f"{found[peer, when][0] * 1e3:.2f} ms"
                + (", new connection" if found[peer, when][1] else ""),
                OURS if peer == "ours" else OTHERS,
            )
            for peer in COMPARED
            if (peer, when) in found
        ]
        for when in WHEN
    }
    return bars("From the call to the request at the server, over TLS", groups)
