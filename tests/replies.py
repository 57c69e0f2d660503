"""Replies to cancels as their JSON holds them, and what they say of an id."""

import json

from htx_cancel.endpoints import Endpoint, coin_m_swap
from htx_cancel.status import Finding
from htx_cancel.wire import cancels
from htx_cancel.wire.envelope import AttemptResult


def read(
    reply: object,
    *,
    status: int = 200,
    endpoint: Endpoint = coin_m_swap.ORDERS,
    field: str = "order_id",
) -> AttemptResult:
    """Decode a reply given as what its JSON holds."""
    return cancels.decode(status, json.dumps(reply).encode(), endpoint, field)


def of(answer: AttemptResult, order_id: str) -> Finding:
    """Say what an answer means for one id."""
    return answer.named.get(order_id, answer.unnamed)


def ok(successes: object, *errors: dict[str, object]) -> dict[str, object]:
    """Make a v1 reply."""
    return {"status": "ok", "data": {"errors": list(errors), "successes": successes}, "ts": 1}
