"""Clients of the sandbox: over a socket, and on virtual time without one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from htx_cancel import CancelClient, CancelStatus, Credentials, Outcome, RetryPolicy
from htx_cancel.sandbox import Exchange, InProcessTransport, SandboxServer
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.rules import PRODUCTS, Kind

KEY = "sandbox-access-key"
SECRET = "sandbox-secret-key"
EPOCH = 1767323045.0
ONCE = RetryPolicy(max_attempts=1)

#: The contract of the orders of each kind.
CONTRACTS: dict[Kind, str] = {
    kind: {"coin_m_swap": "BTC-USD", "coin_m_futures": "BTC260327"}.get(product.name, "BTC-USDT")
    for kind, product in PRODUCTS.items()
}


def credentials() -> Credentials:
    """Return the sandbox's keys."""
    return Credentials(KEY, SECRET)


@asynccontextmanager
async def over_a_socket(exchange: Exchange, **settings: Any) -> AsyncIterator[CancelClient]:
    """Serve the exchange on loopback and yield a client for it."""
    async with (
        SandboxServer(exchange) as server,
        CancelClient(credentials(), base_url=server.base_url, **settings) as client,
    ):
        yield client


def in_process(
    exchange: Exchange,
    *,
    delay: float = 0.0,
    jitter: float = 0.0,
    seed: int = 0,
    faults: FaultPlan | None = None,
    **settings: Any,
) -> CancelClient:
    """Return a client whose requests reach the exchange without a socket, on virtual time."""
    loop = asyncio.get_running_loop()
    return CancelClient(
        credentials(),
        transport=InProcessTransport(
            exchange, delay=delay, jitter=jitter, seed=seed, epoch=EPOCH, faults=faults
        ),
        wall_clock=lambda: EPOCH + loop.time(),
        **settings,
    )


def add(exchange: Exchange, kind: Kind, count: int, **order: Any) -> list[str]:
    """Add orders to the book and return their ids."""
    return [exchange.book.add(kind, CONTRACTS[kind], **order).order_id for _ in range(count)]


async def cancel(
    client: CancelClient,
    kind: Kind,
    ids: Iterable[str | int],
    *,
    contract_code: str = "",
    **terms: Any,
) -> Outcome:
    """Cancel orders by their ids, with the method for their kind."""
    methods: dict[Kind, Callable[..., Awaitable[Outcome]]] = {
        "swap": client.coin_m_swap.cancel_orders,
        "swap_trigger": client.coin_m_swap.cancel_trigger_orders,
        "swap_trailing": client.coin_m_swap.cancel_trailing_orders,
        "linear_trigger": client.usdt_m_v1_isolated.cancel_trigger_orders,
        "v5": partial(client.usdt_m.cancel_orders, one_by_one=True),
    }
    return await methods[kind](contract_code or CONTRACTS[kind], ids, **terms)


def by_status(outcome: Outcome) -> dict[CancelStatus, set[str]]:
    """Group the ids of an outcome."""
    groups: dict[CancelStatus, set[str]] = {}
    for result in outcome:
        groups.setdefault(result.status, set()).add(result.order_id)
    return groups


def nothing_is_left(client: CancelClient) -> None:
    """Check that no other task runs, and that no permit is in use or waited for."""
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for budget in client.budgets.snapshot():
        assert (budget.in_flight, budget.waiting) == (0, 0), budget


async def nothing_is_left_later(client: CancelClient) -> None:
    """Check that ten seconds later nothing is left, and that all tokens are back."""
    await asyncio.sleep(10.0)
    nothing_is_left(client)
    for budget in client.budgets.snapshot():
        assert budget.free == budget.calls - budget.reserve, budget
