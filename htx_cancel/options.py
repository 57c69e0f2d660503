"""The types of what the methods of the products take, and the options of a call once checked."""

from collections.abc import Callable, Iterator
from typing import Literal, Protocol, TypedDict

from msgspec import Struct

from htx_cancel.limits.permit import Priority
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


class Options(Struct, frozen=True):
    """The options of a call, checked."""

    priority: Priority
    deadline: float  #: loop time
    on_batch: OnBatch | None
