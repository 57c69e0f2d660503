"""Show it: cancel thousands of a sandbox's orders at full speed, check every status, then panic."""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from htx_cancel import (
    CancelAllOutcome,
    CancelClient,
    CancelStatus,
    CloseReason,
    Credentials,
    OrderResult,
    Outcome,
)
from htx_cancel.cli.drill import drill
from htx_cancel.cli.groups import Group, label, workloads
from htx_cancel.cli.progress import EndpointProgress, ProgressView, can_draw
from htx_cancel.cli.run import show_reasons
from htx_cancel.cli.summary import Summary
from htx_cancel.cli.tables import budget, make_table, status_table
from htx_cancel.endpoints import ENDPOINTS
from htx_cancel.sandbox import Book, Exchange, Order, SandboxServer
from htx_cancel.sandbox.rules import Kind, State
from htx_cancel.sandbox.windows import WindowRule

REFUSAL = 1088
_SHOWN = 10
_PLAN = """\
Two parts, on this machine alone; together they take less than half a minute.
1. Thousands of ids are cancelled at full speed, and each status is checked.
2. A panic: thousands of orders of all products and kinds are cancelled in one
   call, take-profit, stop-loss and trailing orders among them, which proves
   that nothing is open. The exchange's book is the judge."""

#: Of a hundred ids, how many are not of open orders, and what they are of.
_RARE = {"filled": 4, "canceling": 2, "canceled": 2, "refused": 2, "missing": 3}
_STATES: dict[str, State] = {"filled": "filled", "canceling": "canceling", "canceled": "canceled"}
_NEVER_GIVEN = range(2 * 10**18, 4 * 10**18)
_CLIENT_IDS = 5 * 10**18


class Part(Struct, frozen=True):
    """Some of the demo's orders."""

    endpoint: str
    kind: Kind
    contract_code: str
    size: int
    field: str = "order_id"


#: Each endpoint gets as many ids as its limit allows in a little over twelve seconds.
PARTS = (
    Part("coin_m_swap.cancel_orders", "swap", "BTC-USD", 1200),
    Part("coin_m_swap.cancel_orders", "swap", "ETH-USD", 600, "client_order_id"),
    Part("coin_m_swap.cancel_trailing_orders", "swap_trailing", "BTC-USD", 650),
    Part("coin_m_swap.cancel_all_trailing_orders", "swap_trailing", "ETH-USD", 60, ""),
    Part("usdt_m_v1_isolated.cancel_trigger_orders", "linear_trigger", "BTC-USDT", 1300),
    Part("usdt_m.cancel_orders", "v5", "BTC-USDT", 2400),
    Part("usdt_m.cancel_orders", "v5", "ETH-USDT", 1200, "client_order_id"),
)


class Job(Struct, frozen=True):
    """A group and the ids of which the exchange is to tell."""

    group: Group
    kind: Kind
    expected: tuple[str, ...]


def fill(book: Book, chance: random.Random, scale: float) -> list[Job]:
    """Fill a book and return the jobs that are to empty it."""
    return [_job(book, part, chance, scale) for part in PARTS]


def _job(book: Book, part: Part, chance: random.Random, scale: float) -> Job:
    words = _mixed(max(1, round(part.size * scale)), chance)
    ids = tuple([_added(book, part, word, chance) for word in words])
    endpoint = ENDPOINTS[part.endpoint]
    if not part.field:
        open_ids = (order.order_id for order in book.open(part.kind, part.contract_code))
        return Job(Group(endpoint, part.contract_code, ""), part.kind, tuple(open_ids))
    return Job(Group(endpoint, part.contract_code, part.field, ids=ids), part.kind, ids)


def _mixed(size: int, chance: random.Random) -> list[str]:
    """Draw what each of the ids is to be: each kind at least once, most of them open."""
    words = [word for word, share in _RARE.items() for _ in range(max(1, size * share // 100))]
    words += ["open"] * max(1, size - len(words))
    chance.shuffle(words)
    return words


def _added(book: Book, part: Part, word: str, chance: random.Random) -> str:
    """Add an order to the book and return its id, or only make an id up."""
    if word == "missing":
        return str(chance.choice(_NEVER_GIVEN))
    by_client_id = part.field == "client_order_id"
    order = book.add(
        part.kind,
        part.contract_code,
        client_order_id=_CLIENT_IDS + len(book) if by_client_id else None,
        state=_STATES.get(word, "open"),
        refusal=REFUSAL if word == "refused" else None,
    )
    return (order.client_order_id if by_client_id else None) or order.order_id


async def demo(console: Console, *, seed: int, window: WindowRule, scale: float) -> int:
    """Run the demo; return the exit code."""
    console.print(_PLAN, soft_wrap=True)
    code = await _each(console, seed=seed, window=window, scale=scale)
    return code or await drill(console, seed=seed, window=window, scale=scale)


async def _each(console: Console, *, seed: int, window: WindowRule, scale: float) -> int:
    """Cancel ids of all kinds, open or not, and check what is told of each."""
    keys = secrets.token_hex(), secrets.token_hex()
    exchange = Exchange(access_key=keys[0], secret_key=keys[1], window=window, keep_log=False)
    jobs = fill(exchange.book, random.Random(seed), scale)  # noqa: S311 - to be repeatable
    loads = workloads(job.group for job in jobs)
    view = ProgressView(console, loads, live=can_draw(console))
    async with SandboxServer(exchange) as server:
        console.print(_welcome(server.base_url, exchange.book, jobs), soft_wrap=True)
        async with CancelClient(Credentials(*keys), base_url=server.base_url) as client:
            with view:
                outcomes = await asyncio.gather(*(_cancel(job, client, view) for job in jobs))
    summary = Summary()
    for job, outcome in zip(jobs, outcomes, strict=True):
        summary.add(job.group, outcome)
    console.print(status_table(view.endpoints.values(), title="What became of the orders"))
    show_reasons(summary, console)
    console.print(_pace_table(view.endpoints.values(), exchange))
    return _judge(console, exchange.book, jobs, outcomes)


def _welcome(url: str, book: Book, jobs: Sequence[Job]) -> str:
    ids = sum(len(job.expected) for job in jobs)
    return (
        f"\n1. A sandbox exchange with {len(book):,} orders listens on {url}.\n"
        f"Canceling {ids:,} ids there, by {len(jobs)} concurrent calls of five methods."
    )


async def _cancel(job: Job, client: CancelClient, view: ProgressView) -> Outcome:
    def known(results: Iterable[OrderResult]) -> None:
        view.count(job.group.endpoint.name, [result.status for result in results])

    return await job.group.cancel(client, on_batch=known)


def _pace_table(endpoints: Iterable[EndpointProgress], exchange: Exchange) -> Table:
    headings = ("endpoint", "calls", "refused for\nthe rate", "limit", "seconds", "least")
    table = make_table(*headings, title="How fast, beside the least that the limits allow")
    for one in endpoints:
        row = one.workload.endpoint
        table.add_row(
            label(row),
            f"{exchange.calls[row.path]:,}",
            f"{exchange.refused[row.path]:,}",
            budget(one.workload),
            f"{one.took:.2f}",
            f"{one.workload.least:.2f}",
        )
    return table


def _judge(console: Console, book: Book, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> int:
    """Say whether every status is true."""
    wrong = [*left_open(book), *not_accepted(outcomes)]
    for job, outcome in zip(jobs, outcomes, strict=True):
        wrong += disagreements(book, job, outcome)
    checked = f"\n{sum(map(len, outcomes)):,} statuses checked against the exchange's book"
    if not wrong:
        console.print(f"{checked}: all agree", style="bold green", soft_wrap=True)
        return 0
    console.print(f"{checked}: {len(wrong):,} disagree", style="bold red", soft_wrap=True)
    for words in wrong[:_SHOWN]:
        console.print(f"  {words}", soft_wrap=True)
    return 1


def left_open(book: Book) -> Iterator[str]:
    """Name the orders that are open though nothing refuses to cancel them."""
    for order in book.open():
        if order.refusal is None:
            yield f"{order.order_id} was left open"


def not_accepted(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Name the calls without ids that the exchange did not take."""
    calls = [it.call.status for it in outcomes if isinstance(it, CancelAllOutcome)]
    for status in calls:
        if status is not CancelStatus.ACCEPTED:
            yield f"a call without ids was told as {status}"


def disagreements(book: Book, job: Job, results: Iterable[OrderResult]) -> Iterator[str]:
    """Name what the results say otherwise than the book."""
    name, by_client_id = job.group.endpoint.name, job.group.field == "client_order_id"
    told_of = Counter[str]()
    for result in results:
        told_of[result.order_id] += 1
        order = book.find(
            job.kind, job.group.contract_code, result.order_id, by_client_id=by_client_id
        )
        told = (result.status, result.reason or result.code)
        if told != truth(order):
            yield f"{name} {result.order_id}: told {told}, true is {truth(order)}"
    if told_of != Counter(job.expected):
        yield f"{name}: the ids told of are not those given"


def truth(order: Order | None) -> tuple[CancelStatus, CloseReason | int | None]:
    """Return the status that is true of an order now, and its reason or the refusal's code."""
    if order is None:
        return CancelStatus.NOT_FOUND, 1061
    if order.canceled_by_us:
        return CancelStatus.ACCEPTED, None
    if order.state != "open":
        return CancelStatus.CLOSED, CloseReason(order.state)
    return CancelStatus.REJECTED, order.refusal
