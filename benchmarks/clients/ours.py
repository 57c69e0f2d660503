"""htx_cancel, used as its README shows."""

from collections.abc import Awaitable, Callable, Sequence

from benchmarks.clients import Claim, Claims, Client, Settings
from benchmarks.stub import UNLIMITED
from benchmarks.workload import ACCESS_KEY, SECRET_KEY, WORK, Product
from htx_cancel import CancelClient, CancelStatus, Credentials, Limit, Outcome, RetryPolicy

_CLAIMS: dict[CancelStatus, Claim] = {
    CancelStatus.ACCEPTED: "done",
    CancelStatus.CLOSED: "closed",
    CancelStatus.NOT_FOUND: "missing",
    CancelStatus.REJECTED: "failed",
    CancelStatus.UNKNOWN: "unknown",
    CancelStatus.UNSENT: "failed",
}


class Ours(Client):
    """A client made of one ``CancelClient``."""

    def __init__(self, settings: Settings) -> None:
        rates = settings.rates or dict.fromkeys(WORK, UNLIMITED)
        self._client = CancelClient(
            Credentials(ACCESS_KEY, SECRET_KEY),
            base_url=settings.base_url,
            limits={WORK[product].budget: Limit(*rate) for product, rate in rates.items()},
            request_timeout=settings.timeout,
            max_in_flight=settings.in_flight,
            retry=RetryPolicy(max_elapsed=settings.retry_for),
        )
        self._methods: dict[Product, Callable[..., Awaitable[Outcome]]] = {
            "coin_m_swap": self._client.coin_m_swap.cancel_orders,
            "usdt_m": self._client.usdt_m.cancel_orders,
        }

    async def warm_up(self) -> None:
        """Open as many connections as requests may be in flight."""
        await self._client.warm_up(self._client.budgets.max_in_flight)

    async def cancel(self, product: Product, ids: Sequence[str]) -> Outcome:
        """Cancel any number of ids."""
        return await self._methods[product](WORK[product].contract_code, ids)

    def claims(self, result: Outcome) -> Claims:
        """Return what an outcome says about each id."""
        return {each.order_id: _CLAIMS[each.status] for each in result}

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()
