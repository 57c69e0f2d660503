"""The client: its settings, the arguments of its calls, what its calls share, and ``aclose``."""

import asyncio
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import pytest
from clients import ONCE, add, cancel, credentials, in_process, over_a_socket
from virtualtime import VirtualLoop, run

from htx_cancel import (
    Budgets,
    CancelClient,
    CancelStatus,
    ClientClosedError,
    InvalidTypeError,
    InvalidValueError,
    Limit,
    OrderResult,
)
from htx_cancel.errors import WrongLoopError
from htx_cancel.sandbox import Exchange

pytestmark = pytest.mark.loops


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"base_url": "http://api.hbdm.com"}, InvalidValueError),
        ({"signing_host": "a b"}, InvalidValueError),
        ({"limits": {"no_such": Limit(1, 1)}}, InvalidValueError),
        ({"limits": {}, "budgets": Budgets()}, InvalidValueError),
        ({"request_timeout": 0}, InvalidValueError),
        ({"base_url": []}, InvalidValueError),
        ({"max_in_flight": 0}, InvalidValueError),
        ({"max_reply_bytes": "1"}, InvalidTypeError),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], error: type[Exception]) -> None:
    """The constructor raises for settings that cannot work."""
    with pytest.raises(error):
        CancelClient(credentials(), **settings)
    with pytest.raises(InvalidTypeError, match="credentials"):
        CancelClient("key")  # type: ignore[arg-type]


def test_a_client_belongs_to_one_event_loop() -> None:
    """In a second event loop a client raises before it sends; so do budgets in use."""
    exchange = Exchange()
    clients: list[CancelClient] = []

    async def first() -> None:
        clients.append(in_process(exchange))
        assert len((await cancel(clients[0], "swap", add(exchange, "swap", 1))).accepted) == 1

    async def second() -> None:
        with pytest.raises(WrongLoopError, match="CancelClient must be used in one event loop"):
            await cancel(clients[0], "swap", ["1"])
        with pytest.raises(WrongLoopError, match="CancelClient"):
            await clients[0].warm_up()
        async with in_process(exchange, budgets=clients[0].budgets) as other:
            with pytest.raises(WrongLoopError, match="Budgets must be used in one event loop"):
                await cancel(other, "swap", ["1"])

    run(first())
    run(second())
    assert exchange.calls.total() == 1


def test_the_signing_host_can_differ_from_the_address() -> None:
    """With colocation, the signed host name differs from the address that is dialled."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1)
        async with in_process(
            exchange, base_url="https://colo.example", signing_host="api.hbdm.com", retry=ONCE
        ) as client:
            outcome = await cancel(client, "swap", ids)
        assert outcome[ids[0]].code == 403

    run(main())


def test_max_in_flight_limits_the_requests_in_flight() -> None:
    """A third request waits for a reply, although tokens are free."""

    async def main() -> None:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        async with in_process(exchange, delay=0.05, max_in_flight=2) as client:
            await cancel(client, "swap", add(exchange, "swap", 100))
        assert loop.time() == pytest.approx(5 * 0.1, abs=0.01)

    run(main())


def test_charge_pools_charges_the_product_s_pool_too() -> None:
    """Trigger cancels use tokens of the USDT-M pool, and the exchange refuses nothing."""

    async def main(**settings: Any) -> int:
        exchange = Exchange(charge_pools=True)
        budgets = Budgets(**settings)
        async with in_process(exchange, retry=ONCE, budgets=budgets) as client:
            await asyncio.gather(
                cancel(client, "linear_trigger", add(exchange, "linear_trigger", 600)),
                cancel(client, "v5", add(exchange, "v5", 144)),
            )
        return exchange.refused.total()

    assert run(main(charge_pools=True)) == 0
    assert run(main()) > 0


def test_two_clients_of_one_uid_share_budgets() -> None:
    """Together they keep the rate limit, and the exchange refuses nothing."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        budgets = Budgets()
        clients = [in_process(exchange, budgets=budgets) for _ in range(2)]
        await asyncio.gather(
            cancel(clients[0], "swap_trailing", ids[:50]),
            cancel(clients[1], "swap_trailing", ids[50:]),
        )
        assert not exchange.refused
        assert clients[0].budgets is clients[1].budgets is budgets

    run(main())


async def test_a_reply_longer_than_max_reply_bytes_is_unknown() -> None:
    """A reply that is not read says nothing about the orders."""
    exchange = Exchange()
    ids = add(exchange, "swap", 10)
    async with over_a_socket(exchange, retry=ONCE, max_reply_bytes=50) as client:
        outcome = await cancel(client, "swap", ids)
    assert outcome.counts == {CancelStatus.UNKNOWN: 10}


def test_warm_up_measures_the_round_trip_before_the_first_cancel() -> None:
    """The first window is no longer than it must be."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        client = in_process(exchange, delay=0.05)
        assert await client.warm_up(4) == 4
        began = asyncio.get_running_loop().time()
        outcome = await cancel(client, "swap_trailing", ids)
        assert outcome.counts == {CancelStatus.ACCEPTED: 100}
        assert asyncio.get_running_loop().time() - began < 1.0 + 0.1 + 0.005

    run(main())


# arguments of a call

BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception]]] = [
    ("coin_m_swap.cancel_orders", ("BTC-USD",), {}, InvalidValueError),
    (
        "coin_m_swap.cancel_orders",
        ("BTC-USD", ["1"]),
        {"client_order_ids": ["2"]},
        InvalidValueError,
    ),
    ("coin_m_swap.cancel_orders", ("BTC-USD", "123"), {}, InvalidTypeError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", [1.0]), {}, InvalidTypeError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", ["1", ""]), {}, InvalidValueError),
    ("coin_m_swap.cancel_orders", ("", ["1"]), {}, InvalidValueError),
    ("coin_m_swap.cancel_orders", (None, ["1"]), {}, InvalidTypeError),
    ("usdt_m.cancel_orders", ("BTC-USDT",), {}, InvalidValueError),
    ("usdt_m.cancel_orders", ("BTC-USDT", ["1,2"]), {}, InvalidValueError),
    ("coin_m_swap.cancel_trailing_orders", ("BTC-USD", None), {}, InvalidValueError),
    ("usdt_m_v1_isolated.cancel_trigger_orders", ("BTC-USDT", ["1\n"]), {}, InvalidValueError),
    (
        "coin_m_swap.cancel_all_trailing_orders",
        ("BTC-USD",),
        {"direction": "up"},
        InvalidValueError,
    ),
    ("coin_m_swap.cancel_all_trailing_orders", ("BTC-USD",), {"offset": "both"}, InvalidValueError),
    ("coin_m_swap.cancel_all_trailing_orders", (" ",), {}, InvalidValueError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", ["1"]), {"timeout": 0}, InvalidValueError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", ["1"]), {"timeout": "1"}, InvalidTypeError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", ["1"]), {"on_batch": 1}, InvalidTypeError),
    ("coin_m_swap.cancel_orders", ("BTC-USD", ["1"]), {"priority": 1}, InvalidTypeError),
]


@pytest.mark.parametrize(("method", "args", "terms", "error"), BAD)
def test_bad_input_is_refused_before_anything_is_sent(
    method: str, args: tuple[Any, ...], terms: dict[str, Any], error: type[Exception]
) -> None:
    """The error is ours, and also a ``ValueError`` or a ``TypeError``."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            with pytest.raises(error) as caught:
                await attrgetter(method)(client)(*args, **terms)
        assert isinstance(caught.value, ValueError | TypeError)
        assert not exchange.calls

    run(main())


def test_a_bad_id_at_the_end_of_a_long_iterable_sends_nothing() -> None:
    """All ids are checked before the first request is sent."""

    def source() -> Iterator[int | float]:
        yield from range(1, 5000)
        yield 5.5

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            with pytest.raises(InvalidTypeError, match=r"5\.5"):
                await client.coin_m_swap.cancel_orders("BTC-USD", source())  # type: ignore[arg-type]
        assert not exchange.calls

    run(main())


def test_checking_many_ids_lets_the_event_loop_run() -> None:
    """The event loop runs once for every 200 ids."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        turns = 0
        seen: list[int] = []

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        loop.call_soon(turn)
        async with in_process(Exchange(), retry=ONCE) as client:
            await client.coin_m_swap.cancel_orders(
                "BTC-USD", range(1, 10_001), timeout=1e-9, on_batch=lambda _: seen.append(turns)
            )
        assert 45 < seen[0] < 60

    run(main())


def slowly(count: int, seconds: float, last: object = None) -> Iterator[str]:
    """Yield ids, each of which takes ``seconds`` to check."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    for number in range(1, count + 1):
        loop.stall(seconds)
        yield str(number)
    if last is not None:
        yield last  # type: ignore[misc]


def test_nothing_is_sent_if_checking_ids_takes_longer_than_the_timeout() -> None:
    """All ids are checked, and all come back once, unsent and in order."""

    async def main() -> None:
        exchange = Exchange()
        results: list[OrderResult] = []
        async with in_process(exchange) as client:
            outcome = await client.coin_m_swap.cancel_orders(
                "BTC-USD", slowly(1000, 0.001), timeout=0.05, on_batch=results.extend
            )
            assert asyncio.get_running_loop().time() == pytest.approx(1.0, abs=0.01)
        assert outcome.counts == {CancelStatus.UNSENT: 1000}
        assert [result.order_id for result in outcome] == [str(number) for number in range(1, 1001)]
        assert sorted(results, key=lambda result: int(result.order_id)) == list(outcome)
        assert not exchange.calls

    run(main())


def test_a_bad_id_raises_even_after_the_timeout() -> None:
    """A bad id raises, however late it is found."""

    async def main() -> None:
        async with in_process(Exchange()) as client:
            with pytest.raises(InvalidTypeError, match=r"got 5\.5"):
                await client.coin_m_swap.cancel_orders(
                    "BTC-USD", slowly(100, 0.001, 5.5), timeout=0.05
                )

    run(main())


# closing


def test_closing_waits_for_requests_in_flight() -> None:
    """A running call returns: orders of requests in flight are accepted, the others unsent."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 100)
        client = in_process(exchange, delay=0.2)
        call = asyncio.create_task(cancel(client, "swap_trailing", ids))
        await asyncio.sleep(0.1)
        assert repr(client) == "<CancelClient for https://api.hbdm.com: 1 calls under way>"
        await client.aclose()
        outcome = await call
        assert outcome.counts == {CancelStatus.ACCEPTED: 50, CancelStatus.UNSENT: 50}
        assert outcome.unsent[0].message == "the client was closed"
        with pytest.raises(ClientClosedError, match="closed"):
            await cancel(client, "swap", ["1"])
        await client.aclose()

    run(main())


def test_closing_while_ids_are_checked_sends_nothing() -> None:
    """The running call returns with every id unsent."""

    async def main() -> None:
        exchange = Exchange()
        client = in_process(exchange)
        call = asyncio.create_task(cancel(client, "swap", range(1, 1001)))
        await asyncio.sleep(0)
        await client.aclose()
        assert (await call).counts == {CancelStatus.UNSENT: 1000}
        assert not exchange.calls

    run(main())


@pytest.mark.parametrize("drain", [0, 0.5])
def test_closing_gives_up_requests_without_a_reply_in_time(drain: float) -> None:
    """Orders of requests in flight at the end of ``drain`` are unknown, and no request goes on."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 10)
        client = in_process(exchange, delay=2.0)
        call = asyncio.create_task(cancel(client, "swap", ids))
        await asyncio.sleep(0.1)
        await client.aclose(drain=drain)
        assert asyncio.get_running_loop().time() == pytest.approx(0.1 + drain, abs=0.01)
        assert asyncio.all_tasks() <= {asyncio.current_task(), call}
        assert (await call).counts == {CancelStatus.UNKNOWN: 10}

    run(main())


def test_closing_at_once_returns_a_status_for_every_id_of_a_large_call() -> None:
    """With almost no ``drain``, 100,000 ids still come back."""

    async def main() -> None:
        exchange = Exchange()
        client = in_process(exchange, delay=2.0)
        call = asyncio.create_task(cancel(client, "swap", map(str, range(1, 100_001))))
        await asyncio.sleep(0.1)
        await client.aclose(drain=0.001)
        counts = (await asyncio.wait_for(call, 60)).counts
        assert counts == {CancelStatus.UNKNOWN: 360, CancelStatus.UNSENT: 99_640}

    run(main())


@pytest.mark.parametrize("drain", [-1.0, float("inf"), "5"])
async def test_closing_refuses_a_drain_that_is_no_time(drain: Any) -> None:
    """The client stays open, and can still be closed."""
    client = in_process(Exchange())
    with pytest.raises((InvalidTypeError, InvalidValueError), match="drain must be"):
        await client.aclose(drain=drain)
    assert "0 calls under way" in repr(client)
    await client.aclose()
