"""The clients that are compared, behind one small contract.

A client takes any number of ids of one product and gives back a word for each id of which it has
something to say:

=========  =======================================================
done       the exchange took this cancel
closed     the order was not open any more
missing    the exchange knows no such order
failed     this cancel was not carried out
unknown    it cannot be told: treat the order as live
=========  =======================================================
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, Protocol

from msgspec import Struct

from benchmarks.work import Product, Rate

Word = Literal["done", "closed", "missing", "failed", "unknown"]
Words = Mapping[str, Word]


class Setting(Struct, frozen=True):
    """What a client is told of the other side."""

    base_url: str
    rates: Mapping[Product, Rate] | None = None  #: the limits to keep; none if they are not felt
    in_flight: int = 50  #: requests under way at once
    timeout: float = 10.0  #: seconds for one request
    patience: float = 30.0  #: seconds for trying again, of a client that does


class Peer(Protocol):
    """What a benchmark needs of a client."""

    async def warm_up(self) -> None:
        """Get ready, if it can."""

    async def cancel(self, product: Product, ids: Sequence[str]) -> Any:
        """Cancel any number of ids; return whatever it gives its user."""

    def words(self, result: Any) -> Words:
        """Put such a result into words."""
        ...

    async def close(self) -> None:
        """Close every connection."""


#: Titles and places of the clients.
PEERS = {
    "ours": ("htx_cancel", "ours:Ours"),
    "ccxt": ("ccxt", "ccxt_by_hand:CcxtByHand"),
    "aiohttp": ("aiohttp, AsyncLimiter(N, W)", "aiohttp_by_hand:AtOnce"),
    "paced": ("aiohttp, AsyncLimiter(1, W/N)", "aiohttp_by_hand:Evenly"),
}


def open_peer(name: str, setting: Setting) -> Peer:
    """Make a client; call it in a running event loop."""
    module, _, kind = PEERS[name][1].partition(":")
    peer: Peer = getattr(import_module(f"benchmarks.peers.{module}"), kind)(setting)
    return peer
