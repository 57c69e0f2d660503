"""The budgets against each kind of window, over real sockets and in real time."""

import asyncio

import pytest
from clients import add, cancel, credentials

from htx_cancel import CancelClient, CancelStatus
from htx_cancel.sandbox import Exchange, SandboxServer
from htx_cancel.sandbox.rules import Kind
from htx_cancel.sandbox.windows import WindowRule

#: Orders of three windows for each budget, and of one request more.
WANTED: dict[Kind, int] = {
    "swap": 73 * 10,
    "swap_trailing": 31 * 10,
    "linear_trigger": 31 * 20,
    "v5": 145,
}


async def refusals(window: WindowRule, delay: float, jitter: float) -> int:
    """Cancel on four endpoints at once; count the requests refused for their rate."""
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


@pytest.mark.loops
@pytest.mark.parametrize(("delay", "jitter"), [(0.001, 0.0), (0.02, 0.005)])
async def test_no_rule_refuses_a_request_over_sockets(delay: float, jitter: float) -> None:
    """Windows from the first request, windows of the clock and sliding windows refuse nothing."""
    rules: tuple[WindowRule, ...] = ("first", "epoch", "slide")
    assert await asyncio.gather(*(refusals(rule, delay, jitter) for rule in rules)) == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("jitter", [0.0, 0.005, 0.05])
async def test_no_rule_refuses_a_call_at_any_delay(jitter: float) -> None:
    """With each delay, each jitter and each of three limits: 27 cells, each under three rules."""
    rules: tuple[WindowRule, ...] = ("first", "epoch", "slide")
    cells = [refusals(rule, delay, jitter) for delay in (0.001, 0.02, 0.1) for rule in rules]
    assert await asyncio.gather(*cells) == [0] * 9
