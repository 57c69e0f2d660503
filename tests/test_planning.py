"""What happens on the way from a method to its call: planning in time, and what the call tells."""

import asyncio
from collections.abc import Iterator

import pytest
from clients import add, cancel, in_process
from virtualtime import VirtualLoop, run

from htx_cancel import CancelStatus, InvalidTypeError, OrderResult, Outcome
from htx_cancel.sandbox import Exchange

pytestmark = pytest.mark.loops


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
            outcome = await client.coin_m_swap.cancel_orders(
                "BTC-USD", slowly(1000, 0.001), timeout=0.05, on_batch=told.extend
            )
            assert asyncio.get_running_loop().time() == pytest.approx(1.0, abs=0.01)
        assert outcome.counts == {CancelStatus.UNSENT: 1000}
        assert [it.order_id for it in outcome] == [str(number) for number in range(1, 1001)]
        assert sorted(told, key=lambda it: int(it.order_id)) == list(outcome)
        assert not exchange.calls

    run(main())


def test_a_bad_id_raises_even_after_the_timeout() -> None:
    """An id that cannot be sent is a mistake at any time."""

    async def main() -> None:
        async with in_process(Exchange()) as client:
            with pytest.raises(InvalidTypeError, match=r"got 5\.5"):
                await client.coin_m_swap.cancel_orders(
                    "BTC-USD", slowly(100, 0.001, 5.5), timeout=0.05
                )

    run(main())


def test_an_outcome_says_in_how_many_seconds_the_unsent_could_leave() -> None:
    """Whoever waits so long and tries the live ones again gets them all canceled."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        async with in_process(exchange) as client:
            first = await cancel(client, "swap_trailing", ids, timeout=0.5)
            assert first.counts == {CancelStatus.ACCEPTED: 50, CancelStatus.UNSENT: 50}
            assert first.retry_in == pytest.approx(1.0, abs=0.05)
            assert all(result.retryable for result in first.live)
            await asyncio.sleep(first.retry_in or 0.0)
            live = [result.order_id for result in first.live]
            again = await cancel(client, "swap_trailing", live, timeout=0.5)
            nothing = await cancel(client, "swap", [])
        assert Outcome.merge(first, again).settled
        assert (again.retry_in, nothing.retry_in) == (None, None)
        assert (again.error, nothing.error) == (None, None)

    run(main())


def test_an_outcome_says_what_refused_the_account() -> None:
    """A host that is not the one that was signed: one refusal, and the rest never leaves."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1000)
        add(exchange, "swap_trailing", 1)
        async with in_process(exchange, signing_host="other.example") as client:
            outcome = await cancel(client, "swap", ids)
            every = await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD")
        assert outcome.error is not None
        assert outcome.error.code == 403
        assert outcome.counts.keys() == {CancelStatus.REJECTED, CancelStatus.UNSENT}
        assert not any(result.retryable for result in outcome.rejected)
        assert every.error == outcome.error
        assert not every.settled

    run(main())
