"""One request, sent until its answer stands: its time, its pauses, the clock, and who is blamed."""

import asyncio
import random
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from clients import EPOCH, ONCE, add, cancel, credentials, in_process
from net import ONE, TWO, Net, always
from transports import Scripted, v1_reply
from virtualtime import now, run

from htx_cancel import CancelClient, CancelStatus, Limit, Priority, RetryPolicy
from htx_cancel.errors import NoAnswerError
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.wire.transport import Reply, Request, Transport

pytestmark = pytest.mark.loops

ACCEPTED, CLOSED, UNKNOWN = CancelStatus.ACCEPTED, CancelStatus.CLOSED, CancelStatus.UNKNOWN
REJECTED, UNSENT = CancelStatus.REJECTED, CancelStatus.UNSENT

# time


@pytest.mark.parametrize(("settings", "seconds"), [({"request_timeout": 0.5}, 0.5), ({}, 5.0)])
def test_one_attempt_has_the_time_of_a_request(settings: dict[str, Any], seconds: float) -> None:
    """Five seconds, if nobody says another."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange, delay=4.0, retry=ONCE, **settings) as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 1))
            assert asyncio.get_running_loop().time() == pytest.approx(seconds, abs=0.01)
        assert outcome.counts == {CancelStatus.UNKNOWN: 1}

    run(main())


class Lossy(Net):
    """Loses one reply in ten."""

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Carry a request, and sometimes nothing back."""
        lost = len(self.log) % 10 == 9
        reply = await super().send(request, timeout=timeout)
        if lost:
            await asyncio.sleep(timeout)
            raise NoAnswerError(f"no reply within {timeout:g} s")
        return reply


@pytest.mark.parametrize("delay", [0.001, 0.05, 0.2])
def test_a_lost_reply_leaves_time_for_another_attempt(delay: float) -> None:
    """One reply in ten is lost, the call has two seconds, and nothing is unknown."""

    async def main() -> None:
        exchange = Exchange()
        net = Lossy(exchange, delay)
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 300), timeout=2.0)
        assert outcome.counts == {ACCEPTED: 270, CLOSED: 30}

    run(main())


def test_a_slow_exchange_is_given_the_whole_time_of_a_call() -> None:
    """Nobody knows how long a round trip is, so no attempt is given up for another one."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange, delay=0.9)
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 300), timeout=2.0)
        assert outcome.counts == {ACCEPTED: 300}

    run(main())


def test_the_third_attempt_has_all_the_time_that_is_left() -> None:
    """A quarter of two seconds, then half of the rest, were lost; 0.7 s are enough for a reply."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        async with net.client(retry=RetryPolicy(backoff_initial=0.0)) as client:
            await cancel(client, "swap", add(exchange, "swap", 10))
            net.inner = InProcessTransport(exchange, delay=0.35, epoch=EPOCH)
            behaviours = iter(["silent", "silent", "ok"])
            net.hosts[ONE] = lambda _request: next(behaviours)
            net.log.clear()
            began = now()
            outcome = await cancel(client, "swap", add(exchange, "swap", 1), timeout=2.0)
        assert outcome.counts == {ACCEPTED: 1}
        assert [at - began for at in net.to(ONE)] == pytest.approx([0.0, 0.5, 1.25], abs=0.001)

    run(main())


class Cold:
    """A transport whose first requests first make a connection, and that may not tell."""

    def __init__(self, inner: Transport, first: int, *, tells: bool) -> None:
        self.inner = inner
        self.first = first
        self.tells = tells

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Make a connection for 80 ms, unless there is one; then send."""
        self.first -= 1
        if self.first >= 0:
            await asyncio.sleep(0.08)
        reply = await self.inner.send(request, timeout=timeout)
        return reply if self.tells else msgspec.structs.replace(reply, left_at=None)

    async def close(self) -> None:
        """Close."""
        await self.inner.close()


@pytest.mark.parametrize("tells", [True, False])
def test_the_making_of_connections_is_not_taken_for_the_way(*, tells: bool) -> None:
    """The second window's calls need no connection; they are not sent too early for that."""

    async def main() -> float:
        exchange = Exchange(window="slide")
        ids = add(exchange, "swap", 1500)
        loop = asyncio.get_running_loop()
        transport = Cold(
            InProcessTransport(exchange, delay=0.02, jitter=0.001, epoch=EPOCH), 36, tells=tells
        )
        async with CancelClient(
            credentials(), transport=transport, wall_clock=lambda: EPOCH + loop.time()
        ) as client:
            outcome = await cancel(client, "swap", ids)
        assert outcome.counts == {CancelStatus.ACCEPTED: 1500}
        assert not exchange.refused
        return loop.time()

    assert run(main()) == pytest.approx(12.2, abs=0.1)


# what is tried again


def test_an_exchange_that_cannot_be_reached_is_tried_once_without_retries() -> None:
    """That is what one attempt means."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client(retry=ONCE) as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 10))
        assert (outcome.counts, len(net.log)) == ({UNSENT: 10}, 1)

    run(main())


def test_trying_again_ends_with_its_time() -> None:
    """A budget that is refused for ever is given up, as rejected with its code."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 1)
        plan = FaultPlan({ids[0]: ["rate"] * 100})
        policy = RetryPolicy(max_elapsed=5.0)
        async with in_process(exchange, retry=policy, faults=plan) as client:
            result = (await cancel(client, "swap_trailing", ids)).results[0]
        assert (result.status, result.code) == (REJECTED, 1032)
        assert asyncio.get_running_loop().time() < 7.0

    run(main())


def test_trying_again_ends_with_the_attempts_allowed() -> None:
    """Silence six times over is unknown."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1)
        plan = FaultPlan({ids[0]: ["lost_before"] * 100})
        async with in_process(exchange, request_timeout=0.5, faults=plan) as client:
            result = (await cancel(client, "swap", ids)).results[0]
        assert (result.status, result.attempts) == (UNKNOWN, RetryPolicy().max_attempts)

    run(main())


def test_a_refusal_for_the_rate_is_not_counted_as_a_failure() -> None:
    """The batch waits for its budget as often as it must, within its time."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 1)
        plan = FaultPlan({ids[0]: ["rate"] * 10})
        policy = RetryPolicy(max_attempts=2)
        async with in_process(exchange, retry=policy, faults=plan) as client:
            result = (await cancel(client, "swap_trailing", ids)).results[0]
        assert (result.status, result.attempts) == (ACCEPTED, 11)

    run(main())


def test_only_the_ids_that_are_not_settled_are_sent_again() -> None:
    """A success stays accepted though a neighbour in its batch fails for a while."""

    async def main() -> None:
        exchange = Exchange()
        good, bad = add(exchange, "swap", 9), add(exchange, "swap", 1, refusal=1004)
        async with in_process(exchange, retry=RetryPolicy(max_attempts=3)) as client:
            outcome = await cancel(client, "swap", [*good, *bad])
        assert {it.order_id: it.attempts for it in outcome} == {
            **dict.fromkeys(good, 1),
            bad[0]: 3,
        }
        assert [len(call.ids) for call in exchange.log] == [10, 1, 1]

    run(main())


def test_a_backoff_longer_than_the_time_left_ends_a_call_at_once() -> None:
    """What could not be tried again before the deadline does not wait for it."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        random.seed(1)  # a backoff of minutes
        policy = RetryPolicy(backoff_initial=1000.0, backoff_max=1000.0, max_elapsed=5000.0)
        async with net.client(retry=policy) as client:
            outcome = await cancel(client, "v5", add(exchange, "v5", 1), timeout=60.0)
            assert outcome.counts == {UNKNOWN: 1}
            assert now() < 1.0

    run(main())


def test_an_urgent_call_pauses_a_quarter_of_a_second_at_most() -> None:
    """Five pauses, whatever the policy says about others."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1, refusal=1004)
        policy = RetryPolicy(max_elapsed=100.0, backoff_initial=10.0, backoff_max=10.0)
        async with in_process(exchange, retry=policy) as client:
            outcome = await cancel(client, "swap", ids, priority=Priority.URGENT)
        assert outcome.results[0].attempts == policy.max_attempts
        assert asyncio.get_running_loop().time() < 5 * 0.25 + 0.1

    run(main())


def test_the_time_in_which_a_batch_waits_its_turn_is_not_counted() -> None:
    """It failed twice, six seconds apart, and is tried a third time within its five seconds."""

    async def main() -> None:
        exchange = Exchange()
        ids, bulk = add(exchange, "swap_trailing", 1), add(exchange, "swap_trailing", 300)
        plan = FaultPlan({ids[0]: ["busy", "busy"]})
        policy = RetryPolicy(max_elapsed=5.0)
        async with in_process(exchange, retry=policy, faults=plan, delay=0.05) as client:
            one = asyncio.create_task(
                cancel(client, "swap_trailing", ids, priority=Priority.BACKGROUND)
            )
            await asyncio.sleep(0.01)
            await cancel(client, "swap_trailing", bulk)
            result = (await one).results[0]
        assert (result.status, result.attempts) == (CancelStatus.ACCEPTED, 3)
        assert asyncio.get_running_loop().time() > 5.5

    run(main())


def test_attempts_that_fail_at_once_let_others_run() -> None:
    """A clock that always fails, without pauses: the event loop turns between the attempts."""

    async def main() -> None:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _about: None)
        attempts: list[int] = []
        turns = 0

        def clock() -> float:
            attempts.append(turns)
            raise RuntimeError("no time")

        async with CancelClient(
            credentials(),
            transport=Net(exchange),
            base_url=ONE,
            wall_clock=clock,
            retry=RetryPolicy(max_attempts=50, backoff_initial=0.0),
        ) as client:
            call = asyncio.create_task(cancel(client, "swap", add(exchange, "swap", 1)))
            while not call.done():
                turns += 1
                await asyncio.sleep(0)
            assert (await call).counts == {UNSENT: 1}
        assert len(attempts) == 50
        assert len(set(attempts)) >= 49

    run(main())


def test_a_reply_that_nobody_can_look_at_leaves_its_ids_unknown() -> None:
    """It was sent; what a foreign transport made of the answer is reported, and costs no call."""

    async def main() -> None:
        problems: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, about: problems.append(about["message"]))
        replies: list[Any] = [None, v1_reply(["1"], [])]
        async with CancelClient(
            credentials(), transport=Scripted(replies), limits={"coin_m_swap_trade": Limit(1, 1)}
        ) as client:
            outcome = await cancel(client, "swap", range(1, 12))
        assert [it.status for it in outcome][:10] == [CancelStatus.UNKNOWN] * 10
        assert problems == ["an attempt failed"]
        assert loop.time() >= 1.0  # the first request charged its token

    run(main())


# the clock and the account


def test_the_wall_clock_is_read_for_signatures_only() -> None:
    """Once an attempt; it may jump by minutes, and no call leaves sooner or later for that."""

    async def main(jump: float) -> float:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        reads = 0

        def clock() -> float:
            nonlocal reads
            reads += 1
            return EPOCH + loop.time() + (jump if reads % 2 else -jump)

        transport = InProcessTransport(exchange, delay=0.01, epoch=EPOCH)
        async with CancelClient(credentials(), transport=transport, wall_clock=clock) as client:
            outcome = await cancel(client, "swap_trailing", add(exchange, "swap_trailing", 200))
        assert outcome.counts == {CancelStatus.ACCEPTED: 200}
        assert reads == exchange.calls.total() == 20
        return loop.time()

    assert run(main(200.0)) == pytest.approx(run(main(0.0)), abs=1e-4)


class Skewed(Net):
    """Refuses what is not stamped with its clock, as a wrong signature, and tells the time."""

    ahead = 900.0

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Check the stamp, and let the exchange check the rest."""
        stamp = parse_qs(urlsplit(request.target).query)["Timestamp"][0]
        told = EPOCH + now() + self.ahead
        if abs(msgspec.convert(stamp + "Z", type=datetime).timestamp() - told) <= 300:
            return await super().send(request, timeout=timeout)
        self.log.append((now(), request.origin, request.method))
        await asyncio.sleep(0.01)
        body = {"status": "error", "err_code": 403, "err_msg": "Verification failure"}
        return Reply(200, {}, msgspec.json.encode(body | {"ts": int(told * 1000)}), now())


def test_a_wrong_clock_that_is_told_as_a_wrong_signature_is_corrected_once() -> None:
    """Every request of the burst was signed with it; none of them stops the call."""

    async def main() -> None:
        exchange = Exchange(clock_offset=900.0)
        net = Skewed(exchange)
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 300))
            assert outcome.counts == {ACCEPTED: 300}
            assert len(net.log) == 60
            net.ahead = -900.0
            exchange.clock_offset = -900.0
            assert (await cancel(client, "swap", add(exchange, "swap", 1))).counts == {ACCEPTED: 1}

    run(main())


def test_a_clock_that_stays_wrong_is_tried_once_more_and_no_further() -> None:
    """One resync, then the refusal stands."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1)
        plan = FaultPlan({ids[0]: ["wrong_clock", "wrong_clock", "wrong_clock"]})
        async with in_process(exchange, faults=plan) as client:
            result = (await cancel(client, "swap", ids)).results[0]
        assert (result.status, result.code, result.attempts) == (REJECTED, 12001, 2)

    run(main())


def test_a_refused_key_with_the_right_time_is_no_matter_of_the_clock() -> None:
    """One attempt, and it stands."""

    async def main() -> None:
        exchange = Exchange(secret_key="another")
        net = Net(exchange)
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 1))
        assert (outcome.counts, len(net.log)) == ({REJECTED: 1}, 1)

    run(main())


# who is blamed


def test_a_host_that_breaks_off_before_a_near_deadline_is_left() -> None:
    """The deadline was nearer than the request's time, and yet it was not to blame."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("broken")
        async with net.client(ONE, TWO) as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 1), timeout=2.0)
            assert (outcome.counts, len(net.to(ONE))) == ({ACCEPTED: 1}, 1)
            await cancel(client, "swap", add(exchange, "swap", 1))
            assert (len(net.to(ONE)), len(net.to(TWO))) == (1, 2)

    run(main())


@pytest.mark.parametrize(("behaviour", "timeout"), [("hang", 0.05), ("stale", None)])
def test_a_host_is_not_blamed_for_a_near_deadline_or_a_stale_connection(
    behaviour: str, timeout: float | None
) -> None:
    """The next requests go there all the same, and nobody waits to reconnect."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        behaviours = iter([behaviour])
        net.hosts[ONE] = lambda _request: next(behaviours, "ok")
        async with net.client(ONE, TWO) as client:
            await cancel(client, "swap", add(exchange, "swap", 1), timeout=timeout)
            outcome = await cancel(client, "swap", add(exchange, "swap", 300))
            assert outcome.counts == {ACCEPTED: 300}
            assert now() < 0.3
        assert not net.to(TWO)
        assert not net.to(ONE, "GET")

    run(main())
