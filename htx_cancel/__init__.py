"""Cancel any number of orders on HTX derivatives with one awaited call.

::

    client ─▶ arguments ─▶ limits ─▶ wire.cancels ─▶ wire.signing ─▶ wire.transport ─▶ wire.cancels
    products   check and   wait for   encode the      stamp and       send one          decode the
               batch ids   a permit   request body    sign            request           reply

``outcome`` turns what the replies say into one status per id. ``job`` sends the batches of one call
along this flow, ``attempt`` makes and repeats one request, ``retry`` decides what may be sent
again, ``confirm`` asks for the orders' final states, ``everything`` cancels all open orders and
proves it, ``deadman`` renews the exchange's countdowns, ``endpoints`` is the table of calls that
every stage reads, and ``sandbox`` is a local exchange for tests.
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
from htx_cancel.limits.redis import RedisStore
from htx_cancel.limits.shared import FAIR_SHARE, HOLD, Share, SharedBudgets
from htx_cancel.limits.store import Holdings, holdings
from htx_cancel.options import CallOptions, ReadOptions
from htx_cancel.orders import OpenOrder, OpenOrders, OrderRef
from htx_cancel.outcome import CancelAllOutcome, Outcome
from htx_cancel.results import CallResult, OrderResult, Refusal, Source
from htx_cancel.retry import RetryPolicy
from htx_cancel.status import CancelStatus, CloseReason, OrderState
from htx_cancel.wire.signing import Credentials

__all__ = [
    "FAIR_SHARE",
    "HOLD",
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
    "Holdings",
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
    "RedisStore",
    "Refusal",
    "Remaining",
    "RetryPolicy",
    "Share",
    "SharedBudgets",
    "Source",
    "TooLateError",
    "WrongLoopError",
    "holdings",
]
