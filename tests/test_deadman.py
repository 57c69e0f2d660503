"""The dead-man switch: the exchange cancels orders if this process dies, and not before."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from math import inf
from typing import Any

import msgspec
import pytest
from clients import EPOCH, KEY, SECRET, add, cancel, credentials, in_process, nothing_is_left
from msgspec.structs import replace
from transports import Answering
from virtualtime import VirtualLoop, now, run

from htx_cancel import (
    Alert,
    AlertKind,
    CancelClient,
    ClientClosedError,
    DeadManSwitch,
    InvalidTypeError,
    InvalidValueError,
    Limit,
    NotArmedError,
    RetryPolicy,
)
from htx_cancel.endpoints import COUNTDOWNS
from htx_cancel.errors import NoAnswerError
from htx_cancel.sandbox import Exchange, InProcessTransport, SandboxServer
from htx_cancel.sandbox.faults import FAULTS, FaultPlan
from htx_cancel.sandbox.messages import HttpResponse
from htx_cancel.sandbox.rules import COUNTDOWNS as SANDBOX_COUNTDOWNS
from htx_cancel.sandbox.rules import ROUTES, Kind
from htx_cancel.wire.transport import Reply, Request

pytestmark = pytest.mark.loops

SWAP = "/swap-api/v1/swap-cancel-after"
V5 = "/v5/trade/cancel-after"
PLAIN: list[Kind] = ["swap", "futures", "v5"]
BY_DEFAULT = ("coin_m_swap", "coin_m_futures", "usdt_m")


class Stop(Exception):  # noqa: N818 - not one of our errors
    """An exception of the user's code."""


async def stopped(switch: DeadManSwitch, *, after: float) -> None:
    """Leave a switch by an exception, ``after`` seconds after entering it."""

    async def hold() -> None:
        async with switch:
            await asyncio.sleep(after)
            raise Stop

    with pytest.raises(Stop):
        await hold()


def ends_in(exchange: Exchange, path: str = SWAP) -> float:
    """Return the seconds until a countdown really ends; ``inf`` if it is not armed."""
    exchange.advance(EPOCH + now())
    return exchange.countdowns.ends.get(path, inf) - EPOCH - now()


def open_kinds(exchange: Exchange) -> set[str]:
    """Return the kinds of the orders that are open now."""
    exchange.advance(EPOCH + now())
    return {order.kind for order in exchange.book.open()}


def script(path: str, *faults: str | None, code: int | None = None) -> FaultPlan:
    """Return a plan with one fault per request to a path; ``code`` is the code of ``busy``."""
    coded = replace(FAULTS["busy"], name="coded", code=code)
    return FaultPlan({path: [coded if name == "busy" and code else name for name in faults]})


def answer(content: object) -> HttpResponse:
    """Return a reply."""
    return HttpResponse(200, {}, msgspec.json.encode(content))


def armed(seconds: float, *, at: int = 1) -> dict[str, Any]:
    """Return the reply of v1 to an arming."""
    return {"code": 200, "data": {"current_time": at, "trigger_time": round(at + seconds * 1000)}}


#: The reply of v1 to a disarming.
DISARMED = {"code": 200, "data": {"current_time": 1, "trigger_time": 0}}


def test_the_table_agrees_with_the_sandbox_s_own_reading() -> None:
    """Both tables have the same countdowns, with the same paths and pools."""
    assert {row.path for row in COUNTDOWNS.values()} == set(SANDBOX_COUNTDOWNS)
    for row in COUNTDOWNS.values():
        other = SANDBOX_COUNTDOWNS[row.path]
        assert (row.pool, row.envelope) == (other.pool.name, other.envelope)
        assert row.page.startswith("https://")


def test_it_is_renewed_every_quarter_and_disarmed_by_a_clean_exit() -> None:
    """No order is cancelled while the switch is held, nor afterwards."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        for kind in PLAIN:
            add(exchange, kind, 5)
        async with in_process(exchange, delay=0.02, jitter=0.02) as client:
            async with client.dead_man_switch(on_alert=alerts.append) as switch:
                assert switch.countdowns.keys() == set(BY_DEFAULT)
                assert 29.0 < switch.remaining <= 30.0
                assert "usdt_m: 29.9 s remaining" in repr(switch)
                for _ in range(240):
                    await asyncio.sleep(0.5)
                    assert 22.0 < switch.remaining < 30.0
                    for path in (SWAP, V5):
                        assert switch.remaining <= ends_in(exchange, path)
            assert exchange.countdowns.ends == {}
            assert switch.remaining == inf
            # Sixteen renewals, one arming and one disarming.
            assert [exchange.calls[path] for path in SANDBOX_COUNTDOWNS] == [18, 18, 0, 18]
            await asyncio.sleep(100.0)
            nothing_is_left(client)
        assert open_kinds(exchange) == {"swap", "futures", "v5"}
        assert alerts == []

    run(main())


def test_a_longer_countdown_is_renewed_every_quarter_of_its_length() -> None:
    """Three renewals in 50 of 60 seconds."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            async with client.dead_man_switch(products=["coin_m_swap"], seconds=60) as switch:
                await asyncio.sleep(50.0)
                assert 54.0 < switch.remaining < 56.0
            assert exchange.calls[SWAP] == 5  # with the arming and the disarming
            assert now() == pytest.approx(50.0, abs=0.01)

    run(main())


def test_an_exception_leaves_it_armed() -> None:
    """When it ends, the plain orders are cancelled; strategy orders and other products stay."""

    async def main() -> None:
        exchange = Exchange()
        kinds: list[Kind] = [*PLAIN, "swap_trigger", "v5_algo", "linear"]
        for kind in kinds:
            add(exchange, kind, 3)
        async with in_process(exchange) as client:
            await stopped(client.dead_man_switch(products=["coin_m_swap", "usdt_m"]), after=20.0)
            nothing_is_left(client)
            assert 22.0 < ends_in(exchange) < 30.0
            await asyncio.sleep(22.0)
            assert "swap" in open_kinds(exchange)
            await asyncio.sleep(8.0)
            assert open_kinds(exchange) == {"futures", "swap_trigger", "v5_algo", "linear"}

    run(main())


def test_a_cancelled_task_leaves_it_armed() -> None:
    """``CancelledError`` is an exception like any other."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:

            async def hold() -> None:
                async with client.dead_man_switch():
                    await asyncio.sleep(inf)

            task = asyncio.create_task(hold())
            await asyncio.sleep(40.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            nothing_is_left(client)
            assert len(exchange.countdowns.ends) == 3

    run(main())


HOLD = """
import asyncio, sys
from htx_cancel import CancelClient, Credentials

async def main():
    async with CancelClient(Credentials(*sys.argv[2:]), base_url=sys.argv[1]) as client:
        async with client.dead_man_switch(seconds=5):
            print("armed", flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_killed_process_leaves_an_empty_book() -> None:
    """Over a socket: when the countdowns end, the exchange cancels the orders."""
    exchange = Exchange()
    for kind in PLAIN:
        add(exchange, kind, 10)
    async with SandboxServer(exchange) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOLD, server.base_url, KEY, SECRET, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"armed\n"
        process.send_signal(signal.SIGKILL)
        await process.wait()
    exchange.advance(time.time() + 3.0)
    assert len(exchange.book.open()) == 30
    exchange.advance(time.time() + 5.1)
    assert exchange.book.open() == []


def test_an_exchange_that_counts_in_seconds_is_sent_seconds() -> None:
    """The reply shows it; there is one alert, and the countdown is armed correctly at once."""

    async def main() -> None:
        exchange, alerts = Exchange(countdown_unit="s"), list[Alert]()
        async with in_process(exchange, delay=0.01) as client:
            async with client.dead_man_switch(
                products=["usdt_m"], on_alert=alerts.append
            ) as switch:
                assert 29.9 < ends_in(exchange, V5) < 30.0
                assert switch.remaining <= ends_in(exchange, V5)
                await asyncio.sleep(50.0)
            assert exchange.countdowns.ends == {}
        (alert,) = alerts
        assert (alert.product, alert.kind) == ("usdt_m", AlertKind.WRONG_UNIT)
        assert "the reply named 30000 s" in alert.message

    run(main())


def test_the_unit_is_changed_only_once() -> None:
    """About a thousand times the time asked for shows the unit; later it is a failed renewal."""

    async def main() -> None:
        alerts, replies = list[Alert](), [armed(29100.0), armed(30.0)]

        def answer(params: Mapping[str, Any]) -> object:
            if not params["on_off"]:
                return DISARMED
            return replies.pop(0) if replies else armed(30000.0)

        transport = Answering(answer)
        async with (
            transport.client() as client,
            client.dead_man_switch(products=["coin_m_swap"], on_alert=alerts.append),
        ):
            await asyncio.sleep(8.0)
            assert len(transport.asked) == 3
        assert [alert.kind for alert in alerts] == [AlertKind.WRONG_UNIT, AlertKind.FAILED]
        assert "counts 30000 s, asked for 30 s" in alerts[1].message

    run(main())


def test_renewals_without_a_reply_count_for_nothing_and_raise_alerts() -> None:
    """Alerts come at a half, at three quarters and at the end; then renewals succeed again."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[tuple[float, Alert]]()
        plan = script(SWAP, None, *["lost_before"] * 20)
        async with (
            in_process(exchange, delay=0.4, faults=plan) as client,
            client.dead_man_switch(
                products=["coin_m_swap"], on_alert=lambda alert: alerts.append((now(), alert))
            ) as switch,
        ):
            await asyncio.sleep(31.0)
            assert switch.remaining == 0.0
            assert switch.countdowns == {"coin_m_swap": 0.0}
            await asyncio.sleep(60.0)
            assert switch.remaining > 20.0
        seen = [(round(when, 1), alert.kind, round(alert.remaining, 1)) for when, alert in alerts]
        assert [alert for alert in seen if alert[1] is not AlertKind.FAILED] == [
            (15.0, AlertKind.LATE, 15.0),
            (22.5, AlertKind.LATE, 7.5),
            (30.0, AlertKind.EXPIRED, 0.0),
        ]
        assert "the last confirmed renewal was 15 s ago" in {alert.message for _, alert in alerts}

    run(main())


def test_a_confirmed_repetition_counts_from_when_it_was_sent() -> None:
    """The first arming is lost; its repetition is sent half a second later or more."""

    async def main() -> None:
        exchange = Exchange()
        async with (
            in_process(exchange, faults=script(SWAP, "lost_before", None)) as client,
            client.dead_man_switch(products=["coin_m_swap"]) as switch,
        ):
            assert now() > 0.5
            assert switch.remaining == pytest.approx(ends_in(exchange), abs=0.001)

    run(main())


def test_one_lost_reply_raises_no_alert() -> None:
    """The renewal is repeated at once."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        plan = script(SWAP, None, "lost_after", None, "lost_before", "late", None)
        async with (
            in_process(exchange, delay=0.01, faults=plan) as client,
            client.dead_man_switch(products=["coin_m_swap"], on_alert=alerts.append) as switch,
        ):
            for _ in range(60):
                await asyncio.sleep(0.5)
                assert switch.remaining > 15.0
        assert alerts == []
        assert plan.injected == {"lost_after": 1, "lost_before": 1, "late": 1}

    run(main())


def test_a_refused_renewal_raises_one_alert_and_is_repeated_every_second() -> None:
    """The alert has the exchange's code and message."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        plan = script(V5, None, *["busy"] * 5, code=1227)
        async with (
            in_process(exchange, faults=plan) as client,
            client.dead_man_switch(
                products=["usdt_m", "coin_m_swap"], on_alert=alerts.append
            ) as switch,
        ):
            await asyncio.sleep(7.4 + 5.2)
            assert 29.0 < switch.countdowns["usdt_m"] < 30.0
            assert switch.remaining == pytest.approx(switch.countdowns["coin_m_swap"])
        (alert,) = alerts
        assert (alert.product, alert.kind) == ("usdt_m", AlertKind.FAILED)
        assert alert.message.startswith("1227 ")
        assert 22.0 < alert.remaining < 23.0

    run(main())


def test_the_same_refusal_raises_another_alert_after_a_success() -> None:
    """A success between two equal failures resets the alert."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        plan = script(SWAP, None, "busy", None, "busy", None, code=1227)
        async with (
            in_process(exchange, faults=plan) as client,
            client.dead_man_switch(products=["coin_m_swap"], on_alert=alerts.append),
        ):
            await asyncio.sleep(25.0)
        assert [alert.kind for alert in alerts] == [AlertKind.FAILED] * 2

    run(main())


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"code": 200, "data": {}, "ts": 1}, "does not say how long, asked for 30 s"),
        ({"code": 200, "data": None}, "does not say how long"),
        ({"code": 200, "data": {"current_time": 5, "trigger_time": 0}}, "does not say how long"),
        ({"code": 200, "data": {"current_time": 5, "trigger_time": 5}}, "does not say how long"),
        ({"code": 200, "data": {"current_time": "x", "trigger_time": []}}, "does not say how long"),
        ({"code": 200, "data": {"current_time": True, "trigger_time": 9}}, "does not say how long"),
        (armed(5.0), "counts 5 s, asked for 30 s"),
        (armed(28.9), "counts 28.9 s"),
        (armed(31.1), "counts 31.1 s"),
        (armed(25000.0), "counts 25000 s"),
        ({"status": "error", "err_code": 1018, "err_msg": "no such account"}, "1018 no such"),
        ({"code": 1227, "msg": "no", "message": "not active"}, "1227 not active"),
        ([], "no JSON object"),
    ],
)
def test_a_reply_that_does_not_confirm_does_not_arm(reply: object, words: str) -> None:
    """Entering raises, with the reason."""

    async def main() -> None:
        transport = Answering(lambda params: reply if params["on_off"] else DISARMED)
        async with transport.client(retry=RetryPolicy(max_attempts=1)) as client:
            with pytest.raises(NotArmedError, match=f"coin_m_swap: .*{words}"):
                async with client.dead_man_switch(products=["coin_m_swap"]):
                    raise AssertionError("the switch was entered")
            nothing_is_left(client)
        assert transport.asked[-1] == {"on_off": 0}

    run(main())


@pytest.mark.parametrize("reply", [armed(29.0), armed(31.0), armed(30.0, at=10**12)])
def test_a_reply_may_differ_by_a_second(reply: dict[str, Any]) -> None:
    """The exchange checks its clock at intervals."""

    async def main() -> None:
        transport = Answering(lambda params: reply if params["on_off"] else DISARMED)
        async with (
            transport.client() as client,
            client.dead_man_switch(products=["coin_m_futures"]) as switch,
        ):
            seconds = (reply["data"]["trigger_time"] - reply["data"]["current_time"]) / 1000
            assert switch.remaining == pytest.approx(min(seconds, 30.0), abs=0.001)

    run(main())


def test_if_one_is_not_armed_the_others_are_disarmed() -> None:
    """Entering raises after a quarter of the length, and no order is cancelled."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        plan = script(V5, *["lost_before"] * 50)
        async with in_process(exchange, faults=plan) as client:
            with pytest.raises(
                NotArmedError, match=r"^not armed: usdt_m: no reply within"
            ) as error:
                async with client.dead_man_switch(on_alert=alerts.append):
                    raise AssertionError("the switch was entered")
            assert "coin_m" not in str(error.value)
            assert now() < 7.5 + 5.0 + 0.1
            nothing_is_left(client)
        assert exchange.countdowns.ends == {}
        (alert,) = alerts  # its arming may have taken effect, its disarming not
        assert (alert.product, alert.kind) == ("usdt_m", AlertKind.NOT_DISARMED)
        assert 17.0 < alert.remaining < 18.0

    run(main())


def test_an_arming_that_takes_effect_without_a_reply_raises_an_alert() -> None:
    """Entering raises, and yet the exchange may cancel the orders."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        plan = script(SWAP, "reset_after", *["busy"] * 50)
        async with in_process(exchange, faults=plan) as client:
            switch = client.dead_man_switch(products=["coin_m_swap"], on_alert=alerts.append)
            with pytest.raises(NotArmedError):
                async with switch:
                    raise AssertionError("the switch was entered")
            assert [alert.kind for alert in alerts] == [AlertKind.NOT_DISARMED]
            assert switch.remaining - 1e-6 <= ends_in(exchange) < inf
            await asyncio.sleep(60.0)
            assert len(alerts) == 1

    run(main())


def test_a_wait_for_a_token_does_not_lengthen_remaining() -> None:
    """The first arming takes effect without a reply; its repetition waits five seconds."""

    async def main() -> None:
        exchange = Exchange()
        plan = script(SWAP, "reset_after", *["busy"] * 50)
        limits = {"coin_m_swap_trade": Limit(1, 5.0)}
        async with in_process(exchange, faults=plan, limits=limits) as client:
            switch = client.dead_man_switch(products=["coin_m_swap"], on_alert=lambda _alert: None)
            with pytest.raises(NotArmedError):
                async with switch:
                    raise AssertionError("the switch was entered")
            assert exchange.calls[SWAP] > 1
            assert switch.remaining - 1e-6 <= ends_in(exchange) < inf

    run(main())


def test_a_renewal_with_a_shorter_time_shortens_remaining() -> None:
    """The shorter time counts, whatever was confirmed before."""

    async def main() -> None:
        alerts, asked = list[Alert](), list[int]()

        def answer(params: Mapping[str, Any]) -> object:
            asked.append(params["on_off"])
            return (armed(5.0) if len(asked) > 1 else armed(30.0)) if params["on_off"] else DISARMED

        async with (
            Answering(answer).client() as client,
            client.dead_man_switch(products=["coin_m_swap"], on_alert=alerts.append) as switch,
        ):
            await asyncio.sleep(7.6)
            assert switch.remaining < 5.0
            assert "counts 5 s" in alerts[0].message

    run(main())


def test_a_shorter_time_counts_after_a_lost_reply() -> None:
    """The renewal is repeated, and only its second attempt has a reply."""

    async def main() -> None:
        replies: list[object] = [armed(30.0), NoAnswerError("lost"), armed(5.0)]

        def answer(params: Mapping[str, Any]) -> object:
            if not params["on_off"]:
                return DISARMED
            return replies.pop(0) if replies else NoAnswerError("lost")

        async with (
            Answering(answer).client() as client,
            client.dead_man_switch(
                products=["coin_m_swap"], on_alert=lambda _alert: None
            ) as switch,
        ):
            await asyncio.sleep(9.0)
            assert not replies
            assert switch.remaining < 5.0

    run(main())


@pytest.mark.parametrize("fault", [None, "busy"])
def test_a_clean_exit_waits_for_a_renewal_no_longer_than_its_reply(fault: str | None) -> None:
    """The renewal is sent after 7.5 seconds; a failed one is neither repeated nor an alert."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        plan = script(SWAP, None, fault)
        async with in_process(exchange, delay=0.25, faults=plan) as client:
            async with client.dead_man_switch(products=["coin_m_swap"], on_alert=alerts.append):
                await asyncio.sleep(7.3)  # the arming took half a second
            assert now() < 8.6
            nothing_is_left(client)
        assert exchange.countdowns.ends == {}
        assert exchange.calls[SWAP] == 3
        assert alerts == []

    run(main())


@pytest.mark.parametrize(
    ("disarming", "left"), [([None], 17.6), (["lost_before"] * 50, 20.1)], ids=["disarmed", "lost"]
)
def test_a_clean_exit_waits_half_of_its_time_for_a_lost_renewal(
    disarming: list[str | None], left: float
) -> None:
    """It takes five seconds at most. The exit begins 0.1 seconds after the renewal."""

    async def main() -> None:
        exchange = Exchange()
        plan = script(SWAP, None, "lost_before", *disarming)
        async with in_process(exchange, faults=plan) as client:
            async with client.dead_man_switch(
                products=["coin_m_swap"], seconds=60, on_alert=lambda _alert: None
            ):
                await asyncio.sleep(15.1)
            assert now() == pytest.approx(left, abs=0.05)
            nothing_is_left(client)

    run(main())


def test_a_countdown_that_ends_while_it_is_disarmed_raises_one_alert() -> None:
    """A clean exit stops the alerts of late renewals."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        plan = script(SWAP, None, *["lost_before"] * 50)
        async with (
            in_process(exchange, faults=plan) as client,
            client.dead_man_switch(products=["coin_m_swap"], seconds=5, on_alert=alerts.append),
        ):
            await asyncio.sleep(1.0)
        (alert,) = alerts
        assert (alert.kind, alert.remaining) == (AlertKind.NOT_DISARMED, 0.0)

    run(main())


class Stubborn(InProcessTransport):
    """A transport that swallows a cancellation."""

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Turn a cancellation into a lost reply."""
        try:
            return await super().send(request, timeout=timeout)
        except asyncio.CancelledError:
            raise NoAnswerError("lost") from None


def test_a_transport_that_swallows_a_cancellation_does_not_prolong_the_renewals() -> None:
    """The switch is left by an exception while a renewal is in flight."""

    async def main() -> None:
        exchange = Exchange()
        async with CancelClient(
            credentials(),
            transport=Stubborn(exchange, epoch=EPOCH, delay=0.2),
            wall_clock=lambda: EPOCH + asyncio.get_running_loop().time(),
        ) as client:
            await stopped(client.dead_man_switch(products=["coin_m_swap"]), after=7.2)
            assert now() == pytest.approx(7.6, abs=0.01)
            nothing_is_left(client)
            sent = exchange.calls[SWAP]
            await asyncio.sleep(60.0)
            assert exchange.calls[SWAP] == sent

    run(main())


def test_alerts_come_on_time_if_on_alert_takes_two_seconds() -> None:
    """The exchange confirms 29 seconds, within the tolerance, and then refuses all renewals."""

    async def main() -> None:
        loop, alerts = asyncio.get_running_loop(), list[tuple[float, AlertKind]]()
        assert isinstance(loop, VirtualLoop)
        replies = [armed(29.0)]

        def answer(params: Mapping[str, Any]) -> object:
            if not params["on_off"]:
                return DISARMED
            return replies.pop(0) if replies else {"status": "error", "err_code": 1227}

        def stall(alert: Alert) -> None:
            alerts.append((round(now(), 1), alert.kind))
            if alert.kind is AlertKind.LATE:
                loop.stall(2.0)

        async with (
            Answering(answer).client() as client,
            client.dead_man_switch(products=["coin_m_swap"], on_alert=stall),
        ):
            await asyncio.sleep(40.0)
        assert [alert for alert in alerts if alert[1] is not AlertKind.FAILED] == [
            (15.0, AlertKind.LATE),
            (22.5, AlertKind.LATE),
            (29.0, AlertKind.EXPIRED),
        ]

    run(main())


def test_a_renewal_that_does_not_say_how_long_may_end_after_five_seconds() -> None:
    """The exchange's pages allow no shorter countdown."""

    async def main() -> None:
        replies = [armed(30.0), {"code": 200, "data": {}}]

        def answer(params: Mapping[str, Any]) -> object:
            return replies.pop(0) if params["on_off"] else DISARMED

        async with (
            Answering(answer).client() as client,
            client.dead_man_switch(
                products=["coin_m_swap"], on_alert=lambda _alert: None
            ) as switch,
        ):
            await asyncio.sleep(8.0)
            assert switch.remaining == pytest.approx(4.5, abs=0.01)

    run(main())


def test_a_shorter_countdown_raises_its_alert_at_its_own_end() -> None:
    """The alert does not wait for the end confirmed before."""

    async def main() -> None:
        alerts = list[tuple[float, AlertKind]]()
        replies = [armed(30.0), armed(5.0)]

        def answer(params: Mapping[str, Any]) -> object:
            if not params["on_off"]:
                return DISARMED
            return replies.pop(0) if replies else {"status": "error", "err_code": 1227}

        async with (
            Answering(answer).client() as client,
            client.dead_man_switch(
                products=["coin_m_swap"],
                on_alert=lambda alert: alerts.append((round(now(), 1), alert.kind)),
            ),
        ):
            await asyncio.sleep(20.0)
        assert alerts[-1] == (12.5, AlertKind.EXPIRED)

    run(main())


def test_a_reply_to_a_disarming_with_a_time_does_not_disarm() -> None:
    """The exchange says that the countdown goes on."""

    async def main() -> None:
        alerts = list[Alert]()
        async with (
            Answering(lambda _params: armed(30.0)).client() as client,
            client.dead_man_switch(products=["coin_m_swap"], on_alert=alerts.append) as switch,
        ):
            pass
        assert [alert.kind for alert in alerts] == [AlertKind.NOT_DISARMED]
        assert "counts 30 s, asked for 0 s" in alerts[0].message
        assert switch.remaining <= 30.0

    run(main())


def test_closing_the_client_while_entering_raises() -> None:
    """No task would renew the countdowns."""

    async def main() -> None:
        alerts = list[Alert]()
        client = in_process(Exchange(), delay=0.5)
        switch = client.dead_man_switch(products=["coin_m_swap"], on_alert=alerts.append)

        async def close() -> None:
            await asyncio.sleep(0.2)
            await client.aclose()

        closing = asyncio.create_task(close())
        with pytest.raises(NotArmedError, match="coin_m_swap: the client was closed"):
            async with switch:
                raise AssertionError("the switch was entered")
        await closing
        assert [alert.kind for alert in alerts] == [AlertKind.NOT_DISARMED]

    run(main())


@pytest.mark.parametrize("after", [0.1, 0.6, 1.1])
def test_a_task_cancelled_while_entering_leaves_nothing_running(after: float) -> None:
    """There are no renewals and no alerts; armed countdowns stay armed."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        plan = script(V5, "late")
        async with in_process(exchange, delay=0.2, faults=plan) as client:
            switch = client.dead_man_switch(on_alert=alerts.append)
            task = asyncio.create_task(stopped(switch, after=100.0))
            await asyncio.sleep(after)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            nothing_is_left(client)
            await asyncio.sleep(100.0)
            assert alerts == []

    run(main())


@pytest.mark.parametrize("after", [None, 0.0, 0.1])
def test_a_task_cancelled_while_leaving_stops_the_renewals(after: float | None) -> None:
    """It is cancelled at once, or while the disarming is in flight."""

    async def main() -> None:
        exchange = Exchange()
        loop, leave = asyncio.get_running_loop(), asyncio.Event()

        async def hold(switch: DeadManSwitch) -> None:
            async with switch:
                await leave.wait()

        async with in_process(exchange, delay=0.2) as client:
            task = asyncio.create_task(hold(client.dead_man_switch()))
            await asyncio.sleep(5.0)
            leave.set()
            if after is None:
                loop.call_soon(task.cancel)
            else:
                loop.call_later(after, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(1.0)
            nothing_is_left(client)
            sent = sum(exchange.calls.values())
            await asyncio.sleep(60.0)
            assert sum(exchange.calls.values()) == sent

    run(main())


def other_type(path: str) -> Mapping[str, Any]:
    """Return routes whose exchange wants the other type of ``on_off``."""
    row = SANDBOX_COUNTDOWNS[path]
    return {**ROUTES, path: replace(row, envelope="v1" if row.envelope == "v5" else "v5")}


@pytest.mark.parametrize(("product", "path"), [("coin_m_swap", SWAP), ("usdt_m", V5)])
def test_the_other_type_is_tried_once(product: str, path: str) -> None:
    """The type that works is kept: the second renewal takes one request."""

    async def main() -> None:
        exchange = Exchange(interfaces=other_type(path))
        async with in_process(exchange) as client:
            async with client.dead_man_switch(products=[product]):
                await asyncio.sleep(10.0)
            assert exchange.countdowns.ends == {}
        assert exchange.calls[path] == 4

    run(main())


def test_types_that_are_always_refused_are_tried_once_each() -> None:
    """If both types are refused, entering raises with the refusal."""

    async def main() -> None:
        refusal = {"status": "error", "err_code": 1067, "err_msg": "on_off"}
        transport = Answering(lambda _params: refusal)
        async with transport.client() as client:
            with pytest.raises(NotArmedError, match="1067 on_off"):
                async with client.dead_man_switch(products=["coin_m_swap"]):
                    raise AssertionError("the switch was entered")
        assert [params["on_off"] for params in transport.asked] == [1, "1", "0"]

    run(main())


def test_a_failed_disarming_raises_an_alert() -> None:
    """A clean exit takes five seconds at most, and the alert has the remaining time."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        plan = script(SWAP, None, *["lost_before"] * 50)
        async with in_process(exchange, faults=plan) as client:
            async with client.dead_man_switch(on_alert=alerts.append):
                await asyncio.sleep(2.0)
            assert 6.9 < now() < 7.1
            nothing_is_left(client)
        (alert,) = alerts
        assert (alert.product, alert.kind) == ("coin_m_swap", AlertKind.NOT_DISARMED)
        assert alert.message.startswith("no reply within")
        assert 22.9 < alert.remaining < 23.1

    run(main())


class Straggling:
    """A transport whose renewals take a second and go on after their sender is cancelled."""

    def __init__(self, exchange: Exchange) -> None:
        self._slow = InProcessTransport(exchange, epoch=EPOCH, delay=0.5)
        self._fast = InProcessTransport(exchange, epoch=EPOCH, delay=0.01)
        self._tasks: list[asyncio.Task[Reply]] = []

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Carry a request."""
        renews = now() > 5.0 and b"time_out" in request.body
        way = self._slow if renews else self._fast
        self._tasks.append(asyncio.create_task(way.send(request, timeout=timeout)))
        return await asyncio.shield(self._tasks[-1])

    async def close(self) -> None:
        """Wait for all requests."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize("late", [0.0, 0.2, 0.4, 0.6, 0.9, 1.1])
def test_no_renewal_arrives_after_the_disarming(late: float) -> None:
    """A renewal in flight ends first."""

    async def main() -> None:
        exchange = Exchange()
        async with (
            CancelClient(
                credentials(),
                transport=Straggling(exchange),
                wall_clock=lambda: EPOCH + asyncio.get_running_loop().time(),
            ) as client,
            client.dead_man_switch(products=["coin_m_swap"]) as switch,
        ):
            await asyncio.sleep(7.48 + late)
        assert exchange.countdowns.ends == {}
        assert switch.remaining == inf

    run(main())


def test_closing_the_client_stops_the_renewals_with_alerts() -> None:
    """The countdowns stay armed; neither ``aclose`` nor the exit hangs."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        client = in_process(exchange)
        async with client.dead_man_switch(on_alert=alerts.append):
            await asyncio.sleep(3.0)
            await client.aclose()
            assert [alert.kind for alert in alerts] == [AlertKind.STOPPED] * 3
            assert len(exchange.countdowns.ends) == 3
            alerts.clear()
            await asyncio.sleep(60.0)
            assert alerts == []
        assert [alert.kind for alert in alerts] == [AlertKind.NOT_DISARMED] * 3

    run(main())


def test_without_on_alert_the_exception_handler_is_called() -> None:
    """No alert is lost."""

    async def main() -> None:
        messages = list[str]()
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: messages.append(context["message"])
        )
        exchange = Exchange(countdown_unit="s")
        async with in_process(exchange) as client, client.dead_man_switch(products=["usdt_m"]):
            pass
        (message,) = messages
        assert message.startswith("dead-man switch of usdt_m: wrong_unit: the reply named 30000 s")

    run(main())


def test_an_on_alert_that_raises_does_not_stop_the_renewals() -> None:
    """The exception is reported."""

    async def main() -> None:
        messages = list[str]()
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: messages.append(context["message"])
        )

        def broken(_alert: Alert) -> None:
            raise Stop

        exchange = Exchange()
        plan = script(SWAP, None, "busy", None, code=1227)
        async with (
            in_process(exchange, faults=plan) as client,
            client.dead_man_switch(products=["coin_m_swap"], on_alert=broken) as switch,
        ):
            await asyncio.sleep(20.0)
            assert switch.remaining > 20.0
        assert messages == ["on_alert raised"]

    run(main())


class Broken(InProcessTransport):
    """A transport that sometimes raises an exception that no transport may raise."""

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Raise between ten and twelve seconds."""
        if 7.0 < now() < 12.0:
            raise Stop
        return await super().send(request, timeout=timeout)


def test_a_transport_that_raises_anything_does_not_stop_the_renewals() -> None:
    """The alert is that of a failed renewal."""

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        alerts = list[Alert]()
        transport = Broken(Exchange(), epoch=EPOCH)
        async with (
            CancelClient(
                credentials(),
                transport=transport,
                wall_clock=lambda: EPOCH + asyncio.get_running_loop().time(),
            ) as client,
            client.dead_man_switch(on_alert=alerts.append) as switch,
        ):
            await asyncio.sleep(20.0)
            assert switch.remaining > 15.0
        assert {(alert.kind, alert.message) for alert in alerts} == {(AlertKind.FAILED, "Stop")}

    run(main())


class BrokenPolicy(RetryPolicy, frozen=True):
    """A user's retry policy that raises."""

    def backoff(self, *_args: object, **_options: object) -> float:
        """Raise."""
        raise Stop


def test_a_policy_that_raises_does_not_stop_the_renewals() -> None:
    """The exception is reported, the alert says so, and the next renewal is made."""

    async def main() -> None:
        reported, alerts = list[str](), list[Alert]()
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: reported.append(context["message"])
        )
        plan = script(SWAP, None, "lost_before", None)
        async with (
            in_process(Exchange(), faults=plan, retry=BrokenPolicy()) as client,
            client.dead_man_switch(products=["coin_m_swap"], on_alert=alerts.append) as switch,
        ):
            await asyncio.sleep(20.0)
            assert switch.remaining > 20.0
        assert reported == ["a countdown could not be renewed"]
        assert [alert.message for alert in alerts] == ["the renewal raised Stop"]

    run(main())


def test_renewals_go_before_a_bulk_call() -> None:
    """The bulk call uses the whole budget for a minute, and the exchange refuses nothing."""

    async def main() -> None:
        exchange, alerts = Exchange(), list[Alert]()
        ids = add(exchange, "v5", 1500)
        async with (
            in_process(exchange, delay=0.01) as client,
            client.dead_man_switch(on_alert=alerts.append) as switch,
        ):
            bulk = asyncio.create_task(cancel(client, "v5", ids))
            while not bulk.done():
                await asyncio.sleep(0.25)
                assert switch.remaining > 20.0
            assert now() > 59.0
        assert alerts == []
        assert not exchange.refused

    run(main())


@pytest.mark.parametrize("seed", range(12))
def test_remaining_is_never_longer_than_the_real_time(seed: int) -> None:
    """With every fault at random, ``remaining`` may be too short, but never too long."""

    async def main() -> None:
        chance = random.Random(seed)
        exchange = Exchange()
        kinds = [name for name in FAULTS if name != "wrong_clock"]
        plan = FaultPlan(share=0.4, seed=seed, kinds=kinds)
        async with in_process(
            exchange, delay=0.05, jitter=0.1, seed=seed, faults=plan, request_timeout=1.0
        ) as client:
            switch = client.dead_man_switch(
                products=["coin_m_swap", "usdt_m"], seconds=chance.choice((5, 12, 30)),
                on_alert=lambda _alert: None,
            )  # fmt: skip
            try:
                async with switch:
                    for _ in range(600):
                        await asyncio.sleep(chance.uniform(0.0, 0.3))
                        assert switch.countdowns["coin_m_swap"] <= ends_in(exchange) + 0.001
                        assert switch.countdowns["usdt_m"] <= ends_in(exchange, V5) + 0.001
            except NotArmedError:
                pass
            await asyncio.sleep(10.0)
            nothing_is_left(client)

    run(main())


def test_both_modes_of_v1_have_one_countdown() -> None:
    """If both are given, one countdown is armed."""

    async def main() -> None:
        exchange = Exchange()
        for kind in ("linear", "cross"):
            add(exchange, kind, 2)
        async with in_process(exchange) as client:
            products = ["usdt_m_v1_cross", "usdt_m_v1_isolated"]
            switch = client.dead_man_switch(products=products, seconds=5)
            await stopped(switch, after=0.0)
            assert list(switch.countdowns) == ["usdt_m_v1_cross"]
        assert exchange.calls.total() == 1
        await asyncio.sleep(5.0)
        assert open_kinds(exchange) == set()

    run(main())


def test_a_switch_can_be_entered_again() -> None:
    """After a clean exit, and after an exception."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            switch = client.dead_man_switch(products=["usdt_m"])
            assert switch.remaining == inf
            for _ in range(2):
                await stopped(switch, after=0.0)
                async with switch:
                    await asyncio.sleep(20.0)
                    assert switch.remaining > 20.0
                assert exchange.countdowns.ends == {}

    run(main())


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"products": "usdt_m"}, InvalidTypeError, "products must be several of coin_m_swap"),
        ({"products": []}, InvalidValueError, "products must be some of"),
        ({"products": ["spot"]}, InvalidValueError, r"products must be some of .* got \['spot'\]"),
        ({"seconds": 4.9}, InvalidValueError, "seconds must be at least 5, got 4.9"),
        ({"seconds": "30"}, InvalidTypeError, "seconds must be a number of seconds"),
        ({"seconds": inf}, InvalidValueError, "seconds must be above 0"),
        ({"on_alert": 1}, InvalidTypeError, "on_alert must be a plain function"),
    ],
)
def test_bad_arguments_are_refused(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    """They are refused before anything is sent."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            with pytest.raises(error, match=words):
                client.dead_man_switch(**given)
        assert not exchange.calls

    run(main())


def test_a_closed_client_arms_nothing() -> None:
    """It raises both when a switch is made and when it is entered."""

    async def main() -> None:
        exchange = Exchange()
        client = in_process(exchange)
        switch = client.dead_man_switch()
        await client.aclose()
        with pytest.raises(ClientClosedError):
            client.dead_man_switch()
        with pytest.raises(ClientClosedError):
            async with switch:
                raise AssertionError("the switch was entered")
        assert not exchange.calls

    run(main())
