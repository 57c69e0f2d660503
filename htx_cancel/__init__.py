"""Cancel any number of orders on HTX derivatives with one awaited call.

::

    client ─▶ plan ─▶ limiter ─▶ codec ─▶ signing ─▶ transport ─▶ codec ─▶ outcome
    coroutine  ids→    wait for   batch→   stamp and   one POST,    bytes→   a status
    methods    batches a permit   bytes    sign NOW    one reply    results  per order id

``call`` feeds a call's batches along this road, ``sender`` makes one try of it, ``retry`` says
which try may be repeated, ``confirm`` asks afterwards what became of the orders with an ``inquiry``
for each contract, ``endpoints`` is the table every stage reads, and ``sandbox`` is the other side:
an exchange on this machine.
"""

from htx_cancel.client import CancelClient
from htx_cancel.endpoints import Limit
from htx_cancel.errors import (
    ClientClosedError,
    HtxCancelError,
    InvalidTypeError,
    InvalidValueError,
    TooLateError,
    WrongLoopError,
)
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import BudgetEvent, BudgetState, Permit, Priority
from htx_cancel.outcome import (
    CallResult,
    CancelAllOutcome,
    CancelStatus,
    CloseReason,
    OrderResult,
    OrderState,
    Outcome,
    Refusal,
    Source,
)
from htx_cancel.retry import RetryPolicy
from htx_cancel.wire.signing import Credentials

__all__ = [
    "BudgetEvent",
    "BudgetState",
    "Budgets",
    "CallResult",
    "CancelAllOutcome",
    "CancelClient",
    "CancelStatus",
    "ClientClosedError",
    "CloseReason",
    "Credentials",
    "HtxCancelError",
    "InvalidTypeError",
    "InvalidValueError",
    "Limit",
    "OrderResult",
    "OrderState",
    "Outcome",
    "Permit",
    "Priority",
    "Refusal",
    "RetryPolicy",
    "Source",
    "TooLateError",
    "WrongLoopError",
]
