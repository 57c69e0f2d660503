"""How soon a client cancels if others of the UID used the limits, on virtual time."""

import asyncio
from typing import TYPE_CHECKING

import pytest
from clients import EPOCH, add, cancel, credentials
from virtualtime import run

from htx_cancel import CancelClient, CancelStatus, Priority
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.sandbox.rules import Kind
from htx_cancel.sandbox.windows import WindowRule
from htx_cancel.wire.transport import Reply, Request

pytestmark = pytest.mark.loops

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES: list[WindowRule] = ["first", "epoch", "slide"]
WINDOW = 3.0
AHEAD = 0.5  #: seconds by which the others began earlier


class Headers:
    """A transport that changes the headers of some replies."""

    def __init__(self, inner: InProcessTransport) -> None:
        self._inner = inner
        self.changes: list[
            Mapping[str, str] | None
        ] = []  #: of the next replies; ``None`` drops all
        self.keep = True

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Carry a request."""
        reply = await self._inner.send(request, timeout=timeout)
        change = self.changes.pop(0) if self.changes else {}
        headers = {**reply.headers, **(change or {})} if self.keep else {}
        return Reply(reply.status, headers, reply.body, reply.left_at)

    async def close(self) -> None:
        """Do nothing."""


def client(exchange: Exchange, seed: int = 0) -> tuple[CancelClient, Headers]:
    """Return a client of the exchange some milliseconds away, and its transport."""
    loop = asyncio.get_running_loop()
    line = InProcessTransport(exchange, delay=0.002, jitter=0.002, seed=seed, epoch=EPOCH)
    transport = Headers(line)
    made = CancelClient(credentials(), transport=transport, wall_clock=lambda: EPOCH + loop.time())
    return made, transport


async def pull(
    client: CancelClient, exchange: Exchange, kind: Kind, count: int, priority: Priority
) -> float:
    """Cancel ``count`` new orders; return the seconds that it took."""
    if not count:
        return 0.0
    loop = asyncio.get_running_loop()
    began = loop.time()
    outcome = await cancel(client, kind, add(exchange, kind, count), priority=priority)
    assert outcome.counts == {CancelStatus.ACCEPTED: count}
    return loop.time() - began


async def begin_window() -> None:
    """Wait until the clock's window begins."""
    now = EPOCH + asyncio.get_running_loop().time()
    await asyncio.sleep(WINDOW - now % WINDOW)


@pytest.mark.parametrize("priority", [Priority.URGENT, Priority.ROUTINE])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("headers", "most"), [(True, 1.1), (False, 1.3)])
def test_a_new_client_sends_as_soon_as_a_spent_window_ends(
    rule: WindowRule, priority: Priority, *, headers: bool, most: float
) -> None:
    """After a restart in mid-window one burst is refused, and no window is lost twice."""

    async def main() -> None:
        exchange = Exchange(window=rule)
        other_client, _ = client(exchange)
        await begin_window()
        await asyncio.gather(
            pull(other_client, exchange, "swap", 360, Priority.ROUTINE),
            pull(other_client, exchange, "v5", 72, Priority.ROUTINE),
        )
        await asyncio.sleep(AHEAD)
        our_client, transport = client(exchange, 1)
        transport.keep = headers
        possible = WINDOW - AHEAD + WINDOW
        took = await asyncio.gather(
            pull(our_client, exchange, "swap", 540, priority),
            pull(our_client, exchange, "v5", 128, priority),
        )
        assert max(took) <= most * possible
        assert exchange.refused.total() == 36 + 72

    run(main())


def test_a_refused_client_sends_again_at_the_stated_reset() -> None:
    """The spent window was almost over, so the client does not wait for a whole one."""

    async def main() -> None:
        exchange = Exchange()
        other_client, _ = client(exchange)
        await pull(other_client, exchange, "swap", 360, Priority.ROUTINE)
        await asyncio.sleep(WINDOW - 0.3)
        our_client, _ = client(exchange, 1)
        assert await pull(our_client, exchange, "swap", 360, Priority.ROUTINE) < 0.4
        assert exchange.refused.total() == 36

    run(main())


@pytest.mark.parametrize("early", [0.2, 2.0])
def test_a_wrong_clock_causes_no_stream_of_refused_requests(early: float) -> None:
    """A reset stated too early costs one more refused request, not one each round trip."""

    async def main() -> None:
        exchange = Exchange()
        other_client, _ = client(exchange)
        await pull(other_client, exchange, "swap", 360, Priority.ROUTINE)
        loop = asyncio.get_running_loop()
        our_client, transport = client(exchange, 1)
        reset = str(int((EPOCH + loop.time() + WINDOW - early) * 1000))
        transport.changes = [{"ratelimit-reset": reset}] * 37
        assert await pull(our_client, exchange, "swap", 360, Priority.ROUTINE) < 2 * WINDOW
        assert exchange.refused.total() == 37

    run(main())


@pytest.mark.parametrize("count", [360, 720])
@pytest.mark.parametrize("rule", RULES)
def test_one_foreign_burst_costs_the_window_it_was_in(rule: WindowRule, count: int) -> None:
    """Nothing is reserved for others that were seen once."""

    async def main(foreign: int) -> float:
        exchange = Exchange(window=rule)
        await begin_window()
        other_client, _ = client(exchange)
        await pull(other_client, exchange, "swap", foreign, Priority.ROUTINE)
        our_client, _ = client(exchange, 1)
        return await pull(our_client, exchange, "swap", count, Priority.URGENT)

    assert run(main(350)) <= run(main(0)) + WINDOW + 0.1


@pytest.mark.parametrize("priority", [Priority.URGENT, Priority.ROUTINE])
def test_one_wrong_remaining_costs_no_more_than_a_window(priority: Priority) -> None:
    """The exchange states once that nothing remains, and later that all remains."""

    async def main() -> None:
        exchange = Exchange()
        our_client, transport = client(exchange)
        transport.changes = [{"ratelimit-remaining": "0"}]
        await pull(our_client, exchange, "swap", 10, priority)
        assert await pull(our_client, exchange, "swap", 720, priority) <= 2 * WINDOW + 0.1
        assert not exchange.refused

    run(main())
