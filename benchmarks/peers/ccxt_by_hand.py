"""ccxt async with the caller cutting ids to batches and reading the raw replies.

The interface of linear trigger orders is not in its table any more; it is reached through
``request``. ``markets`` are set by hand, so that nothing is loaded over the network.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import ccxt.async_support as ccxt  # type: ignore[import-untyped]

from benchmarks.peers import Setting, Word, Words
from benchmarks.peers.byhand import payload, read
from benchmarks.workload import ACCESS_KEY, SECRET_KEY, WORK, cut

#: Its own words for "it may have been carried out".
UNSURE = (ccxt.RequestTimeout, ccxt.NetworkError)


def _market(symbol: str, code: str, *, linear: bool) -> dict[str, Any]:
    base, quote = code.split("-")
    settle = quote if linear else base
    return {
        "id": code,
        "symbol": symbol,
        "base": base,
        "quote": quote,
        "settle": settle,
        "settleId": settle,
        "type": "swap",
        "spot": False,
        "swap": True,
        "future": False,
        "option": False,
        "contract": True,
        "linear": linear,
        "inverse": not linear,
        "active": True,
        "precision": {"amount": 1, "price": 0.1},
        "limits": {},
        "info": {},
    }


def exchange_of(setting: Setting) -> Any:
    """Make an exchange that talks to the sandbox."""
    exchange = ccxt.htx(
        {
            "apiKey": ACCESS_KEY,
            "secret": SECRET_KEY,
            "enableRateLimit": setting.limited,
            "rateLimit": 100 * setting.scale,
            "timeout": int(setting.timeout * 1000),
        }
    )
    exchange.urls["hostnames"]["contract"] = urlsplit(setting.base_url).netloc
    exchange.urls["api"]["contract"] = setting.base_url
    if setting.certificate:
        exchange.cafile = setting.certificate
    exchange.set_markets(
        [
            _market("BTC/USD:BTC", "BTC-USD", linear=False),
            _market("BTC/USDT:USDT", "BTC-USDT", linear=True),
        ]
    )
    return exchange


class CcxtByHand:
    """One exchange object."""

    def __init__(self, setting: Setting) -> None:
        self.exchange = exchange_of(setting)
        self._slots = asyncio.Semaphore(setting.in_flight)
        self._limited = setting.limited
        exchange = self.exchange
        self._methods = {
            "swap": exchange.contractPrivatePostSwapApiV1SwapCancel,
            "swap_trailing": exchange.contractPrivatePostSwapApiV1SwapTrackCancel,
            "linear_trigger": self._trigger,
            "v5": exchange.contractPrivatePostV5TradeCancelOrder,
        }

    async def _trigger(self, content: dict[str, str]) -> Any:
        path = WORK["linear_trigger"].path.lstrip("/")
        return await self.exchange.request(path, ["contract", "private"], "POST", content)

    async def cancel(self, kind: str, ids: Sequence[str]) -> Words:
        """Cancel any number of ids, a task a batch."""
        batches = cut(ids, WORK[kind].batch)
        if len(batches) == 1:
            return await self._batch(kind, batches[0])
        words: dict[str, Word] = {}
        for part in await asyncio.gather(*(self._batch(kind, batch) for batch in batches)):
            words.update(part)
        return words

    async def _batch(self, kind: str, ids: Sequence[str]) -> dict[str, Word]:
        async with self._slots:
            try:
                return read(await self._methods[kind](payload(WORK[kind], ids)), ids)
            except ccxt.BaseError as error:
                return words_of(error, ids)

    async def close(self) -> None:
        """Close every connection."""
        await self.exchange.close()


def words_of(error: ccxt.BaseError, ids: Sequence[str]) -> dict[str, Word]:
    """Put an exception into words: its kind is all it says, and it names no ids.

    Where the reply beneath it did speak of single ids, none of them can be told from it.
    """
    if isinstance(error, UNSURE) and not isinstance(error, ccxt.RateLimitExceeded):
        return dict.fromkeys(ids, "unknown")
    if len(ids) > 1 and '"errors"' in str(error):
        return {}
    if isinstance(error, ccxt.OrderNotFound):
        return dict.fromkeys(ids, "missing")
    return dict.fromkeys(ids, "failed")


async def open_peer(setting: Setting) -> CcxtByHand:
    """Make the peer."""
    return CcxtByHand(setting)
