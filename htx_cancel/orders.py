"""Define an open order as the exchange lists it, and the reference that cancels an order."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import overload

from msgspec import Struct

from htx_cancel import arguments
from htx_cancel.endpoints import ENDPOINTS
from htx_cancel.errors import InvalidTypeError, InvalidValueError


class OrderRef(Struct, frozen=True, gc=False):
    """A reference to one order, for ``client.cancel``. It is hashable.

    Args:
        product: an attribute of the client, such as ``"coin_m_swap"``.
        kind: ``"orders"``, ``"trigger_orders"``, ``"tpsl_orders"`` or ``"trailing_orders"``; for
            ``"usdt_m"`` ``"orders"`` or ``"algo_orders"``.
        contract_code: the contract, such as ``"BTC-USD"``.
        order_id: the exchange's id; for algo orders the ``algo_id``.
        client_order_id: the client's own id; for algo orders the ``algo_client_order_id``. Give
            either this or ``order_id``. Not every kind of orders has client order ids.

    Raises:
        InvalidTypeError, InvalidValueError: if no method of the client can cancel such an order.
    """

    product: str
    kind: str
    contract_code: str
    order_id: str | int | None = None
    client_order_id: str | int | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
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
        self.id  # noqa: B018 - the property checks the id

    @property
    def method(self) -> str:
        """The client's method that cancels the order, such as ``"coin_m_swap.cancel_orders"``."""
        return f"{self.product}.cancel_{self.kind}"

    @property
    def id(self) -> str:
        """The order id or client order id, as the string to send."""
        order_id = self.client_order_id if self.order_id is None else self.order_id
        return arguments.one_id(order_id, self.field)

    @property
    def field(self) -> str:
        """The field in which the exchange takes the id, such as ``"order_id"``."""
        return ENDPOINTS[self.method].fields[self.order_id is None]


class OpenOrder(Struct, frozen=True, gc=False):
    """One open order, as the exchange lists it. It is hashable.

    Args:
        product: the client's attribute that listed the order, such as ``"coin_m_swap"``.
        kind: the kind of orders, such as ``"trigger_orders"``.
        contract_code: the contract, such as ``"BTC-USD"``.
        order_id: the exchange's id; of algo orders the ``algo_id``.
        client_order_id: the client's own id; ``None`` if the list has none.
        direction: ``"buy"`` or ``"sell"``; ``""`` if the list does not have it.
        price: the price; of trigger and TP/SL orders the trigger price, of trailing orders the
            price from which they trail. ``None`` if the list does not have it.
        volume: the ordered volume, in the exchange's unit, or ``None``.
        filled: the volume that is filled, in the same unit, or ``None``.
        created: when the order was created, in seconds since the epoch, or ``None``.
        state: the exchange's own word or number.
        type: of v5 algo orders ``"trigger"``, ``"tpsl"``, ``"tp"``, ``"sl"`` or
            ``"trailing_stop"``; else ``""``.
    """

    product: str
    kind: str
    contract_code: str
    order_id: str
    client_order_id: str | None = None
    direction: str = ""
    price: Decimal | None = None
    volume: Decimal | None = None
    filled: Decimal | None = None
    created: float | None = None
    state: str = ""
    type: str = ""

    @property
    def ref(self) -> OrderRef:
        """The reference to this order, by ``order_id``."""
        return OrderRef(self.product, self.kind, self.contract_code, self.order_id)


class OpenOrders(Sequence[OpenOrder]):
    """The open orders of a list: a sequence, which says whether more orders may be open.

    Attributes:
        missing: the lists that could not be read to their end, each with the reason. If there is
            none, ``complete`` is ``True``.
        refused: whether the exchange refused the account in every list, so that another try does
            not help.
        walked: whether the contracts were listed one by one, because the exchange has no list of
            all of them.
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
        """Whether every list was read to its end. If not, more orders may be open."""
        return not self.missing

    @overload
    def __getitem__(self, index: int) -> OpenOrder: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[OpenOrder, ...]: ...

    def __getitem__(self, index: int | slice) -> OpenOrder | tuple[OpenOrder, ...]:
        """Return the order at an index, or a tuple of orders for a slice."""
        return self._orders[index]

    def __iter__(self) -> Iterator[OpenOrder]:
        return iter(self._orders)

    def __len__(self) -> int:
        return len(self._orders)

    def __repr__(self) -> str:
        missing = f", but for {'; '.join(self.missing)}" if self.missing else ""
        return f"<OpenOrders: {len(self)}{missing}>"


def reference(order: object) -> OrderRef:
    """Return the reference to an ``OpenOrder`` or ``OrderRef``; refuse anything else."""
    if isinstance(order, OpenOrder):
        return order.ref
    if not isinstance(order, OrderRef):
        raise InvalidTypeError(f"each order must be an OpenOrder or an OrderRef, got {order!r}")
    return order
