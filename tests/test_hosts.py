"""Which host a cancel goes to: failures, cooldowns, probes and trials."""

import asyncio
import itertools
from typing import Any

import pytest
from clients import EPOCH, ONCE, add, cancel, credentials
from loops import task_factory
from net import ONE, TWO, Net, always
from virtualtime import now, run

from htx_cancel import Budgets, CancelClient, CancelStatus, Credentials, Priority, RetryPolicy
from htx_cancel.hosts import COOLDOWN, LONGEST_COOLDOWN, PROBE_AGAIN, Host, Hosts
from htx_cancel.limits.permit import Permit
from htx_cancel.retry import URGENT_BACKOFF_MAX
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.wire.signing import Signer
from htx_cancel.wire.transport import Reply, Request

pytestmark = pytest.mark.loops

ACCEPTED, UNSENT = CancelStatus.ACCEPTED, CancelStatus.UNSENT


def test_a_single_host_is_never_probed() -> None:
    """Requests go to it whatever a probe would say."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        async with net.client() as client:
            for _ in range(3):
                await cancel(client, "swap", add(exchange, "swap", 1))
                await asyncio.sleep(2 * LONGEST_COOLDOWN)
        assert not net.to(ONE, "GET")

    run(main())


def test_a_silent_host_costs_one_burst_and_then_single_probes() -> None:
    """1,440 ids take 9 s of rate limits, 5 s of timeouts, and 3 s until those tokens return."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("silent")
        async with net.client(ONE, TWO) as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 1440))
            assert outcome.counts == {ACCEPTED: 1440}
            assert now() <= 20.0
        assert net.to(ONE) == [pytest.approx(0.0, abs=1e-3)] * 36
        assert len(net.to(ONE, "GET")) == 1

    run(main())


def test_the_cooldown_of_a_host_doubles() -> None:
    """Up to a limit; one probe at a time, and no signed request until a probe is answered."""

    async def main() -> None:
        exchange = Exchange(limits=False)
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client(ONE, TWO) as client:
            while now() < 400.0:
                await cancel(client, "v5", add(exchange, "v5", 2))
                await asyncio.sleep(0.1)
        probes = [0.0, *net.to(ONE, "GET")]
        gaps = [after - before for before, after in itertools.pairwise(probes)]
        doubled = [COOLDOWN * 2**n for n in range(4)] + [LONGEST_COOLDOWN] * 4
        assert gaps[:8] == [pytest.approx(wanted, abs=0.25) for wanted in doubled]
        assert len(net.to(ONE)) <= 2

    run(main())


def test_a_host_that_answers_the_probe_but_no_cancel_gets_one_cancel_on_trial() -> None:
    """A whole burst goes to the host only after the trial was answered."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = lambda request: "ok" if request.method == "GET" else "5xx"
        async with net.client(ONE, TWO) as client:
            while now() < 7.0:
                await cancel(client, "swap", add(exchange, "swap", 100))
                await asyncio.sleep(1.0)
            later = [at for at in net.to(ONE) if at > COOLDOWN]
            assert len(later) == 1
            net.hosts[ONE] = always("ok")
            await asyncio.sleep(2 * COOLDOWN)
            for _ in range(3):
                await cancel(client, "swap", add(exchange, "swap", 100))
            two = len(net.to(TWO))
            await cancel(client, "swap", add(exchange, "swap", 100))
            assert len(net.to(TWO)) == two

    run(main())


def test_no_second_cancel_goes_to_a_host_on_trial() -> None:
    """The answer takes four seconds; all other batches go to the other host meanwhile."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        async with net.client(ONE, TWO) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            await asyncio.sleep(COOLDOWN)
            net.hosts[ONE] = lambda request: "ok" if request.method == "GET" else "late"
            await cancel(client, "swap", add(exchange, "swap", 1))  # the host is probed
            await asyncio.sleep(0.1)
            net.log.clear()
            outcome = await cancel(client, "swap", add(exchange, "swap", 200))
            assert outcome.counts == {ACCEPTED: 200}
            assert (len(net.to(ONE)), len(net.to(TWO))) == (1, 19)

    run(main())


def test_a_trial_without_a_verdict_allows_another_trial() -> None:
    """The deadline was too near to blame the host, which gets another request."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        async with net.client(ONE, TWO, request_timeout=1.0) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            await asyncio.sleep(COOLDOWN)
            assert now() > COOLDOWN
            net.hosts[ONE] = lambda request: "ok" if request.method == "GET" else "silent"
            await cancel(client, "swap", add(exchange, "swap", 1))  # the host is probed
            await asyncio.sleep(0.01)
            before = len(net.to(ONE))
            await cancel(client, "swap", add(exchange, "swap", 1), timeout=0.004)  # on trial
            assert len(net.to(ONE)) == before + 1
            net.hosts[ONE] = always("ok")
            await asyncio.sleep(0.1)
            net.log.clear()
            await cancel(client, "swap", add(exchange, "swap", 1))
            await cancel(client, "swap", add(exchange, "swap", 1))
            assert len(net.to(ONE)) == 2

    run(main())


class Expiring(Budgets):
    """Budgets whose next permit may have expired."""

    expired = False

    async def acquire_some(self, *args: Any, **options: Any) -> list[Permit]:
        """Wait for permits."""
        permits = await super().acquire_some(*args, **options)
        if self.expired:
            permits[0].valid_until, self.expired = -1.0, False
        return permits


@pytest.mark.parametrize("how", ["expired", "cancelled"])
def test_a_trial_that_was_not_made_or_given_up_is_repeated(how: str) -> None:
    """The permit had expired, or all tasks were cancelled during the trial."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        budgets = Expiring()
        net.hosts[ONE] = always("5xx")
        async with net.client(ONE, TWO, budgets=budgets, retry=ONCE) as client:
            for _ in range(2):
                await cancel(client, "swap", add(exchange, "swap", 1))
                net.hosts[ONE] = lambda request: "ok" if request.method == "GET" else "late"
                await asyncio.sleep(COOLDOWN)  # the second request probes the host
            budgets.expired = how == "expired"
            trial = asyncio.create_task(cancel(client, "swap", add(exchange, "swap", 1)))
            await asyncio.sleep(0.1)
            for task in asyncio.all_tasks() - {trial, asyncio.current_task()}:
                task.cancel()
            status = UNSENT if how == "expired" else CancelStatus.UNKNOWN
            assert (await trial).counts == {status: 1}
            net.hosts[ONE] = always("ok")
            net.log.clear()
            await cancel(client, "swap", add(exchange, "swap", 1))
            assert len(net.to(ONE)) == 1

    run(main())


def test_a_trial_that_could_not_be_signed_is_repeated() -> None:
    """A clock that fails once does not keep the host down."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        loop = asyncio.get_running_loop()
        problems: list[object] = []
        loop.set_exception_handler(lambda _loop, about: problems.append(about["exception"]))
        failures = iter([False, False, False, True])

        def clock() -> float:
            if next(failures, False):
                raise RuntimeError("no time")
            return EPOCH + loop.time()

        async with CancelClient(
            credentials(), base_url=[ONE, TWO], transport=net, wall_clock=clock
        ) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            net.hosts[ONE] = always("ok")
            await asyncio.sleep(COOLDOWN + 0.5)
            await cancel(client, "swap", add(exchange, "swap", 1))  # the host is probed
            await asyncio.sleep(0.1)
            await cancel(
                client, "swap", add(exchange, "swap", 1)
            )  # on trial, at the second attempt
            before = len(net.to(TWO))
            assert (await cancel(client, "swap", add(exchange, "swap", 1))).counts == {ACCEPTED: 1}
            assert len(net.to(TWO)) == before
        assert len(problems) == 1

    run(main())


def test_of_two_hosts_that_are_down_the_one_with_the_older_failure_is_used() -> None:
    """Attempts alternate between the two hosts."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts = dict.fromkeys((ONE, TWO), always("5xx"))
        async with net.client(ONE, TWO, retry=RetryPolicy(backoff_max=0.1)) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
        posts = [where for _, where, method in net.log if method == "POST"]
        assert posts == [ONE, TWO] * 3

    run(main())


@pytest.mark.parametrize("behaviour", ["refuse", "5xx"])
def test_of_two_hosts_that_are_down_the_one_that_fails_at_once_is_used(behaviour: str) -> None:
    """A silent host costs five seconds an attempt."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("silent")
        async with net.client(ONE, TWO, retry=RetryPolicy(max_attempts=99)) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            net.hosts[TWO] = always(behaviour)
            began = now()
            urgent = asyncio.create_task(
                cancel(client, "swap", add(exchange, "swap", 1), priority=Priority.URGENT)
            )
            await asyncio.sleep(1.0)
            net.hosts[TWO] = always("ok")
            assert (await urgent).counts == {ACCEPTED: 1}
            assert now() - began < 1.5

    run(main())


def test_a_host_whose_probe_gets_no_reply_stays_behind_one_that_fails_at_once() -> None:
    """A silent probe does not make the host look like one that fails at once."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("silent")
        async with net.client(ONE, TWO) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            net.hosts[TWO] = always("refuse")
            call = asyncio.create_task(cancel(client, "swap", add(exchange, "swap", 1)))
            await asyncio.sleep(15.0)
            assert len(net.to(ONE, "GET")) > 1
            net.hosts[TWO] = always("ok")
            assert (await call).counts == {ACCEPTED: 1}
        assert len(net.to(ONE)) == 1

    run(main())


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_a_host_whose_probe_cannot_be_started_is_probed_later(error: type[BaseException]) -> None:
    """A task factory that fails once costs no request, and the host comes up later."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        loop = asyncio.get_running_loop()
        problems: list[str] = []
        loop.set_exception_handler(lambda _loop, context: problems.append(context["message"]))
        make_task = task_factory(loop)

        def factory(loop: Any, work: Any, **options: Any) -> Any:
            if work.__qualname__ == "Prober._probe" and not problems:
                raise error("sabotage")
            return make_task(loop, work, **options)

        async with net.client(ONE, TWO) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            net.hosts[ONE] = always("ok")
            loop.set_task_factory(factory)
            for _ in range(2):
                await asyncio.sleep(2 * COOLDOWN)
                outcome = await cancel(client, "swap", add(exchange, "swap", 1))
                assert outcome.counts == {ACCEPTED: 1}
            await asyncio.sleep(0.1)
            assert len(net.to(ONE, "GET")) == 1
        assert problems == ["a probe could not be started"]

    run(main())


@pytest.mark.parametrize(("behaviour", "cancels"), [("5xx", 1), ("silent", 1), ("404", 2)])
def test_any_reply_to_a_probe_but_5xx_shows_that_the_host_is_up(
    behaviour: str, cancels: int
) -> None:
    """Only then a signed request goes to the host."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client(ONE, TWO) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            net.hosts[ONE] = lambda request: behaviour if request.method == "GET" else "5xx"
            await asyncio.sleep(COOLDOWN)
            for _ in range(3):
                await cancel(client, "swap", add(exchange, "swap", 1))
                await asyncio.sleep(0.1)
            assert len(net.to(ONE, "GET")) == 1
            assert len(net.to(ONE)) == cancels

    run(main())


def test_a_host_whose_probe_is_cancelled_before_its_first_step_is_probed_again() -> None:
    """As when all tasks are cancelled in the turn in which the probe starts."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        loop = asyncio.get_running_loop()
        make_task = task_factory(loop)
        probes: list[object] = []

        def factory(loop: Any, work: Any, **options: Any) -> Any:
            task = make_task(loop, work, **options)
            if work.__qualname__ == "Prober._probe":
                probes.append(task)
                if len(probes) == 1:
                    task.cancel()
            return task

        async with net.client(ONE, TWO) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            net.hosts[ONE] = always("ok")
            loop.set_task_factory(factory)
            for _ in range(3):
                await asyncio.sleep(2 * COOLDOWN)
                await cancel(client, "swap", add(exchange, "swap", 1))
            assert len(probes) == 2
            assert len(net.to(ONE)) == 2

    run(main())


def test_a_host_that_answers_5xx_goes_down() -> None:
    """The next attempt goes to the other host."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        async with net.client(ONE, TWO) as client:
            for _ in range(3):
                await cancel(client, "swap", add(exchange, "swap", 1))
        assert (len(net.to(ONE)), len(net.to(TWO))) == (1, 3)

    run(main())


def test_a_late_answer_does_not_bring_a_host_up() -> None:
    """The answered request began before the host failed."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        behaviours = iter(["late", "5xx"])
        net.hosts[ONE] = lambda _request: next(behaviours, "ok")
        async with net.client(ONE, TWO) as client:
            late = asyncio.create_task(cancel(client, "swap", add(exchange, "swap", 1)))
            await asyncio.sleep(0.1)
            await cancel(client, "swap", add(exchange, "swap", 1))
            assert (await late).counts == {ACCEPTED: 1}
            assert now() < COOLDOWN
            await cancel(client, "swap", add(exchange, "swap", 1))
            assert (len(net.to(ONE)), len(net.to(TWO))) == (2, 2)

    run(main())


def test_a_host_that_lost_one_reply_is_probed_early_while_the_other_host_refuses() -> None:
    """It is probed a second after its failure, however often the other host fails meanwhile."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        behaviours = iter(["silent"])
        net.hosts[ONE] = lambda _request: next(behaviours, "ok")
        net.hosts[TWO] = always("refuse")
        ids = add(exchange, "v5", 2)
        async with net.client(ONE, TWO, request_timeout=2.0) as client:
            for order_id in ids:
                outcome = await cancel(client, "v5", [order_id], priority=Priority.URGENT)
                assert outcome.counts == {ACCEPTED: 1}
            assert now() < 2.0 + PROBE_AGAIN + 2 * URGENT_BACKOFF_MAX + 0.1

    run(main())


def test_failures_within_a_cooldown_do_not_extend_the_cooldown() -> None:
    """A host that refused a hundred attempts is up five seconds after the first."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts = dict.fromkeys((ONE, TWO), always("refuse"))
        async with net.client(ONE, TWO) as client:
            ids = add(exchange, "v5", 1)
            task = asyncio.create_task(cancel(client, "v5", ids, priority=Priority.URGENT))
            await asyncio.sleep(4.0)
            net.hosts[TWO] = always("ok")
            assert (await task).counts == {ACCEPTED: 1}
            net.hosts[ONE] = always("ok")
            await asyncio.sleep(COOLDOWN)
            before = len(net.to(ONE))
            for _ in range(3):
                await cancel(client, "v5", add(exchange, "v5", 1))
                await asyncio.sleep(0.1)
            assert len(net.to(ONE)) == before + 2

    run(main())


def two_hosts() -> Hosts:
    """Return two hosts, of which the first one failed at 1 s and is probed at 6 s."""
    signer = Signer(credentials(), "one.example")
    hosts = Hosts([Host(ONE, signer), Host(TWO, signer)])
    hosts.all[0].fail(0.0, 1.0)
    assert hosts.due_probes(6.0) == [hosts.all[0]]
    return hosts


def test_a_late_answer_to_a_probe_does_not_change_a_host_that_is_up() -> None:
    """A signed request brought the host up while the host was probed."""
    hosts = two_hosts()
    first = hosts.all[0]
    first.answer(7.0)
    first.end_probe(answered=True)
    assert [hosts.choose(), hosts.choose()] == [first, first]


def test_a_host_that_fails_while_it_is_probed_is_not_probed_twice_at_a_time() -> None:
    """The failed request was a signed one; the end of the probe allows the next probe."""
    hosts = two_hosts()
    first, second = hosts.all
    second.fail(6.0, 6.5)
    assert hosts.choose() is first
    first.fail(6.5, 7.0)
    assert hosts.due_probes(100.0) == [second]
    first.end_probe(answered=False)
    assert hosts.due_probes(100.0) == [first]
    first.end_probe(answered=False)
    second.end_probe(answered=False)
    assert hosts.due_probes(100.0) == [first, second]
    first.end_probe(answered=True)
    assert hosts.choose() is first


def test_the_cooldown_of_a_host_that_was_up_again_starts_small() -> None:
    """The cooldown had doubled before the host was up."""
    hosts = two_hosts()
    host = hosts.all[0]
    host.fail(6.0, 7.0)
    assert host.cooldown == 2 * COOLDOWN
    host.answer(18.0)
    host.fail(19.0, 20.0)
    assert not hosts.due_probes(20.0 + COOLDOWN - 0.1)
    assert hosts.due_probes(20.0 + COOLDOWN) == [host]


def test_only_requests_that_began_after_the_last_failure_count() -> None:
    """An earlier request brings the host neither up nor down."""
    hosts = two_hosts()
    first, second = hosts.all
    first.answer(0.5)  # it began before the failure at 1 s
    assert hosts.choose() is second
    first.answer(7.0)
    first.fail(0.5, 8.0)
    assert hosts.choose() is first


def test_a_host_is_silent_only_if_its_last_failure_was() -> None:
    """Of two hosts that fail at once, the one with the older failure is used."""
    hosts = two_hosts()
    first, second = hosts.all
    first.fail(6.0, 7.0, silent=True)
    second.fail(7.0, 8.0)
    assert hosts.choose() is second
    first.fail(8.0, 9.0)
    second.fail(9.0, 10.0)
    assert hosts.choose() is first


def test_a_host_that_is_down_gets_no_trial_after_a_request_without_a_verdict() -> None:
    """Only the end of a trial allows another trial."""
    hosts = two_hosts()
    first, second = hosts.all
    first.release()
    assert hosts.choose() is second


class TwoHosts:
    """Two addresses of one exchange on virtual time, either of which may refuse connections."""

    def __init__(self, exchange: Exchange) -> None:
        self.shut: set[str] = set()
        self.tried: list[str] = []
        self._open = InProcessTransport(exchange, epoch=EPOCH, delay=0.01)
        self._shut = InProcessTransport(
            exchange, epoch=EPOCH, faults=FaultPlan(share=1.0, kinds=["refused_connection"])
        )

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send a request to its host."""
        self.tried.append(request.origin)
        host = self._shut if request.origin in self.shut else self._open
        return await host.send(request, timeout=timeout)

    async def close(self) -> None:
        """Do nothing."""


def test_a_failing_host_is_left_and_used_again_later() -> None:
    """Each request is signed for its host; the first host is preferred again once it is up."""

    async def main() -> None:
        exchange = Exchange(limits=False)
        com, vn = "https://api.hbdm.com", "https://api.hbdm.vn"
        hosts = TwoHosts(exchange)
        loop = asyncio.get_running_loop()
        async with CancelClient(
            Credentials("sandbox-access-key", "sandbox-secret-key"),
            base_url=[com, vn],
            transport=hosts,
            wall_clock=lambda: EPOCH + loop.time(),
        ) as client:
            hosts.shut = {com}
            for _ in range(3):
                outcome = await cancel(client, "swap", add(exchange, "swap", 1))
                assert outcome.counts == {ACCEPTED: 1}
            assert hosts.tried == [com, vn, vn, vn]
            hosts.shut = set()
            await asyncio.sleep(6.0)
            for _ in range(2):  # the host is probed, and then it is up
                await cancel(client, "swap", add(exchange, "swap", 1))
                await asyncio.sleep(0.1)
            assert hosts.tried[-1] == com
            tried = len(hosts.tried)
            hosts.shut = {com, vn}
            outcome = await cancel(client, "swap", add(exchange, "swap", 1))
            assert outcome.counts == {UNSENT: 1}
            assert set(hosts.tried[tried:]) == {com, vn}

    run(main())
