"""An order, and what becomes of it once a cancel of it is accepted.

Rules:

* An accepted cancel is under way for ``cancel_after`` seconds. Then the order is canceled, or it
  was filled first: wholly (a lost race) or in part.
* Which of these it is, is drawn when the cancel is accepted, unless the order has a ``ending``.
"""

import math
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from htx_cancel.sandbox.rules import Kind, MarginMode, State

Ending = Literal["canceled", "partially_canceled", "filled"]


class Order(Struct, gc=False):
    """One order. ``instructed`` is the truth about its cancel: whether the exchange took one.

    ``refusal`` is the code with which a cancel is refused, if it is; ``traded`` is how much of
    ``volume`` was traded before any cancel; ``ends_at`` is when an accepted cancel takes effect.
    ``entry`` is the id of the order on which a TP/SL order hangs until that is filled. An order
    that waits for a price is triggered at ``price``. ``placed_at`` is in epoch seconds, and
    ``number`` counts the orders of a book.
    """

    kind: Kind
    contract_code: str
    order_id: str
    client_order_id: str | None
    direction: str
    offset: str
    state: State
    refusal: int | None
    volume: int = 10
    traded: int = 0
    ending: Ending | None = None
    margin_mode: MarginMode = "cross"
    position_side: str = "both"
    algo_type: str = "trigger"
    entry: str = ""
    price: float = 0.0
    placed_at: float = 0.0
    number: int = 0
    instructed: bool = False
    ends_at: float = 0.0
    added_at: float = -math.inf

    @property
    def canceled_by_us(self) -> bool:
        """Whether it ended canceled, because the exchange took a cancel of it."""
        return self.instructed and self.state in ("canceled", "partially_canceled")

    def end(self) -> None:
        """Let an accepted cancel take effect, unless the order ended in another way before."""
        if self.state != "canceling":
            return
        if self.ending == "filled":
            self.state = "filled"
            return
        if self.ending == "partially_canceled":
            self.traded = self.traded or self.volume // 2
        self.state = "partially_canceled" if self.traded else "canceled"


class Lifecycle(Struct, frozen=True):
    """How cancels end: ``lost_races`` and ``partial_fills`` are shares of those accepted.

    ``random`` gives numbers from 0 to below 1; shares cannot be drawn without it.
    """

    cancel_after: float = 0.0
    lost_races: float = 0.0
    partial_fills: float = 0.0
    random: Callable[[], float] | None = None

    def __post_init__(self) -> None:
        if self.random is None and (self.lost_races or self.partial_fills):
            raise ValueError("lost_races and partial_fills are drawn: give random")

    def accept(self, order: Order, now: float) -> bool:
        """Take a cancel of an open order; return whether its effect is still to come."""
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
