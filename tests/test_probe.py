"""Public requests: warm-ups and probes."""

import asyncio
from typing import Self

import pytest
from clients import EPOCH, add, cancel, credentials, in_process
from net import ONE, TWO, Net, always
from virtualtime import now, run

from htx_cancel import CancelClient, CancelStatus, Credentials, InvalidTypeError, InvalidValueError
from htx_cancel.hosts import COOLDOWN, Host, Hosts
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.round_trip import RoundTrips
from htx_cancel.probe import SEQUENTIAL_REQUESTS, TIMESTAMP, Prober
from htx_cancel.sandbox import Exchange, SandboxServer
from htx_cancel.wire.signing import Signer
from htx_cancel.wire.transport import Reply, Request

pytestmark = pytest.mark.loops


class Uneven:
    """A transport whose every second request hangs."""

    def __init__(self) -> None:
        self.requests = 0

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Answer after 50 ms, or never."""
        assert request.body == b""
        self.requests += 1
        await asyncio.sleep(0.05 if self.requests % 2 else timeout)
        return Reply(200, {}, b"{}")

    async def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(("timeout", "answered"), [(0.01, 0), (0.2, 2), (None, 4)])
def test_a_warm_up_returns_in_time_with_the_number_of_answers(
    timeout: float | None, answered: int
) -> None:
    """A request that hangs costs at most the timeout, and no task is left."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with CancelClient(
            credentials(), transport=Uneven(), wall_clock=lambda: EPOCH
        ) as client:
            assert await client.warm_up(4, timeout=timeout) == answered
            if timeout is not None:
                assert loop.time() == pytest.approx(timeout, abs=0.001)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


class Recorder(RoundTrips):
    """Records which samples are sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.sequential: list[bool] = []

    def learn(self, host: str, trip: float, now: float, *, sequential: bool = False) -> None:
        """Record a sample."""
        self.sequential.append(sequential)
        super().learn(host, trip, now, sequential=sequential)


def test_only_the_requests_after_the_burst_of_a_warm_up_are_sequential() -> None:
    """Ten to each host, whatever the number of connections."""

    async def main() -> None:
        recorder = Recorder()
        budgets = Budgets(round_trips=recorder)
        async with Net(Exchange()).client(ONE, TWO, budgets=budgets) as client:
            assert await client.warm_up(3) == 6
        assert recorder.sequential == [False] * 6 + [True] * 2 * SEQUENTIAL_REQUESTS

    run(main())


def test_a_warm_up_leaves_a_host_that_stops_to_answer() -> None:
    """One sequential request waits for a reply in vain."""

    async def main() -> None:
        net = Net(Exchange())
        net.hosts[ONE] = lambda _request: "silent" if len(net.log) > 3 else "ok"
        async with net.client(request_timeout=1.0) as client:
            assert await client.warm_up(2) == 2
            assert now() < 1.1

    run(main())


def test_a_host_that_fails_in_any_way_does_not_count_in_a_warm_up() -> None:
    """An exception of a foreign transport is reported."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        problems: list[str] = []
        loop.set_exception_handler(lambda _loop, about: problems.append(about["message"]))

        def behave(_request: Request) -> str:
            if len(net.log) > 2:
                raise RuntimeError("sabotage")
            return "5xx"

        net = Net(Exchange())
        net.hosts[ONE] = behave
        async with net.client() as client:
            assert await client.warm_up(3) == 0
        assert problems == ["the transport raised"]

    run(main())


def test_a_warm_up_that_is_cancelled_from_inside_is_reported() -> None:
    """A transport raises the error, and nobody cancelled the task."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        problems: list[str] = []
        loop.set_exception_handler(lambda _loop, about: problems.append(about["message"]))

        def behave(_request: Request) -> str:
            raise asyncio.CancelledError("sabotage")

        net = Net(Exchange())
        net.hosts[ONE] = behave
        async with net.client() as client:
            assert await client.warm_up(1) == 0
        assert problems == ["the warm-up failed"]

    run(main())


def prober(net: Net) -> tuple[Prober, Hosts]:
    """Return a prober of two hosts with a request timeout of a second."""
    hosts = Hosts([Host(origin, Signer(credentials(), "one.example")) for origin in (ONE, TWO)])
    return Prober(net, hosts, Budgets(), 1.0), hosts


@pytest.mark.parametrize(
    ("behaviour", "state", "silent"),
    [
        ("5xx", "down", False),
        ("refuse", "down", False),
        ("silent", "down", True),
        ("stale", "up", False),
        ("404", "up", False),
        ("raise", "up", False),
    ],
)
def test_public_data_is_requested_three_times(behaviour: str, state: str, silent: bool) -> None:
    """A host that fails is blamed, except for a stale connection or a foreign exception."""

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _about: None)

        def behave(_request: Request) -> str:
            if behaviour == "raise":
                raise RuntimeError("sabotage")
            return behaviour

        net = Net(Exchange())
        net.hosts = dict.fromkeys((ONE, TWO), behave)
        sender, hosts = prober(net)
        assert await sender.get(TIMESTAMP, 10.0) is None
        assert len(net.log) == 3
        assert (hosts.all[0].state, hosts.all[0].silent) == (state, silent)
        net.hosts = dict.fromkeys((ONE, TWO), always("ok"))
        assert await sender.get(TIMESTAMP, 10.0) is not None
        assert len(net.log) == 4

    run(main())


@pytest.mark.parametrize(("behaviour", "state"), [("silent", "up"), ("broken", "down")])
def test_public_data_is_not_requested_after_the_deadline(behaviour: str, state: str) -> None:
    """A deadline that was too near does not blame the host."""

    async def main() -> None:
        net = Net(Exchange())
        net.hosts = dict.fromkeys((ONE, TWO), always(behaviour))
        sender, hosts = prober(net)
        assert await sender.get(TIMESTAMP, 0.5) is None
        assert now() == pytest.approx(0.5 if behaviour == "silent" else 0.0, abs=0.001)
        assert hosts.all[0].state == state
        requests = len(net.log)
        await asyncio.sleep(0.5)
        assert await sender.get(TIMESTAMP, 0.5) is None
        assert len(net.log) == requests

    run(main())


def test_a_trial_with_a_public_request_allows_another_trial() -> None:
    """Only the answer to a signed request brings the host up."""

    async def main() -> None:
        net = Net(Exchange())
        sender, hosts = prober(net)
        first = hosts.all[0]
        first.fail(-2.0, -1.0)
        assert hosts.due_probes(100.0) == [first]
        first.end_probe(answered=True)
        assert await sender.get(TIMESTAMP, 10.0) is not None
        assert (net.log[0][1], first.state) == (ONE, "ready")

    run(main())


def test_the_timeout_limits_the_sequential_requests_as_well() -> None:
    """Ten sequential requests to a slow exchange would take longer than the timeout."""

    async def main() -> None:
        async with in_process(Exchange(), delay=0.1) as client:
            assert await client.warm_up(4, timeout=0.5) == 4
            assert asyncio.get_running_loop().time() == pytest.approx(0.5, abs=0.001)

    run(main())


def test_a_timeout_of_the_warm_up_is_checked() -> None:
    """As the timeout of a cancel is."""

    async def main() -> None:
        async with in_process(Exchange()) as client:
            with pytest.raises(InvalidValueError, match="timeout must be above 0"):
                await client.warm_up(timeout=0)
            with pytest.raises(InvalidTypeError, match="timeout must be a number"):
                await client.warm_up(timeout="1")  # type: ignore[arg-type]

    run(main())


def test_a_warm_up_ends_with_the_client() -> None:
    """A request that is never answered does not delay closing."""

    async def main() -> None:
        client = CancelClient(credentials(), transport=Uneven(), wall_clock=lambda: EPOCH)
        warming = asyncio.create_task(client.warm_up(4))
        await asyncio.sleep(0.1)
        await client.aclose()
        assert await warming == 2
        assert asyncio.get_running_loop().time() < 0.2

    run(main())


class CountingProxy:
    """Forwards connections to a server on loopback, and counts them."""

    def __init__(self, base_url: str) -> None:
        self.opened = 0
        self._port = int(base_url.rpartition(":")[2])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _forward(self, inner: asyncio.StreamReader, outer: asyncio.StreamWriter) -> None:
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
    """``warm_up`` opens the connections; a host that is down does not count."""
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
        assert client.budgets.round_trip > 0  # the round trip was learned
        outcome = await cancel(client, "swap", ids)
        assert outcome.counts == {CancelStatus.ACCEPTED: 10}
        assert host.opened == 3


def test_closing_does_not_wait_for_a_probe() -> None:
    """A silent host does not delay ``aclose``."""

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
