"""How attempts to connect are paced while the exchange is unreachable, on virtual time."""

import asyncio
import itertools
from collections import Counter

import pytest
from aiolimiter import AsyncLimiter
from clients import add, cancel
from limits_helpers import turns
from net import ONE, Net, always, many, refusing
from virtualtime import now, run

from htx_cancel import Budgets, CancelStatus, Limit, Priority, RetryPolicy
from htx_cancel.limits.reconnect import AT_ONCE, ATTEMPTS_PER_SECOND, PER_TURN, Reconnect
from htx_cancel.sandbox import Exchange
from htx_cancel.wire.transport import CONNECT_TIMEOUT

pytestmark = pytest.mark.loops

ACCEPTED = CancelStatus.ACCEPTED


def test_attempts_to_reconnect_are_spread_evenly() -> None:
    """The rate is fixed, however many batches fail, after the first burst that failed."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client(retry=RetryPolicy(max_elapsed=10.0)) as client:
            await asyncio.gather(*await many(client, exchange, "v5", 3000, 1))
        later = [at for at in net.to(ONE) if at > 0.001]
        gaps = [after - before for before, after in itertools.pairwise(later)]
        assert min(gaps) >= 1 / ATTEMPTS_PER_SECOND - 1e-6
        assert len(later) >= 9.9 * ATTEMPTS_PER_SECOND

    run(main())


def test_calls_that_wait_for_tokens_in_an_outage_also_wait_to_reconnect() -> None:
    """The tokens of the first failed burst are free again, but no waiter uses them at once.

    That burst is not in flight any more, so the attempts to reconnect go on.
    """

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse late")
        async with net.client(retry=RetryPolicy(max_elapsed=5.0)) as client:
            tasks = await many(client, exchange, "v5", 1000, 1)
            await asyncio.sleep(1.0)
            assert 0.9 * ATTEMPTS_PER_SECOND <= len(net.log) - 72 <= ATTEMPTS_PER_SECOND
            await asyncio.gather(*tasks)

    run(main())


def test_all_waiting_attempts_are_made_as_soon_as_one_succeeded() -> None:
    """No attempt is paced any more when the exchange can be reached again."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client() as client:
            routine = await many(client, exchange, "v5", 1000, 1)
            await asyncio.sleep(1.0)
            net.hosts[ONE] = always("ok")
            net.log.clear()
            await asyncio.sleep(0.1)
            assert len(net.to(ONE)) == 72
            for task in routine:
                task.cancel()
            await asyncio.wait(routine)

    run(main())


def test_attempts_to_reconnect_go_by_priority() -> None:
    """One urgent call passes a thousand waiting routine calls."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        seen: list[str] = []
        net.hosts[ONE] = refusing(seen)
        async with net.client(retry=RetryPolicy(max_elapsed=5.0)) as client:
            routine = await many(client, exchange, "v5", 1000, 1)
            await asyncio.sleep(1.0)
            ids = add(exchange, "v5", 1)
            seen.clear()
            urgent = asyncio.create_task(cancel(client, "v5", ids, priority=Priority.URGENT))
            await asyncio.sleep(0.05)
            assert ids[0] in seen[:2]
            await asyncio.gather(urgent, *routine)

    run(main())


def test_attempts_to_reconnect_of_one_priority_go_by_arrival() -> None:
    """Each of a hundred calls makes one attempt before any makes its second."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        seen: list[str] = []
        net.hosts[ONE] = refusing(seen)
        async with net.client(retry=RetryPolicy(max_elapsed=5.0)) as client:
            ids = add(exchange, "v5", 100)
            await asyncio.gather(*(cancel(client, "v5", [key]) for key in ids))
        assert list(dict.fromkeys(seen)) == ids

    run(main())


def test_a_call_cancelled_while_it_waits_to_reconnect_stops_no_other() -> None:
    """Its place goes to the next waiting call."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client() as client:
            tasks = await many(client, exchange, "v5", 300, 1)
            await asyncio.sleep(1.0)
            for task in tasks[:299]:
                task.cancel()
            await asyncio.sleep(1.0)
            net.hosts[ONE] = always("ok")
            assert (await tasks[-1]).counts == {ACCEPTED: 1}
            assert now() < 4.1

    run(main())


def test_no_attempt_waits_while_the_exchange_can_be_reached() -> None:
    """The pace is that of attempts to reconnect."""

    async def main() -> None:
        reconnect = Reconnect()
        for _ in range(100):
            await reconnect.wait(Priority.ROUTINE)
        assert now() < 0.001

    run(main())


def test_a_caller_waits_until_few_attempts_are_in_flight() -> None:
    """One more than allowed are, so the end of the first one makes no room."""

    async def main() -> None:
        reconnect = Reconnect()
        reconnect.fail()
        for _ in range(AT_ONCE + 1):
            reconnect.begin()
        caller = asyncio.create_task(reconnect.wait(Priority.ROUTINE))
        for done in (False, False, True):
            await turns(10)
            assert caller.done() is done
            reconnect.end(True)
        reconnect.close()

    run(main())


@pytest.mark.parametrize("fails", [True, False])
def test_no_caller_waits_for_a_pacer_that_has_ended(
    monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """It was stopped, or it failed, which goes to the loop's exception handler."""
    failures: list[str] = []

    async def acquire(_limiter: AsyncLimiter) -> None:
        await asyncio.sleep(0.1)
        raise RuntimeError("broken")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(str(context["exception"])))
        reconnect = Reconnect()
        reconnect.fail()
        await reconnect.wait(Priority.ROUTINE)
        if fails:
            monkeypatch.setattr(AsyncLimiter, "acquire", acquire)
        callers = [asyncio.create_task(reconnect.wait(Priority.ROUTINE)) for _ in range(100)]
        await turns()
        if not fails:
            reconnect.close()
        await asyncio.gather(*callers)
        assert now() < 0.11

    run(main())
    assert failures == ["broken"] * fails


def test_a_sleeper_wakes_early_only_at_the_end_of_an_outage() -> None:
    """Not at every request that gets through."""

    async def main() -> None:
        reconnect = Reconnect()
        sleeper = asyncio.create_task(reconnect.sleep(10.0, Priority.ROUTINE))
        await turns()
        reconnect.succeed()
        await turns()
        assert not sleeper.done()
        reconnect.fail()
        reconnect.succeed()
        await sleeper
        assert now() < 0.001
        assert not reconnect._sleeping

    run(main())


def test_the_end_of_an_outage_wakes_callers_by_priority_and_arrival() -> None:
    """Whether they wait or sleep."""

    async def main() -> list[int]:
        reconnect = Reconnect()
        reconnect.fail()
        await reconnect.wait(Priority.ROUTINE)  # the first attempt is due at once
        woken: list[int] = []

        async def call(place: int, priority: Priority) -> None:
            if place % 2:
                await reconnect.sleep(10.0, priority)
            else:
                await reconnect.wait(priority)
            woken.append(place)

        priorities = [Priority(place) for place in (2, 1, 1, 0, 0, 1)]
        calls = [asyncio.create_task(call(*each)) for each in enumerate(priorities)]
        await asyncio.sleep(0)
        reconnect.succeed()
        await asyncio.gather(*calls)
        reconnect.close()
        return woken

    assert run(main()) == [3, 4, 1, 2, 5, 0]


def test_an_outage_that_returns_at_once_forgets_no_caller() -> None:
    """Some callers of the first outage still wait for their turn when the second one ends."""

    async def main() -> None:
        reconnect = Reconnect()
        reconnect.fail()
        callers = [
            asyncio.create_task(reconnect.wait(Priority.ROUTINE)) for _ in range(3 * PER_TURN)
        ]
        await turns()
        reconnect.succeed()
        reconnect.fail()
        reconnect.succeed()
        await asyncio.wait_for(asyncio.gather(*callers), 1.0)
        reconnect.close()

    run(main())


def test_confirm_does_not_hammer_an_exchange_that_cannot_be_reached() -> None:
    """Its queries wait like other attempts to reconnect, and no longer than its timeout."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        async with net.client() as client:
            outcome = await cancel(client, "v5", add(exchange, "v5", 72))
            net.hosts[ONE] = always("refuse")
            net.log.clear()
            began = now()
            confirmed = await client.confirm(outcome, timeout=5.0)
            assert now() - began <= 5.001
            assert confirmed.counts == {ACCEPTED: 72}
            assert len(net.log) <= 72 + 5 * ATTEMPTS_PER_SECOND

    run(main())


def test_attempts_that_wait_for_a_connection_hold_few_tokens() -> None:
    """A client that reaches no host does not delay another client with the same budgets.

    When such attempts fail, others take their place.
    """

    async def main() -> None:
        exchange = Exchange()
        dark, bright, budgets = Net(exchange), Net(exchange), Budgets()
        dark.hosts[ONE] = always("hang")
        async with dark.client(budgets=budgets) as one, bright.client(budgets=budgets) as two:
            routine = await many(one, exchange, "v5", 300, 1)
            await asyncio.sleep(CONNECT_TIMEOUT + 0.1)
            dark.log.clear()
            for _ in range(20):
                assert sum(each.in_flight for each in budgets.snapshot()) <= AT_ONCE
                began = now()
                urgent = await cancel(two, "v5", add(exchange, "v5", 1), priority=Priority.URGENT)
                assert urgent.counts == {ACCEPTED: 1}
                assert now() - began < 0.1
                await asyncio.sleep(0.2)
            assert len(dark.log) == AT_ONCE * (now() // CONNECT_TIMEOUT - 1)
            for task in routine:
                task.cancel()

    run(main())


def test_calls_that_waited_for_the_end_of_an_outage_resume_some_a_turn() -> None:
    """Three thousand calls in one turn would stall the event loop."""

    async def main() -> None:
        exchange = Exchange(limits=False)
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        limits = {"coin_m_swap_trade": Limit(5000, 3.0)}
        async with net.client(limits=limits, max_in_flight=5000) as client:
            calls = await many(client, exchange, "swap", 3000, 1)
            await asyncio.sleep(1.0)
            net.hosts[ONE] = always("ok")
            net.log.clear()
            outcomes = await asyncio.gather(*calls)
            assert sum(len(outcome.accepted) for outcome in outcomes) == 3000
        a_turn = Counter(at for at, _, _ in net.log)  # virtual time moves on with every turn
        assert len(net.log) >= 3000
        assert max(a_turn.values()) <= PER_TURN
        assert now() < 1.5

    run(main())
