"""Connections that are opened ahead of need, in time."""

import asyncio

import pytest
from clients import EPOCH, credentials, in_process
from virtualtime import run

from htx_cancel import CancelClient, InvalidTypeError, InvalidValueError
from htx_cancel.sandbox import Exchange
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
        """Hold nothing."""


@pytest.mark.parametrize(("timeout", "answered"), [(0.01, 0), (0.2, 2), (None, 4)])
def test_warming_up_returns_in_time_with_how_many_had_answered(
    timeout: float | None, answered: int
) -> None:
    """A request that hangs costs no more than the timeout, and nothing runs on."""

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


def test_the_timeout_bounds_the_calls_that_follow_as_well() -> None:
    """Ten quiet calls of a slow exchange take longer than anybody may want to wait."""

    async def main() -> None:
        async with in_process(Exchange(), delay=0.1) as client:
            assert await client.warm_up(4, timeout=0.5) == 4
            assert asyncio.get_running_loop().time() == pytest.approx(0.5, abs=0.001)

    run(main())


def test_a_timeout_of_the_warm_up_is_checked() -> None:
    """As that of a cancel is."""

    async def main() -> None:
        async with in_process(Exchange()) as client:
            with pytest.raises(InvalidValueError, match="timeout must be above 0"):
                await client.warm_up(timeout=0)
            with pytest.raises(InvalidTypeError, match="timeout must be a number"):
                await client.warm_up(timeout="1")  # type: ignore[arg-type]

    run(main())


def test_warming_up_ends_with_the_client() -> None:
    """A host that takes a request and answers none holds nobody up."""

    async def main() -> None:
        client = CancelClient(credentials(), transport=Uneven(), wall_clock=lambda: EPOCH)
        warming = asyncio.create_task(client.warm_up(4))
        await asyncio.sleep(0.1)
        await client.aclose()
        assert await warming == 2
        assert asyncio.get_running_loop().time() < 0.2

    run(main())
