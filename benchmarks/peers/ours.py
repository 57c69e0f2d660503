"""htx_cancel, as its README shows it."""

from collections.abc import Sequence

from benchmarks.peers import Setting, Word, Words
from benchmarks.peers.byhand import tls
from benchmarks.workload import ACCESS_KEY, SECRET_KEY, WORK
from htx_cancel import CancelClient, CancelStatus, Credentials, Limit, Outcome
from htx_cancel.endpoints import BUDGETS

WORDS: dict[CancelStatus, Word] = {
    CancelStatus.ACCEPTED: "done",
    CancelStatus.CLOSED: "closed",
    CancelStatus.NOT_FOUND: "missing",
    CancelStatus.REJECTED: "failed",
    CancelStatus.UNKNOWN: "unknown",
    CancelStatus.UNSENT: "failed",
}
#: A limit that is never felt.
FREE = Limit(100_000, 0.1)


def limits(setting: Setting) -> dict[str, Limit]:
    """Return the limits that the other side keeps, or none that is felt."""
    if not setting.limited:
        return dict.fromkeys(BUDGETS, FREE)
    return {work.budget: Limit(work.calls, work.seconds * setting.scale) for work in WORK.values()}


def client_of(setting: Setting) -> CancelClient:
    """Make a client with these settings."""
    return CancelClient(
        Credentials(ACCESS_KEY, SECRET_KEY),
        base_url=setting.base_url,
        limits=limits(setting),
        request_timeout=setting.timeout,
        max_in_flight=setting.in_flight,
        ssl_context=tls(setting.certificate),
    )


class Ours:
    """One client."""

    def __init__(self, setting: Setting) -> None:
        client = self.client = client_of(setting)
        self._in_flight = setting.in_flight
        self._methods = {
            "swap": client.coin_m_swap.cancel_orders,
            "swap_trailing": client.coin_m_swap.cancel_trailing_orders,
            "linear_trigger": client.usdt_m_v1_isolated.cancel_trigger_orders,
            "v5": client.usdt_m.cancel_orders,
        }

    async def outcome(self, kind: str, ids: Sequence[str]) -> Outcome:
        """Cancel any number of ids."""
        return await self._methods[kind](WORK[kind].contract_code, ids)

    async def cancel(self, kind: str, ids: Sequence[str]) -> Words:
        """Cancel any number of ids, and put the outcome into the contract's words."""
        outcome = await self.outcome(kind, ids)
        return {result.order_id: WORDS[result.status] for result in outcome}

    async def warm_up(self) -> None:
        """Open ahead of need as many connections as may be in flight."""
        await self.client.warm_up(self._in_flight)

    async def close(self) -> None:
        """Close every connection."""
        await self.client.aclose()


async def open_peer(setting: Setting) -> Ours:
    """Make the peer."""
    return Ours(setting)
