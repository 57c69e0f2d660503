"""How long it takes to cancel N orders while the exchange enforces its limits.

Each client has a sandbox of its own and cancels the orders of both products at once, with one
client object for each product. The sandbox's book is the judge: an order is *left* if it is still
open when the client is done, and *misreported* if the client claims something false or nothing.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median

from msgspec import Struct

from benchmarks.clients import CLIENTS, Claims, Settings, open_client
from benchmarks.process import Answer, child, fresh, until
from benchmarks.report import ROUNDS, Findings, Table, Target
from benchmarks.workload import WORK, Product, Rate, add_orders, minimum, order_ids
from htx_cancel.sandbox import Exchange, SandboxServer

DELAY, JITTER = 0.005, 0.001  #: seconds, each way
START_GAP = 0.75  #: seconds between the starts of two clients, so that their bursts do not overlap
PRODUCT_GAP = 0.37  #: seconds between the starts of the two products, likewise
PUBLISHED: dict[Product, Rate] = {product: work.rate for product, work in WORK.items()}


class Case(Struct, frozen=True):
    """A number of orders of each product, and the limits."""

    orders: int
    rates: Mapping[Product, Rate]
    rounds: int = 1

    def requests(self, product: Product) -> int:
        """Return the fewest requests that cancel the orders."""
        return -(-self.orders // WORK[product].batch)

    def minimum(self, product: Product) -> float:
        """Return the fewest seconds that limits and delays allow."""
        return minimum(self.requests(product), self.rates[product]) + 2 * DELAY

    def one_window(self, product: Product) -> bool:
        """Return whether all requests fit into one window."""
        return self.requests(product) <= self.rates[product][0]


CASES = (Case(300, PUBLISHED, ROUNDS), Case(1_000, PUBLISHED), Case(10_000, PUBLISHED))
QUICK_CASES = (Case(120, {"coin_m_swap": (5, 0.5), "usdt_m": (5, 0.5)}),)


class Result(Struct, frozen=True):
    """What one client did with one product's orders."""

    seconds: float
    refused: int
    left: int
    misreported: int


Found = dict[tuple[int, Product, str], list[Result]]  #: by orders, product and client


@asynccontextmanager
async def sandboxes(case: Case) -> AsyncIterator[Answer]:
    """Serve a sandbox to each client; answer with URLs, or with refusals and open orders."""
    exchanges, urls = {}, {}
    limits = {WORK[product].budget: rate for product, rate in case.rates.items()}
    async with AsyncExitStack() as stack:
        for name in CLIENTS:
            exchange = exchanges[name] = Exchange(limits=limits, keep_log=False)
            for product in WORK:
                add_orders(exchange, product, order_ids(product, case.orders))
            server = SandboxServer(exchange, delay=DELAY, jitter=JITTER)
            urls[name] = (await stack.enter_async_context(server)).base_url

        async def answer(name: str = "", product: Product = "usdt_m") -> object:
            if not name:
                return urls
            work, exchange = WORK[product], exchanges[name]
            refused = exchange.refused[work.path] + exchange.refused[work.path_of_one]
            return refused, {order.order_id for order in exchange.book.open(work.kind)}

        yield answer


async def pull(name: str, url: str, case: Case, at: float) -> dict[Product, tuple[float, Claims]]:
    """Cancel all orders; return the seconds and the claims. This runs in the client's process."""

    async def pull_one(product: Product) -> tuple[float, Claims]:
        ids = order_ids(product, case.orders)
        settings = Settings(url, {product: case.rates[product]}, in_flight=128)
        client = open_client(name, settings)
        await client.warm_up()
        gc.collect()
        gc.freeze()
        await until(at + PRODUCT_GAP * (product == "usdt_m"))
        began = time.perf_counter()
        result = await client.cancel(product, ids)
        seconds = time.perf_counter() - began
        await client.close()
        return seconds, client.claims(result)

    return dict(zip(WORK, await asyncio.gather(*map(pull_one, WORK)), strict=True))


async def _round(case: Case, found: Found) -> None:
    """Let all clients cancel side by side, then compare their claims with the books."""
    async with child(sandboxes, case) as ask:
        urls, start = await ask(), time.monotonic() + 3.0
        names = list(reversed(CLIENTS))
        pulls = (
            fresh(pull, name, urls[name], case, start + number * START_GAP)
            for number, name in enumerate(names)
        )
        for name, results in zip(names, await asyncio.gather(*pulls), strict=True):
            for product, (seconds, claims) in results.items():
                refused, left = await ask(name, product)
                misreported = sum(
                    order_id not in claims or (claims[order_id] == "done") is (order_id in left)
                    for order_id in order_ids(product, case.orders)
                )
                result = Result(seconds, refused, len(left), misreported)
                found.setdefault((case.orders, product, name), []).append(result)


async def run(*, quick: bool) -> Findings:
    """Let all clients cancel all cases."""
    found: Found = {}
    cases = QUICK_CASES if quick else CASES
    for case in cases:
        for _ in range(case.rounds):
            await _round(case, found)
    rows = [(case, product) for case in cases for product in WORK]
    table = Table(
        "Efficiency, or milliseconds if one window is enough; requests refused and orders left "
        "open, if any.",
        ("orders, minimum time", *(title for title, _ in CLIENTS.values())),
        [_row(case, product, found) for case, product in rows],
    )
    return Findings(
        "How long does it take to cancel N orders?",
        "Each client cancels N orders of each product at once, under the published limits and with "
        f"ten ids in a request. A message takes {DELAY * 1e3:.0f} to {(DELAY + JITTER) * 1e3:.0f} "
        "ms each way. htx_cancel has called warm_up(). 1,000 and 10,000 orders have one round.",
        _targets(rows, found),
        [table],
    )


def _row(case: Case, product: Product, found: Found) -> tuple[str, ...]:
    cells = [f"{case.orders:,} {product}, {case.minimum(product):.2f} s"]
    for name in CLIENTS:
        results = found[case.orders, product, name]
        seconds = median(result.seconds for result in results)
        refused = sum(result.refused for result in results)
        left = sum(result.left for result in results)
        speed = f"{case.minimum(product) / seconds * 100:.1f} %"
        if case.one_window(product):
            speed = f"{seconds * 1e3:,.0f} ms"
        cells.append(speed + (f"; {refused} refused, {left} left" if refused or left else ""))
    return tuple(cells)


def _targets(rows: list[tuple[Case, Product]], found: Found) -> list[Target]:
    ours = [result for key, results in found.items() if key[-1] == "ours" for result in results]
    refused = sum(result.refused for result in ours)
    left = sum(result.left for result in ours)
    misreported = sum(result.misreported for result in ours)
    efficiency = [
        case.minimum(product)
        / median(result.seconds for result in found[case.orders, product, "ours"])
        for case, product in rows
        if not case.one_window(product)
    ]
    return [
        Target(
            "no request is refused, no order is left open, and none is misreported",
            refused + left + misreported == 0,
            f"{refused} refused, {left} left, {misreported} misreported",
            must=True,
        ),
        Target(
            "the efficiency is at least 99 % if more than one window is needed",
            min(efficiency) >= 0.99,
            f"{min(efficiency) * 100:.1f} to {max(efficiency) * 100:.1f} %",
        ),
    ]
