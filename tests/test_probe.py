"""Public requests: warm-ups and probes."""

import asyncio
from typing import Self

import pytest
from clients import EPOCH, add, cancel, credentials, in_process
from net import ONE, TWO, Net, always
from virtualtime import now, run

from htx_cancel import CancelClient, CancelStatus, Credentials, InvalidTypeError, InvalidValueError
from htx_cancel.hosts import COOLDOWN
from htx_cancel.sandbox import Exchange, SandboxServer
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
