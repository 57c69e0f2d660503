"""Cancel a mixed list: any orders of any products, each in the call for it, all at once.

Rules:

* Orders that one call can carry go together: those of one product, kind, contract and sort of id.
* Every order comes back once, in the order given; of two equal ones the first counts.
* Each result names its source: product, kind and contract.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter

from msgspec.structs import replace

from htx_cancel.errors import InvalidTypeError
from htx_cancel.orders import OpenOrder, OrderRef, reference
from htx_cancel.outcome import OrderResult, Outcome, Part, Source

YIELD_EVERY = 200  #: orders looked at between two turns of the event loop

Key = tuple[Source, str]  #: a source, and an id of it


async def sources(orders: Iterable[OpenOrder | OrderRef]) -> dict[Key, None]:
    """Look at what is to be cancelled; return where each order comes from, each once."""
    if not isinstance(orders, Iterable) or isinstance(orders, str | bytes):
        raise InvalidTypeError(f"orders must be an iterable of orders, got {type(orders).__name__}")
    keys: dict[Key, None] = {}
    for looked, given in enumerate(orders, 1):
        ref = reference(given)
        source = Source(ref.method, ref.contract_code, ref.field)
        keys[source, ref.id] = None
        if looked % YIELD_EVERY == 0:
            await asyncio.sleep(0)
    return keys


def grouped(keys: Iterable[Key]) -> dict[Source, list[str]]:
    """Put together what one call can carry."""
    groups: dict[Source, list[str]] = {}
    for source, order_id in keys:
        groups.setdefault(source, []).append(order_id)
    return groups


def named(source: Source, results: Iterable[OrderResult]) -> tuple[OrderResult, ...]:
    """Write the source into results."""
    return tuple([replace(result, source=source) for result in results])


async def joined(keys: Iterable[Key], outcomes: Sequence[Outcome]) -> Outcome:
    """Join the outcomes of the calls into one, in the order in which the orders were given."""
    found: dict[Key, OrderResult] = {}
    for part in (part for outcome in outcomes for part in outcome.parts):
        for number, batch in enumerate(part.batches, 1):
            found.update(((part.source, it.order_id), it) for it in named(part.source, batch))
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
    parts = [
        Part(source, (tuple([found[key] for key in run]),))
        for source, run in groupby(keys, key=itemgetter(0))
    ]
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    waits = [outcome.retry_in for outcome in outcomes if outcome.retry_in is not None]
    return Outcome(
        parts,
        Counter(result.status for result in found.values()),
        error=errors[0] if errors else None,
        retry_in=min(waits, default=None),
    )
