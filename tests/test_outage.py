"""Hosts that refuse, keep silent or fail, and what cancel calls do meanwhile, on virtual time."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from clients import EPOCH, ONCE, add, cancel, credentials
from virtualtime import run

from htx_cancel import Budgets, CancelClient, CancelStatus, Limit, Outcome, Priority, RetryPolicy
from htx_cancel.errors import NoAnswerError, NotSentError, StaleConnectionError
from htx_cancel.hosts import ASK_AGAIN, COOLDOWN, LONGEST_COOLDOWN
from htx_cancel.limits.reconnect import AT_ONCE, ATTEMPTS_PER_SECOND, PER_TURN
from htx_cancel.retry import URGENT_BACKOFF_MAX
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.sandbox.rules import Kind
from htx_cancel.wire.transport import CONNECT_TIMEOUT, Reply, Request

pytestmark = pytest.mark.loops

ONE, TWO = "https://one.example", "https://two.example"
ACCEPTED, CLOSED, UNKNOWN = CancelStatus.ACCEPTED, CancelStatus.CLOSED, CancelStatus.UNKNOWN
REJECTED, UNSENT = CancelStatus.REJECTED, CancelStatus.UNSENT

#: What a host does with a request: see ``Net.send``.
Behaviour = Callable[[Request], str]


def now() -> float:
    """Read the loop's clock."""
    return asyncio.get_running_loop().time()


def always(behaviour: str) -> Behaviour:
    """Behave so at any request."""
    return lambda _request: behaviour


def refusing(seen: list[str]) -> Behaviour:
    """Refuse any cancel of one order, and note the order."""

    def refuse(request: Request) -> str:
        seen.append(msgspec.json.decode(request.body)["order_id"])
        return "refuse"

    return refuse


class Net:
    """Hosts of one exchange, each of which may behave badly; ``log`` has every attempt."""

    def __init__(self, exchange: Exchange, delay: float = 0.002) -> None:
        self.inner = InProcessTransport(exchange, delay=delay, epoch=EPOCH)
        self.hosts: dict[str, Behaviour] = dict.fromkeys((ONE, TWO), always("ok"))
        self.log: list[tuple[float, str, str]] = []  #: when, where to, and the method

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Carry a request, or not."""
        self.log.append((now(), request.origin, request.method))
        behaviour = self.hosts[request.origin](request)
        if behaviour == "refuse":
            raise NotSentError("connection refused")
        if behaviour == "refuse late":
            await asyncio.sleep(0.01)
            raise NotSentError("no route to host")
        if behaviour == "hang":  # a connection that is never made
            await asyncio.sleep(min(timeout, CONNECT_TIMEOUT))
            raise NotSentError("no connection")
        if behaviour == "stale":
            raise StaleConnectionError("data arrived before the request left")
        if behaviour == "broken":
            raise NoAnswerError("connection reset")
        if behaviour == "silent":
            await asyncio.sleep(timeout)
            raise NoAnswerError(f"no reply within {timeout:g} s")
        if behaviour == "late":
            await asyncio.sleep(4.0)
        if behaviour == "5xx":
            return Reply(503, {}, b"Service Unavailable", now())
        return await self.inner.send(request, timeout=timeout)

    async def close(self) -> None:
        """Hold nothing."""

    def client(self, *hosts: str, **settings: object) -> CancelClient:
        """Return a client of these hosts."""
        loop = asyncio.get_running_loop()
        return CancelClient(
            credentials(),
            base_url=list(hosts) or [ONE],
            transport=self,
            wall_clock=lambda: EPOCH + loop.time(),
            **settings,  # type: ignore[arg-type]
        )

    def to(self, origin: str, method: str = "POST") -> list[float]:
        """List when requests went to a host."""
        return [at for at, where, how in self.log if (where, how) == (origin, method)]


async def many(
    client: CancelClient, exchange: Exchange, kind: Kind, calls: int, ids: int
) -> list["asyncio.Task[Outcome]"]:
    """Start calls of so many ids each."""
    return [
        asyncio.create_task(cancel(client, kind, add(exchange, kind, ids))) for _ in range(calls)
    ]


#: Three thousand ids in one call, in as many calls, and in some, where tokens are few.
LOADS: list[tuple[Kind, int, int]] = [("v5", 1, 3000), ("v5", 3000, 1), ("swap_trailing", 30, 100)]


@pytest.mark.parametrize(("kind", "calls", "ids"), LOADS)
def test_an_urgent_id_passes_all_retries_when_an_outage_ends(
    kind: Kind, calls: int, ids: int
) -> None:
    """Two seconds without a connection; it is accepted within half a second of their end."""

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
            tried = calls + (72 if kind == "v5" else 5)  # those of the first window, one a call
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
def test_a_call_that_reaches_nobody_gives_up_in_its_time(
    seconds: float, kind: Kind, calls: int, ids: int
) -> None:
    """All are unsent when the retries' time is over, whatever their number."""

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

    run(main())


def test_a_deadline_ends_a_call_that_reaches_nobody() -> None:
    """Its timeout is shorter than its retries' time."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse")
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 300), timeout=1.5)
            assert outcome.counts == {UNSENT: 300}
            assert now() <= 1.501

    run(main())


def test_attempts_to_reconnect_are_spread_evenly() -> None:
    """However many batches fail: so many a second, after the burst that found it out."""

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


def test_those_who_wait_for_tokens_in_an_outage_wait_to_reconnect_as_well() -> None:
    """The tokens of the burst that found it out are free again, and yet nobody runs after it."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("refuse late")
        async with net.client(retry=RetryPolicy(max_elapsed=5.0)) as client:
            tasks = await many(client, exchange, "v5", 1000, 1)
            await asyncio.sleep(1.0)
            assert len(net.log) <= 72 + ATTEMPTS_PER_SECOND
            await asyncio.gather(*tasks)

    run(main())


def test_all_who_wait_to_reconnect_go_as_soon_as_one_got_through() -> None:
    """Nobody waits for the pace of attempts at an exchange that is there again."""

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
    """One urgent call among a thousand that wait to try is the next to try."""

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
    """Each of a hundred tries once before any tries again."""

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


def test_a_host_alone_is_never_asked() -> None:
    """Calls go there in any case, so nobody needs to know."""

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


def test_a_caller_that_goes_away_while_it_waits_to_reconnect_stops_nobody() -> None:
    """Its place among those who try goes to the next one."""

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


def test_confirm_does_not_hammer_an_exchange_that_cannot_be_reached() -> None:
    """Its queries wait with the other attempts to reconnect, and no longer than its timeout."""

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


# hosts


def test_a_silent_host_costs_one_burst_and_then_single_probes() -> None:
    """1,440 ids take 9 s of limits, 5 s to find out, and 3 s in which those tokens rest."""

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


def test_a_host_is_left_alone_for_twice_as_long_each_time() -> None:
    """Up to a bound; one probe at a time, and no signed request until one is answered."""

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


def test_a_host_that_answers_the_probe_but_no_cancel_gets_one_on_trial() -> None:
    """A whole burst goes there again only after that one was answered."""

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
    """Its answer takes four seconds; all other batches of that time go to the other host."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        async with net.client(ONE, TWO) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            await asyncio.sleep(COOLDOWN)
            net.hosts[ONE] = lambda request: "ok" if request.method == "GET" else "late"
            await cancel(client, "swap", add(exchange, "swap", 1))  # it is asked
            await asyncio.sleep(0.1)
            net.log.clear()
            outcome = await cancel(client, "swap", add(exchange, "swap", 200))
            assert outcome.counts == {ACCEPTED: 200}
            assert (len(net.to(ONE)), len(net.to(TWO))) == (1, 19)

    run(main())


def test_of_hosts_that_are_all_down_the_one_that_has_not_failed_for_longer_is_used() -> None:
    """Each failure of one makes it the other one's turn."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts = dict.fromkeys((ONE, TWO), always("5xx"))
        async with net.client(ONE, TWO, retry=RetryPolicy(backoff_max=0.1)) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
        posts = [where for _, where, method in net.log if method == "POST"]
        assert posts == [ONE, TWO] * 3

    run(main())


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


def test_closing_waits_for_no_answer_of_a_host_that_is_asked() -> None:
    """Nobody needs it any more."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        client = net.client(ONE, TWO)
        await cancel(client, "swap", add(exchange, "swap", 1))
        await asyncio.sleep(COOLDOWN)
        net.hosts[ONE] = always("silent")
        await cancel(client, "swap", add(exchange, "swap", 1))
        began = now()
        assert len(net.to(ONE, "GET")) == 1
        await client.aclose()
        assert now() - began < 0.001
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_a_host_that_answers_5xx_is_left() -> None:
    """The next attempt goes to the other one."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        async with net.client(ONE, TWO) as client:
            for _ in range(3):
                await cancel(client, "swap", add(exchange, "swap", 1))
        assert (len(net.to(ONE)), len(net.to(TWO))) == (1, 3)

    run(main())


def test_a_late_answer_does_not_bring_a_failed_host_back() -> None:
    """It belongs to a request that began before the host failed."""

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


def test_a_trial_that_goes_away_lets_another_one_go() -> None:
    """Its deadline was too near to blame the host, which is not forgotten for that."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("5xx")
        async with net.client(ONE, TWO, request_timeout=1.0) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            await asyncio.sleep(COOLDOWN)
            assert now() > COOLDOWN
            net.hosts[ONE] = lambda request: "ok" if request.method == "GET" else "silent"
            await cancel(client, "swap", add(exchange, "swap", 1))  # it is asked
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


# deadlines


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


# the account


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


def test_a_refused_key_stops_its_call() -> None:
    """No more requests than were in flight when the first reply came."""

    async def main() -> None:
        exchange = Exchange(secret_key="another")
        net = Net(exchange)
        async with net.client(ONE) as client:
            ids = add(exchange, "v5", 2000)
            outcome = await cancel(client, "v5", ids)
            assert now() < 0.1
        assert len(net.log) == 72
        assert outcome.counts == {REJECTED: 72, UNSENT: 1928}
        assert "the exchange refused the account: 1003" in outcome.unsent[0].message

    run(main())


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


def test_a_refused_key_with_the_right_time_is_no_matter_of_the_clock() -> None:
    """One attempt, and it stands."""

    async def main() -> None:
        exchange = Exchange(secret_key="another")
        net = Net(exchange)
        async with net.client() as client:
            outcome = await cancel(client, "swap", add(exchange, "swap", 1))
        assert (outcome.counts, len(net.log)) == ({REJECTED: 1}, 1)

    run(main())


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


# what must not be blamed, and what must not be held


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


def test_attempts_that_wait_for_a_connection_hold_few_tokens() -> None:
    """Another client with the same budgets is not held up by one that reaches nobody."""

    async def main() -> None:
        exchange = Exchange()
        dark, bright, budgets = Net(exchange), Net(exchange), Budgets()
        dark.hosts[ONE] = always("hang")
        async with dark.client(budgets=budgets) as one, bright.client(budgets=budgets) as two:
            routine = await many(one, exchange, "v5", 300, 1)
            await asyncio.sleep(CONNECT_TIMEOUT + 0.1)
            for _ in range(20):
                assert sum(each.in_flight for each in budgets.snapshot()) <= AT_ONCE
                began = now()
                urgent = await cancel(two, "v5", add(exchange, "v5", 1), priority=Priority.URGENT)
                assert urgent.counts == {ACCEPTED: 1}
                assert now() - began < 0.1
                await asyncio.sleep(0.2)
            for task in routine:
                task.cancel()

    run(main())


def test_those_who_waited_for_the_end_of_an_outage_go_some_a_turn() -> None:
    """Three thousand at once would stall the event loop."""

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


def test_a_trial_that_could_not_be_signed_is_made_again() -> None:
    """A clock that fails once does not cost the host."""

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
            await cancel(client, "swap", add(exchange, "swap", 1))  # it is asked
            await asyncio.sleep(0.1)
            await cancel(client, "swap", add(exchange, "swap", 1))  # on trial, at the second go
            before = len(net.to(TWO))
            assert (await cancel(client, "swap", add(exchange, "swap", 1))).counts == {ACCEPTED: 1}
            assert len(net.to(TWO)) == before
        assert len(problems) == 1

    run(main())


def test_of_two_hosts_that_are_down_one_that_fails_at_once_is_tried_first() -> None:
    """A silent one costs five seconds an attempt."""

    async def main() -> None:
        exchange = Exchange()
        net = Net(exchange)
        net.hosts[ONE] = always("silent")
        async with net.client(ONE, TWO) as client:
            await cancel(client, "swap", add(exchange, "swap", 1))
            net.hosts[TWO] = always("refuse")
            began = now()
            urgent = asyncio.create_task(
                cancel(client, "swap", add(exchange, "swap", 1), priority=Priority.URGENT)
            )
            await asyncio.sleep(1.0)
            net.hosts[TWO] = always("ok")
            assert (await urgent).counts == {ACCEPTED: 1}
            assert now() - began < 1.5

    run(main())


def test_a_host_that_lost_one_reply_is_found_again_while_the_other_refuses() -> None:
    """It is asked a second after its failure, however often the other one failed meanwhile."""

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
            assert now() < 2.0 + ASK_AGAIN + 2 * URGENT_BACKOFF_MAX + 0.1

    run(main())


def test_failures_within_a_cooldown_do_not_prolong_it() -> None:
    """A host that refused a hundred attempts is back five seconds after the first."""

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
