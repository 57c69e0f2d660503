"""Describe the orders that one call of the client cancels, and the requests that it takes."""

from collections.abc import Awaitable, Callable, Iterable
from math import ceil
from operator import attrgetter
from typing import Unpack

import msgspec
from msgspec import Struct

from htx_cancel import CallOptions, CancelClient, CancelStatus, Limit, Outcome
from htx_cancel.endpoints import BUDGETS, Endpoint

#: The statuses that leave nothing to do about an id.
SETTLED = frozenset({CancelStatus.ACCEPTED, CancelStatus.CLOSED, CancelStatus.NOT_FOUND})

#: The filters of a cancel-all, as pairs of name and value in the order of ``FILTERS``.
Filters = tuple[tuple[str, str], ...]


class Group(Struct, frozen=True):
    """The ids of one call, or a cancel-all: then ``field`` is ``""`` and ``ids`` is empty.

    ``field`` is ``order_id`` or ``client_order_id``, even if the exchange uses other names.
    ``contract_code`` is ``""`` if the call is for all contracts.
    """

    endpoint: Endpoint
    contract_code: str
    field: str = "order_id"
    ids: tuple[str, ...] = ()
    filters: Filters = ()

    @property
    def requests(self) -> int:
        """How many requests the call takes."""
        return ceil(len(self.ids) / self.endpoint.batch_size) if self.field else 1

    @property
    def title(self) -> str:
        """A name of the orders for people."""
        words = [self.contract_code or "all contracts", *(value for _, value in self.filters)]
        if self.field == "client_order_id":
            words.append("client ids")
        return " ".join(words)

    async def cancel(self, client: CancelClient, **options: Unpack[CallOptions]) -> Outcome:
        """Cancel the orders with the client's method for the endpoint."""
        arguments: dict[str, object] = dict(self.filters)
        if self.field:
            name = self.endpoint.fields[self.field == "client_order_id"]
            arguments = {f"{name}s": self.ids}
        codes = (self.contract_code,) if self.contract_code else ()
        method: Callable[..., Awaitable[Outcome]] = attrgetter(self.endpoint.name)(client)
        return await method(*codes, **arguments, **options)


def label(endpoint: Endpoint) -> str:
    """Return a short name of a cancel endpoint for tables."""
    product, _, orders = endpoint.name.partition(".cancel_")
    return f"{product} {orders.removesuffix('_orders').replace('_', ' ')}"


class Workload(Struct, frozen=True):
    """The ids and requests for one endpoint. A cancel-all counts as one id."""

    endpoint: Endpoint
    ids: int = 0
    requests: int = 0

    @property
    def limit(self) -> Limit:
        """The rate limit of the endpoint."""
        return BUDGETS[self.endpoint.budgets()[0]]

    @property
    def limit_text(self) -> str:
        """The rate limit as the exchange states it."""
        return f"{self.limit.calls} / {self.limit.seconds:g} s"

    @property
    def min_seconds(self) -> float:
        """The least number of seconds that the rate limit allows."""
        return (self.requests - 1) // self.limit.calls * self.limit.seconds


def workloads(groups: Iterable[Group]) -> dict[str, Workload]:
    """Sum up the groups of each endpoint, in the order in which the endpoints come."""
    found: dict[str, Workload] = {}
    for group in groups:
        sums = found.get(group.endpoint.name, Workload(group.endpoint))
        found[group.endpoint.name] = msgspec.structs.replace(
            sums,
            ids=sums.ids + (len(group.ids) if group.field else 1),
            requests=sums.requests + group.requests,
        )
    return found
