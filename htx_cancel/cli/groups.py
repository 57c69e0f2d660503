"""What one call of the client can cancel: ids of one kind, of one contract, at one endpoint."""

from collections.abc import Awaitable, Callable, Iterable
from math import ceil
from operator import attrgetter

from msgspec import Struct

from htx_cancel import CancelClient, CancelStatus, Limit, OrderResult, Outcome
from htx_cancel.endpoints import BUDGETS, Endpoint

#: Nothing is left to do about an id with one of these.
SETTLED = frozenset({CancelStatus.ACCEPTED, CancelStatus.CLOSED, CancelStatus.NOT_FOUND})

OnBatch = Callable[[tuple[OrderResult, ...]], object]


class Group(Struct, frozen=True):
    """The ids of one call. ``field`` is ``""`` and there are no ids where the call names none."""

    endpoint: Endpoint
    contract_code: str
    field: str = "order_id"
    direction: str | None = None
    offset: str | None = None
    ids: tuple[str, ...] = ()

    @property
    def calls(self) -> int:
        """How many requests it takes."""
        return ceil(len(self.ids) / self.endpoint.batch_size) if self.field else 1

    @property
    def title(self) -> str:
        """Name the orders it is about, for people."""
        words = [self.contract_code, self.direction, self.offset]
        if self.field == "client_order_id":
            words.append("client ids")
        return " ".join(word for word in words if word)

    async def cancel(
        self,
        client: CancelClient,
        *,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Outcome:
        """Cancel it with the client's method for its endpoint."""
        given: dict[str, object] = {"direction": self.direction, "offset": self.offset}
        if self.field:
            given = {f"{self.field}s": self.ids}
        method: Callable[..., Awaitable[Outcome]] = attrgetter(self.endpoint.name)(client)
        return await method(self.contract_code, **given, timeout=timeout, on_batch=on_batch)


def label(endpoint: Endpoint) -> str:
    """Name a cancel call in a table: its product and the orders it is about."""
    product, _, orders = endpoint.name.partition(".cancel_")
    return f"{product} {orders.removesuffix('_orders').replace('_', ' ')}"


class Workload(Struct, frozen=True):
    """What is to be sent to an endpoint. A call that names no ids counts as one."""

    endpoint: Endpoint
    ids: int
    calls: int

    @property
    def limit(self) -> Limit:
        """The budget that its calls charge."""
        return BUDGETS[self.endpoint.budgets()[0]]

    @property
    def least(self) -> float:
        """The least number of seconds that the limit allows."""
        return (self.calls - 1) // self.limit.calls * self.limit.seconds


def workloads(groups: Iterable[Group]) -> dict[str, Workload]:
    """Sum up the groups of each endpoint, in the order in which they come."""
    found: dict[str, Workload] = {}
    for group in groups:
        row = group.endpoint
        known = found.get(row.name, Workload(row, 0, 0))
        ids = len(group.ids) if group.field else 1
        found[row.name] = Workload(row, known.ids + ids, known.calls + group.calls)
    return found
