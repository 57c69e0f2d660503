"""How long until N orders are pulled, with the exchange's limits enforced.

One client pulls all four kinds of order, as an engine in trouble would, but a moment apart, so that
what one kind costs is not charged to another. Each peer has a sandbox of its own. The book is the
judge: an order is *left* if it is open when the client is done, and *misreported* if what the
client says of it is not so.
"""

import asyncio
import gc
import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from benchmarks.chart import BAD, OTHERS, OURS, Bar, bars
from benchmarks.inside import open_peer
from benchmarks.peers import PEERS
from benchmarks.process import Server, fresh, soon, until
from benchmarks.report import Findings, Options, Table, Target
from benchmarks.workload import WORK, order_ids
from htx_cancel.limits.limiter import IN_FLIGHT

NAME = "pull"
QUESTION = "1. How long until N orders are pulled?"
COMPARED = ("ours", "ccxt_unified", "ccxt_by_hand", "bare_aiohttp", "with_pybotters", "with_httpx")
DELAY, JITTER = 0.005, 0.001
KINDS_APART = 0.27  #: seconds between the starts of two kinds in a client
APART = 2.17  #: seconds between the starts of two peers, so that no two burst together

#: As many as can be pulled in 100 s where 10,000 take longer: 199 s and 414 s.
MOST = {"swap": 10_000, "swap_trailing": 5_000, "linear_trigger": 10_000, "v5": 2_400}


class Run(Struct, frozen=True):
    """So many orders of each kind."""

    name: str
    orders: Mapping[str, int]
    scale: float = 1.0
    beside: int = len(COMPARED)  #: how many peers run side by side


def runs(options: Options) -> list[Run]:
    """List what is pulled, a run after another."""
    if options.quick:
        return [Run("120", dict.fromkeys(WORK, 120), 0.2)]
    small = [
        Run(f"{count:,}", dict.fromkeys(WORK, count), beside=beside)
        for count, beside in ((100, 1), (300, 1), (1_000, 3))
    ]
    most = dict.fromkeys(WORK, 10_000) if options.full else MOST
    return [*small, Run("10,000" if options.full else "up to 10,000", most)]


async def pull(task: dict[str, Any]) -> dict[str, Any]:
    """Inside a peer's process: pull all kinds; tell seconds and words for each."""
    setting = {"base_url": task["base_url"], "scale": task["scale"], "limited": True}
    peer = await open_peer(task["peer"], setting | {"in_flight": IN_FLIGHT})
    kinds = {kind: order_ids(count, seed) for seed, (kind, count) in _seeded(task["orders"])}
    if warm_up := getattr(peer, "warm_up", None):
        await warm_up()
    gc.collect()
    gc.freeze()
    await until(task["at"])

    async def one(place: int, kind: str, ids: list[str]) -> dict[str, Any]:
        await asyncio.sleep(place * KINDS_APART)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(task["patience"]):
                words = await peer.cancel(kind, ids)
        except TimeoutError:
            return {"seconds": time.perf_counter() - began, "words": None}
        return {"seconds": time.perf_counter() - began, "words": dict(words)}

    said = await asyncio.gather(
        *(one(place, kind, ids) for place, (kind, ids) in enumerate(kinds.items()))
    )
    await peer.close()
    return dict(zip(kinds, said, strict=True))


def _seeded(orders: Mapping[str, int]) -> enumerate[tuple[str, int]]:
    return enumerate(orders.items())


class Result(Struct, frozen=True):
    """What became of one kind of order in one run."""

    seconds: float
    calls: int
    refused: int
    left: int
    misreported: int
    stopped: bool  #: by our patience, so that what it says does not count


async def run(options: Options) -> Findings:
    """Run every peer, a process and a sandbox each."""
    found: dict[tuple[str, str, str], Result] = {}
    planned = runs(options)
    for each in planned:
        for (peer, kind), result in (await _all_peers(each)).items():
            found[each.name, peer, kind] = result
    return Findings(
        NAME,
        QUESTION,
        [
            "All kinds in one client, a moment apart so that none is charged for another's CPU; "
            f"the exchange's own limits; one way {DELAY * 1e3:.0f} ms and up to "
            f"{JITTER * 1e3:.0f} ms more. Least is floor((requests - 1) / N) * W and one round "
            "trip. Up to 300 orders one peer runs after another, at 1,000 three run side by side, "
            "then all, started a moment apart. Ours has called its warm_up(); the others have "
            "none. What exists before is frozen out of the garbage collector, for all alike. To be "
            "ahead is to be no slower than any that leaves no order anywhere it was used: one that "
            "trusts the next window to be open may win where jitter spares it. "
            "How each peer keeps the limits: "
            + "; ".join(f"{PEERS[name].title}: {PEERS[name].manner}" for name in COMPARED)
            + ". ccxt's cancel_orders sends all ids in one request, has no way to two of the "
            "kinds, and takes v5 orders to another interface, which the sandbox does not serve. "
            "A client that needs 1.2 times the longest least, and more than 70 s, is stopped.",
        ],
        [_table(each, kind, found) for kind in WORK for each in planned if _tells(each, kind)],
        _targets(planned, found),
        {"benchmark-pull.svg": _picture(planned, found)},
    )


async def _all_peers(each: Run) -> dict[tuple[str, str], Result]:
    line = {"delay": DELAY, "jitter": JITTER, "window": "first", "scale": each.scale}
    async with Server("sandboxes", names=COMPARED, orders=each.orders, **line) as server:
        patience = max(70, *(1.2 * _least(each, kind) for kind in WORK))
        task = {"do": "pull:pull", "scale": each.scale, "patience": patience}
        task["orders"] = each.orders
        turns = asyncio.Semaphore(each.beside)
        start = soon() if each.beside > 1 else 0.0  # a time that is over: at once

        async def one(place: int, peer: str) -> Any:
            at = start + place * APART
            async with turns:
                return await fresh(task | {"peer": peer, "base_url": server.said[peer], "at": at})

        said = await asyncio.gather(*(one(place, peer) for place, peer in enumerate(COMPARED)))
        seen = await server.ask()
    return {
        (peer, kind): _judge(words[kind], seen[peer], kind, seed, count)
        for peer, words in zip(COMPARED, said, strict=True)
        for seed, (kind, count) in _seeded(each.orders)
    }


def _judge(said: dict[str, Any], seen: dict[str, Any], kind: str, seed: int, count: int) -> Result:
    left = set(seen["open"][kind])
    words, stopped = said["words"] or {}, said["words"] is None
    false = (
        0
        if stopped
        else sum(
            words.get(order_id) is None or (words[order_id] == "done") is (order_id in left)
            for order_id in order_ids(count, seed)
        )
    )
    calls, refused = seen["calls"][kind], seen["refused"][kind]
    return Result(said["seconds"], calls, refused, len(left), false, stopped)


def _tells(each: Run, kind: str) -> bool:
    return WORK[kind].requests(each.orders[kind]) > 5


Found = dict[tuple[str, str, str], Result]


def _least(each: Run, kind: str) -> float:
    return WORK[kind].least(each.orders[kind], 2 * DELAY, each.scale)


def _table(each: Run, kind: str, found: Found) -> Table:
    work, count, least = WORK[kind], each.orders[kind], _least(each, kind)
    title = f"{count:,} {kind} orders ({work.requests(count):,} requests, {work.calls} per "
    columns = ("", "least / taken", "seconds", "requests", "refused", "left", "misreported")
    rows = [
        (
            PEERS[peer].title,
            *_share(found[each.name, peer, kind], least),
            *(f"{value:,}" for value in _counts(found[each.name, peer, kind])),
        )
        for peer in COMPARED
    ]
    return Table(f"{title}{work.seconds * each.scale:g} s): at least {least:.2f} s", columns, rows)


def _share(result: Result, least: float) -> tuple[str, str]:
    if not result.calls:
        return "not offered", ""
    share = "left some" if result.left else f"{least / result.seconds * 100:.1f} %"
    share = "stopped" if result.stopped else share
    return share, f"{result.seconds:.2f}"


def _counts(result: Result) -> tuple[int, ...]:
    return result.calls, result.refused, result.left, result.misreported


def _targets(planned: list[Run], found: Found) -> list[Target]:
    ours = {key: result for key, result in found.items() if key[1] == "ours"}
    wrong = sum(r.refused + r.left + r.misreported for r in ours.values())
    shares = {
        f"{each.orders[kind]:,} {kind}": _least(each, kind) / found[each.name, "ours", kind].seconds
        for each in planned
        for kind in WORK
        if each.orders[kind] >= 300 and WORK[kind].requests(each.orders[kind]) > WORK[kind].calls
    }
    worst = min(shares, key=shares.__getitem__, default="")
    ahead = [key for key in ours if not _ahead(key, found)]
    signed = [kind for kind in WORK if _canceled("ccxt_by_hand", kind, planned, found)]
    targets = [
        Target(
            "the exchange takes what ccxt signs",
            len(signed) == len(WORK),
            "orders canceled: " + ", ".join(signed),
            must=True,
        ),
        Target(
            "no call refused, no order left, none misreported",
            wrong == 0,
            f"{sum(r.refused for r in ours.values())} refused, "
            f"{sum(r.left for r in ours.values())} left, "
            f"{sum(r.misreported for r in ours.values())} misreported of "
            f"{sum(sum(each.orders.values()) for each in planned):,}",
            must=True,
        ),
        Target(
            "ahead of every peer that is never refused",
            not ahead,
            "everywhere" if not ahead else "not at " + ", ".join(f"{k[0]} {k[2]}" for k in ahead),
        ),
    ]
    if worst:
        targets.insert(
            0,
            Target(
                "at least 99 % of the least possible time, 300 orders or more",
                shares[worst] >= 0.99,
                f"worst {shares[worst] * 100:.1f} % ({worst}), "
                f"best {max(shares.values()) * 100:.1f} %",
            ),
        )
    return targets


def _canceled(peer: str, kind: str, planned: list[Run], found: Found) -> int:
    return sum(each.orders[kind] - found[each.name, peer, kind].left for each in planned)


def _ahead(key: tuple[str, str, str], found: Found) -> bool:
    """Say whether nobody who leaves nothing anywhere was faster, by more than a hiccup."""
    name, _, kind = key
    left = {peer for (_, peer, _), result in found.items() if result.left and result.calls}
    others = [found[name, peer, kind] for peer in COMPARED[1:] if peer not in left]
    whole = [other.seconds for other in others if other.calls]
    return all(found[key].seconds <= seconds * 1.001 + 0.02 for seconds in whole)


def _picture(planned: list[Run], found: Found) -> str:
    each = planned[-1]
    groups = {}
    for kind in WORK:
        least = _least(each, kind)
        groups[f"{each.orders[kind]:,} {kind} orders, at least {least:.1f} s"] = [
            Bar("least possible", least, f"{least:.1f} s", "#1a7f37"),
            *(_bar(peer, found[each.name, peer, kind]) for peer in COMPARED),
        ]
    note = "red: calls were refused or orders left open"
    return bars("Seconds until a client is done, under the exchange's limits", groups, note=note)


def _bar(peer: str, result: Result) -> Bar:
    title = PEERS[peer].title
    if not result.calls:
        return Bar(title, 0.0, "not offered")
    if not result.left and not result.refused:
        return Bar(
            title, result.seconds, f"{result.seconds:.1f} s", OURS if peer == "ours" else OTHERS
        )
    stopped = "stopped at " if result.stopped else ""
    words = f"{stopped}{result.seconds:.1f} s, {result.refused:,} refused, {result.left:,} left"
    return Bar(title, result.seconds, words, BAD)
