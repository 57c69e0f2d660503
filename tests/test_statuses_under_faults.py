"""Every fault of the network or exchange, on every kind: a true status, and no leak."""

import asyncio

import pytest
from clients import ONCE, add, cancel, in_process, nothing_is_left_later
from virtualtime import run

from htx_cancel import CancelClient, CancelStatus, CloseReason, Credentials
from htx_cancel.sandbox import Exchange, SandboxServer
from htx_cancel.sandbox.faults import FAULTS, FaultPlan
from htx_cancel.sandbox.rules import Kind

pytestmark = pytest.mark.loops

KINDS: list[Kind] = ["swap", "swap_trigger", "swap_trailing", "linear_trigger", "v5"]
ACCEPTED, CLOSED, UNKNOWN = CancelStatus.ACCEPTED, CancelStatus.CLOSED, CancelStatus.UNKNOWN
REJECTED, UNSENT = CancelStatus.REJECTED, CancelStatus.UNSENT
#: For each fault: the status after one attempt, the status after retries, and the number of
#: requests that carried the ids by then.
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
    """Each fault that the sandbox can simulate has a row."""
    assert set(MATRIX) == set(FAULTS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", MATRIX)
def test_each_fault_gives_a_true_status(fault: str, kind: Kind) -> None:
    """One attempt gives what is known; retries make the id accepted or closed."""
    once, with_retries, attempts = MATRIX[fault]

    async def main() -> None:
        for policy, status, sent in ((ONCE, once, 1), (None, with_retries, attempts)):
            exchange = Exchange()
            ids = add(exchange, kind, 1)
            plan = FaultPlan({ids[0]: [fault]})
            async with in_process(
                exchange, retry=policy, request_timeout=2.0, faults=plan, delay=0.01
            ) as client:
                result = (await cancel(client, kind, ids)).results[0]
                assert (result.status, result.attempts) == (status, sent * (status != UNSENT))
                assert (result.reason is CloseReason.CANCELED) == (status is CLOSED)
                await nothing_is_left_later(client)
            truth = exchange.book[ids[0]]
            assert truth.instructed == (status in (ACCEPTED, CLOSED) or FAULTS[fault].executed) or (
                fault == "wrong_clock"
            )

    run(main())


@pytest.mark.parametrize("fault", MATRIX)
def test_each_fault_of_a_cancel_all_is_in_the_call_result(fault: str) -> None:
    """If the first attempt was executed without a reply, the second finds nothing open."""
    once, with_retries, attempts = MATRIX[fault]
    path = "/swap-api/v1/swap_track_cancelall"

    async def main() -> None:
        for policy, status, sent in ((ONCE, once, 1), (None, with_retries, attempts)):
            exchange = Exchange()
            ids = add(exchange, "swap_trailing", 2)
            plan = FaultPlan({path: [fault]})
            async with in_process(
                exchange, retry=policy, request_timeout=2.0, faults=plan
            ) as client:
                outcome = await client.coin_m_swap.cancel_all_trailing_orders("BTC-USD")
                await nothing_is_left_later(client)
            found = CancelStatus.NOT_FOUND if status is CLOSED else status
            assert (outcome.call.status, outcome.call.attempts) == (found, sent * (found != UNSENT))
            assert [each.order_id for each in outcome] == (ids if status is ACCEPTED else [])

    run(main())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", MATRIX)
async def test_each_fault_gives_a_true_status_on_a_socket(fault: str, kind: Kind) -> None:
    """The same rows over real connections, and no task is left."""
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
    await asyncio.sleep(0.01)  # the server's cancelled tasks end in a turn of the loop
    assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}
