"""How soon are orders pulled in trouble: an outage, a silent host, a spent window, a lost reply.

The exchange is in another process, with the published limits; what is compared with is the least
time that those limits allow after the trouble.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from benchmarks.process import Server
from benchmarks.report import Findings, Options, Table, Target
from benchmarks.workload import ACCESS_KEY, SECRET_KEY, WORK, order_ids
from htx_cancel import CancelClient, CancelStatus, Credentials, Outcome, Priority, RetryPolicy

NAME = "trouble"
QUESTION = "How soon are orders pulled in trouble?"
OUTAGE = 2.0  #: seconds
COUNTS = {"swap": 2500, "v5": 3001}  #: orders of each exchange
RULES = ("first", "epoch", "slide")


class Row(Struct, frozen=True):
    """One scene: what was found, and what it may be at the most."""

    scene: str
    found: str
    most: str
    held: bool


def client(*urls: str, **settings: Any) -> CancelClient:
    """Make a client of these hosts."""
    return CancelClient(Credentials(ACCESS_KEY, SECRET_KEY), base_url=list(urls), **settings)


async def cancel(
    client: CancelClient, kind: str, at: int, count: int, **options: Any
) -> tuple[Outcome, float]:
    """Cancel some of the orders; return the outcome and the seconds it took."""
    method = {"swap": client.coin_m_swap.cancel_orders, "v5": client.usdt_m.cancel_orders}[kind]
    ids = order_ids(COUNTS[kind], list(COUNTS).index(kind))[at : at + count]
    began = time.monotonic()
    outcome = await method(WORK[kind].contract_code, ids, **options)
    return outcome, time.monotonic() - began


async def outage(urls: dict[str, str], start: Callable[[], Awaitable[Any]]) -> list[Row]:
    """Refuse connections for 2 s with 3,000 routine ids under way and an urgent one behind them."""
    async with client(urls["outage"]) as one:
        routine = asyncio.create_task(cancel(one, "v5", 0, 3000))
        await start()
        began = time.monotonic()
        await asyncio.sleep(OUTAGE / 2)
        outcome, _ = await cancel(one, "v5", 3000, 1, priority=Priority.URGENT)
        after = time.monotonic() - began - OUTAGE
        tasks = len(asyncio.all_tasks())
        routine.cancel()
    held = after <= 0.5 and bool(outcome.accepted)
    rows = [
        Row(
            f"an outage of {OUTAGE:g} s, 3,000 routine ids under way: an urgent id is accepted",
            f"{after * 1e3:.0f} ms after its end ({tasks} tasks)",
            "500 ms",
            held,
        )
    ]
    async with client(urls["shut"], retry=RetryPolicy(max_elapsed=5.0)) as one:
        outcome, took = await cancel(one, "v5", 0, 3000)
    held = took <= 10.0 and len(outcome.unsent) == len(outcome)
    rows.append(
        Row("an exchange that is down for good, retries of 5 s", f"{took:.1f} s", "10 s", held)
    )
    return rows


async def failover(urls: dict[str, str]) -> list[Row]:
    """Give a client two hosts, of which the first takes requests and answers none."""
    async with client(urls["silent"], urls["behind"]) as one:
        outcome, took = await cancel(one, "swap", 0, 1440)
    held = took <= 20.0 and len(outcome.accepted) == len(outcome)
    return [Row("the first of two hosts is silent: 1,440 ids", f"{took:.1f} s", "20 s", held)]


async def restart(urls: dict[str, str], rule: str, *, headers: bool) -> list[Row]:
    """Another client of the UID spent its windows half a second before."""
    url = urls[f"{rule}{'' if headers else ' bare'}"]
    async with client(urls[rule] if headers else url) as other, client(url) as one:
        now = time.time()
        await asyncio.sleep(3.0 - now % 3.0)  # the windows of the clock begin
        await asyncio.gather(cancel(other, "swap", 0, 360), cancel(other, "v5", 0, 72))
        await asyncio.sleep(0.5)
        parts = await asyncio.gather(cancel(one, "swap", 360, 540), cancel(one, "v5", 72, 128))
    most = 5.5 * (1.1 if headers else 1.3)
    took = max(took for _, took in parts)
    held = took <= most and all(len(outcome.accepted) == len(outcome) for outcome, _ in parts)
    scene = f"a restart in a spent window ({rule}{'' if headers else ', no headers'})"
    return [Row(f"{scene}: 540 and 128 ids", f"{took:.2f} s", f"{most:.2f} s", held)]


async def stranger(urls: dict[str, str]) -> list[Row]:
    """Another program of the UID sent one burst of 35."""
    async with client(urls["stranger"]) as other, client(urls["stranger"]) as one:
        await cancel(other, "swap", 0, 350)
        outcome, took = await cancel(one, "swap", 350, 360, priority=Priority.URGENT)
    held = took <= 6.0 and len(outcome.accepted) == len(outcome)
    return [Row("one foreign burst of 35, then 360 urgent ids", f"{took:.2f} s", "6 s", held)]


async def lossy(urls: dict[str, str]) -> list[Row]:
    """One reply in ten is lost, and the call has two seconds."""
    async with client(urls["lossy"]) as one:
        outcome, took = await cancel(one, "swap", 0, 300, timeout=2.0)
    found = f"{len(outcome.unknown)} unknown, {took:.2f} s"
    return [
        Row(
            "300 ids within 2 s, one reply in ten lost",
            found,
            "0 unknown",
            outcome.counts.keys() <= {CancelStatus.ACCEPTED, CancelStatus.CLOSED},
        )
    ]


async def run(options: Options) -> Findings:
    """Play all scenes, the idle one beside the others."""
    async with Server("trouble", counts=COUNTS, outage=OUTAGE) as server:
        urls = server.said
        rows = [*await outage(urls, server.ask), *await stranger(urls), *await lossy(urls)]
        failing = asyncio.create_task(failover(urls))
        for rule in RULES[:1] if options.quick else RULES:
            for headers in (True, False):
                rows += await restart(urls, rule, headers=headers)
        rows += await failing
        refused = (await server.ask())["refused"]
    most = {name: 36 + 72 for name in refused if name.partition(" ")[0] in RULES} | {"stranger": 35}
    wrong = {name: count for name, count in refused.items() if count > most.get(name, 0)}
    targets = [Target(f"{row.scene}, at most {row.most}", row.held, row.found) for row in rows]
    targets.append(
        Target(
            "no window is refused twice",
            not wrong,
            f"refused apart from one burst: {wrong or 'none'}",
            must=True,
        )
    )
    cells = [(row.scene, row.found, row.most) for row in rows]
    table = Table("In trouble", ("scene", "found", "at most"), cells)
    words = (__doc__ or "").partition("\n\n")[2].strip()
    return Findings(NAME, QUESTION, [words], [table], targets)
