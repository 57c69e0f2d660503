"""Share helpers between the tests of ``confirm``: outcomes to confirm, and their states."""

import asyncio
from typing import Any

from msgspec.structs import replace

from htx_cancel import CancelStatus, OrderResult, OrderState, Outcome, Source
from htx_cancel.sandbox.rules import Kind

BY_ID: list[Kind] = ["swap", "v5"]
PAGED: list[Kind] = ["swap_trigger", "swap_trailing", "linear_trigger"]
SOURCES: dict[Kind, Source] = {
    "swap": Source("coin_m_swap.cancel_orders", "BTC-USD"),
    "swap_trailing": Source("coin_m_swap.cancel_trailing_orders", "BTC-USD"),
    "swap_trigger": Source("coin_m_swap.cancel_trigger_orders", "BTC-USD"),
    "linear_trigger": Source("usdt_m_v1_isolated.cancel_trigger_orders", "BTC-USDT"),
    "v5": Source("usdt_m.cancel_orders", "BTC-USDT"),
}


def unanswered(kind: Kind, *ids: str, field: str = "order_id") -> Outcome:
    """Make the outcome of a cancel that got no answer."""
    results = [OrderResult(order_id, CancelStatus.UNKNOWN, attempts=1) for order_id in ids]
    return Outcome.of(results, source=replace(SOURCES[kind], field=field))


def reports() -> list[dict[str, Any]]:
    """Return a list that collects what the event loop's exception handler gets."""
    contexts: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: contexts.append(context))
    return contexts


def states(outcome: Outcome) -> list[tuple[CancelStatus, OrderState | None]]:
    """List the status and state of every result."""
    return [(result.status, result.state) for result in outcome]
