"""What happens on the way from a method to its call: planning in time, and what the call tells."""

import asyncio
from collections.abc import Iterator

import pytest
from roads import add, cancel, in_process
from virtualtime import VirtualLoop, run

from htx_cancel import CancelStatus, InvalidTypeError, OrderResult, Refusal
from htx_cancel.sandbox import Exchange


def slowly(count: int, seconds: float, last: object = None) -> Iterator[str]:
    """Yield ids, each of which takes a while to look at."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    for number in range(1, count + 1):
        loop.stall(seconds)
        yield str(number)
    if last is not None:
        yield last  # type: ignore[misc]


def test_nothing_is_sent_when_planning_took_longer_than_the_timeout() -> None:
    """Every id is looked at, and every one comes back once, unsent and in order."""

    async def main() -> None:
        exchange = Exchange()
        told: list[OrderResult] = []
        async with in_process(exchange) as client:
            outcome = await client.cancel_swap_orders(
                "BTC-USD", slowly(1000, 0.001), timeout=0.05, on_batch=told.extend
            )
            assert asyncio.get_running_loop().time() == pytest.approx(1.0, abs=0.01)
        assert outcome.counts == {CancelStatus.UNSENT: 1000}
        assert [it.order_id for it in outcome] == [str(number) for number in range(1, 1001)]
        assert tuple(told) == outcome.results
        assert not exchange.calls

    run(main())


def test_a_bad_id_raises_even_after_the_timeout() -> None:
    """An id that cannot be sent is a mistake at any time."""

    async def main() -> None:
        async with in_process(Exchange()) as client:
            with pytest.raises(InvalidTypeError, match=r"got 5\.5"):
                await client.cancel_swap_orders("BTC-USD", slowly(100, 0.001, 5.5), timeout=0.05)

    run(main())


def test_an_outcome_has_the_error_and_the_wait_of_its_call() -> None:
    """``error`` and ``retry_in`` are read off the call when it has ended."""
    error = Refusal(403, "wrong key")

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "swap_trailing", 1)

        def on_batch(_results: tuple[OrderResult, ...]) -> None:
            for call in client._calls:
                vars(call).update(error=error, retry_in=lambda: 1.5)

        async with in_process(exchange) as client:
            outcome = await cancel(client, "swap", ["1"], on_batch=on_batch)
            every = await client.cancel_all_swap_trailing_orders("BTC-USD", on_batch=on_batch)
            nothing = await cancel(client, "swap", [])
        assert (outcome.error, outcome.retry_in) == (error, 1.5)
        assert (every.error, every.retry_in) == (error, 1.5)
        assert (nothing.error, nothing.retry_in) == (None, None)

    run(main())
