"""Cancel a mixed list: any orders of any products, each in the call for it, all at once.

Rules:

* Orders that one call can carry go together: those of one product, kind, contract and sort of id.
* Every order comes back once, in the order given; of two equal ones the first counts.
* Each result names its source: product, kind and contract.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import chain
from typing import TypeVar

from msgspec.structs import replace

from htx_cancel.errors import InvalidTypeError
from htx_cancel.orders import OpenOrder, OrderRef, reference
from htx_cancel.outcome import Outcome, Part
from htx_cancel.results import OrderResult, Source
from htx_cancel.status import CancelStatus

YIELD_EVERY = 200  #: orders looked at between two turns of the event loop

Key = tuple[Source, str]  #: a source, and an id of it
Item = TypeVar("Item")


async def sources(orders: Iterable[OpenOrder | OrderRef]) -> dict[Key, None]:
    """Look at what is to be cancelled; return where each order comes from, each once."""
    if not isinstance(orders, Iterable) or isinstance(orders, str | bytes):
        raise InvalidTypeError(f"orders must be an iterable of orders, got {type(orders).__name__}")
    keys: dict[Key, None] = {}
    async for given in _in_turns(orders):
        ref = reference(given)
        keys[Source(ref.method, ref.contract_code, ref.field), ref.id] = None
    return keys


async def grouped(keys: Iterable[Key]) -> dict[Source, list[str]]:
    """Put together what one call can carry."""
    groups: dict[Source, list[str]] = {}
    async for source, order_id in _in_turns(keys):
        groups.setdefault(source, []).append(order_id)
    return groups


async def _in_turns(items: Iterable[Item]) -> AsyncIterator[Item]:
    """Go through many; let the event loop turn now and then."""
    for looked, item in enumerate(items, 1):
        yield item
        if looked % YIELD_EVERY == 0:
            await asyncio.sleep(0)


def named(source: Source, results: Iterable[OrderResult]) -> tuple[OrderResult, ...]:
    """Write the source into results."""
    return tuple([replace(result, source=source) for result in results])


async def joined(keys: Iterable[Key], outcomes: Sequence[Outcome]) -> Outcome:
    """Join the outcomes of the calls into one, in the order in which the orders were given."""
    found: dict[Key, OrderResult] = {}
    counts = Counter[CancelStatus]()
    for outcome in outcomes:
        counts.update(outcome.counts)
        for part in outcome.parts:
            async for result in _in_turns(chain.from_iterable(part.batches)):
                found[part.source, result.order_id] = replace(result, source=part.source)
    runs: list[tuple[Source, list[OrderResult]]] = []
    async for key in _in_turns(keys):
        if not runs or runs[-1][0] != key[0]:
            runs.append((key[0], []))
        runs[-1][1].append(found[key])
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    waits = [outcome.retry_in for outcome in outcomes if outcome.retry_in is not None]
    return Outcome(
        [Part(source, (tuple(results),)) for source, results in runs],
        counts,
        error=errors[0] if errors else None,
        retry_in=min(waits, default=None),
    )
