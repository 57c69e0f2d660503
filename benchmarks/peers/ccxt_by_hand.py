"""ccxt async, with its own throttle; ids are cut by hand, and its raw replies read.

``cancel_orders``, its method for many orders, sends all ids in one request, which the exchange
refuses beyond ten, and takes USDT-M orders to an older interface.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

import ccxt.async_support as ccxt  # type: ignore[import-untyped]

from benchmarks.peers import Setting, Word
from benchmarks.peers.by_hand import ByHand, payload, read
from benchmarks.work import ACCESS_KEY, SECRET_KEY, WORK, Product


class CcxtByHand(ByHand):
    """One exchange object."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        rates = setting.rates or {}
        speeds = [(n / w, WORK[it].rate) for it, (n, w) in rates.items()]
        faster = max((speed * w / n for speed, (n, w) in speeds), default=1.0)
        self._exchange = ccxt.htx(
            {
                "apiKey": ACCESS_KEY,
                "secret": SECRET_KEY,
                "enableRateLimit": bool(rates),
                "rateLimit": 100 / faster,  # 100 is its own; less only where limits are raised
                "timeout": int(setting.timeout * 1000),
            }
        )
        self._exchange.urls["hostnames"]["contract"] = urlsplit(setting.base_url).netloc
        self._exchange.urls["api"]["contract"] = setting.base_url
        self._methods = {
            "coin_m_swap": self._exchange.contractPrivatePostSwapApiV1SwapCancel,
            "usdt_m": self._exchange.contractPrivatePostV5TradeCancelBatchOrders,
        }
        self._method_of_one = self._exchange.contractPrivatePostV5TradeCancelOrder

    async def batch(self, product: Product, ids: Sequence[str]) -> dict[str, Word]:
        """Cancel one batch."""
        async with self.slots:
            try:
                alone = len(ids) == 1 and WORK[product].path_of_one
                send = self._method_of_one if alone else self._methods[product]
                return read(await send(payload(product, ids)), ids)
            except ccxt.BaseError as error:
                return _words(error, ids)

    async def close(self) -> None:
        """Close every connection."""
        await self._exchange.close()


def _words(error: ccxt.BaseError, ids: Sequence[str]) -> dict[str, Word]:
    """Put an exception into words: its kind is all it says, and it names no ids.

    Where the reply beneath it did speak of single ids, none of them can be told from it.
    """
    if isinstance(error, ccxt.NetworkError) and not isinstance(error, ccxt.RateLimitExceeded):
        return dict.fromkeys(ids, "unknown")
    if len(ids) > 1 and '"errors"' in str(error):
        return {}
    return dict.fromkeys(ids, "missing" if isinstance(error, ccxt.OrderNotFound) else "failed")
