# mypy: ignore-errors
"""Legal and illegal uses of the API: ``test_typing`` runs the type checker on this file.

A line that the checker must refuse ends in ``# error:`` and the error's code. No line is run.
"""

from asyncio import Queue
from collections import deque
from collections.abc import Collection, Iterator, Sequence

from htx_cancel import (
    CallResult,
    CancelAllOutcome,
    CancelClient,
    CancelStatus,
    OrderResult,
    Outcome,
    Priority,
    Refusal,
    Source,
)


def generated() -> Iterator[str | int]:
    """Yield ids."""
    yield "1"
    yield 2


def plain(results: tuple[OrderResult, ...]) -> None:
    """Take results."""


async def asynchronous(results: tuple[OrderResult, ...]) -> None:
    """Take results in a coroutine function, which nobody awaits."""


async def ids(c: CancelClient, some: Sequence[str], others: Collection[int]) -> None:
    """Every kind of ids, and values that are no ids."""
    await c.coin_m_swap.cancel_orders("BTC-USD", ["1", "2"])
    await c.coin_m_swap.cancel_orders("BTC-USD", [1, "2"])
    await c.coin_m_swap.cancel_orders("BTC-USD", ("1",))
    await c.coin_m_swap.cancel_orders("BTC-USD", {1, 2})
    await c.coin_m_swap.cancel_orders("BTC-USD", frozenset({"1"}))
    await c.coin_m_swap.cancel_orders("BTC-USD", {"1": 0.5})
    await c.coin_m_swap.cancel_orders("BTC-USD", {"1": 0.5}.keys())
    await c.coin_m_swap.cancel_orders("BTC-USD", {0.5: "1"}.values())
    await c.coin_m_swap.cancel_orders("BTC-USD", deque(["1"]))
    await c.coin_m_swap.cancel_orders("BTC-USD", range(1, 5))
    await c.coin_m_swap.cancel_orders("BTC-USD", generated())
    await c.coin_m_swap.cancel_orders("BTC-USD", map(str, range(5)))
    await c.coin_m_swap.cancel_orders("BTC-USD", (result.order_id for result in Outcome.of([])))
    await c.coin_m_swap.cancel_orders("BTC-USD", some)
    await c.coin_m_swap.cancel_trailing_orders("BTC-USD", others)
    await c.usdt_m_v1_isolated.cancel_trigger_orders("BTC-USDT", [])
    await c.usdt_m.cancel_orders("BTC-USDT", client_order_ids=["1"])
    await c.usdt_m.cancel_orders("BTC-USDT", None, client_order_ids=["1"])
    await c.usdt_m.cancel_orders("BTC-USDT", ["1"], client_order_ids=None)
    await c.usdt_m.cancel_orders("BTC-USDT", order_ids=["1"])

    await c.coin_m_swap.cancel_orders("BTC-USD", "771038212360937472")  # error: call-overload
    await c.coin_m_swap.cancel_orders("BTC-USD", b"7")  # error: call-overload
    await c.coin_m_swap.cancel_orders("BTC-USD", 7)  # error: call-overload
    await c.coin_m_swap.cancel_orders("BTC-USD", [7.5])  # error: list-item
    await c.coin_m_swap.cancel_orders("BTC-USD", client_order_ids="7")  # error: call-overload
    await c.coin_m_swap.cancel_orders("BTC-USD")  # error: call-overload
    await c.coin_m_swap.cancel_orders("X", [1], client_order_ids=[2])  # error: call-overload
    await c.coin_m_swap.cancel_orders(["1"], "BTC-USD")  # error: call-overload
    await c.usdt_m.cancel_orders("BTC-USDT")  # error: call-overload
    await c.usdt_m.cancel_orders("BTC-USDT", "7")  # error: call-overload
    await c.usdt_m.cancel_orders("X", [1], client_order_ids=[2])  # error: call-overload
    await c.coin_m_swap.cancel_trailing_orders("BTC-USD", "7")  # error: arg-type
    await c.coin_m_swap.cancel_trailing_orders("BTC-USD", None)  # error: arg-type
    await c.coin_m_swap.cancel_trailing_orders("BTC-USD")  # error: call-arg
    await c.usdt_m_v1_isolated.cancel_trigger_orders("BTC-USDT", "7")  # error: arg-type
    await c.usdt_m_v1_isolated.cancel_trigger_orders("X", client_order_ids=[7])  # error: call-arg


async def filters(c: CancelClient, side: str) -> None:
    """Use the exchange's words for filters."""
    await c.coin_m_swap.cancel_all_trailing_orders("BTC-USD")
    await c.coin_m_swap.cancel_all_trailing_orders("BTC-USD", direction="buy", offset="close")
    await c.coin_m_swap.cancel_all_trailing_orders("BTC-USD", direction=None, offset=None)

    await c.coin_m_swap.cancel_all_trailing_orders("X", direction="long")  # error: arg-type
    await c.coin_m_swap.cancel_all_trailing_orders("BTC-USD", offset="both")  # error: arg-type
    await c.coin_m_swap.cancel_all_trailing_orders("X", direction=side)  # error: arg-type


async def options(c: CancelClient, queue: Queue[OrderResult]) -> None:
    """Timeouts, priorities and callbacks."""
    known: list[tuple[OrderResult, ...]] = []
    await c.usdt_m.cancel_orders("BTC-USDT", ["1"], timeout=2, priority=Priority.URGENT)
    await c.usdt_m.cancel_orders("BTC-USDT", ["1"], on_batch=plain, timeout=None)
    await c.usdt_m.cancel_orders("BTC-USDT", ["1"], on_batch=known.append)
    await c.coin_m_swap.cancel_trailing_orders("BTC-USD", ["1"], on_batch=plain)
    await c.coin_m_swap.cancel_trailing_orders(
        "BTC-USD", ["1"], on_batch=lambda results: queue.put_nowait(results[0])
    )

    await c.usdt_m.cancel_orders("BTC-USDT", ["1"], on_batch=asynchronous)  # error: arg-type
    await c.usdt_m.cancel_orders("BTC-USDT", ["1"], timeout="2")  # error: call-overload
    await c.usdt_m.cancel_orders("BTC-USDT", ["1"], priority=1)  # error: call-overload
    await c.coin_m_swap.cancel_trailing_orders("X", [1], on_batch=asynchronous)  # error: arg-type
    await c.usdt_m_v1_isolated.cancel_trigger_orders("X", ["1"], priorty=1)  # error: call-arg
    await c.coin_m_swap.cancel_all_trailing_orders("X", on_batch=asynchronous)  # error: arg-type


async def outcomes(c: CancelClient) -> None:
    """Read, merge, make and confirm outcomes."""
    first: Outcome = await c.coin_m_swap.cancel_orders("BTC-USD", ["1"])
    every: CancelAllOutcome = await c.coin_m_swap.cancel_all_trailing_orders("BTC-USD")
    call: CallResult = every.call
    both: Outcome = Outcome.merge(first, every)
    confirmed: Outcome = await c.confirm(both, first, timeout=5, on_batch=plain)
    live: tuple[OrderResult, ...] = confirmed.live
    settled: bool = confirmed.settled
    retryable: bool = live[0].retryable and call.retryable
    wait: float | None = confirmed.retry_in
    error: Refusal | None = confirmed.error
    code: int | None = error.code if error else None
    made: Outcome = Outcome.of(
        [OrderResult("7", CancelStatus.ACCEPTED)],
        source=Source("coin_m_swap.cancel_orders", "BTC-USD"),
        error=Refusal(403, "wrong key"),
        retry_in=None,
    )
    every = CancelAllOutcome.of(call=CallResult(CancelStatus.UNKNOWN))
    several: tuple[object, ...] = (settled, retryable, wait, code, made.counts, every)
    assert several

    await c.confirm([first])  # error: arg-type
    await c.confirm(first, on_batch=asynchronous)  # error: arg-type
    await c.confirm(first, timeout=None)  # error: arg-type
    Outcome.merge([first, both])  # error: arg-type
    Outcome.of(["7"])  # error: list-item
    first.error = None
    first.settled = True  # error: misc
