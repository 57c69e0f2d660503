"""An order, and how it ends after a cancel is accepted.

Rules:

* An accepted cancel takes effect after ``cancel_after`` seconds. Then the order is canceled, unless
  it was filled first: wholly (a lost race) or in part.
* The ending is drawn when the cancel is accepted, unless the order has an ``ending``.
"""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from htx_cancel.sandbox.rules import Kind, MarginMode, State

Ending = Literal["canceled", "partially_canceled", "filled"]


class Order(Struct, gc=False):
    """One order and its true state."""

    kind: Kind
    contract_code: str
    order_id: str
    client_order_id: str | None
    direction: str
    offset: str
    state: State
    refusal: int | None  #: the code that refuses a cancel of this order
    volume: int
    traded: int  #: how much of the volume was traded before any cancel
    ending: Ending | None
    margin_mode: MarginMode
    position_side: str
    algo_type: str
    entry: str  #: the id of the order that must be filled before a TP/SL order takes effect
    price: float  #: also the trigger price
    placed_at: float  #: in epoch seconds
    added_at: float  #: the exchange's time when the order came into the book
    number: int  #: counts the orders of a book
    instructed: bool = False  #: whether the exchange accepted a cancel
    ends_at: float = 0.0  #: when an accepted cancel takes effect

    @property
    def canceled_by_us(self) -> bool:
        """Whether an accepted cancel canceled the order, wholly or in part."""
        return self.instructed and self.state in ("canceled", "partially_canceled")

    def end(self) -> None:
        """Apply an accepted cancel, unless the order has ended in another way."""
        if self.state != "canceling":
            return
        if self.ending == "filled":
            self.state = "filled"
            return
        if self.ending == "partially_canceled":
            self.traded = self.traded or self.volume // 2
        self.state = "partially_canceled" if self.traded else "canceled"


class Lifecycle(Struct, frozen=True):
    """How cancels end; ``lost_races`` and ``partial_fills`` are shares of the accepted cancels.

    ``random`` returns numbers from 0 to below 1; shares need it.
    """

    cancel_after: float = 0.0
    lost_races: float = 0.0
    partial_fills: float = 0.0
    random: Callable[[], float] | None = None

    def __post_init__(self) -> None:
        if self.random is None and (self.lost_races or self.partial_fills):
            raise ValueError("random must be given with lost_races or partial_fills, got None")

    def accept(self, order: Order, now: float) -> bool:
        """Accept a cancel of an open order; return whether it takes effect later."""
        order.instructed = True
        order.state = "canceling"
        order.ending = order.ending or self._draw()
        order.ends_at = now + self.cancel_after
        if self.cancel_after:
            return True
        order.end()
        return False

    def _draw(self) -> Ending:
        if self.random is None:
            return "canceled"
        drawn = self.random()
        if drawn < self.lost_races:
            return "filled"
        return "partially_canceled" if drawn < self.lost_races + self.partial_fills else "canceled"
