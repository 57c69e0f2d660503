"""What the products have in common: the types of their arguments, and the client behind them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, Protocol, TypedDict

from htx_cancel.endpoints import Endpoint
from htx_cancel.limits.permit import Priority
from htx_cancel.orders import OpenOrders
from htx_cancel.outcome import CancelAllOutcome, Outcome
from htx_cancel.results import OrderResult


class IdCollection(Protocol):
    """A list, tuple, set, dict view or the like of ids; a lone string is none."""

    def __contains__(self, item: object, /) -> bool:
        """Say whether an id is in it; of a string only strings can be asked."""

    def __iter__(self) -> Iterator[str | int]:
        """Go through the ids."""


Ids = IdCollection | Iterator[str | int]

Direction = Literal["buy", "sell"]
Offset = Literal["open", "close"]
ContractType = Literal["this_week", "next_week", "quarter", "next_quarter"]
PositionSide = Literal["long", "short", "both"]

#: A plain function: nobody would await an async one.
OnBatch = Callable[[tuple[OrderResult, ...]], None]


class CallOptions(TypedDict, total=False):
    """What every cancel call takes; see ``CancelClient``."""

    priority: Priority
    timeout: float | None
    on_batch: OnBatch | None


class ReadOptions(TypedDict, total=False):
    """What every list takes: who goes first, and the seconds for all of it."""

    priority: Priority
    timeout: float | None


class Calls(Protocol):
    """What the products need of the client."""

    async def by_ids(
        self,
        endpoint: Endpoint,
        contract_code: str,
        ids: tuple[str, Iterable[str | int]],
        given: CallOptions,
    ) -> Outcome:
        """Cancel orders by ids of one kind."""

    async def all(
        self,
        endpoint: Endpoint,
        contract_code: str | None,
        filters: Mapping[str, str | None],
        given: CallOptions,
    ) -> CancelAllOutcome:
        """Cancel all orders that filters let through; ``None`` stands for every contract."""

    async def all_listed(
        self, product: str, kind: str, contract_code: str, given: CallOptions
    ) -> CancelAllOutcome:
        """List the open orders of a contract, and cancel them."""

    async def open(
        self, product: str, kind: str, contract_code: str | None, given: ReadOptions
    ) -> OpenOrders:
        """List open orders; ``None`` stands for every contract."""


class Product:
    """The calls of one product.

    All methods are coroutine methods, take the ``CallOptions``, and raise what ``CancelClient``
    says.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
