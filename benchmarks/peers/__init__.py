"""The tiny contract behind which all peers run, each in a fresh process.

A peer module has ``async def open_peer(setting) -> Peer``. A peer takes any number of ids of one
kind of order and gives back a word for each id of which it has something to say:

=========  =======================================================
done       the exchange took this cancel
closed     the order was not open any more
missing    the exchange knows no such order
failed     this cancel was not carried out
unknown    it cannot be told: treat the order as live
=========  =======================================================

An id without a word is *lost*: the peer's user learns nothing about it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

Word = Literal["done", "closed", "missing", "failed", "unknown"]
Words = Mapping[str, Word]


class Setting(Struct, frozen=True):
    """What a peer is told of the other side."""

    base_url: str
    limited: bool = False  #: whether it must keep the exchange's limits
    scale: float = 1.0  #: how long the exchange's windows are, of their true length
    in_flight: int = 50  #: requests under way at once
    timeout: float = 10.0  #: seconds for one request
    certificate: str | None = None  #: a file of the authority to trust


class Peer(Protocol):
    """What a benchmark needs of a peer."""

    async def cancel(self, kind: str, ids: Sequence[str]) -> Words:
        """Cancel any number of ids."""
        ...

    async def close(self) -> None:
        """Close every connection."""


class About(Struct, frozen=True):
    """A peer as the reports name it."""

    title: str
    packages: tuple[str, ...] = ()
    manner: str = ""  #: how it keeps the limits, where it has to


PEERS: dict[str, About] = {
    "ours": About("htx_cancel", ("htx-cancel",), "its own budgets"),
    "ccxt_unified": About("ccxt cancel_orders", ("ccxt",), "its own throttle"),
    "ccxt_by_hand": About("ccxt, chunked by hand", ("ccxt",), "its own throttle"),
    "bare_aiohttp": About("bare aiohttp", ("aiohttp", "aiolimiter"), "AsyncLimiter(N, W)"),
    "with_pybotters": About("pybotters", ("pybotters",), "N at once, then sleep W"),
    "with_httpx": About("httpx", ("httpx", "aiolimiter"), "AsyncLimiter(1, W/N)"),
    "raw": About("raw protocol", (), "none"),
}
