"""An open order, as the exchange lists it, and the reference by which it can be cancelled."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import overload

from msgspec import Struct

from htx_cancel import arguments
from htx_cancel.endpoints import ENDPOINTS
from htx_cancel.errors import InvalidTypeError, InvalidValueError


class OrderRef(Struct, frozen=True, gc=False):
    """What is needed to cancel an order.

    Args:
        product: an attribute of the client, such as ``"coin_m_swap"``.
        kind: ``"orders"``, ``"trigger_orders"``, ``"tpsl_orders"`` or ``"trailing_orders"``; of
            ``"usdt_m"`` all but ``"orders"`` are ``"algo_orders"``.
        contract_code: the contract, such as ``"BTC-USD"``.
        order_id: the exchange's id; of algo orders the ``algo_id``.
        client_order_id: the client's own id, where no ``order_id`` is given.

    Raises:
        InvalidTypeError, InvalidValueError: for what no method of the client could cancel.
    """

    product: str
    kind: str
    contract_code: str
    order_id: str | int | None = None
    client_order_id: str | int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be cancelled."""
        if self.method not in ENDPOINTS or ".cancel_all_" in self.method:
            known = ", ".join(sorted(name for name in ENDPOINTS if ".cancel_all_" not in name))
            raise InvalidValueError(
                f"product and kind must name one of {known}, got {self.method!r}"
            )
        arguments.contract_code(self.contract_code)
        if (self.order_id is None) == (self.client_order_id is None):
            raise InvalidValueError(
                f"either order_id or client_order_id must be given, got"
                f" {'neither' if self.order_id is None else 'both'}"
            )
        if self.client_order_id is not None and not ENDPOINTS[self.method].client_ids:
            raise InvalidValueError(f"{self.method} must have an order_id, got a client_order_id")
        self.id  # noqa: B018 - it is checked there

    @property
    def method(self) -> str:
        """The client's method that cancels it."""
        return f"{self.product}.cancel_{self.kind}"

    @property
    def id(self) -> str:
        """Its id, as the string to send."""
        given = self.client_order_id if self.order_id is None else self.order_id
        return arguments.one_id(given, self.field)

    @property
    def field(self) -> str:
        """The field in which the exchange takes its id."""
        return ENDPOINTS[self.method].fields[self.order_id is None]


class OpenOrder(Struct, frozen=True, gc=False):
    """One open order, as the exchange lists it.

    ``price``, ``volume`` and ``filled`` are ``None`` where the list does not tell them; the price
    of a trigger or TP/SL order is the one at which it triggers. ``created`` is in seconds since the
    epoch. ``state`` is the exchange's own word or number.
    """

    product: str
    kind: str
    contract_code: str
    order_id: str
    client_order_id: str | None = None
    direction: str = ""  #: ``buy`` or ``sell``
    price: Decimal | None = None
    volume: Decimal | None = None
    filled: Decimal | None = None
    created: float | None = None
    state: str = ""
    type: str = ""  #: of v5 algo orders: ``trigger``, ``tpsl``, ``tp``, ``sl`` or ``trailing_stop``

    @property
    def ref(self) -> OrderRef:
        """What ``client.cancel`` takes."""
        return OrderRef(self.product, self.kind, self.contract_code, self.order_id)


class OpenOrders(Sequence[OpenOrder]):
    """The open orders that were asked for, and whether that is all of them.

    Attributes:
        complete: whether every list was read to its end. If not, there may be more.
        missing: what could not be read, and why.
        refused: whether the exchange refused the account: asking again would not help.
        walked: whether the contracts were asked one by one, for want of a list of all.
    """

    def __init__(
        self,
        orders: Sequence[OpenOrder],
        *,
        missing: tuple[str, ...] = (),
        refused: bool = False,
        walked: bool = False,
    ) -> None:
        self._orders = tuple(orders)
        self.missing = missing
        self.refused = refused
        self.walked = walked

    @property
    def complete(self) -> bool:
        """Whether every list was read to its end."""
        return not self.missing

    @overload
    def __getitem__(self, index: int) -> OpenOrder: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[OpenOrder, ...]: ...

    def __getitem__(self, index: int | slice) -> OpenOrder | tuple[OpenOrder, ...]:
        """Return an order, or some."""
        return self._orders[index]

    def __iter__(self) -> Iterator[OpenOrder]:
        return iter(self._orders)

    def __len__(self) -> int:
        return len(self._orders)

    def __repr__(self) -> str:
        missing = f", but for {'; '.join(self.missing)}" if self.missing else ""
        return f"<OpenOrders: {len(self)}{missing}>"


def reference(given: object) -> OrderRef:
    """Check what is to be cancelled: an ``OpenOrder`` or an ``OrderRef``."""
    if isinstance(given, OpenOrder):
        return given.ref
    if not isinstance(given, OrderRef):
        raise InvalidTypeError(f"each order must be an OpenOrder or an OrderRef, got {given!r}")
    return given
