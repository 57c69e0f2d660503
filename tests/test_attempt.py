"""One request and its retries: timeouts, backoffs, the clock, and which failures blame a host."""

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
from virtualtime import VirtualLoop, now, run

from htx_cancel import Budgets, CancelClient, CancelStatus, Limit, Priority, RetryPolicy
from htx_cancel.attempt import TOO_LATE
from htx_cancel.errors import NoAnswerError
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.wire.transport import Reply, Request, Transport

pytestmark = pytest.mark.loops

ACCEPTED, CLOSED, UNKNOWN = CancelStatus.ACCEPTED, CancelStatus.CLOSED, CancelStatus.UNKNOWN
REJECTED, UNSENT = CancelStatus.REJECTED, CancelStatus.UNSENT

# timeouts


@pytest.mark.parametrize(("settings", "seconds"), [({"request_timeout": 0.5}, 0.5), ({}, 5.0)])
def test_one_attempt_has_the_request_timeout(settings: dict[str, Any], seconds: float) -> None:
    """The default is five seconds."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange, delay=4.0, retry=ONCE, **settings) as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 1))
            assert asyncio.get_running_loop().time() == pytest.approx(seconds, abs=0.01)
        assert outcome.counts == {CancelStatus.UNKNOWN: 1}

    run(main())


class Lossy(Net):
    """Hosts that lose one reply in ten."""

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send a request, and sometimes lose its reply."""
        lost = len(self.log) % 10 == 9
        reply = await super().send(request, timeout=timeout)
        if lost:
            await asyncio.sleep(timeout)
            raise NoAnswerError(f"no reply within {timeout:g} s")
        return reply


@pytest.mark.parametrize("delay", [0.001, 0.05, 0.2])
def test_a_lost_reply_leaves_time_for_a_retry(delay: float) -> None:
    """One reply in ten is lost, the call has two seconds, and no id is unknown."""

    async def main() -> None:
        exchange = Exchange()
        net = Lossy(exchange, delay)
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 300), timeout=2.0)
        assert outcome.counts == {ACCEPTED: 270, CLOSED: 30}

    run(main())


def test_a_slow_exchange_gets_the_whole_timeout() -> None:
    """The round trip is unknown, so that no attempt is given up for a retry."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange, delay=0.9)
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 300), timeout=2.0)
        assert outcome.counts == {ACCEPTED: 300}

    run(main())


def test_the_third_attempt_has_all_the_time_left() -> None:
    """The first two attempts take 0.5 s and 0.75 s of two; 0.7 s are enough for a reply."""

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


def test_no_attempt_is_given_up_before_three_round_trips() -> None:
    """A quarter of the timeout is over after 0.25 s; the reply comes after 0.5 s."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange, delay=0.1)
        async with net.client() as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            assert client.budgets.round_trip == pytest.approx(0.2, abs=0.001)
            net.inner = InProcessTransport(exchange, delay=0.25, epoch=EPOCH)
            (result,) = await cancel(client, "swap", add(exchange, "swap", 1), timeout=1.0)
        assert (result.status, result.attempts) == (ACCEPTED, 1)

    run(main())


class Cold:
    """A transport that connects before its first requests, and may not set ``left_at``."""

    def __init__(self, inner: Transport, first: int, *, has_left_at: bool) -> None:
        self.inner = inner
        self.first = first
        self.has_left_at = has_left_at

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Connect in 80 ms if there is no connection; then send."""
        self.first -= 1
        if self.first >= 0:
            await asyncio.sleep(0.08)
        reply = await self.inner.send(request, timeout=timeout)
        return reply if self.has_left_at else msgspec.structs.replace(reply, left_at=None)

    async def close(self) -> None:
        """Close."""
        await self.inner.close()


@pytest.mark.parametrize("has_left_at", [True, False])
def test_connecting_is_not_taken_for_a_round_trip(*, has_left_at: bool) -> None:
    """The second window's requests need no new connection, and are not sent too early."""

    async def main() -> float:
        exchange = Exchange(window="slide")
        ids = add(exchange, "swap", 1500)
        loop = asyncio.get_running_loop()
        transport = Cold(
            InProcessTransport(exchange, delay=0.02, jitter=0.001, epoch=EPOCH),
            36,
            has_left_at=has_left_at,
        )
        async with CancelClient(
            credentials(), transport=transport, wall_clock=lambda: EPOCH + loop.time()
        ) as client:
            outcome = await cancel(client, "swap", ids)
            assert (client.budgets.round_trip > 0) is has_left_at
        assert outcome.counts == {CancelStatus.ACCEPTED: 1500}
        assert not exchange.refused
        return loop.time()

    assert run(main()) == pytest.approx(12.2, abs=0.1)


# retries


def test_an_unreachable_exchange_is_tried_once_without_retries() -> None:
    """``max_attempts=1`` means one attempt, counted or not."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client(retry=ONCE) as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 10))
        assert (outcome.counts, len(net.log)) == ({UNSENT: 10}, 1)

    run(main())


def test_retries_end_after_max_elapsed() -> None:
    """An id that is always refused for the rate limit is rejected with that code."""

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


def test_retries_end_after_max_attempts() -> None:
    """After six attempts without a reply the id is unknown."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1)
        plan = FaultPlan({ids[0]: ["lost_before"] * 100})
        async with in_process(exchange, request_timeout=0.5, faults=plan) as client:
            result = (await cancel(client, "swap", ids)).results[0]
        assert (result.status, result.attempts) == (UNKNOWN, RetryPolicy().max_attempts)

    run(main())


def test_a_refusal_for_the_rate_limit_is_not_a_counted_attempt() -> None:
    """The batch waits for its budget as often as needed, within ``max_elapsed``."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 1)
        plan = FaultPlan({ids[0]: ["rate"] * 10})
        policy = RetryPolicy(max_attempts=2)
        async with in_process(exchange, retry=policy, faults=plan) as client:
            result = (await cancel(client, "swap_trailing", ids)).results[0]
        assert (result.status, result.attempts) == (ACCEPTED, 11)

    run(main())


def test_only_the_ids_that_are_not_settled_are_retried() -> None:
    """An accepted id stays accepted while another id of its batch is retried."""

    async def main() -> None:
        exchange = Exchange()
        good, bad = add(exchange, "swap", 9), add(exchange, "swap", 1, refusal=1004)
        async with in_process(exchange, retry=RetryPolicy(max_attempts=3)) as client:
            outcome = await cancel(client, "swap", [*good, *bad])
        assert {each.order_id: each.attempts for each in outcome} == {
            **dict.fromkeys(good, 1),
            bad[0]: 3,
        }
        assert [len(call.ids) for call in exchange.log] == [10, 1, 1]

    run(main())


def test_a_backoff_beyond_the_deadline_ends_the_call_at_once() -> None:
    """A batch that cannot be retried before the deadline does not wait for the deadline."""

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


def test_a_backoff_beyond_max_elapsed_ends_the_retries_at_once() -> None:
    """The last attempt has to begin within ``max_elapsed``."""

    async def main() -> None:
        exchange = Exchange()
        random.seed(1)  # a backoff of seconds
        policy = RetryPolicy(max_elapsed=1.0, backoff_initial=100.0, backoff_max=100.0)
        ids = add(exchange, "swap", 1, refusal=1004)
        async with in_process(exchange, retry=policy) as client:
            (result,) = await cancel(client, "swap", ids)
        assert (result.status, result.attempts) == (REJECTED, 1)
        assert now() < 0.1

    run(main())


def test_max_elapsed_begins_with_the_batch_not_with_the_call() -> None:
    """A connection is unusable after six seconds of a call whose batches have five."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        behaviours = iter(["stale"])
        net.hosts[ONE] = lambda _request: next(behaviours, "ok") if now() > 6.0 else "ok"
        async with net.client(retry=RetryPolicy(max_elapsed=5.0)) as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 1000))
        assert outcome.counts == {ACCEPTED: 1000}
        assert next(behaviours, None) is None

    run(main())


def test_batches_that_fail_together_are_retried_at_different_times() -> None:
    """Each backoff is drawn at random."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = lambda _request: "5xx" if now() < 0.001 else "ok"
        async with net.client() as client:
            outcome = await cancel(client, "v5", add(exchange, "v5", 20))
        assert outcome.counts == {ACCEPTED: 20}
        assert len({round(at, 3) for at in net.to(ONE)[20:]}) > 10

    run(main())


def test_a_refusal_for_the_rate_limit_holds_the_budget() -> None:
    """The next call waits, although tokens seem to be free."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 2)
        plan = FaultPlan({ids[0]: ["rate"]})
        async with in_process(exchange, retry=ONCE, faults=plan) as client:
            assert (await cancel(client, "swap_trailing", ids[:1])).counts == {REJECTED: 1}
            assert (await cancel(client, "swap_trailing", ids[1:])).counts == {ACCEPTED: 1}
            assert now() >= 1.0

    run(main())


def test_a_request_without_a_reply_charges_its_token() -> None:
    """The five tokens of a window are used up by five lost replies."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = lambda _request: "broken" if now() < 0.001 else "ok"
        async with net.client(retry=ONCE) as client:
            ids = add(exchange, "swap_trailing", 51)
            assert (await cancel(client, "swap_trailing", ids[:50])).counts == {UNKNOWN: 50}
            assert (await cancel(client, "swap_trailing", ids[50:])).counts == {ACCEPTED: 1}
            assert now() >= 1.0

    run(main())


def test_a_request_that_a_closed_client_gave_up_charges_its_token() -> None:
    """Another client with the same budgets waits for the next window."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 51)
        budgets = Budgets()
        slow = in_process(exchange, delay=0.5, budgets=budgets)
        call = asyncio.create_task(cancel(slow, "swap_trailing", ids[:50]))
        await asyncio.sleep(0.1)
        await slow.aclose(drain=0.1)
        assert (await call).counts == {UNKNOWN: 50}
        async with in_process(exchange, budgets=budgets) as client:
            assert (await cancel(client, "swap_trailing", ids[50:])).counts == {ACCEPTED: 1}
            assert now() >= 1.0

    run(main())


def test_a_request_whose_time_ended_before_it_was_sent_is_unsent() -> None:
    """The clock of the first batch blocks the event loop until the timeout has ended."""

    async def main() -> None:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        stalls = iter([1.0])

        def clock() -> float:
            loop.stall(next(stalls, 0.0))
            return EPOCH + loop.time()

        transport = InProcessTransport(exchange, delay=0.01, epoch=EPOCH)
        async with CancelClient(
            credentials(), transport=transport, wall_clock=clock, retry=ONCE
        ) as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 30), timeout=0.5)
        assert {each.message for each in outcome.unsent} == {TOO_LATE}
        assert len(outcome.unsent) == 20
        assert exchange.calls.total() == 1

    run(main())


def test_an_urgent_call_backs_off_a_quarter_of_a_second_at_most() -> None:
    """Five short backoffs, although the policy allows ten seconds."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1, refusal=1004)
        policy = RetryPolicy(max_elapsed=100.0, backoff_initial=10.0, backoff_max=10.0)
        async with in_process(exchange, retry=policy) as client:
            outcome = await cancel(client, "swap", ids, priority=Priority.URGENT)
        assert outcome.results[0].attempts == policy.max_attempts
        assert asyncio.get_running_loop().time() < 5 * 0.25 + 0.1

    run(main())


def test_the_wait_for_a_token_does_not_count_as_elapsed() -> None:
    """A batch fails twice, six seconds apart, and is retried although it has five seconds."""

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


def test_a_batch_without_a_token_for_a_retry_before_the_deadline_has_its_first_answer() -> None:
    """The first window is used up, and the timeout ends before the next one begins."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 50)
        plan = FaultPlan({ids[0]: ["busy"]})
        async with in_process(exchange, faults=plan, delay=0.01) as client:
            outcome = await cancel(client, "swap_trailing", ids, timeout=0.5)
        assert outcome.counts == {REJECTED: 10, ACCEPTED: 40}
        assert now() < 0.5

    run(main())


def test_all_batches_and_retries_of_a_call_go_before_those_of_a_later_call() -> None:
    """Eleven requests of the first call fit into three windows, although one has to be retried."""

    async def main() -> None:
        exchange = Exchange()
        ids, later = add(exchange, "swap_trailing", 100), add(exchange, "swap_trailing", 500)
        plan = FaultPlan({ids[0]: ["busy"]})
        async with in_process(exchange, faults=plan, delay=0.01) as client:
            first = asyncio.create_task(cancel(client, "swap_trailing", ids))
            await asyncio.sleep(0.001)
            second = asyncio.create_task(cancel(client, "swap_trailing", later))
            assert (await first).counts == {ACCEPTED: 100}
            assert now() < 2.5
            assert (await second).counts == {ACCEPTED: 500}

    run(main())


def test_attempts_that_fail_at_once_let_other_tasks_run() -> None:
    """A clock always fails, without backoffs: the event loop turns between the attempts."""

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


def test_a_reply_that_cannot_be_read_leaves_its_ids_unknown() -> None:
    """A foreign transport returns nonsense: that is reported, and the token is charged."""

    async def main() -> None:
        problems: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, about: problems.append(about["message"]))
        replies: list[Any] = [None, v1_reply(["1"], [])]
        async with CancelClient(
            credentials(), transport=Scripted(replies), limits={"coin_m_swap_trade": Limit(1, 1)}
        ) as client:
            outcome = await cancel(client, "swap", range(1, 12))
        assert [each.status for each in outcome][:10] == [CancelStatus.UNKNOWN] * 10
        assert problems == ["an attempt failed"]
        assert loop.time() >= 1.0  # the first request charged its token

    run(main())


@pytest.mark.parametrize("error", [RuntimeError("sabotage"), TimeoutError("sabotage")])
def test_an_exception_of_a_foreign_transport_is_reported_once_in_each_call(
    error: Exception,
) -> None:
    """The results have the name of its type; its text may hold a secret."""

    async def main() -> None:
        problems: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, about: problems.append(about["message"]))
        transport = Scripted([error] * 6)
        async with CancelClient(credentials(), transport=transport, retry=ONCE) as client:
            for calls in (1, 2):
                outcome = await cancel(client, "swap", range(1, 31), timeout=1.0)
                assert outcome.counts == {UNKNOWN: 30}
                assert {each.message for each in outcome} == {type(error).__name__}
                assert problems == ["an attempt failed"] * calls

    run(main())


def test_a_cancellation_from_inside_a_transport_ends_no_other_batch() -> None:
    """Nobody cancelled the task: the batch is retried, and the others are sent."""

    async def main() -> None:
        problems: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, about: problems.append(about["message"]))

        def behave(_request: Request) -> str:
            if len(net.log) == 1:
                raise asyncio.CancelledError("sabotage")
            return "ok"

        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = behave
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 500))
        assert outcome.counts == {ACCEPTED: 500}
        assert problems == ["an attempt failed"]

    run(main())


# the clock and the account


def test_the_wall_clock_is_read_only_for_signatures() -> None:
    """Once an attempt; jumps of minutes do not change when requests leave."""

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
    """Refuses a wrong timestamp as a wrong signature, and replies with its own time."""

    ahead = 900.0

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Check the timestamp, and let the exchange check the rest."""
        timestamp = parse_qs(urlsplit(request.target).query)["Timestamp"][0]
        server_time = EPOCH + now() + self.ahead
        if abs(msgspec.convert(timestamp + "Z", type=datetime).timestamp() - server_time) <= 300:
            return await super().send(request, timeout=timeout)
        self.log.append((now(), request.origin, request.method))
        await asyncio.sleep(0.01)
        body = {"status": "error", "err_code": 403, "err_msg": "Verification failure"}
        return Reply(200, {}, msgspec.json.encode(body | {"ts": int(server_time * 1000)}), now())


def test_a_wrong_clock_that_looks_like_a_wrong_signature_is_corrected_once() -> None:
    """Every request of the burst has the wrong time; none of them stops the call."""

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


def test_a_clock_that_stays_wrong_is_corrected_once() -> None:
    """After one correction the refusal is final."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1)
        plan = FaultPlan({ids[0]: ["wrong_clock", "wrong_clock", "wrong_clock"]})
        async with in_process(exchange, faults=plan) as client:
            result = (await cancel(client, "swap", ids)).results[0]
        assert (result.status, result.code, result.attempts) == (REJECTED, 12001, 2)

    run(main())


def test_a_refused_key_with_the_right_time_is_not_retried() -> None:
    """The refusal is final after one attempt."""

    async def main() -> None:
        exchange = Exchange(secret_key="another")
        net = Net(exchange)
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 1))
        assert (outcome.counts, len(net.log)) == ({REJECTED: 1}, 1)

    run(main())


def test_a_refusal_that_a_wrong_clock_does_not_explain_is_not_retried() -> None:
    """The timestamp was wrong by years, but the code says that the key is invalid."""

    async def main() -> None:
        reply = b'{"status":"error","err_code":12002,"err_msg":"no such key","ts":1}'
        transport = Scripted([reply, v1_reply(["1"], [])])
        async with CancelClient(credentials(), transport=transport) as client:
            outcome = await cancel(client, "swap", [1])
        assert (outcome.counts, len(transport.replies)) == ({REJECTED: 1}, 1)
        assert outcome.error is not None

    run(main())


def test_a_clock_that_fails_while_it_is_corrected_is_reported() -> None:
    """The retry has the wrong timestamp again, and the answer of the exchange counts."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1)
        plan = FaultPlan({ids[0]: ["wrong_clock"]})
        loop = asyncio.get_running_loop()
        problems: list[str] = []
        loop.set_exception_handler(lambda _loop, about: problems.append(about["message"]))
        failures = iter([False, True])

        def clock() -> float:
            if next(failures, False):
                raise RuntimeError("no time")
            return EPOCH + loop.time()

        transport = InProcessTransport(exchange, epoch=EPOCH, faults=plan)
        async with CancelClient(credentials(), transport=transport, wall_clock=clock) as client:
            (result,) = await cancel(client, "swap", ids)
        assert (result.status, result.attempts) == (REJECTED, 2)
        assert problems == ["wall_clock raised"]

    run(main())


# which failures blame a host


def test_a_host_that_breaks_the_connection_before_a_near_deadline_goes_down() -> None:
    """The deadline is nearer than the request timeout, but did not cause the failure."""

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
    """The next requests still go to that host, and none waits to reconnect."""

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
