"""The budgets against real windows over real sockets, in real time, under each rule."""

import asyncio

import pytest
from clients import add, cancel, credentials

from htx_cancel import CancelClient, CancelStatus
from htx_cancel.sandbox import Exchange, SandboxServer
from htx_cancel.sandbox.rules import Kind
from htx_cancel.sandbox.windows import WindowRule

pytestmark = pytest.mark.loops

#: Three windows' worth for each budget, and one call more.
WANTED: dict[Kind, int] = {
    "swap": 73 * 10,
    "swap_trailing": 31 * 10,
    "linear_trigger": 31 * 20,
    "v5": 145,
}


async def refusals(window: WindowRule, delay: float, jitter: float) -> int:
    """Cancel on four endpoints at once; count what the exchange refused for its rate."""
    exchange = Exchange(window=window)
    ids = {kind: add(exchange, kind, count) for kind, count in WANTED.items()}
    async with (
        SandboxServer(exchange, delay=delay, jitter=jitter, seed=1) as server,
        CancelClient(credentials(), base_url=server.base_url) as client,
    ):
        await client.warm_up()
        outcomes = await asyncio.gather(*(cancel(client, kind, ids[kind]) for kind in WANTED))
    assert all(outcome.counts.keys() == {CancelStatus.ACCEPTED} for outcome in outcomes)
    return exchange.refused.total()


@pytest.mark.parametrize(("delay", "jitter"), [(0.001, 0.0), (0.02, 0.005)])
async def test_no_rule_refuses_a_call_over_sockets(delay: float, jitter: float) -> None:
    """Windows from the first request, by the clock, and sliding, at the same time."""
    rules: tuple[WindowRule, ...] = ("first", "epoch", "slide")
    assert await asyncio.gather(*(refusals(rule, delay, jitter) for rule in rules)) == [0, 0, 0]
