"""The fixed, seeded work that every peer is given, and the exchange's numbers for it."""

import random
from collections.abc import Sequence

from msgspec import Struct

ACCESS_KEY = "sandbox-access-key"
SECRET_KEY = "sandbox-secret-key"


class Work(Struct, frozen=True):
    """One kind of order: where it is cancelled, how many a request, how often."""

    path: str
    contract_code: str
    batch: int
    calls: int
    seconds: float
    symbol: str  #: the contract in ccxt's words
    pool: str = ""  #: the pool of its product, if it has no limit of its own

    @property
    def budget(self) -> str:
        """The name of its limit on both sides."""
        return self.pool or self.path

    def requests(self, orders: int) -> int:
        """Return the fewest requests that cancel this many orders."""
        return -(-orders // self.batch)

    def least(self, orders: int, trip: float, scale: float = 1.0) -> float:
        """Return the least seconds that the limits allow, windows being ``scale`` as long."""
        return (self.requests(orders) - 1) // self.calls * self.seconds * scale + trip


WORK: dict[str, Work] = {
    "swap": Work(
        "/swap-api/v1/swap_cancel", "BTC-USD", 10, 36, 3.0, "BTC/USD:BTC", "coin_m_swap_trade"
    ),
    "swap_trailing": Work("/swap-api/v1/swap_track_cancel", "BTC-USD", 10, 5, 1.0, "BTC/USD:BTC"),
    "linear_trigger": Work(
        "/linear-swap-api/v1/swap_trigger_cancel", "BTC-USDT", 20, 5, 1.0, "BTC/USDT:USDT"
    ),
    "v5": Work("/v5/trade/cancel_order", "BTC-USDT", 1, 72, 3.0, "BTC/USDT:USDT", "usdt_m_trade"),
}


def order_ids(count: int, seed: int = 0) -> list[str]:
    """Make distinct ids of 19 digits, the same ones for the same seed, others for another."""
    chance = random.Random(seed)
    at, ids = 1_100_000_000_000_000_000 + seed * 10**15, []
    for _ in range(count):
        at += chance.randrange(1, 1000)
        ids.append(str(at))
    return ids


def cut(ids: Sequence[str], size: int) -> list[list[str]]:
    """Cut ids into batches."""
    return [list(ids[at : at + size]) for at in range(0, len(ids), size)]
