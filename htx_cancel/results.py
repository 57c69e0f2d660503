"""Define the result of one order id, and of one call that names no ids."""

from msgspec import Struct
from msgspec.structs import replace

from htx_cancel.status import (
    LIVE,
    STATUS,
    STATUS_OF_STATE,
    TRANSIENT_REFUSALS,
    CancelStatus,
    CloseReason,
    Finding,
    OrderState,
    weight,
)
from htx_cancel.wire.codes import CODES, Meaning


class OrderResult(Struct, frozen=True, gc=False):
    """What is known about one order id after a call.

    Args:
        order_id: the order id or client order id that the call was given, as a string.
        status: what is known about the cancel.
        code: the exchange's error code; ``None`` if the exchange gave none.
        message: the exchange's message; ours if there is no ``code``.
        reason: why the order was not open any more, if ``status`` is ``CLOSED``.
        attempts: the number of requests that carried the id.
        state: the order's own state, if ``confirm`` found one.
        meaning: the meaning of the refusal, if ``status`` is ``REJECTED``; if ``None``,
            ``retryable`` and ``Outcome.merge`` use ``code``.
        source: the endpoint, contract and id field of the order, in results of ``client.cancel``.
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

        ``True`` if the status is ``UNKNOWN``, ``UNSENT`` or ``OPEN``, and for a refusal that
        passes: for the rate, for the clock, by a busy or settling exchange, or of a TP/SL order
        whose entry order is open. ``False`` for every other status, and for refusals of the
        account, the parameters or the order.
        """
        return _retryable(self)

    @property
    def unsettled(self) -> bool:
        """Whether a query may change the result.

        ``True`` if the status is ``ACCEPTED``, ``UNKNOWN`` or ``OPEN``, or the reason is
        ``CANCELING``; ``False`` for any other result, and if ``state`` is final.
        """
        if self.state is not None and self.state.final:
            return False
        uncertain = (CancelStatus.ACCEPTED, CancelStatus.UNKNOWN, CancelStatus.OPEN)
        return self.status in uncertain or self.reason is CloseReason.CANCELING

    def confirmed(self, state: OrderState | None, not_found: str = "") -> "OrderResult":
        """Return this result with the state that a query returned; ``None`` for no such order.

        The state decides a status of ``UNKNOWN`` or ``OPEN``; any other status stands.
        ``not_found`` is the message for an order that the query does not know. It does not replace
        the exchange's own message about a cancel whose status stands.
        """
        status, reason, code, message = self.status, self.reason, self.code, self.message
        if status in (CancelStatus.UNKNOWN, CancelStatus.OPEN):
            status, reason = STATUS_OF_STATE[state] if state else (CancelStatus.NOT_FOUND, None)
        if state is None and not_found and (status is not self.status or code is None):
            code, message = None, not_found
        return replace(self, status=status, reason=reason, code=code, message=message, state=state)

    def merged(self, later: "OrderResult") -> "OrderResult":
        """Return what this result and a later one mean together; see ``Outcome.merge``."""
        before, after = (weight(each.status, _refusal_meaning(each)) for each in (self, later))
        prevailing = later if after >= before else self
        state = self.state if later.state is None else later.state
        return replace(prevailing, attempts=self.attempts + later.attempts, state=state)


class Source(Struct, frozen=True, gc=False):
    """The call that results belong to. An id names one order only together with its source.

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
        """The product, such as ``"coin_m_swap"``."""
        return self.endpoint.partition(".")[0]

    @property
    def kind(self) -> str:
        """The kind of orders, such as ``"trigger_orders"``."""
        return self.endpoint.partition(".cancel_")[2].removeprefix("all_")


class Refusal(Struct, frozen=True):
    """A refusal of the whole account, such as for a wrong key, that stopped the call.

    Args:
        code: the exchange's error code; ``None`` if the exchange gave none.
        message: the exchange's message.
    """

    code: int | None
    message: str


def refusal(finding: Finding | None) -> Refusal | None:
    """Return the refusal that a finding describes; ``None`` if there is no finding."""
    return None if finding is None else Refusal(finding.code, finding.message)


class CallResult(Struct, frozen=True, gc=False):
    """What is known about a call that names no ids; the fields are those of ``OrderResult``."""

    status: CancelStatus
    code: int | None = None
    message: str = ""
    attempts: int = 0
    meaning: Meaning | None = None

    @property
    def retryable(self) -> bool:
        """Whether another call may help; see ``OrderResult.retryable``."""
        return _retryable(self)


def _refusal_meaning(result: OrderResult | CallResult) -> Meaning | None:
    if result.status is not CancelStatus.REJECTED:
        return None
    if result.meaning is None and result.code is not None:
        return CODES.get(result.code)
    return result.meaning


def _retryable(result: OrderResult | CallResult) -> bool:
    if result.status is CancelStatus.REJECTED:
        return _refusal_meaning(result) in TRANSIENT_REFUSALS
    return result.status in LIVE


def order_result(order_id: str, finding: Finding, attempts: int) -> OrderResult:
    """Return the result of an id from what its attempts found."""
    status, reason = STATUS[finding.meaning]
    meaning = finding.meaning if status is CancelStatus.REJECTED else None
    return OrderResult(
        order_id, status, finding.code, finding.message, reason, attempts, None, meaning
    )


def call_result(finding: Finding, attempts: int) -> CallResult:
    """Return the result of a call that names no ids from what its attempts found."""
    status = STATUS[finding.meaning][0]
    meaning = finding.meaning if status is CancelStatus.REJECTED else None
    return CallResult(status, finding.code, finding.message, attempts, meaning)
