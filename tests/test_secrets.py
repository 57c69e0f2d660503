"""No key and no signature is ever shown, whatever fails."""

import asyncio
import logging
import warnings
from typing import Any

import pytest
from clients import CONTRACTS, EPOCH, ONCE, add, cancel
from virtualtime import run

from htx_cancel import CancelAllOutcome, CancelClient, Credentials, Outcome, RetryPolicy
from htx_cancel.sandbox import Exchange, InProcessTransport, SandboxServer
from htx_cancel.sandbox.faults import FAULTS, FaultPlan

pytestmark = pytest.mark.loops


def test_no_key_and_no_signature_is_ever_shown(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """With every fault: not in a log, warning, repr, result or printed line."""
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
        for fault in FAULTS:
            run(main(fault))
    printed = capsys.readouterr()
    text = "\n".join([*seen, caplog.text, printed.out, printed.err, *map(str, caught)])
    assert len(seen) == len(FAULTS) * 9
    for secret in ("canary", "Signature=", "AccessKeyId"):
        assert secret not in text


async def test_no_key_and_no_signature_is_shown_by_a_broken_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Over real sockets, with debug logs of the event loop and of aiohttp."""
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
