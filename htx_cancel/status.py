"""What is known of a cancel: its status, and how much an answer counts beside another.

Rules:

* ``STATUS`` is the one place where the meaning of an answer becomes a status.
* ``weight`` is the one place that says which of two answers about an id counts: the attempts of a
  batch and the outcomes of several calls are merged by it.
"""

from enum import IntEnum, StrEnum

from msgspec import Struct

from htx_cancel.wire.codes import Meaning


class CancelStatus(StrEnum):
    """What is known of one order id after a cancel call. Not the order's own state.

    ``NOT_FOUND`` by client order id may be a live order: HTX looks these up for 8 hours only, and
    in multi-asset mode not after the order ended.
    """

    __hash__ = str.__hash__  # the same, and Enum's own is a slow one

    ACCEPTED = "accepted"
    """The exchange took the instruction; the order may still fill first."""
    CLOSED = "closed"
    """The exchange says that it was not open any more; see ``reason``."""
    NOT_FOUND = "not_found"
    """The exchange knows no such order here."""
    REJECTED = "rejected"
    """The exchange refused, with ``code`` and ``message``: treat as live."""
    UNKNOWN = "unknown"
    """Sent, and no trustworthy answer came: treat as live."""
    UNSENT = "unsent"
    """It never left this process: treat as live."""
    OPEN = "open"
    """Of a confirmed outcome only: open, and no cancel is known to be under way. Cancel again."""


class CloseReason(StrEnum):
    """Why an order was not open any more."""

    FILLED = "filled"
    """It was executed."""
    CANCELED = "canceled"
    """It was canceled before."""
    CANCELING = "canceling"
    """An earlier cancel is under way; the order may still fill first."""


class OrderState(StrEnum):
    """An order's own state, as a query told it."""

    OPEN = "open"
    """In the book, or waiting for its trigger."""
    CANCELING = "canceling"
    """A cancel is under way; the order may still fill first."""
    FILLED = "filled"
    """Executed as a whole."""
    CANCELED = "canceled"
    """Canceled as a whole."""
    PARTIALLY_CANCELED = "partially_canceled"
    """Partly filled, then canceled."""
    GONE = "gone"
    """Not open any more; no query tells whether it was canceled or triggered."""

    @property
    def final(self) -> bool:
        """Whether it can change no more."""
        return self not in (OrderState.OPEN, OrderState.CANCELING)


#: What a state that was asked for says about a cancel of which nothing was known.
SETTLED: dict[OrderState, tuple[CancelStatus, CloseReason | None]] = {
    OrderState.OPEN: (CancelStatus.OPEN, None),
    OrderState.CANCELING: (CancelStatus.CLOSED, CloseReason.CANCELING),
    OrderState.FILLED: (CancelStatus.CLOSED, CloseReason.FILLED),
    OrderState.CANCELED: (CancelStatus.CLOSED, CloseReason.CANCELED),
    OrderState.PARTIALLY_CANCELED: (CancelStatus.CLOSED, CloseReason.CANCELED),
    OrderState.GONE: (CancelStatus.CLOSED, None),
}

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


#: The statuses of orders that may be live.
LIVE = (CancelStatus.REJECTED, CancelStatus.UNKNOWN, CancelStatus.UNSENT, CancelStatus.OPEN)

#: The refusals of a whole request: they say nothing about an order.
OF_THE_REQUEST = frozenset(
    {Meaning.RATE_LIMITED, Meaning.BUSY, Meaning.SETTLING, Meaning.CLOCK, Meaning.AUTH}
)

#: The refusals that pass: of the rate, of a busy or settling exchange, of the clock, and of a TP/SL
#: order whose entry order is open.
FOR_NOW = frozenset(
    {Meaning.RATE_LIMITED, Meaning.BUSY, Meaning.SETTLING, Meaning.CLOCK, Meaning.ENTRY_OPEN}
)


class Weight(IntEnum):
    """How much an answer counts beside others about the same id. Of two alike the later counts."""

    NOTHING = 0  #: it was not sent
    REQUEST = 1  #: the whole request was refused: an earlier one may have canceled the order
    UNCERTAIN = 2  #: unknown, open, not found, or the order's cancel refused: the order may be live
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
    """Say how much an answer counts; ``meaning`` matters where the status is ``REJECTED``."""
    return Weight.REQUEST if meaning in OF_THE_REQUEST else _WEIGHTS[status]


class Finding(Struct, frozen=True, gc=False):
    """What one attempt says of one order id, or of a whole call."""

    meaning: Meaning
    code: int | None = None
    message: str = ""

    @property
    def weight(self) -> Weight:
        """How much it counts beside other findings about the same id."""
        return weight(STATUS[self.meaning][0], self.meaning)


ACCEPTED = Finding(Meaning.ACCEPTED)
