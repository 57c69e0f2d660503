"""Cancel any number of orders on HTX derivatives with one awaited call.

::

    client ─▶ arguments ─▶ limits ─▶ wire.cancels ─▶ wire.signing ─▶ wire.transport ─▶ wire.cancels
    products   check,      wait for    batch →         stamp and       one request,      bytes →
    methods    cut ids     a permit    body            sign NOW        one reply         findings

What is found of every id becomes a status in ``outcome``. ``job`` feeds the batches of one call
along this flow, ``attempt`` makes one attempt, ``retry`` says what may be sent again, ``confirm``
asks afterwards what became of the orders, ``everything`` cancels all there is and proves it,
``deadman`` keeps the exchange's countdowns from ending, ``endpoints`` is the table every stage
reads, and ``sandbox`` is the other side: an exchange on this machine.
"""

from htx_cancel.client import CancelClient
from htx_cancel.deadman import Alert, AlertKind, DeadManSwitch
from htx_cancel.endpoints import Limit
from htx_cancel.errors import (
    ClientClosedError,
    HtxCancelError,
    InvalidTypeError,
    InvalidValueError,
    NotArmedError,
    TooLateError,
    WrongLoopError,
)
from htx_cancel.everything import EverythingReport, KindReport, Remaining
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import BudgetEvent, BudgetState, Permit, Priority
from htx_cancel.orders import OpenOrder, OpenOrders, OrderRef
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
from htx_cancel.products import CallOptions, ReadOptions
from htx_cancel.retry import RetryPolicy
from htx_cancel.wire.signing import Credentials

__all__ = [
    "Alert",
    "AlertKind",
    "BudgetEvent",
    "BudgetState",
    "Budgets",
    "CallOptions",
    "CallResult",
    "CancelAllOutcome",
    "CancelClient",
    "CancelStatus",
    "ClientClosedError",
    "CloseReason",
    "Credentials",
    "DeadManSwitch",
    "EverythingReport",
    "HtxCancelError",
    "InvalidTypeError",
    "InvalidValueError",
    "KindReport",
    "Limit",
    "NotArmedError",
    "OpenOrder",
    "OpenOrders",
    "OrderRef",
    "OrderResult",
    "OrderState",
    "Outcome",
    "Permit",
    "Priority",
    "ReadOptions",
    "Refusal",
    "Remaining",
    "RetryPolicy",
    "Source",
    "TooLateError",
    "WrongLoopError",
]
