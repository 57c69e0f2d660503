"""The clients that are compared, behind one small interface.

A client cancels any number of ids of one product. Its result is then read as one claim for each id
that the result says something about:

=========  =======================================================
done       the exchange took this cancel
closed     the order was not open any more
missing    the exchange knows no such order
failed     this cancel was not carried out
unknown    nobody can tell: treat the order as live
=========  =======================================================
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

from msgspec import Struct

from benchmarks.workload import Product, Rate

Claim = Literal["done", "closed", "missing", "failed", "unknown"]
Claims = Mapping[str, Claim]


class Settings(Struct, frozen=True):
    """The settings of one client."""

    base_url: str
    rates: Mapping[Product, Rate] | None = None  #: the limits to keep, if any
    in_flight: int = 50  #: requests in flight at once
    timeout: float = 10.0  #: seconds for one request
    retry_for: float = 30.0  #: seconds of retries, for a client that retries


class Client(ABC):
    """What a benchmark needs of a client."""

    async def warm_up(self) -> None:  # noqa: B027 - most clients have nothing to open
        """Open connections, if the client can."""

    @abstractmethod
    async def cancel(self, product: Product, ids: Sequence[str]) -> Any:
        """Cancel any number of ids; return what the client gives its user."""

    def claims(self, result: Any) -> Claims:
        """Return what such a result says about each id."""
        claims: Claims = result
        return claims

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""


#: The clients' names on the page, and their classes.
CLIENTS = {
    "ours": ("htx_cancel", "ours:Ours"),
    "ccxt": ("ccxt", "ccxt_client:Ccxt"),
    "aiohttp": ("aiohttp, AsyncLimiter(N, T)", "aiohttp_client:Bursting"),
    "paced": ("aiohttp, AsyncLimiter(1, T/N)", "aiohttp_client:Paced"),
}


def title(name: str) -> str:
    """Return a client's name on the page, without its limiter."""
    return CLIENTS[name][0].partition(",")[0]


def open_client(name: str, settings: Settings) -> Client:
    """Create a client. An event loop must be running."""
    module, _, kind = CLIENTS[name][1].partition(":")
    client: Client = getattr(import_module(f"benchmarks.clients.{module}"), kind)(settings)
    return client
