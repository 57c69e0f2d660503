"""What one call of the client can cancel: ids of one kind, of one contract, at one endpoint."""

from collections.abc import Awaitable, Callable, Iterable
from math import ceil
from operator import attrgetter

from msgspec import Struct

from htx_cancel import CancelClient, CancelStatus, Limit, OrderResult, Outcome
from htx_cancel.endpoints import BUDGETS, Endpoint

#: Nothing is left to do about an id with one of these.
SETTLED = frozenset({CancelStatus.ACCEPTED, CancelStatus.CLOSED, CancelStatus.NOT_FOUND})

#: The words that narrow a call without ids, as pairs of name and word in the order of ``FILTERS``.
Filters = tuple[tuple[str, str], ...]

OnBatch = Callable[[tuple[OrderResult, ...]], object]


class Group(Struct, frozen=True):
    """The ids of one call. ``field`` is ``""`` and there are no ids where the call names none.

    ``field`` is ``order_id`` or ``client_order_id``, whatever the exchange calls them.
    ``contract_code`` is ``""`` where the call is for all contracts.
    """

    endpoint: Endpoint
    contract_code: str
    field: str = "order_id"
    ids: tuple[str, ...] = ()
    filters: Filters = ()

    @property
    def calls(self) -> int:
        """How many requests it takes."""
        return ceil(len(self.ids) / self.endpoint.batch_size) if self.field else 1

    @property
    def title(self) -> str:
        """Name the orders it is about, for people."""
        words = [self.contract_code or "all contracts", *(word for _, word in self.filters)]
        if self.field == "client_order_id":
            words.append("client ids")
        return " ".join(words)

    async def cancel(
        self,
        client: CancelClient,
        *,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Outcome:
        """Cancel it with the client's method for its endpoint."""
        given: dict[str, object] = dict(self.filters)
        if self.field:
            name = self.endpoint.fields[self.field == "client_order_id"]
            given = {f"{name}s": self.ids}
        codes = (self.contract_code,) if self.contract_code else ()
        method: Callable[..., Awaitable[Outcome]] = attrgetter(self.endpoint.name)(client)
        return await method(*codes, **given, timeout=timeout, on_batch=on_batch)


def label(endpoint: Endpoint) -> str:
    """Name a cancel call in a table: its product and the orders it is about."""
    product, _, orders = endpoint.name.partition(".cancel_")
    return f"{product} {orders.removesuffix('_orders').replace('_', ' ')}"


def takes_no_contract(endpoint: Endpoint) -> bool:
    """Say whether a call is for all contracts of the account."""
    return ".cancel_all_account_" in endpoint.name


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
