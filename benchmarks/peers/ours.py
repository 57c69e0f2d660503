"""htx_cancel, as its README shows it."""

from collections.abc import Sequence

from benchmarks.peers import Setting, Word, Words
from benchmarks.ready import FREE
from benchmarks.work import ACCESS_KEY, SECRET_KEY, WORK, Product
from htx_cancel import CancelClient, CancelStatus, Credentials, Limit, Outcome, RetryPolicy

_WORDS: dict[CancelStatus, Word] = {
    CancelStatus.ACCEPTED: "done",
    CancelStatus.CLOSED: "closed",
    CancelStatus.NOT_FOUND: "missing",
    CancelStatus.REJECTED: "failed",
    CancelStatus.UNKNOWN: "unknown",
    CancelStatus.UNSENT: "failed",
}


class Ours:
    """One client."""

    def __init__(self, setting: Setting) -> None:
        rates = setting.rates or dict.fromkeys(WORK, FREE)
        self._client = CancelClient(
            Credentials(ACCESS_KEY, SECRET_KEY),
            base_url=setting.base_url,
            limits={WORK[product].budget: Limit(*rate) for product, rate in rates.items()},
            request_timeout=setting.timeout,
            max_in_flight=setting.in_flight,
            retry=RetryPolicy(max_elapsed=setting.patience),
        )
        self._methods = {
            "coin_m_swap": self._client.coin_m_swap.cancel_orders,
            "usdt_m": self._client.usdt_m.cancel_orders,
        }

    async def warm_up(self) -> None:
        """Open as many connections as requests may be in flight."""
        await self._client.warm_up(self._client.budgets.max_in_flight)

    async def cancel(self, product: Product, ids: Sequence[str]) -> Outcome:
        """Cancel any number of ids."""
        return await self._methods[product](WORK[product].contract_code, ids)

    def words(self, result: Outcome) -> Words:
        """Put an outcome into words."""
        return {each.order_id: _WORDS[each.status] for each in result}

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()
