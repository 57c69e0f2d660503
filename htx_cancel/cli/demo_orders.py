"""Make the orders of the demo's first part, and check each status against the exchange's book."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec import Struct

from htx_cancel import CancelAllOutcome, CancelStatus, CloseReason, OrderResult
from htx_cancel.cli.groups import Group
from htx_cancel.endpoints import ENDPOINTS
from htx_cancel.sandbox import Book, Order
from htx_cancel.sandbox.rules import Kind, State

_REFUSAL = 1088

#: How many of a hundred ids are not of open orders: orders in these states, refused orders, and
#: ids that the exchange never gave.
_RARE = {"filled": 4, "canceling": 2, "canceled": 2, "refused": 2, "missing": 3}
_STATES: dict[str, State] = {"filled": "filled", "canceling": "canceling", "canceled": "canceled"}
_NEVER_GIVEN = range(2 * 10**18, 4 * 10**18)
_CLIENT_IDS = 5 * 10**18


class Part(Struct, frozen=True):
    """Some of the demo's orders; ``field`` is ``""`` for a cancel-all."""

    endpoint: str
    kind: Kind
    contract_code: str
    size: int
    field: str = "order_id"


#: Each endpoint gets as many ids as its rate limit allows in a little over twelve seconds.
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
    """A group, and the ids that its outcome must contain."""

    group: Group
    kind: Kind
    expected: tuple[str, ...]


def fill(book: Book, seed: int, scale: float) -> list[Job]:
    """Fill a book with orders; return the jobs that cancel them."""
    chance = random.Random(seed)  # noqa: S311 - a seed must repeat the same orders
    return [_job(book, part, chance, scale) for part in PARTS]


def _job(book: Book, part: Part, chance: random.Random, scale: float) -> Job:
    size = max(1, round(part.size * scale))
    fates = [fate for fate, share in _RARE.items() for _ in range(max(1, size * share // 100))]
    fates += ["open"] * max(1, size - len(fates))
    chance.shuffle(fates)
    ids = tuple([_add(book, part, fate, chance) for fate in fates])
    endpoint = ENDPOINTS[part.endpoint]
    if not part.field:
        open_ids = (order.order_id for order in book.open(part.kind, part.contract_code))
        return Job(Group(endpoint, part.contract_code, ""), part.kind, tuple(open_ids))
    return Job(Group(endpoint, part.contract_code, part.field, ids=ids), part.kind, ids)


def _add(book: Book, part: Part, fate: str, chance: random.Random) -> str:
    """Add an order to the book and return its id; for a missing order only make up an id."""
    if fate == "missing":
        return str(chance.choice(_NEVER_GIVEN))
    by_client_id = part.field == "client_order_id"
    order = book.add(
        part.kind,
        part.contract_code,
        client_order_id=_CLIENT_IDS + len(book) if by_client_id else None,
        state=_STATES.get(fate, "open"),
        refusal=_REFUSAL if fate == "refused" else None,
    )
    return (order.client_order_id if by_client_id else None) or order.order_id


def left_open(book: Book) -> Iterator[str]:
    """Name the orders that are open although the exchange does not refuse to cancel them."""
    for order in book.open():
        if order.refusal is None:
            yield f"{order.order_id} was left open"


def disagreements(book: Book, job: Job, outcome: Iterable[OrderResult]) -> Iterator[str]:
    """Name the differences between the results of a job and the book."""
    if isinstance(outcome, CancelAllOutcome) and outcome.call.status is not CancelStatus.ACCEPTED:
        yield f"{job.group.endpoint.name}: the call is {outcome.call.status}, not accepted"
    name, by_client_id = job.group.endpoint.name, job.group.field == "client_order_id"
    ids = Counter[str]()
    for result in outcome:
        ids[result.order_id] += 1
        order = book.find(
            job.kind, job.group.contract_code, result.order_id, by_client_id=by_client_id
        )
        reported = (result.status, result.reason or result.code)
        if reported != truth(order):
            yield f"{name} {result.order_id}: reported {reported}, but the book has {truth(order)}"
    if ids != Counter(job.expected):
        yield f"{name}: the reported ids are not the given ids"


def truth(order: Order | None) -> tuple[CancelStatus, CloseReason | int | None]:
    """Return the true status of an order, and its close reason or the code of the refusal."""
    if order is None:
        return CancelStatus.NOT_FOUND, 1061
    if order.canceled_by_us:
        return CancelStatus.ACCEPTED, None
    if order.state != "open":
        return CancelStatus.CLOSED, CloseReason(order.state)
    return CancelStatus.REJECTED, order.refusal
