"""Define the types of the methods' arguments, and the options of a call once they are checked."""

from collections.abc import Callable, Iterator
from typing import Literal, Protocol, TypedDict

from msgspec import Struct

from htx_cancel.limits.permit import Priority
from htx_cancel.results import OrderResult


class IdCollection(Protocol):
    """A list, tuple, set, dict view or similar collection of ids. A lone string is not one."""

    def __contains__(self, item: object, /) -> bool:
        """Return whether an id is in the collection; ``str`` does not match, as it takes no int."""

    def __iter__(self) -> Iterator[str | int]:
        """Iterate over the ids."""


Ids = IdCollection | Iterator[str | int]

Direction = Literal["buy", "sell"]
Offset = Literal["open", "close"]
ContractType = Literal["this_week", "next_week", "quarter", "next_quarter"]
PositionSide = Literal["long", "short", "both"]

#: A plain function; the result of an async one would never be awaited.
OnBatch = Callable[[tuple[OrderResult, ...]], None]


class CallOptions(TypedDict, total=False):
    """The options of every cancel call; ``CancelClient`` describes them in full.

    * ``priority``: a ``Priority``; by default ``ROUTINE``.
    * ``timeout``: seconds for the whole call, above 0; ``None``, the default, means no limit.
    * ``on_batch``: a plain function, called with a tuple of ``OrderResult`` each time the results
      of a batch become known.
    """

    priority: Priority
    timeout: float | None
    on_batch: OnBatch | None


class ReadOptions(TypedDict, total=False):
    """The options of every list.

    * ``priority``: a ``Priority``; by default ``ROUTINE``.
    * ``timeout``: seconds for the whole list, above 0; ``None``, the default, means no limit.
    """

    priority: Priority
    timeout: float | None


class Options(Struct, frozen=True):
    """The options of a call, checked."""

    priority: Priority
    deadline: float  #: loop time
    on_batch: OnBatch | None
