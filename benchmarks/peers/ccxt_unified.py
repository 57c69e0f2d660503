"""ccxt async through its unified methods, as its manual shows them."""

from collections.abc import Sequence
from typing import Any

import ccxt.async_support as ccxt  # type: ignore[import-untyped]

from benchmarks.peers import Setting, Word, Words
from benchmarks.peers.ccxt_by_hand import exchange_of, words_of
from benchmarks.workload import WORK

#: What the unified methods cannot reach: they send these to another interface, or to none.
NOT_OFFERED = ("swap_trailing", "linear_trigger")
STATUSES: dict[str | None, Word] = {"canceled": "done", "canceling": "closed", "closed": "closed"}


class CcxtUnified:
    """One exchange object."""

    def __init__(self, setting: Setting) -> None:
        self.exchange = exchange_of(setting)

    async def cancel(self, kind: str, ids: Sequence[str]) -> Words:
        """Cancel one id by ``cancel_order``, more by ``cancel_orders``."""
        if kind in NOT_OFFERED:
            return {}
        symbol = WORK[kind].symbol
        try:
            if len(ids) == 1:
                return _words([await self.exchange.cancel_order(ids[0], symbol)])
            return _words(await self.exchange.cancel_orders(list(ids), symbol))
        except ccxt.BaseError as error:
            return words_of(error, ids)

    async def close(self) -> None:
        """Close every connection."""
        await self.exchange.close()


def _words(orders: list[dict[str, Any]]) -> dict[str, Word]:
    return {order["id"]: STATUSES.get(order["status"], "failed") for order in orders if order["id"]}


async def open_peer(setting: Setting) -> CcxtUnified:
    """Make the peer."""
    return CcxtUnified(setting)
