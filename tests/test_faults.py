"""Every fault at every stage, on every endpoint: a true status, no exception, no leak."""

import asyncio
import logging
import warnings
from typing import Any, Self

import pytest
from clients import CONTRACTS, EPOCH, ONCE, add, cancel, in_process
from virtualtime import run

from htx_cancel import (
    CancelAllOutcome,
    CancelClient,
    CancelStatus,
    CloseReason,
    Credentials,
    OrderResult,
    Outcome,
    RetryPolicy,
)
from htx_cancel.sandbox import Exchange, InProcessTransport, SandboxServer
from htx_cancel.sandbox.faults import FAULTS, FaultPlan
from htx_cancel.sandbox.rules import Kind
from htx_cancel.wire.transport import Reply, Request

pytestmark = pytest.mark.loops

KINDS: list[Kind] = ["swap", "swap_trigger", "swap_trailing", "linear_trigger", "v5"]
ACCEPTED, CLOSED, UNKNOWN = CancelStatus.ACCEPTED, CancelStatus.CLOSED, CancelStatus.UNKNOWN
REJECTED, UNSENT = CancelStatus.REJECTED, CancelStatus.UNSENT

#: For each fault: the status after one try, and after as many as the policy allows, with the
#: number of requests that carried the ids then.
MATRIX: dict[str, tuple[CancelStatus, CancelStatus, int]] = {
    "refused_connection": (UNSENT, ACCEPTED, 1),
    "lost_before": (UNKNOWN, ACCEPTED, 2),
    "lost_after": (UNKNOWN, CLOSED, 2),
    "late": (UNKNOWN, CLOSED, 2),
    "reset_before": (UNKNOWN, ACCEPTED, 2),
    "reset_after": (UNKNOWN, CLOSED, 2),
    "cut": (UNKNOWN, CLOSED, 2),
    "slow": (ACCEPTED, ACCEPTED, 1),
    "html": (UNKNOWN, ACCEPTED, 2),
    "html_after": (UNKNOWN, CLOSED, 2),
    "empty": (UNKNOWN, CLOSED, 2),
    "wrong_json": (UNKNOWN, CLOSED, 2),
    "http_5xx": (UNKNOWN, ACCEPTED, 2),
    "http_429": (REJECTED, ACCEPTED, 2),
    "rate": (REJECTED, ACCEPTED, 2),
    "busy": (REJECTED, ACCEPTED, 2),
    "settling": (REJECTED, ACCEPTED, 2),
    "system_error": (UNKNOWN, CLOSED, 2),
    "wrong_clock": (REJECTED, ACCEPTED, 2),
}


def test_the_matrix_is_complete() -> None:
    """Each fault that the sandbox can play has its row."""
    assert set(MATRIX) == set(FAULTS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", MATRIX)
def test_each_fault_gives_the_status_that_is_true(fault: str, kind: Kind) -> None:
    """One try says what is known; more tries make it accepted or closed, never both."""
    once, at_last, attempts = MATRIX[fault]

    async def main() -> None:
        for policy, status, sent in ((ONCE, once, 1), (None, at_last, attempts)):
            exchange = Exchange()
            ids = add(exchange, kind, 1)
            plan = FaultPlan({ids[0]: [fault]})
            async with in_process(
                exchange, retry=policy, request_timeout=2.0, faults=plan, delay=0.01
            ) as client:
                result = (await cancel(client, kind, ids)).results[0]
                assert (result.status, result.attempts) == (status, sent * (status != UNSENT))
                assert (result.reason is CloseReason.CANCELED) == (status is CLOSED)
                await leaves_nothing(client)
            truth = exchange.book[ids[0]]
            assert truth.instructed == (status in (ACCEPTED, CLOSED) or FAULTS[fault].executed) or (
                fault == "wrong_clock"
            )

    run(main())


@pytest.mark.parametrize("fault", MATRIX)
def test_each_fault_of_a_call_that_names_no_ids_is_told_by_the_call(fault: str) -> None:
    """Where the first try was executed unseen, the second finds nothing open."""
    once, at_last, attempts = MATRIX[fault]
    path = "/swap-api/v1/swap_track_cancelall"

    async def main() -> None:
        for policy, status, sent in ((ONCE, once, 1), (None, at_last, attempts)):
            exchange = Exchange()
            ids = add(exchange, "swap_trailing", 2)
            plan = FaultPlan({path: [fault]})
            async with in_process(
                exchange, retry=policy, request_timeout=2.0, faults=plan
            ) as client:
                outcome = await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD")
                await leaves_nothing(client)
            found = CancelStatus.NOT_FOUND if status is CLOSED else status
            assert (outcome.call.status, outcome.call.attempts) == (found, sent * (found != UNSENT))
            assert [it.order_id for it in outcome] == (ids if status is ACCEPTED else [])

    run(main())


async def leaves_nothing(client: CancelClient) -> None:
    """Check that no task, token or place in flight is left behind."""
    await asyncio.sleep(10.0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for budget in client.budgets.snapshot():
        assert (budget.in_flight, budget.waiting) == (0, 0), budget
        assert budget.free == budget.calls - budget.reserve, budget


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", MATRIX)
async def test_each_fault_is_met_on_a_socket_too(fault: str, kind: Kind) -> None:
    """The same rows over real connections; nothing stays open."""
    once, _, _ = MATRIX[fault]
    exchange = Exchange()
    ids = add(exchange, kind, 1)
    late = FAULTS[fault].lasting(0.05) if fault == "slow" else fault
    plan = FaultPlan({ids[0]: [late]})
    asyncio.get_running_loop().set_debug(True)
    async with (
        SandboxServer(exchange, faults=plan) as server,
        CancelClient(
            Credentials("sandbox-access-key", "sandbox-secret-key"),
            base_url=server.base_url,
            retry=ONCE,
            request_timeout=0.5 if fault in {"late", "lost_before", "lost_after"} else 5.0,
        ) as client,
    ):
        if fault == "refused_connection":
            await server.down()
        outcome = await cancel(client, kind, ids)
    assert outcome.results[0].status is once
    await asyncio.sleep(0.01)  # the server's tasks, cancelled by now, end in a turn of the loop
    assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}


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


class TwoHosts:
    """Two addresses of one exchange on virtual time, either of which may be shut."""

    def __init__(self, exchange: Exchange) -> None:
        self.shut: set[str] = set()
        self.tried: list[str] = []
        self._open = InProcessTransport(exchange, epoch=EPOCH, delay=0.01)
        self._shut = InProcessTransport(
            exchange, epoch=EPOCH, faults=FaultPlan(share=1.0, kinds=["refused_connection"])
        )

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Carry a request through its host."""
        self.tried.append(request.origin)
        host = self._shut if request.origin in self.shut else self._open
        return await host.send(request, timeout=timeout)

    async def close(self) -> None:
        """Hold nothing."""


def test_a_failing_door_is_left_and_tried_again_later() -> None:
    """Each host is signed for its own host; the first one is preferred again when it is back."""

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
            for _ in range(2):  # it is asked, and then it is back
                await cancel(client, "swap", add(exchange, "swap", 1))
                await asyncio.sleep(0.1)
            assert hosts.tried[-1] == com
            tried = len(hosts.tried)
            hosts.shut = {com, vn}
            outcome = await cancel(client, "swap", add(exchange, "swap", 1))
            assert outcome.counts == {UNSENT: 1}
            assert set(hosts.tried[tried:]) == {com, vn}

    run(main())


class CountingProxy:
    """Passes connections on to a server on loopback, and counts them."""

    def __init__(self, base_url: str) -> None:
        self.opened = 0
        self._port = int(base_url.rpartition(":")[2])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _pass_on(self, inner: asyncio.StreamReader, outer: asyncio.StreamWriter) -> None:
        self.opened += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(copy(inner, writer), copy(reader, outer))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy a stream to its end."""
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
    await writer.wait_closed()


async def test_a_warm_client_opens_no_connection_for_its_first_cancel() -> None:
    """``warm_up`` opens them; a host that is down is counted out."""
    exchange = Exchange()
    ids = add(exchange, "swap", 10)
    async with (
        SandboxServer(exchange) as server,
        SandboxServer(exchange) as other,
        CountingProxy(server.base_url) as host,
        CancelClient(
            Credentials("sandbox-access-key", "sandbox-secret-key"),
            base_url=[host.base_url, other.base_url],
        ) as client,
    ):
        await other.down()
        assert await client.warm_up(3) == 3
        assert exchange.calls == {"/api/v1/timestamp": 3 + 10}
        assert host.opened == 3
        assert client.budgets.round_trip > 0  # the way was learnt
        outcome = await cancel(client, "swap", ids)
        assert outcome.counts == {ACCEPTED: 10}
        assert host.opened == 3


def settled(results: dict[str, OrderResult], exchange: Exchange, ids: list[str]) -> None:
    """Check that every id was told once, and nothing that the book contradicts."""
    assert set(results) == set(ids)
    for key, result in results.items():
        order = exchange.book[key]
        if result.status is ACCEPTED:
            assert order.instructed
        if result.status in (UNSENT, CancelStatus.OPEN):
            assert not order.instructed
        if result.status in (CLOSED, CancelStatus.NOT_FOUND):
            assert order.state != "open"


def stages() -> list[tuple[str, float, int]]:
    """List where to cancel: by turns of the loop at the start, then by the clock."""
    turns = [("turns", 0.0, count) for count in range(25)]
    return turns + [("clock", 0.01 * step, 0) for step in range(1, 60)]


@pytest.mark.parametrize("kind", ["swap_trailing", "v5"])
def test_a_caller_may_go_away_at_any_await(kind: Kind) -> None:
    """Cancelled at each turn and moment in turn: tokens come back, every id is told once."""

    async def main(seconds: float, turns: int) -> None:
        exchange = Exchange()
        ids = add(exchange, kind, 130)
        told: dict[str, OrderResult] = {}
        batches: list[tuple[OrderResult, ...]] = []

        def on_batch(results: tuple[OrderResult, ...]) -> None:
            batches.append(results)
            told.update((result.order_id, result) for result in results)

        plan = FaultPlan({key: ["lost_after", "busy"] for key in ids[::7]})
        async with in_process(exchange, delay=0.05, request_timeout=0.2, faults=plan) as client:
            call = asyncio.create_task(cancel(client, kind, ids, on_batch=on_batch))
            for _ in range(turns):
                await asyncio.sleep(0)
            if seconds:
                await asyncio.sleep(seconds)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await leaves_nothing(client)
        assert sum(map(len, batches)) == len(told)
        if told:  # otherwise it was cancelled before it had looked at its ids
            settled(told, exchange, ids)
        assert told or not exchange.calls

    for _, seconds, turns in stages():
        run(main(seconds, turns))


def test_a_client_may_be_closed_at_any_await() -> None:
    """The call returns with every id, and what it says is true."""

    async def main(seconds: float, turns: int) -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 130)
        plan = FaultPlan({key: ["lost_after", "busy"] for key in ids[::7]})
        client = in_process(exchange, delay=0.05, request_timeout=0.2, faults=plan)
        call = asyncio.create_task(cancel(client, "swap_trailing", ids))
        await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        if seconds:
            await asyncio.sleep(seconds)
        await client.aclose(drain=0.05)
        settled({result.order_id: result for result in await call}, exchange, ids)
        await leaves_nothing(client)

    for _, seconds, turns in stages():
        run(main(seconds, turns))


def test_no_key_and_no_signature_is_ever_shown(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through every fault: not in a log, warning, repr, result or printed line."""
    canary = Credentials("canary-access", "canary-secret")
    seen: list[str] = []

    async def main(fault: str) -> None:
        asyncio.get_running_loop().set_debug(True)
        exchange = Exchange(access_key="canary-access", secret_key="canary-secret")
        ids = add(exchange, "swap", 3)
        plan = FaultPlan({ids[0]: [fault] * 3})
        loop = asyncio.get_running_loop()
        client = CancelClient(
            canary,
            transport=InProcessTransport(exchange, epoch=EPOCH, faults=plan),
            wall_clock=lambda: EPOCH + loop.time(),
            request_timeout=0.5,
            retry=RetryPolicy(max_attempts=2),
        )
        async with client:
            outcome: Outcome = await cancel(client, "swap", ids)
            both: list[Outcome | CancelAllOutcome] = [outcome, await client.confirm(outcome)]
            seen.extend(map(repr, [client, client.budgets, canary, *both, *outcome]))
            seen.append(repr(vars(client)))

    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        for fault in MATRIX:
            run(main(fault))
    printed = capsys.readouterr()
    text = "\n".join([*seen, caplog.text, printed.out, printed.err, *map(str, caught)])
    assert len(seen) == len(MATRIX) * 9
    for secret in ("canary", "Signature=", "AccessKeyId"):
        assert secret not in text


async def test_no_key_and_no_signature_is_shown_by_a_broken_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Over real sockets, with the loop's and aiohttp's own logs at their loudest."""
    asyncio.get_running_loop().set_debug(True)
    seen: list[Any] = []
    with caplog.at_level(logging.DEBUG):
        for fault in ("reset_after", "cut", "lost_after", "html", "empty"):
            exchange = Exchange(access_key="canary-access", secret_key="canary-secret")
            ids = add(exchange, "swap", 1)
            async with (
                SandboxServer(exchange, faults=FaultPlan({ids[0]: [fault]})) as server,
                CancelClient(
                    Credentials("canary-access", "canary-secret"),
                    base_url=server.base_url,
                    retry=ONCE,
                    request_timeout=0.2,
                ) as client,
            ):
                seen.extend(await client.coin_m_swap.cancel_orders(CONTRACTS["swap"], ids))
    text = repr(seen) + caplog.text
    for secret in ("canary", "Signature=", "AccessKeyId"):
        assert secret not in text
