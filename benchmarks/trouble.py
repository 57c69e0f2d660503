"""How soon orders are pulled in trouble: outage, silent host, foreign burst, lost replies, restart.

The exchange, with the published limits, is in another process; each scene has a sandbox of its own.
Times are judged against the least that those limits allow after the trouble.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from typing import Any

from msgspec import Struct

from benchmarks.process import Answer, child
from benchmarks.report import Findings, Target
from benchmarks.work import ACCESS_KEY, SECRET_KEY, WORK, Product, add_orders, order_ids
from htx_cancel import CancelClient, Credentials, Outcome, Priority, RetryPolicy
from htx_cancel.sandbox import Exchange, FaultPlan, SandboxServer
from htx_cancel.sandbox.exchange import HttpRequest, HttpResponse, Script
from htx_cancel.sandbox.windows import WINDOWS

SCENES = ("outage", "shut", "silent", "behind", "foreign", "lossy")
OUTAGE = 2.0  #: seconds
BARE = ", no headers"  #: what names an exchange that tells nothing of its windows
IDS = {product: order_ids(product, 3_001) for product in WORK}


class Row(Struct, frozen=True):
    """One scene: its seconds, how many there may be, and whether every status was right."""

    scene: str
    took: float
    most: float
    right: bool


class _Bare(Exchange):
    """An exchange that tells nothing about its windows."""

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        reply = super().handle(request, now, script)
        kept = {key: it for key, it in reply.headers.items() if not key.startswith("ratelimit")}
        return HttpResponse(reply.status, kept, reply.body)


#: What befalls the requests of a scene: one reply in ten is lost, or none is given at all.
FAULTS = {
    "lossy": FaultPlan({WORK["coin_m_swap"].path: ([None] * 9 + ["lost_after"]) * 10}),
    "silent": FaultPlan(share=1.0, kinds=["lost_before"]),
}


@asynccontextmanager
async def exchanges() -> AsyncIterator[Answer]:
    """Serve a sandbox for each scene; tell the addresses, end the outage, tell what was refused."""
    served: dict[str, Exchange] = {name: Exchange(keep_log=False) for name in SCENES}
    for rule in WINDOWS:
        served[rule] = Exchange(keep_log=False, window=rule)
        served[rule + BARE] = _Bare(keep_log=False, window=rule)
    servers = {}
    async with AsyncExitStack() as stack:
        for name, exchange in served.items():
            for product, ids in IDS.items():
                add_orders(exchange, product, ids)
            server = SandboxServer(exchange, faults=FAULTS.get(name))
            servers[name] = await stack.enter_async_context(server)
        for name in ("outage", "shut"):
            await servers[name].down()

        async def answer(question: str) -> dict[str, Any]:
            if question == "up":
                await servers["outage"].up()
            if question == "urls":
                return {name: server.base_url for name, server in servers.items()}
            return {name: exchange.refused.total() for name, exchange in served.items()}

        yield answer


def client(*urls: str, **settings: Any) -> CancelClient:
    """Make a client of these hosts."""
    return CancelClient(Credentials(ACCESS_KEY, SECRET_KEY), base_url=list(urls), **settings)


async def cancel(
    client: CancelClient, product: Product, at: int, count: int, **options: Any
) -> tuple[Outcome, float]:
    """Cancel some of the orders; return the outcome and the seconds it took."""
    method = (client.usdt_m if product == "usdt_m" else client.coin_m_swap).cancel_orders
    ids, began = IDS[product][at : at + count], time.monotonic()
    outcome = await method(WORK[product].contract_code, ids, **options)
    return outcome, time.monotonic() - began


def accepted(*outcomes: Outcome) -> bool:
    """Say whether every cancel was accepted."""
    return all(len(outcome.accepted) == len(outcome) for outcome in outcomes)


async def outage(urls: dict[str, str], ask: Answer) -> Row:
    """Refuse connections with 3,000 ids under way, and then an urgent one behind them."""
    async with client(urls["outage"]) as one:
        routine = asyncio.create_task(cancel(one, "usdt_m", 0, 3000))
        await asyncio.sleep(OUTAGE / 2)
        urgent = asyncio.create_task(cancel(one, "usdt_m", 3000, 1, priority=Priority.URGENT))
        await asyncio.sleep(OUTAGE / 2)
        await ask("up")
        began = time.monotonic()
        outcome, _ = await urgent
        took = time.monotonic() - began
        routine.cancel()
    words = f"outage of {OUTAGE:g} s, 3,000 ids under way: an urgent one is taken after its end"
    return Row(words, took, 0.5, accepted(outcome))


async def shut(urls: dict[str, str]) -> Row:
    """Refuse connections for good."""
    async with client(urls["shut"], retry=RetryPolicy(max_elapsed=5.0)) as one:
        outcome, took = await cancel(one, "usdt_m", 0, 3000)
    words = "exchange down for good, retries of 5 s: 3,000 ids, all unsent"
    return Row(words, took, 10.0, len(outcome.unsent) == len(outcome))


async def failover(urls: dict[str, str]) -> Row:
    """Give a client two hosts, of which the first takes requests and answers none."""
    async with client(urls["silent"], urls["behind"]) as one:
        outcome, took = await cancel(one, "coin_m_swap", 0, 1440)
    return Row("the first of two hosts is silent: 1,440 ids", took, 20.0, accepted(outcome))


async def foreign(urls: dict[str, str]) -> Row:
    """Another program of the account sent one burst of 35."""
    async with client(urls["foreign"]) as other, client(urls["foreign"]) as one:
        await cancel(other, "coin_m_swap", 0, 350)
        outcome, took = await cancel(one, "coin_m_swap", 350, 360, priority=Priority.URGENT)
    return Row("another program sent 35 requests: 360 urgent ids", took, 6.0, accepted(outcome))


async def lossy(urls: dict[str, str]) -> Row:
    """One reply in ten is lost, and the call has two seconds."""
    async with client(urls["lossy"]) as one:
        outcome, took = await cancel(one, "coin_m_swap", 0, 300, timeout=2.0)
    known = len(outcome.accepted) + len(outcome.closed) == len(outcome)
    words = "one reply in ten is lost: 300 ids, all known"
    wrong = outcome.rejected or outcome.not_found
    return Row(words, took if known else inf, 2.0, not wrong)


async def restart(urls: dict[str, str], name: str) -> tuple[float, bool]:
    """Another client of the account spent the windows half a second before."""
    async with client(urls[name]) as other, client(urls[name]) as one:
        now = time.time()
        await asyncio.sleep(3.0 - now % 3.0)  # the windows of the clock begin
        await asyncio.gather(cancel(other, "coin_m_swap", 0, 360), cancel(other, "usdt_m", 0, 72))
        await asyncio.sleep(0.5)
        parts = await asyncio.gather(
            cancel(one, "coin_m_swap", 360, 540), cancel(one, "usdt_m", 72, 128)
        )
    return max(took for _, took in parts), accepted(*(outcome for outcome, _ in parts))


async def restarts(urls: dict[str, str], rules: Collection[str]) -> list[Row]:
    """Restart under each rule for windows; tell the worst with rate headers, and without."""
    endings: dict[str, list[tuple[float, bool]]] = {"": [], BARE: []}
    for rule in rules:
        both = await asyncio.gather(*(restart(urls, rule + tail) for tail in endings))
        for tail, ending in zip(endings, both, strict=True):
            endings[tail].append(ending)
    return [
        Row(
            f"restart in a spent window{tail}: 540 and 128 ids, worst of {len(rules)} rules",
            max(took for took, _ in found),
            5.5 * (1.3 if tail else 1.1),
            all(right for _, right in found),
        )
        for tail, found in endings.items()
    ]


async def run(*, quick: bool) -> Findings:
    """Play the scenes; those that take long run beside the others."""
    async with child(exchanges) as ask:
        urls = await ask("urls")
        rules = list(WINDOWS)[: 1 if quick else None]
        rows = [await outage(urls, ask), await lossy(urls)]
        *others, spent = await asyncio.gather(
            foreign(urls), shut(urls), failover(urls), restarts(urls, rules)
        )
        rows += [*others, *spent]
        refused = await ask("refused")
    most = {it: 36 + 72 for it in refused if it.partition(",")[0] in WINDOWS} | {"foreign": 35}
    over = {it: count for it, count in refused.items() if count > most.get(it, 0)}
    said = f"over: {_listed([f'{it} {count}' for it, count in over.items()])}"
    wrong = [row.scene for row in rows if not row.right]
    late = [row.scene for row in rows if row.took > row.most]
    return Findings(
        "How soon are orders pulled in trouble?",
        "One round of htx_cancel alone: neither ccxt nor aiohttp tries again, or has a second "
        "host, by itself. Restart: another client of the account used up the windows half a second "
        "before, under each rule for windows, with the exchange's rate headers and without.",
        [
            Target("every status is right", not wrong, f"wrong: {_listed(wrong)}", must=True),
            Target("only the one burst that meets a spent window is refused", not over, said, True),
            Target("each scene within its time", not late, f"late: {_listed(late)}"),
        ],
        ("scene", "time", "at most"),
        [(it.scene, f"{it.took:.2f} s", f"{it.most:.2f} s") for it in rows],
    )


def _listed(words: list[str]) -> str:
    return "; ".join(words) or "none"
