"""ccxt's HTX client (the judge) on the sandbox: over a socket, or recorded without a socket.

``make judges`` installs ccxt; without ccxt these tests are skipped. ccxt reads the contracts from
the sandbox's public calls.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from clients import EPOCH, KEY, SECRET

from htx_cancel import CancelClient, Credentials
from htx_cancel.sandbox import Exchange, SandboxServer
from htx_cancel.sandbox.messages import HttpRequest
from htx_cancel.sandbox.rules import CATALOGUES, Kind
from htx_cancel.wire.transport import Reply, Request

ccxt: Any = pytest.importorskip("ccxt.async_support")

SWAP, FUTURES, LINEAR = "BTC/USD:BTC", "BTC/USD:BTC-260327", "BTC/USDT:USDT"

#: ccxt's symbol and parameters for each kind of orders.
CALLED: Mapping[Kind, tuple[str, dict[str, Any]]] = {
    "swap": (SWAP, {}),
    "swap_trigger": (SWAP, {"trigger": True}),
    "swap_tpsl": (SWAP, {"stopLossTakeProfit": True}),
    "swap_trailing": (SWAP, {"trailing": True}),
    "futures": (FUTURES, {}),
    "futures_trigger": (FUTURES, {"trigger": True}),
    "futures_tpsl": (FUTURES, {"stopLossTakeProfit": True}),
    "futures_trailing": (FUTURES, {"trailing": True}),
    "v5": (LINEAR, {}),
    "v5_algo": (LINEAR, {"trigger": True}),
}

#: ccxt's parameters for a list of each of the five types of algo orders.
TYPES = {
    "trigger": {"trigger": True},
    "tpsl": {"stopLossTakeProfit": True},
    "tp": {"takeProfit": True},
    "sl": {"stopLoss": True},
    "trailing_stop": {"trailing": True},
}

#: Our client's product and name for each kind of orders.
OURS: Mapping[Kind, tuple[str, str]] = {
    "swap": ("coin_m_swap", "orders"),
    "swap_trigger": ("coin_m_swap", "trigger_orders"),
    "swap_tpsl": ("coin_m_swap", "tpsl_orders"),
    "swap_trailing": ("coin_m_swap", "trailing_orders"),
    "futures": ("coin_m_futures", "orders"),
    "futures_trigger": ("coin_m_futures", "trigger_orders"),
    "futures_tpsl": ("coin_m_futures", "tpsl_orders"),
    "futures_trailing": ("coin_m_futures", "trailing_orders"),
    "v5": ("usdt_m", "orders"),
    "v5_algo": ("usdt_m", "algo_orders"),
}


def method(client: CancelClient, kind: Kind, verb: str) -> Any:
    """Return our client's ``cancel``, ``cancel_all`` or ``open`` method for a kind of orders."""
    product, orders = OURS[kind]
    return getattr(getattr(client, product), f"{verb}_{orders}")


def _judge(base_url: str, secret: str = SECRET) -> Any:
    judge = ccxt.htx({"apiKey": KEY, "secret": secret, "enableRateLimit": False})
    judge.timeout_on_exit = 0  # only TLS needs it
    judge.urls["hostnames"]["contract"] = urlsplit(base_url).netloc
    judge.urls["api"]["contract"] = base_url
    judge.options["fetchMarkets"]["types"]["spot"] = False
    judge.has["fetchCurrencies"] = False
    return judge


@asynccontextmanager
async def on_a_socket(exchange: Exchange, *, secret: str = SECRET) -> AsyncIterator[Any]:
    """Serve the exchange on loopback, and yield ccxt's client connected to it."""
    async with SandboxServer(exchange) as server:
        judge = _judge(server.base_url, secret)
        try:
            await judge.load_markets()
            yield judge
        finally:
            await judge.close()


class Sent(msgspec.Struct, frozen=True):
    """One request as sent; ``body`` is its decoded JSON, ``None`` if it has no body."""

    method: str
    url: str
    body: Any


class Wire:
    """Connects either client to an exchange without a socket, and records signed requests.

    The requests are in ``sent``; both clients' clocks stand still at ``EPOCH``.
    """

    def __init__(self, base_url: str = "https://api.hbdm.com") -> None:
        self.exchange = Exchange(gzip=False)
        self.base_url = base_url
        self.sent: list[Sent] = []

    def _handle(self, method: str, url: str, body: bytes) -> bytes:
        parts = urlsplit(url)
        target = url.partition(parts.netloc)[2]
        if parts.path not in CATALOGUES:
            self.sent.append(Sent(method, url, msgspec.json.decode(body) if body else None))
        request = HttpRequest(method, parts.netloc, target, {}, body)
        return self.exchange.handle(request, EPOCH).body

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send a request of our client."""
        assert timeout > 0
        url = request.origin + request.target
        return Reply(200, {}, self._handle(request.method, url, request.body))

    async def close(self) -> None:
        """Do nothing."""

    def client(self) -> CancelClient:
        """Return our client, connected to this exchange."""
        return CancelClient(
            Credentials(KEY, SECRET),
            base_url=self.base_url,
            transport=self,
            wall_clock=lambda: EPOCH,
        )

    @asynccontextmanager
    async def judge(self) -> AsyncIterator[Any]:
        """Yield ccxt's client, connected to this exchange."""

        async def fetch(url: str, method: str, _headers: object, body: str | None) -> Any:
            return judge.parse_json(self._handle(method, url, (body or "").encode()).decode())

        judge = _judge(self.base_url)
        judge.nonce = lambda: EPOCH * 1000
        judge.fetch = fetch
        try:
            await judge.load_markets()
            yield judge
        finally:
            await judge.close()
