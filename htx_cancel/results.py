"""What became of one order id, or of one call that names no ids."""

from msgspec import Struct
from msgspec.structs import replace

from htx_cancel.status import (
    FOR_NOW,
    LIVE,
    SETTLED,
    STATUS,
    CancelStatus,
    CloseReason,
    Finding,
    OrderState,
    weight,
)
from htx_cancel.wire.codes import CODES, Meaning


class OrderResult(Struct, frozen=True, gc=False):
    """What became of one order id.

    Args:
        order_id: the id as given; a client order id where those were given.
        status: what is known of the cancel.
        code: the exchange's code, if there is one.
        message: the exchange's words or, without a code, ours.
        reason: why the order was not open any more, if ``status`` is ``CLOSED``.
        attempts: the number of requests that carried the id.
        state: the order's own state, where ``confirm`` found one.
        meaning: what the refusal meant, if ``status`` is ``REJECTED``; without one, ``code`` tells.
        source: the call that carried it, where that was one of several: see ``client.cancel``.
    """

    order_id: str
    status: CancelStatus
    code: int | None = None
    message: str = ""
    reason: CloseReason | None = None
    attempts: int = 0
    state: OrderState | None = None
    meaning: Meaning | None = None
    source: "Source | None" = None

    @property
    def retryable(self) -> bool:
        """Whether another cancel may help.

        ``True`` for an order that is unknown, unsent or open, and for a refusal that passes: for
        the rate, by a busy or settling exchange, or for the clock. ``False`` for definite answers,
        and for refusals of the account, the parameters or the order.
        """
        return _retryable(self)

    @property
    def unsettled(self) -> bool:
        """Whether a query could tell more: accepted, unknown or canceling, and no final state."""
        if self.state is not None and self.state.final:
            return False
        uncertain = (CancelStatus.ACCEPTED, CancelStatus.UNKNOWN, CancelStatus.OPEN)
        return self.status in uncertain or self.reason is CloseReason.CANCELING

    def confirmed(self, state: OrderState | None, not_found: str = "") -> "OrderResult":
        """Return this result with what a query told; ``None`` if it knows no such order.

        What the exchange said of the cancel stands. Where nothing was known, the state decides.
        ``not_found`` is the message for an order that the query does not know; the exchange's own
        words about the cancel stand.
        """
        status, reason, code, message = self.status, self.reason, self.code, self.message
        if status in (CancelStatus.UNKNOWN, CancelStatus.OPEN):
            status, reason = SETTLED[state] if state else (CancelStatus.NOT_FOUND, None)
        if state is None and not_found and (status is not self.status or code is None):
            code, message = None, not_found
        return replace(self, status=status, reason=reason, code=code, message=message, state=state)

    def merged(self, later: "OrderResult") -> "OrderResult":
        """Return what this result and a later one about the same order say together."""
        mine, theirs = (weight(it.status, _refusal(it)) for it in (self, later))
        chosen = later if theirs >= mine else self
        state = self.state if later.state is None else later.state
        return replace(chosen, attempts=self.attempts + later.attempts, state=state)


class Source(Struct, frozen=True, gc=False):
    """Which orders a result is about: an id is one order's only together with its source.

    Args:
        endpoint: the cancel endpoint's name, as in ``htx_cancel.endpoints.ENDPOINTS``.
        contract_code: the contract, such as ``"BTC-USD"``.
        field: ``"order_id"`` or ``"client_order_id"``; of v5 algo orders ``"algo_id"`` or
            ``"algo_client_order_id"``.
    """

    endpoint: str
    contract_code: str
    field: str = "order_id"

    @property
    def product(self) -> str:
        """The product, such as ``coin_m_swap``."""
        return self.endpoint.partition(".")[0]

    @property
    def kind(self) -> str:
        """The kind of orders, such as ``trigger_orders``."""
        return self.endpoint.partition(".cancel_")[2].removeprefix("all_")


class Refusal(Struct, frozen=True):
    """A refusal of the whole account, such as a wrong key: it stopped the call.

    Args:
        code: the exchange's code, if there is one.
        message: the exchange's words.
    """

    code: int | None
    message: str


def refusal(finding: Finding | None) -> Refusal | None:
    """Turn what stopped a call, if anything did, into what its outcome says."""
    return None if finding is None else Refusal(finding.code, finding.message)


class CallResult(Struct, frozen=True, gc=False):
    """What became of a call that names no ids; the fields are those of ``OrderResult``."""

    status: CancelStatus
    code: int | None = None
    message: str = ""
    attempts: int = 0
    meaning: Meaning | None = None

    @property
    def retryable(self) -> bool:
        """Whether another call may help; see ``OrderResult.retryable``."""
        return _retryable(self)


def _refusal(result: OrderResult | CallResult) -> Meaning | None:
    """Return what a refusal meant; ``None`` if it was none, or nobody knows."""
    if result.status is not CancelStatus.REJECTED:
        return None
    if result.meaning is None and result.code is not None:
        return CODES.get(result.code)
    return result.meaning


def _retryable(result: OrderResult | CallResult) -> bool:
    if result.status is CancelStatus.REJECTED:
        return _refusal(result) in FOR_NOW
    return result.status in LIVE


def order_result(order_id: str, finding: Finding, attempts: int) -> OrderResult:
    """Turn what is known of an id into its result."""
    status, reason = STATUS[finding.meaning]
    meaning = finding.meaning if status is CancelStatus.REJECTED else None
    return OrderResult(
        order_id, status, finding.code, finding.message, reason, attempts, None, meaning
    )


def call_result(finding: Finding, attempts: int) -> CallResult:
    """Turn what is known of a whole call into its result."""
    status = STATUS[finding.meaning][0]
    meaning = finding.meaning if status is CancelStatus.REJECTED else None
    return CallResult(status, finding.code, finding.message, attempts, meaning)
