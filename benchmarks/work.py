"""The work that every peer is given, the same in each run, and the exchange's numbers for it."""

import random
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from htx_cancel.sandbox import Exchange

ACCESS_KEY = "sandbox-access-key"
SECRET_KEY = "sandbox-secret-key"

Product = Literal["coin_m_swap", "usdt_m"]
Rate = tuple[int, float]  #: so many requests in so many seconds


class Work(Struct, frozen=True):
    """How orders of one product are cancelled: where, how many a request, how often."""

    kind: Literal["swap", "v5"]  #: the sandbox's word for its orders
    path: str
    contract_code: str
    batch: int
    rate: Rate
    budget: str  #: the name of its limit in the client and in the sandbox
    path_of_one: str = ""  #: for a single id, where several go in a list to another path

    def path_for(self, ids: Sequence[str]) -> str:
        """Return where a request with these ids goes."""
        return self.path_of_one if len(ids) == 1 and self.path_of_one else self.path


WORK: dict[Product, Work] = {
    "coin_m_swap": Work(
        "swap", "/swap-api/v1/swap_cancel", "BTC-USD", 10, (36, 3.0), "coin_m_swap_trade"
    ),
    "usdt_m": Work(
        "v5",
        "/v5/trade/cancel_batch_orders",
        "BTC-USDT",
        10,
        (72, 3.0),
        "usdt_m_trade",
        path_of_one="/v5/trade/cancel_order",
    ),
}


def least(requests: int, rate: Rate) -> float:
    """Return the least seconds from the first of so many requests to the last."""
    calls, seconds = rate
    return (requests - 1) // calls * seconds


def order_ids(product: Product, count: int, part: int = 0) -> list[str]:
    """Make distinct ids of 19 digits, the same ones for the same arguments."""
    seed = 2 * part + list(WORK).index(product)
    chance = random.Random(seed)
    at, ids = 1_100_000_000_000_000_000 + seed * 10**15, []
    for _ in range(count):
        at += chance.randrange(1, 1000)
        ids.append(str(at))
    return ids


def add_orders(exchange: Exchange, product: Product, ids: Iterable[str]) -> None:
    """Add open orders to a sandbox's book."""
    work = WORK[product]
    for order_id in ids:
        exchange.book.add(work.kind, work.contract_code, order_id=order_id)
