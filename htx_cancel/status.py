"""Define the statuses of a cancel, and which of two answers about one order prevails.

Rules:

* Only ``STATUS`` turns the meaning of an answer into a status.
* Only ``weight`` decides which of two answers about an id prevails: between the attempts of a batch
  and between the outcomes of several calls.
"""

from enum import IntEnum, StrEnum

from msgspec import Struct

from htx_cancel.wire.codes import Meaning


class CancelStatus(StrEnum):
    """What is known about the cancel of one order. It is not the order's own state.

    A member equals its string: ``result.status == "accepted"``. The order of a result with the
    status ``REJECTED``, ``UNKNOWN``, ``UNSENT`` or ``OPEN`` may be live.

    ``NOT_FOUND`` by client order id may be a live order: HTX finds orders by these ids for 8 hours
    only, and in multi-asset mode not after the order ended.
    """

    __hash__ = str.__hash__  # equal to the hash of Enum, and faster

    ACCEPTED = "accepted"
    """The exchange took the instruction to cancel; the order may still fill first."""
    CLOSED = "closed"
    """The exchange says that the order was not open any more; see ``OrderResult.reason``."""
    NOT_FOUND = "not_found"
    """The exchange knows no such order under this contract and id."""
    REJECTED = "rejected"
    """The exchange refused the cancel, with ``code`` and ``message``: treat the order as live."""
    UNKNOWN = "unknown"
    """The cancel was sent and no trustworthy answer came: treat the order as live."""
    UNSENT = "unsent"
    """The cancel never left this process: treat the order as live."""
    OPEN = "open"
    """Only after ``confirm``: the order is open and no cancel is known to be under way. Cancel
    the order again."""


class CloseReason(StrEnum):
    """Why an order was not open any more when its cancel reached the exchange."""

    FILLED = "filled"
    """The order was filled."""
    CANCELED = "canceled"
    """The order was canceled before."""
    CANCELING = "canceling"
    """An earlier cancel is under way; the order may still fill first."""


class OrderState(StrEnum):
    """An order's own state, as a query returned it."""

    OPEN = "open"
    """The order is in the book, or waits for its trigger."""
    CANCELING = "canceling"
    """A cancel is under way; the order may still fill first."""
    FILLED = "filled"
    """The whole volume of the order was filled."""
    CANCELED = "canceled"
    """The whole volume of the order was canceled."""
    PARTIALLY_CANCELED = "partially_canceled"
    """The order was partly filled, then canceled."""
    GONE = "gone"
    """The order is not open any more; no query returns whether it was canceled or triggered."""

    @property
    def final(self) -> bool:
        """Whether the state cannot change any more."""
        return self not in (OrderState.OPEN, OrderState.CANCELING)


#: The status and reason that an order's state gives to a cancel of unknown result.
STATUS_OF_STATE: dict[OrderState, tuple[CancelStatus, CloseReason | None]] = {
    OrderState.OPEN: (CancelStatus.OPEN, None),
    OrderState.CANCELING: (CancelStatus.CLOSED, CloseReason.CANCELING),
    OrderState.FILLED: (CancelStatus.CLOSED, CloseReason.FILLED),
    OrderState.CANCELED: (CancelStatus.CLOSED, CloseReason.CANCELED),
    OrderState.PARTIALLY_CANCELED: (CancelStatus.CLOSED, CloseReason.CANCELED),
    OrderState.GONE: (CancelStatus.CLOSED, None),
}

#: The status and reason that the meaning of an answer gives to a cancel.
STATUS: dict[Meaning, tuple[CancelStatus, CloseReason | None]] = {
    Meaning.ACCEPTED: (CancelStatus.ACCEPTED, None),
    Meaning.FILLED: (CancelStatus.CLOSED, CloseReason.FILLED),
    Meaning.CANCELED: (CancelStatus.CLOSED, CloseReason.CANCELED),
    Meaning.CANCELING: (CancelStatus.CLOSED, CloseReason.CANCELING),
    Meaning.NOT_FOUND: (CancelStatus.NOT_FOUND, None),
    Meaning.RATE_LIMITED: (CancelStatus.REJECTED, None),
    Meaning.BUSY: (CancelStatus.REJECTED, None),
    Meaning.SETTLING: (CancelStatus.REJECTED, None),
    Meaning.ENTRY_OPEN: (CancelStatus.REJECTED, None),
    Meaning.CLOCK: (CancelStatus.REJECTED, None),
    Meaning.AUTH: (CancelStatus.REJECTED, None),
    Meaning.INVALID: (CancelStatus.REJECTED, None),
    Meaning.REFUSED: (CancelStatus.REJECTED, None),
    Meaning.FAULT: (CancelStatus.UNKNOWN, None),
    Meaning.UNCLEAR: (CancelStatus.UNKNOWN, None),
    Meaning.UNNAMED: (CancelStatus.UNKNOWN, None),
    Meaning.UNREADABLE: (CancelStatus.UNKNOWN, None),
    Meaning.NO_ANSWER: (CancelStatus.UNKNOWN, None),
    Meaning.NOT_SENT: (CancelStatus.UNSENT, None),
}

#: The statuses whose orders may be live.
LIVE = (CancelStatus.REJECTED, CancelStatus.UNKNOWN, CancelStatus.UNSENT, CancelStatus.OPEN)

#: Refusals of the whole request; they say nothing about an order.
REQUEST_REFUSALS = frozenset(
    {Meaning.RATE_LIMITED, Meaning.BUSY, Meaning.SETTLING, Meaning.CLOCK, Meaning.AUTH}
)

#: Refusals that pass by themselves, so that the same request may succeed later.
TRANSIENT_REFUSALS = frozenset(
    {Meaning.RATE_LIMITED, Meaning.BUSY, Meaning.SETTLING, Meaning.CLOCK, Meaning.ENTRY_OPEN}
)


class Weight(IntEnum):
    """How much an answer counts. The heavier of two answers prevails; of equal ones the later."""

    NOTHING = 0  #: the request was not sent
    REQUEST = 1  #: the whole request was refused: an earlier one may have canceled the order
    UNCERTAIN = 2  #: the order may be live: unknown, open, not found, or its cancel refused
    CLOSED = 3  #: an order that was closed stays closed
    ACCEPTED = 4  #: an instruction that was taken stays taken


_WEIGHTS: dict[CancelStatus, Weight] = {
    CancelStatus.UNSENT: Weight.NOTHING,
    CancelStatus.REJECTED: Weight.UNCERTAIN,
    CancelStatus.UNKNOWN: Weight.UNCERTAIN,
    CancelStatus.OPEN: Weight.UNCERTAIN,
    CancelStatus.NOT_FOUND: Weight.UNCERTAIN,
    CancelStatus.CLOSED: Weight.CLOSED,
    CancelStatus.ACCEPTED: Weight.ACCEPTED,
}


def weight(status: CancelStatus, meaning: Meaning | None) -> Weight:
    """Return the weight of an answer; ``meaning`` matters if the status is ``REJECTED``."""
    return Weight.REQUEST if meaning in REQUEST_REFUSALS else _WEIGHTS[status]


class Finding(Struct, frozen=True, gc=False):
    """What one attempt says about one order id, or about a whole request."""

    meaning: Meaning
    code: int | None = None
    message: str = ""

    @property
    def weight(self) -> Weight:
        """The weight of this finding beside others about the same id."""
        return weight(STATUS[self.meaning][0], self.meaning)


ACCEPTED = Finding(Meaning.ACCEPTED)
