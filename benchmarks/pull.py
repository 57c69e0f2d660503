"""How long until N orders are pulled, with the exchange's limits enforced.

Each client has a sandbox of its own, in a process with the others', and pulls all products at once
with an object each. The book is the judge: an order is *left* if it is open when the client is done
and *misreported* if what the client says of it is not so, or nothing.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product as combined
from statistics import median
from typing import Any

from msgspec import Struct

from benchmarks.peers import PEERS, Setting, open_peer
from benchmarks.process import Answer, child, fresh, until
from benchmarks.report import ROUNDS, Findings, Target
from benchmarks.work import WORK, Product, Rate, add_orders, least, order_ids
from htx_cancel.sandbox import Exchange, SandboxServer

DELAY, JITTER = 0.005, 0.001  #: seconds, each way
APART = 0.75  #: seconds between the starts of two clients, so that their bursts do not meet
PUBLISHED: dict[Product, Rate] = {product: work.rate for product, work in WORK.items()}
IN_FLIGHT = 128


class Run(Struct, frozen=True):
    """So many orders of each product, under these limits."""

    orders: int
    rates: Mapping[Product, Rate]
    rounds: int = 1

    def requests(self, product: Product) -> int:
        """Return the fewest requests that cancel them."""
        return -(-self.orders // WORK[product].batch)

    def least(self, product: Product) -> float:
        """Return the least seconds that limits and delays allow."""
        return least(self.requests(product), self.rates[product]) + 2 * DELAY


RUNS = (
    Run(300, PUBLISHED, ROUNDS),
    Run(1_000, PUBLISHED),
    Run(10_000, PUBLISHED),
)
QUICK = (Run(120, {"coin_m_swap": (5, 0.5), "usdt_m": (5, 0.5)}),)


class Result(Struct, frozen=True):
    """What became of one run's orders of one product."""

    seconds: float
    refused: int
    left: int
    misreported: int


@asynccontextmanager
async def sandboxes(run: Run) -> AsyncIterator[Answer]:
    """Serve a sandbox to each client; tell the addresses, or calls refused and orders left."""
    exchanges, urls = {}, {}
    limits = {WORK[product].budget: rate for product, rate in run.rates.items()}
    async with AsyncExitStack() as stack:
        for peer in PEERS:
            exchange = exchanges[peer] = Exchange(limits=limits, keep_log=False)
            for product in WORK:
                add_orders(exchange, product, order_ids(product, run.orders))
            server = SandboxServer(exchange, delay=DELAY, jitter=JITTER)
            urls[peer] = (await stack.enter_async_context(server)).base_url

        async def answer(peer: str = "", product: Product = "usdt_m") -> Any:
            if not peer:
                return urls
            work, exchange = WORK[product], exchanges[peer]
            refused = exchange.refused[work.path] + exchange.refused[work.path_of_one]
            return refused, {it.order_id for it in exchange.book.open(work.kind)}

        yield answer


async def pull(name: str, url: str, run: Run, at: float) -> dict[Product, tuple[float, Any]]:
    """Inside a client's process: pull all products; tell the seconds and the words for each."""

    async def one(product: Product) -> tuple[float, Any]:
        ids = order_ids(product, run.orders)
        peer = open_peer(name, Setting(url, {product: run.rates[product]}, IN_FLIGHT))
        await peer.warm_up()
        gc.collect()
        gc.freeze()
        await until(at + 0.37 * (product == "usdt_m"))  # so that the first bursts do not meet
        began = time.perf_counter()
        result = await peer.cancel(product, ids)
        seconds = time.perf_counter() - began
        await peer.close()
        return seconds, peer.words(result)

    return dict(zip(WORK, await asyncio.gather(*map(one, WORK)), strict=True))


Found = dict[tuple[int, Product, str], list[Result]]


async def _play(run: Run, found: Found) -> None:
    """Let all clients pull, side by side; ask the books."""
    for _ in range(run.rounds):
        async with child(sandboxes, run) as ask:
            urls, start = await ask(), time.monotonic() + 3.0
            peers = list(enumerate(reversed(PEERS)))
            said = await asyncio.gather(
                *(fresh(pull, peer, urls[peer], run, start + n * APART) for n, peer in peers)
            )
            for ((_, peer), results), product in combined(zip(peers, said, strict=True), WORK):
                seconds, words = results[product]
                refused, left = await ask(peer, product)
                false = sum(
                    words.get(it) is None or (words[it] == "done") is (it in left)
                    for it in order_ids(product, run.orders)
                )
                result = Result(seconds, refused, len(left), false)
                found.setdefault((run.orders, product, peer), []).append(result)


async def run(*, quick: bool) -> Findings:
    """Let all clients pull."""
    found: Found = {}
    runs = QUICK if quick else RUNS
    for each in runs:
        await _play(each, found)
    cases = [(each, product) for each in runs for product in WORK]
    return Findings(
        "How long until N orders are pulled?",
        "Share of the least possible time, floor((requests - 1) / N) * W and a round trip for N "
        "requests per W, or milliseconds where one window is enough; with calls refused and orders "
        f"left open. One way takes {DELAY * 1e3:.0f} ms and up to {JITTER * 1e3:.0f} ms more; "
        "htx_cancel has called warm_up(). Limits are those published, all go ten a request. One "
        "round of 1,000 and of 10,000.",
        _targets(cases, found),
        ("orders, least time", *(title for title, _ in PEERS.values())),
        [_row(each, product, found) for each, product in cases],
    )


def _row(run: Run, product: Product, found: Found) -> tuple[str, ...]:
    cells = [f"{run.orders:,} {product}, {run.least(product):.2f} s"]
    for peer in PEERS:
        results = found[run.orders, product, peer]
        seconds = median(it.seconds for it in results)
        refused, left = sum(it.refused for it in results), sum(it.left for it in results)
        share = f"{run.least(product) / seconds * 100:.1f} %"
        if run.requests(product) <= run.rates[product][0]:
            share = f"{seconds * 1e3:,.0f} ms"  # all fit into one window
        cells.append(share + (f"; {refused} refused, {left} left" if refused or left else ""))
    return tuple(cells)


def _targets(cases: list[tuple[Run, Product]], found: Found) -> list[Target]:
    ours = [it for (_, _, peer), results in found.items() if peer == "ours" for it in results]
    refused, left = sum(it.refused for it in ours), sum(it.left for it in ours)
    false = sum(it.misreported for it in ours)
    shares = [
        each.least(product) / median(it.seconds for it in found[each.orders, product, "ours"])
        for each, product in cases
        if each.requests(product) > each.rates[product][0]
    ]
    words = "no call refused, no order left, none misreported"
    figure = f"{refused} refused, {left} left, {false} misreported"
    return [
        Target(words, refused + left + false == 0, figure, must=True),
        Target(
            "at least 99 % of the least possible time where more than one window is needed",
            min(shares) >= 0.99,
            f"{min(shares) * 100:.1f} to {max(shares) * 100:.1f} %",
        ),
    ]
