"""Decode replies to cancels that are given as Python values."""

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
    """Decode a reply that is given as the value of its JSON."""
    return cancels.decode(status, json.dumps(reply).encode(), endpoint, field)


def of(answer: AttemptResult, order_id: str) -> Finding:
    """Return what an answer says about one id."""
    return answer.named.get(order_id, answer.unnamed)


def ok(successes: object, *errors: dict[str, object]) -> dict[str, object]:
    """Return a v1 reply with successes and errors."""
    return {"status": "ok", "data": {"errors": list(errors), "successes": successes}, "ts": 1}
