"""Cancel a mixed list of orders: group them into calls, and join the outcomes of the calls.

Rules:

* Orders of one product, kind, contract and kind of id share a call.
* The outcome has every order once, in the order given; of equal orders the first counts.
* Each result has its source: product, kind and contract.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import chain
from typing import TypeVar

from msgspec.structs import replace

from htx_cancel.errors import InvalidTypeError
from htx_cancel.orders import OpenOrder, OrderRef, reference
from htx_cancel.outcome import Outcome, Part, in_batches
from htx_cancel.results import OrderResult, Source
from htx_cancel.status import CancelStatus

YIELD_EVERY = 200  #: orders handled before the event loop gets a turn

Key = tuple[Source, str]  #: an id and its source: together they name one order
Item = TypeVar("Item")


async def keys_of(orders: Iterable[OpenOrder | OrderRef]) -> dict[Key, None]:
    """Check the orders; return their keys, each once.

    Raises ``InvalidTypeError`` or ``InvalidValueError`` for an order that cannot be cancelled.
    """
    if not isinstance(orders, Iterable) or isinstance(orders, str | bytes):
        raise InvalidTypeError(f"orders must be an iterable of orders, got {type(orders).__name__}")
    keys: dict[Key, None] = {}
    async for order in _with_pauses(orders):
        ref = reference(order)
        keys[Source(ref.method, ref.contract_code, ref.field), ref.id] = None
    return keys


async def grouped(keys: Iterable[Key]) -> dict[Source, list[str]]:
    """Group ids by their source, so that one call can send each group."""
    groups: dict[Source, list[str]] = {}
    async for source, order_id in _with_pauses(keys):
        groups.setdefault(source, []).append(order_id)
    return groups


async def _with_pauses(items: Iterable[Item]) -> AsyncIterator[Item]:
    for number, item in enumerate(items, 1):
        yield item
        if number % YIELD_EVERY == 0:
            await asyncio.sleep(0)


async def joined(keys: Iterable[Key], outcomes: Sequence[Outcome]) -> Outcome:
    """Join the outcomes of the calls into one, in the order of the keys."""
    results: dict[Key, OrderResult] = {}
    counts = Counter[CancelStatus]()
    for outcome in outcomes:
        counts.update(outcome.counts)
        for part in outcome.parts:
            async for result in _with_pauses(chain.from_iterable(part.batches)):
                results[part.source, result.order_id] = replace(result, source=part.source)
    runs: list[tuple[Source, list[OrderResult]]] = []
    async for key in _with_pauses(keys):
        if not runs or runs[-1][0] != key[0]:
            runs.append((key[0], []))
        runs[-1][1].append(results[key])
    errors = (outcome.error for outcome in outcomes if outcome.error is not None)
    waits = (outcome.retry_in for outcome in outcomes if outcome.retry_in is not None)
    return Outcome(
        [Part(source, in_batches(run)) for source, run in runs],
        counts,
        error=next(errors, None),
        retry_in=min(waits, default=None),
    )
