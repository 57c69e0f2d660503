"""Async ccxt with its own throttle; ids are cut into batches by hand, and its raw replies read.

ccxt's own method for many orders, ``cancel_orders``, is not used: it sends all ids in one request,
which the exchange refuses beyond ten, and sends USDT-M orders to an older interface.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

import ccxt.async_support as ccxt  # type: ignore[import-untyped]

from benchmarks.clients import Claim, Settings
from benchmarks.clients.batching import Batching, payload, read
from benchmarks.workload import ACCESS_KEY, SECRET_KEY, WORK, Product


class Ccxt(Batching):
    """A client made of one ccxt exchange object."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        rates = settings.rates or {}
        speedups = [
            calls / seconds / (WORK[product].rate[0] / WORK[product].rate[1])
            for product, (calls, seconds) in rates.items()
        ]
        self._exchange = ccxt.htx(
            {
                "apiKey": ACCESS_KEY,
                "secret": SECRET_KEY,
                "enableRateLimit": bool(rates),
                "rateLimit": 100 / max(speedups, default=1.0),  # 100 is ccxt's own value
                "timeout": int(settings.timeout * 1000),
            }
        )
        self._exchange.urls["hostnames"]["contract"] = urlsplit(settings.base_url).netloc
        self._exchange.urls["api"]["contract"] = settings.base_url
        self._methods = {
            "coin_m_swap": self._exchange.contractPrivatePostSwapApiV1SwapCancel,
            "usdt_m": self._exchange.contractPrivatePostV5TradeCancelBatchOrders,
        }
        self._method_of_one = self._exchange.contractPrivatePostV5TradeCancelOrder

    async def batch(self, product: Product, ids: Sequence[str]) -> dict[str, Claim]:
        """Cancel one batch."""
        async with self.slots:
            try:
                single = len(ids) == 1 and WORK[product].path_of_one
                send = self._method_of_one if single else self._methods[product]
                return read(await send(payload(product, ids)), ids)
            except ccxt.BaseError as error:
                return _claims(error, ids)

    async def close(self) -> None:
        """Close every connection."""
        await self._exchange.close()


def _claims(error: ccxt.BaseError, ids: Sequence[str]) -> dict[str, Claim]:
    """Return the claims of an exception, which has a class but names no ids.

    If the reply behind the exception spoke of single ids, the exception claims nothing about any.
    """
    if isinstance(error, ccxt.NetworkError) and not isinstance(error, ccxt.RateLimitExceeded):
        return dict.fromkeys(ids, "unknown")
    if len(ids) > 1 and '"errors"' in str(error):
        return {}
    return dict.fromkeys(ids, "missing" if isinstance(error, ccxt.OrderNotFound) else "failed")
