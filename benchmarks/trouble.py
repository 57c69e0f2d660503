"""How fast htx_cancel cancels orders in an outage, a restart, and other trouble.

The exchange runs in another process with the published limits; each case has a sandbox of its own.
The time allowed for a case is derived from the least that those limits allow after the trouble.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from typing import Any

from msgspec import Struct

from benchmarks.process import Answer, child
from benchmarks.report import Findings, Table, Target
from benchmarks.workload import ACCESS_KEY, SECRET_KEY, WORK, Product, add_orders, order_ids
from htx_cancel import CancelClient, Credentials, Outcome, Priority, RetryPolicy
from htx_cancel.sandbox import Exchange, FaultPlan, SandboxServer
from htx_cancel.sandbox.exchange import HttpRequest, HttpResponse, Script
from htx_cancel.sandbox.windows import WINDOWS

SANDBOXES = ("outage", "down", "silent", "second", "shared", "lossy")
OUTAGE = 2.0  #: seconds
BARE = ", no headers"  #: ends the name of an exchange that sends no rate-limit headers
IDS = {product: order_ids(product, 3_001) for product in WORK}
FAULTS = {
    "lossy": FaultPlan({WORK["coin_m_swap"].path: ([None] * 9 + ["lost_after"]) * 10}),
    "silent": FaultPlan(share=1.0, kinds=["lost_before"]),
}


class Case(Struct, frozen=True):
    """The seconds that one case took and may take, and whether every status was correct."""

    name: str
    seconds: float
    allowed: float
    correct: bool


class _BareExchange(Exchange):
    """An exchange that sends no rate-limit headers."""

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        reply = super().handle(request, now, script)
        headers = {name: reply.headers[name] for name in reply.headers if "ratelimit" not in name}
        return HttpResponse(reply.status, headers, reply.body)


@asynccontextmanager
async def exchanges() -> AsyncIterator[Answer]:
    """Serve all sandboxes; answer with URLs and refusals, and end the outage."""
    served: dict[str, Exchange] = {name: Exchange(keep_log=False) for name in SANDBOXES}
    for rule in WINDOWS:
        served[rule] = Exchange(keep_log=False, window=rule)
        served[rule + BARE] = _BareExchange(keep_log=False, window=rule)
    servers = {}
    async with AsyncExitStack() as stack:
        for name, exchange in served.items():
            for product, ids in IDS.items():
                add_orders(exchange, product, ids)
            server = SandboxServer(exchange, faults=FAULTS.get(name))
            servers[name] = await stack.enter_async_context(server)
        for name in ("outage", "down"):
            await servers[name].down()

        async def answer(question: str) -> dict[str, Any]:
            if question == "end outage":
                await servers["outage"].up()
            if question == "refused":
                return {name: exchange.refused.total() for name, exchange in served.items()}
            return {name: server.base_url for name, server in servers.items()}

        yield answer


def open_client(*urls: str, **options: Any) -> CancelClient:
    """Create a client of these hosts."""
    return CancelClient(Credentials(ACCESS_KEY, SECRET_KEY), base_url=list(urls), **options)


async def cancel(
    client: CancelClient, product: Product, at: int, count: int, **options: Any
) -> tuple[Outcome, float]:
    """Cancel some of the orders; return the outcome and the seconds it took."""
    method = (client.usdt_m if product == "usdt_m" else client.coin_m_swap).cancel_orders
    ids, began = IDS[product][at : at + count], time.monotonic()
    outcome = await method(WORK[product].contract_code, ids, **options)
    return outcome, time.monotonic() - began


def accepted(*outcomes: Outcome) -> bool:
    """Return whether every cancel was accepted."""
    return all(len(outcome.accepted) == len(outcome) for outcome in outcomes)


async def outage(urls: dict[str, str], ask: Answer) -> Case:
    """Refuse connections while 3,000 ids are under way and one urgent id comes behind them."""
    async with open_client(urls["outage"]) as client:
        routine = asyncio.create_task(cancel(client, "usdt_m", 0, 3000))
        await asyncio.sleep(OUTAGE / 2)
        urgent = asyncio.create_task(cancel(client, "usdt_m", 3000, 1, priority=Priority.URGENT))
        await asyncio.sleep(OUTAGE / 2)
        await ask("end outage")
        began = time.monotonic()
        outcome, _ = await urgent
        seconds = time.monotonic() - began
        routine.cancel()
    name = f"an outage of {OUTAGE:g} s ends, 3,000 ids under way: an urgent id is accepted"
    return Case(name, seconds, 0.5, accepted(outcome))


async def down(urls: dict[str, str]) -> Case:
    """Refuse connections for good."""
    async with open_client(urls["down"], retry=RetryPolicy(max_elapsed=5.0)) as client:
        outcome, seconds = await cancel(client, "usdt_m", 0, 3000)
    name = "the exchange stays down, retries for 5 s: 3,000 ids, all unsent"
    return Case(name, seconds, 10.0, len(outcome.unsent) == len(outcome))


async def failover(urls: dict[str, str]) -> Case:
    """Give a client two hosts, the first of which takes requests and answers none."""
    async with open_client(urls["silent"], urls["second"]) as client:
        outcome, seconds = await cancel(client, "coin_m_swap", 0, 1440)
    return Case("the first of two hosts is silent: 1,440 ids", seconds, 20.0, accepted(outcome))


async def shared_account(urls: dict[str, str]) -> Case:
    """Let another program of the account send one burst of 35 requests before."""
    async with open_client(urls["shared"]) as other, open_client(urls["shared"]) as client:
        await cancel(other, "coin_m_swap", 0, 350)
        outcome, seconds = await cancel(client, "coin_m_swap", 350, 360, priority=Priority.URGENT)
    name = "another program sent 35 requests: 360 urgent ids"
    return Case(name, seconds, 6.0, accepted(outcome))


async def lossy(urls: dict[str, str]) -> Case:
    """Lose one reply in ten of a call that has two seconds."""
    async with open_client(urls["lossy"]) as client:
        outcome, seconds = await cancel(client, "coin_m_swap", 0, 300, timeout=2.0)
    known = len(outcome.accepted) + len(outcome.closed) == len(outcome)
    correct = not outcome.rejected and not outcome.not_found
    name = "one reply in ten is lost: 300 ids, all known"
    return Case(name, seconds if known else inf, 2.0, correct)


async def restart(url: str) -> tuple[float, bool]:
    """Cancel half a second after another client used up the account's windows."""
    async with open_client(url) as other, open_client(url) as client:
        await asyncio.sleep(3.0 - time.time() % 3.0)  # until windows of the clock begin
        await asyncio.gather(cancel(other, "coin_m_swap", 0, 360), cancel(other, "usdt_m", 0, 72))
        await asyncio.sleep(0.5)
        (swap, swap_seconds), (usdt, usdt_seconds) = await asyncio.gather(
            cancel(client, "coin_m_swap", 360, 540), cancel(client, "usdt_m", 72, 128)
        )
    return max(swap_seconds, usdt_seconds), accepted(swap, usdt)


async def restarts(urls: dict[str, str], rules: Collection[str], bare: str) -> Case:
    """Restart under each rule for windows; return the slowest."""
    found = [await restart(urls[rule + bare]) for rule in rules]
    return Case(
        f"restart in used-up windows{bare}: 540 and 128 ids, slowest of {len(rules)} rules",
        max(seconds for seconds, _ in found),
        5.5 * (1.3 if bare else 1.1),
        all(correct for _, correct in found),
    )


async def run(*, quick: bool) -> Findings:
    """Play the short cases one after another, then the long ones at the same time."""
    async with child(exchanges) as ask:
        urls = await ask("urls")
        rules = list(WINDOWS)[: 1 if quick else None]
        cases = [await outage(urls, ask), await lossy(urls)]
        cases += await asyncio.gather(
            shared_account(urls),
            down(urls),
            failover(urls),
            *(restarts(urls, rules, bare) for bare in ("", BARE)),
        )
        refused = await ask("refused")
    allowed = {rule + bare: 36 + 72 for rule in WINDOWS for bare in ("", BARE)} | {"shared": 35}
    excess = [f"{name} {n}" for name, n in refused.items() if n > allowed.get(name, 0)]
    wrong = [case.name for case in cases if not case.correct]
    late = [case.name for case in cases if case.seconds > case.allowed]
    table = Table(
        "The time each case took, and the time allowed.",
        ("case", "time", "at most"),
        [(case.name, f"{case.seconds:.2f} s", f"{case.allowed:.2f} s") for case in cases],
    )
    return Findings(
        "How fast are orders cancelled when something goes wrong?",
        "One round of htx_cancel alone: ccxt and aiohttp neither retry nor fail over by "
        "themselves. Restart: another client of the account used up the windows half a second "
        "before, under each rule for windows, with the exchange's rate-limit headers and without.",
        [
            Target("no case has a wrong status", not wrong, _listed(wrong), must=True),
            Target(
                "no request is refused beyond the one burst that meets used-up windows",
                not excess,
                _listed(excess),
                must=True,
            ),
            Target("no case takes longer than allowed", not late, _listed(late)),
        ],
        [table],
    )


def _listed(names: list[str]) -> str:
    return "; ".join(names) or "none"
