"""The orders that clients cancel, the same in each run, and the exchange's limits."""

import random
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.windows import WINDOWS, Budget

ACCESS_KEY = "sandbox-access-key"
SECRET_KEY = "sandbox-secret-key"

Product = Literal["coin_m_swap", "usdt_m"]
Rate = tuple[int, float]  #: N requests in T seconds


class Work(Struct, frozen=True):
    """How orders of one product are cancelled."""

    kind: Literal["swap", "v5"]  #: the sandbox's name for orders of this product
    path: str
    contract_code: str
    rate: Rate
    budget: str  #: the name of the limit, in the client and in the sandbox
    batch: int = 10  #: ids in one request
    path_of_one: str = ""  #: the path of a single id, where ``path`` takes only lists

    def path_for(self, ids: Sequence[str]) -> str:
        """Return the path of a request with these ids."""
        return self.path_of_one if len(ids) == 1 and self.path_of_one else self.path


WORK: dict[Product, Work] = {
    "coin_m_swap": Work(
        "swap", "/swap-api/v1/swap_cancel", "BTC-USD", (36, 3.0), "coin_m_swap_trade"
    ),
    "usdt_m": Work(
        "v5",
        "/v5/trade/cancel_batch_orders",
        "BTC-USDT",
        (72, 3.0),
        "usdt_m_trade",
        path_of_one="/v5/trade/cancel_order",
    ),
}


def minimum(requests: int, rate: Rate) -> float:
    """Return the fewest seconds that a limit allows between the first request and the last."""
    calls, seconds = rate
    return (requests - 1) // calls * seconds


def refusals(times: Sequence[float], rate: Rate) -> dict[str, int]:
    """Return how many requests at these wall-clock times each rule for windows refuses."""
    budget = Budget("", *rate)
    windows = {rule: window(budget) for rule, window in WINDOWS.items()}
    return {
        rule: sum(not window.admit(now).admitted for now in times)
        for rule, window in windows.items()
    }


def order_ids(product: Product, count: int, part: int = 0) -> list[str]:
    """Return distinct ids of 19 digits, always the same ones for the same arguments."""
    seed = 2 * part + list(WORK).index(product)
    chance = random.Random(seed)
    order_id, ids = 1_100_000_000_000_000_000 + seed * 10**15, []
    for _ in range(count):
        order_id += chance.randrange(1, 1000)
        ids.append(str(order_id))
    return ids


def add_orders(exchange: Exchange, product: Product, ids: Iterable[str]) -> None:
    """Add open orders to a sandbox's book."""
    work = WORK[product]
    for order_id in ids:
        exchange.book.add(work.kind, work.contract_code, order_id=order_id)
