"""An outage from beginning to end: cancel calls while the exchange is unreachable, and after."""

import asyncio

import pytest
from clients import add, cancel
from net import ONE, Net, always, many
from virtualtime import now, run

from htx_cancel import CancelStatus, Priority, RetryPolicy
from htx_cancel.attempt import TOO_LATE
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.rules import Kind
from htx_cancel.wire.transport import CONNECT_TIMEOUT

pytestmark = pytest.mark.loops

ACCEPTED, UNSENT = CancelStatus.ACCEPTED, CancelStatus.UNSENT
#: Three thousand ids in one call, in 3,000 calls, and in 30 calls with few tokens.
LOADS: list[tuple[Kind, int, int]] = [("v5", 1, 3000), ("v5", 3000, 1), ("swap_trailing", 30, 100)]


@pytest.mark.parametrize(("kind", "calls", "ids"), LOADS)
def test_an_urgent_call_goes_before_all_retries_when_an_outage_ends(
    kind: Kind, calls: int, ids: int
) -> None:
    """After two seconds without a connection it is accepted within half a second."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client() as client:
            routine = await many(client, exchange, kind, calls, ids)
            await asyncio.sleep(1.0)
            urgent = asyncio.create_task(
                cancel(client, kind, add(exchange, kind, 1), priority=Priority.URGENT)
            )
            await asyncio.sleep(1.0)
            tasks = asyncio.all_tasks() - set(routine) - {urgent, asyncio.current_task()}
            in_flight = sum(each.in_flight for each in client.budgets.snapshot())
            tried = calls + (72 if kind == "v5" else 5)  # the first window, and one a call
            assert len(tasks) <= calls + 1 + tried + in_flight + 1  # a feeder a call, one pacer
            net.hosts[ONE] = always("ok")
            assert (await urgent).counts == {ACCEPTED: 1}
            assert now() < 2.5
            outcomes = await asyncio.gather(*routine)
            assert sum(len(outcome.accepted) for outcome in outcomes) == 3000
        assert not exchange.refused

    run(main())


@pytest.mark.parametrize("seconds", [5.0, 30.0])
@pytest.mark.parametrize(("kind", "calls", "ids"), LOADS)
def test_a_call_gives_up_after_max_elapsed_of_an_outage(
    seconds: float, kind: Kind, calls: int, ids: int
) -> None:
    """All ids are unsent after ``max_elapsed``, whatever their number."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client(
            retry=RetryPolicy(max_elapsed=seconds), request_timeout=1.0
        ) as client:
            outcomes = await asyncio.gather(*await many(client, exchange, kind, calls, ids))
            assert seconds - 2.5 <= now() <= seconds + 1.0
        assert sum(len(outcome.unsent) for outcome in outcomes) == 3000
        unreachable = f"the exchange was unreachable for {seconds:g} s"
        assert any(result.message == unreachable for outcome in outcomes for result in outcome)

    run(main())


def test_new_batches_leave_when_the_first_tried_one_gets_through() -> None:
    """Not only when all that were tried are answered: one of them waits five seconds in vain."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        first = iter(["silent"])
        net.hosts[ONE] = lambda _request: next(first, "refuse" if now() < 1.0 else "ok")
        told: list[float] = []
        async with net.client() as client:
            await cancel(
                client,
                "swap",
                add(exchange, "swap", 500),
                on_batch=lambda _results: told.append(now()),
            )
        assert len([at for at in told if at < 4.9]) == 49

    run(main())


def test_a_timeout_ends_a_call_in_an_outage() -> None:
    """The timeout is shorter than ``max_elapsed``."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 300), timeout=1.5)
            assert outcome.counts == {UNSENT: 300}
            assert now() <= 1.501

    run(main())


def test_a_call_that_may_not_try_to_connect_before_its_timeout_is_too_late() -> None:
    """Four attempts to connect hang, and no other attempt is made meanwhile."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("hang")
        async with net.client() as client:
            first = asyncio.create_task(cancel(client, "v5", add(exchange, "v5", 4)))
            await asyncio.sleep(CONNECT_TIMEOUT + 2.5)
            outcome = await cancel(client, "v5", add(exchange, "v5", 1), timeout=0.1)
            assert {(each.status, each.message) for each in outcome} == {(UNSENT, TOO_LATE)}
            net.hosts[ONE] = always("ok")
            assert (await first).counts == {ACCEPTED: 4}

    run(main())


def test_max_elapsed_begins_with_the_call_or_with_a_later_outage() -> None:
    """Neither a call of seven seconds gives up at once, nor one that begins during the outage."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = lambda _request: "refuse" if 5.0 < now() < 7.5 else "ok"
        async with net.client(retry=RetryPolicy(max_elapsed=4.5)) as client:
            long = asyncio.create_task(cancel(client, "swap", add(exchange, "swap", 1000)))
            assert (await long).counts == {ACCEPTED: 1000}
            net.hosts[ONE] = always("refuse")
            first = asyncio.create_task(cancel(client, "v5", add(exchange, "v5", 1)))
            await asyncio.sleep(4.0)
            second = asyncio.create_task(cancel(client, "v5", add(exchange, "v5", 1)))
            assert (await first).counts == {UNSENT: 1}
            await asyncio.sleep(1.0)
            net.hosts[ONE] = always("ok")
            assert (await second).counts == {ACCEPTED: 1}

    run(main())


@pytest.mark.parametrize("behaviour", ["hang", "refuse"])
def test_closing_the_client_during_an_outage_leaves_no_task(behaviour: str) -> None:
    """The task that paces the attempts to connect ends as well."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always(behaviour)
        client = net.client()
        calls = await many(client, exchange, "v5", 20, 10)
        await asyncio.sleep(CONNECT_TIMEOUT + 1.0)
        await client.aclose()
        outcomes = await asyncio.gather(*calls)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert sum(len(outcome.unsent) for outcome in outcomes) == 200

    run(main())
