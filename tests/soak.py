"""A soak: many orders, random trouble, hosts going up and down, callers going away.

``python tests/soak.py`` cancels and lists orders of every kind through two hosts of one sandbox
exchange while faults strike 30 % of the requests and others place orders, and judges every status
and every listing by the exchange's book. It runs on virtual time, in process; with ``--sockets`` it
runs over real connections in real time. ``--loop eager`` runs each task's first step at once, and
``--loop uvloop`` needs ``--sockets``, since uvloop has no virtual time. Exit code 1 if anything
contradicts the book, an id is lost, or too many are unknown.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress

import loops
import virtualtime
from clients import EPOCH, credentials
from msgspec import Struct
from soak_work import Call, Dealer, Work

from htx_cancel import (
    CancelClient,
    CancelStatus,
    Limit,
    OrderResult,
    OrderState,
    Outcome,
    Priority,
)
from htx_cancel.endpoints import BUDGETS
from htx_cancel.sandbox import Exchange, InProcessTransport, SandboxServer
from htx_cancel.sandbox.faults import FAULTS, FaultPlan
from htx_cancel.sandbox.rules import ROUTES
from htx_cancel.wire.transport import Reply, Request

SHARE_OF_FAULTS = 0.3
MOST_UNKNOWN = 0.005
MOST_CALLS_AT_ONCE = 60


class Settings(Struct, frozen=True):
    """What to run."""

    orders: int
    seed: int
    sockets: bool
    speed: int  #: limits of both sides, as a multiple of the published ones

    def limits(self) -> dict[str, Limit]:
        """Return the client's budgets."""
        return {name: Limit(it.calls * self.speed, it.seconds) for name, it in BUDGETS.items()}

    def exchange_limits(self) -> dict[str, tuple[int, float]]:
        """Return the exchange's windows, after its own reading of the pages."""
        budgets = [budget for row in ROUTES.values() for budget in (row.pool, row.own) if budget]
        return {it.name: (it.calls * self.speed, it.seconds) for it in budgets}


def trouble(seed: int) -> FaultPlan:
    """Make faults of every kind but a wrong clock, which the porter sets wrong."""
    kinds = [name for name in FAULTS if name != "wrong_clock"]
    return FaultPlan(share=SHARE_OF_FAULTS, seed=seed, kinds=kinds)


class SandboxHosts:
    """Two addresses of one exchange on virtual time, each of which may be shut."""

    def __init__(self, exchange: Exchange, seed: int) -> None:
        self.base_urls = ["https://first.example", "https://second.example"]
        shut = FaultPlan(share=1.0, kinds=["refused_connection"])
        self._shut = InProcessTransport(exchange, epoch=EPOCH, faults=shut)
        self._open = {
            url: InProcessTransport(
                exchange,
                epoch=EPOCH,
                delay=0.01,
                jitter=0.01,
                seed=seed + number,
                faults=trouble(seed + number),
            )
            for number, url in enumerate(self.base_urls)
        }
        self._down: set[str] = set()

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Carry a request through its host."""
        host = self._shut if request.origin in self._down else self._open[request.origin]
        return await host.send(request, timeout=timeout)

    async def close(self) -> None:
        """Hold nothing."""

    async def turn(self, number: int, *, up: bool) -> None:
        """Open or shut a host."""
        url = self.base_urls[number]
        self._down = self._down - {url} if up else self._down | {url}


class Servers:
    """The same two hosts as real servers."""

    def __init__(self, servers: list[SandboxServer]) -> None:
        self.base_urls = [server.base_url for server in servers]
        self._servers = servers

    async def turn(self, number: int, *, up: bool) -> None:
        """Open or shut a host."""
        server = self._servers[number]
        await (server.up() if up else server.down())


@asynccontextmanager
async def beside(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Let something go on until the end of the block."""
    task = asyncio.create_task(work)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@asynccontextmanager
async def on_the_road(
    settings: Settings, exchange: Exchange
) -> AsyncIterator[tuple[CancelClient, SandboxHosts | Servers]]:
    """Yield a client of the exchange and its hosts."""
    loop, seed = asyncio.get_running_loop(), settings.seed
    if not settings.sockets:
        hosts = SandboxHosts(exchange, seed)
        async with CancelClient(
            credentials(),
            base_url=hosts.base_urls,
            transport=hosts,
            limits=settings.limits(),
            wall_clock=lambda: EPOCH + loop.time(),
        ) as client:
            yield client, hosts
        return
    plans = [trouble(seed + number) for number in range(2)]
    async with (
        SandboxServer(exchange, faults=plans[0]) as first,
        SandboxServer(exchange, faults=plans[1]) as second,
    ):
        servers = Servers([first, second])
        async with CancelClient(
            credentials(), base_url=servers.base_urls, limits=settings.limits()
        ) as client:
            yield client, servers


class Soak:
    """The work, and what was said of each order."""

    def __init__(self, settings: Settings) -> None:
        self.dice = random.Random(settings.seed)
        self.settings = settings
        self.exchange = Exchange(
            limits=settings.exchange_limits(),
            keep_log=False,
            cancel_after=0.03,
            lost_races=0.05,
            partial_fills=0.05,
            random=self.dice.random,
            list_lag=0.05,
        )
        self.dealer = Dealer(self.exchange, self.dice)
        self.orders = self.dealer.orders
        self.wrong: Counter[str] = Counter()
        self.listings: Counter[str] = Counter()
        self.said: dict[str, OrderResult] = {}
        self.given = 0
        self.twice = 0
        self.confirmed: list[Outcome] = []
        self.calls: Counter[str] = Counter()
        self.left = 0

    def tell(self, results: tuple[OrderResult, ...]) -> None:
        """Note the results of a batch."""
        for result in results:
            self.twice += result.order_id in self.said
            self.said[result.order_id] = result

    async def run(self) -> None:
        """Do all calls, some at once, while the hosts go up and down and others place orders."""
        work = self.dealer.deal(self.settings.orders)
        self.given = len(self.orders)
        async with on_the_road(self.settings, self.exchange) as (client, hosts):
            async with beside(self.move(hosts)), beside(self.place(work)):
                workers = (self.work(client, work) for _ in range(MOST_CALLS_AT_ONCE))
                await asyncio.gather(*workers)
            for number in range(2):
                await hosts.turn(number, up=True)

    async def move(self, hosts: SandboxHosts | Servers) -> None:
        """Shut a host for a while, now and then, and set the exchange's clock wrong or right."""
        while True:
            await asyncio.sleep(self.dice.uniform(5.0, 20.0))
            self.exchange.clock_offset = self.dice.choice([0.0, -900.0, 900.0])
            number = self.dice.randrange(2)
            await hosts.turn(number, up=False)
            try:
                await asyncio.sleep(self.dice.uniform(0.5, 8.0))
            finally:
                await hosts.turn(number, up=True)

    async def place(self, work: list[Work]) -> None:
        """Place orders that nobody cancels, now and then, as long as there are calls to make."""
        while work:
            await asyncio.sleep(self.dice.uniform(0.0, 1.0))
            self.dealer.place()

    async def work(self, client: CancelClient, work: list[Work]) -> None:
        """Take calls until there are no more."""
        while work:
            each = work.pop()
            self.calls[type(each).__name__] += 1
            await each.run(client, self)

    async def cancel(self, client: CancelClient, call: Call, ids: Iterable[str]) -> None:
        """Make a call by ids, perhaps go away in the middle, and else confirm."""
        calling = asyncio.ensure_future(
            call(
                priority=self.dice.choice(list(Priority)),
                timeout=self.dice.uniform(5.0, 60.0) if self.dice.random() < 0.1 else None,
                on_batch=self.tell,
            )
        )
        if self.dice.random() < 0.02:
            self.left += 1
            await asyncio.sleep(self.dice.uniform(0.0, 3.0))
            calling.cancel()
            with suppress(asyncio.CancelledError):
                await calling
            return
        outcome = await calling
        self.wrong["an outcome without its ids in order"] += [
            result.order_id for result in outcome
        ] != list(ids)
        await self.confirm(client, outcome)

    async def confirm(self, client: CancelClient, outcome: Outcome) -> None:
        """Ask what became of an outcome's orders."""
        patience = 60.0 if self.settings.sockets else 3600.0  # long lists, 5 pages a second
        self.confirmed.append(await client.confirm(outcome, timeout=patience))

    def contradictions(self) -> Counter[str]:
        """Hold every status against the book."""
        wrong = self.wrong.copy()
        results = [*self.said.values(), *(it for each in self.confirmed for it in each)]
        for result in results:
            order = self.orders[result.order_id]
            took, is_open = order.instructed, order.state == "open"
            status = result.status
            wrong["accepted, and not canceled by us"] += (
                status is CancelStatus.ACCEPTED and not took
            )
            wrong["unsent, and canceled by us"] += status is CancelStatus.UNSENT and took
            wrong["closed or not found, and open"] += is_open and status in (
                CancelStatus.CLOSED,
                CancelStatus.NOT_FOUND,
            )
            wrong["left open, and neither unknown, unsent nor rejected"] += is_open and (
                status is CancelStatus.ACCEPTED
            )
            wrong["a final state that is not the book's"] += result.state not in (
                None,
                OrderState.OPEN,
                OrderState.CANCELING,
                OrderState.GONE,
            ) and result.state != OrderState(order.state)
            wrong["gone, and open"] += result.state is OrderState.GONE and is_open
        wrong["told twice"] = self.twice
        wrong["never told"] = self.given - len(self.said)
        wrong["an order of another's was taken"] = sum(it.instructed for it in self.dealer.others)
        return +wrong

    def report(self, seconds: float) -> bool:
        """Print what was found; say whether it is as it must be."""
        counts = Counter(result.status for result in self.said.values())
        unknown = counts[CancelStatus.UNKNOWN] / max(1, len(self.said))
        after = sum(len(outcome.unknown) for outcome in self.confirmed)
        wrong = self.contradictions()
        print(
            f"{len(self.exchange.book):,} orders in {self.calls.total():,} calls "
            f"({self.left} callers went away), {self.exchange.calls.total():,} requests, "
            f"{seconds:.0f} s, seed {self.settings.seed}"
        )
        print(", ".join(f"{count:,} {name}" for name, count in self.calls.most_common()))
        print(", ".join(f"{count:,} {status}" for status, count in counts.most_common()))
        print(f"unknown {unknown:.3%}, after confirm {after}")
        print(f"listings: {', '.join(f'{count} {it}' for it, count in self.listings.items())}")
        print(f"refused for the rate: {self.exchange.refused.total()}")
        print(f"contradictions with the book: {dict(wrong) or 'none'}")
        return not wrong and unknown <= MOST_UNKNOWN and after == 0


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sockets", action="store_true")
    parser.add_argument("--speed", type=int, default=1, help="limits, times the published ones")
    parser.add_argument("--loop", choices=loops.FACTORIES, default="asyncio")
    options = vars(parser.parse_args())
    loop = options.pop("loop")
    settings = Settings(**options)
    if loop == "uvloop" and not settings.sockets:
        parser.error("--loop must be asyncio or eager without --sockets, got uvloop")
    random.seed(settings.seed)  # the spread of the pauses between tries
    soak, began = Soak(settings), time.monotonic()
    if settings.sockets:
        with asyncio.Runner(loop_factory=loops.FACTORIES[loop]) as runner:
            runner.run(soak.run())
    else:
        virtualtime.task_factory = loops.eager_tasks if loop == "eager" else None
        virtualtime.run(soak.run())
    return 0 if soak.report(time.monotonic() - began) else 1


if __name__ == "__main__":
    sys.exit(main())
