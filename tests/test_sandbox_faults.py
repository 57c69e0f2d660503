"""Faults, without a socket and over a socket."""

import asyncio
import errno
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import virtualtime
from sandbox_requests import CANCEL, TRACK, V5, batch, decoded, post, signed_target
from test_sandbox_server import url

from htx_cancel.errors import NoAnswerError, NotSentError
from htx_cancel.sandbox import FAULTS, Exchange, Fault, FaultPlan, InProcessTransport, SandboxServer
from htx_cancel.sandbox.exchange import Script
from htx_cancel.sandbox.faults import respond
from htx_cancel.wire.transport import Reply, Request

NOW = 1767323045.0
TIMEOUT = 5.0

#: The faults with a reply: its status, whether the order is canceled, and a text in the reply.
REPLIES: dict[str, tuple[int, bool, str]] = {
    "slow": (200, True, '"successes":"1100000000000000001"'),
    "html": (403, False, "<h1>403 Forbidden"),
    "html_after": (502, True, "<h1>502 Bad Gateway"),
    "empty": (200, True, ""),
    "wrong_json": (200, True, '{"success":true,"result":[]}'),
    "http_429": (429, False, "too many requests"),
    "http_5xx": (503, False, "Service Unavailable"),
    "busy": (200, False, '"err_code":1004'),
    "rate": (200, False, '"err_code":1032'),
    "settling": (200, False, '"err_code":1056'),
    "system_error": (200, True, '"err_code":1000'),
    "wrong_clock": (200, False, '"err_code":12001'),
}
#: The faults without one: whether the order is canceled, and whether the client times out.
SILENT: dict[str, tuple[bool, bool]] = {
    "late": (True, True),
    "lost_before": (False, True),
    "lost_after": (True, True),
    "reset_before": (False, False),
    "reset_after": (True, False),
    "cut": (True, False),
}


def test_every_fault_is_tested() -> None:
    """The two tables above have all faults."""
    assert set(FAULTS) == {*REPLIES, *SILENT, "refused_connection"}
    assert all(fault.name == name for name, fault in FAULTS.items())
    for name, (executed, _) in SILENT.items():
        assert FAULTS[name].executed == executed


# Which request has which fault


def drawn(plan: FaultPlan, *requests: tuple[str, ...], path: str = CANCEL) -> list[str | None]:
    """Return the names of the faults of requests for these ids."""
    faults = [plan.next(ids, path) for ids in requests]
    return [None if fault is None else fault.name for fault in faults]


def test_an_order_has_a_fault_for_each_attempt() -> None:
    """Each request that names the order takes the next one, until none is left."""
    plan = FaultPlan({"7": ["cut", None, "busy"]})
    assert drawn(plan, ("7",), ("8",), ("7", "8"), ("8", "7"), ("7",)) == [
        "cut",
        None,
        None,
        "busy",
        None,
    ]
    assert plan.injected == {"cut": 1, "busy": 1}


def test_a_path_has_a_fault_for_each_request() -> None:
    """Requests to another path take none."""
    plan = FaultPlan({CANCEL: [None, "html"]})
    assert drawn(plan, ("1",), path=TRACK) == [None]
    assert drawn(plan, ("1",), ("2",), ("3",)) == [None, "html", None]


def test_of_several_faults_the_first_happens() -> None:
    """The order of the ids decides; the path comes last."""
    plan = FaultPlan({"1": [None, "cut"], "2": ["busy", "late"], CANCEL: ["html"] * 3})
    assert drawn(plan, ("1", "2"), ("1", "2"), ("1", "2")) == ["busy", "cut", "html"]


def test_a_changed_fault() -> None:
    """A script may have a fault with another duration."""
    late = FAULTS["late"].lasting(2.0)
    assert (late.seconds, late.name, late.executed) == (2.0, "late", True)
    assert FaultPlan({"1": [late]}).next(("1",), CANCEL) is late


def test_an_unknown_fault() -> None:
    """The plan's constructor raises an error."""
    with pytest.raises(KeyError, match="typhoon"):
        FaultPlan({"1": ["typhoon"]})


def test_random_faults_repeat_with_their_seed() -> None:
    """Their share is about right, and their kinds are the given ones."""

    def faults(seed: int, **options: Any) -> list[str | None]:
        return drawn(FaultPlan(share=0.3, seed=seed, **options), *[("1",)] * 400)

    assert faults(1) == faults(1) != faults(2)
    assert 80 < sum(name is not None for name in faults(1)) < 160
    assert {*faults(1)} == {*FAULTS, None}
    assert {*faults(1, kinds=["cut", "late"])} == {"cut", "late", None}


def test_an_empty_plan_has_no_fault() -> None:
    """A plan without a script and a share injects nothing."""
    assert drawn(FaultPlan(), *[("1",)] * 50) == [None] * 50


# What the exchange does


@pytest.mark.parametrize("path", [CANCEL, V5])
@pytest.mark.parametrize("executed", [True, False])
def test_a_scripted_code_hides_whether_the_call_was_executed(path: str, executed: bool) -> None:
    """The reply is the code, in the call's envelope and with the rate headers."""
    exchange = Exchange()
    kind, contract_code = ("swap", "BTC-USD") if path == CANCEL else ("v5", "BTC-USDT")
    order = exchange.book.add(kind, contract_code)  # type: ignore[arg-type]
    request = post(path, batch(contract_code, order.order_id))
    for _ in range(2):
        response = exchange.handle(request, NOW, Script(1000, executed=executed))
        assert 1000 in decoded(response).values()
        assert "ratelimit-remaining" in response.headers
    assert order.instructed == executed
    assert [call.outcome for call in exchange.log] == ["scripted"] * 2
    assert not exchange.refused


def test_a_true_refusal_comes_before_a_scripted_one() -> None:
    """A rate limit and a bad timestamp come first."""
    exchange = Exchange(limits={CANCEL: (1, 1)})
    request = post(CANCEL, batch("BTC-USD", "1"))
    replies = [
        decoded(exchange.handle(sent, NOW, Script(1004)))
        for sent in (request, request, post(TRACK, {}, now=NOW + 600))
    ]
    assert [reply["err_code"] for reply in replies] == [1004, 1032, 12001]


def test_a_clock_fault_sets_the_clock_wrong_and_right_again() -> None:
    """The second fault corrects the clock."""
    exchange = Exchange()
    offsets = []
    for _ in range(3):
        respond(exchange, post(CANCEL, {}), NOW, FAULTS["wrong_clock"])
        offsets.append(exchange.clock_offset)
    assert offsets == [600.0, 0.0, 600.0]


def test_a_timestamp_of_the_exchange_s_clock_is_valid() -> None:
    """The exchange's clock counts, even if it is wrong."""
    exchange = Exchange()
    reply = respond(exchange, post(CANCEL, {}), NOW, FAULTS["wrong_clock"])
    assert reply is not None
    stamp = decoded(reply)["ts"] / 1000
    order = exchange.book.add("swap", "BTC-USD")
    request = post(CANCEL, batch("BTC-USD", order.order_id), now=stamp)
    assert decoded(exchange.handle(request, NOW))["data"]["successes"] == order.order_id


# Without a socket


class Faulty:
    """An exchange with one order, whose next request has a fault."""

    def __init__(self, fault: str | Fault, **options: Any) -> None:
        self.exchange = Exchange(**options)
        self.order = self.exchange.book.add("swap", "BTC-USD")
        self.plan = FaultPlan({self.order.order_id: [fault]})
        self.fields = batch("BTC-USD", self.order.order_id)

    def request(self, host: str = "api.hbdm.com") -> Request:
        """Return a request that cancels the order."""
        body = json.dumps(self.fields).encode()
        return Request("POST", f"https://{host}", signed_target(CANCEL, host=host), body)


def result_of(faulty: Faulty) -> tuple[Reply | Exception, float]:
    """Return the reply or the error of a request, and how long it took on virtual time."""

    async def main() -> tuple[Reply | Exception, float]:
        transport = InProcessTransport(faulty.exchange, delay=0.25, faults=faulty.plan)
        try:
            reply = await transport.send(faulty.request(), timeout=TIMEOUT)
        except (NoAnswerError, NotSentError) as error:
            return error, asyncio.get_running_loop().time()
        return reply, asyncio.get_running_loop().time()

    return virtualtime.run(main())


@pytest.mark.parametrize("name", REPLIES)
def test_replies_in_process(name: str) -> None:
    """The transport returns any reply; the book has the true state."""
    faulty = Faulty(name)
    reply, took = result_of(faulty)
    status, executed, text = REPLIES[name]
    assert isinstance(reply, Reply)
    assert (reply.status, faulty.order.instructed) == (status, executed)
    assert text in reply.body.decode() if text else reply.body == b""
    assert took == pytest.approx(0.5 + FAULTS[name].seconds, abs=1e-6)
    assert faulty.plan.injected == {name: 1}


@pytest.mark.parametrize("name", SILENT)
def test_missing_replies_in_process(name: str) -> None:
    """The request has no answer, at the timeout or when the connection breaks."""
    faulty = Faulty(name)
    error, took = result_of(faulty)
    executed, times_out = SILENT[name]
    assert isinstance(error, NoAnswerError)
    assert str(error) == ("no reply within 5 s" if times_out else "the connection was lost")
    assert took == pytest.approx(TIMEOUT if times_out else 0.5, abs=1e-6)
    assert faulty.order.instructed == executed


def test_a_late_reply_within_the_timeout() -> None:
    """The reply arrives."""
    reply, took = result_of(Faulty(FAULTS["late"].lasting(2.0)))
    assert isinstance(reply, Reply)
    assert took == pytest.approx(2.5, abs=1e-6)


def test_a_refused_connection_in_process() -> None:
    """The request is not sent, and fails at once."""
    faulty = Faulty("refused_connection")
    error, took = result_of(faulty)
    assert isinstance(error, NotSentError)
    assert took < 1e-6
    assert not faulty.exchange.calls


def test_a_host_that_is_down_in_process() -> None:
    """It refuses connections; other hosts do not, and later it does not."""
    faulty = Faulty("cut")

    async def main() -> list[int]:
        transport = InProcessTransport(faulty.exchange)
        transport.down.add("https://a.test")
        with pytest.raises(NotSentError):
            await transport.send(faulty.request("a.test"), timeout=TIMEOUT)
        other = await transport.send(faulty.request("b.test"), timeout=TIMEOUT)
        transport.down.clear()
        again = await transport.send(faulty.request("a.test"), timeout=TIMEOUT)
        return [other.status, again.status]

    assert virtualtime.run(main()) == [200, 200]
    assert faulty.exchange.calls[CANCEL] == 2


# Over a socket


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Return an HTTP client."""
    async with aiohttp.ClientSession() as client:
        yield client


async def sent(
    session: aiohttp.ClientSession, server: SandboxServer, faulty: Faulty
) -> tuple[int, str]:
    """Send the request; return the status and the text of its reply."""
    async with session.post(url(server.base_url, CANCEL), json=faulty.fields) as response:
        return response.status, await response.text()


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - no event marks it
            await asyncio.sleep(0)


@pytest.mark.parametrize("name", REPLIES)
async def test_replies_over_a_socket(session: aiohttp.ClientSession, name: str) -> None:
    """The replies are the same as in process."""
    faulty = Faulty(FAULTS[name].lasting(FAULTS[name].seconds / 100))
    async with SandboxServer(faulty.exchange, faults=faulty.plan) as server:
        reply = await sent(session, server, faulty)
    status, executed, text = REPLIES[name]
    assert (reply[0], faulty.order.instructed) == (status, executed)
    assert text in reply[1] if text else reply[1] == ""


@pytest.mark.parametrize("name", ["reset_before", "reset_after", "refused_connection"])
async def test_resets_over_a_socket(session: aiohttp.ClientSession, name: str) -> None:
    """The connection is reset before or after the exchange executes the request."""
    faulty = Faulty(name)
    async with SandboxServer(faulty.exchange, faults=faulty.plan) as server:
        with pytest.raises(aiohttp.ClientOSError) as caught:
            await sent(session, server, faulty)
    assert caught.value.errno == errno.ECONNRESET
    assert faulty.order.instructed == (name == "reset_after")


@pytest.mark.parametrize("gzip", [True, False])
async def test_a_cut_over_a_socket(session: aiohttp.ClientSession, gzip: bool) -> None:
    """A cut reply has headers and half a body."""
    faulty = Faulty("cut", gzip=gzip)
    async with SandboxServer(faulty.exchange, faults=faulty.plan) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            await sent(session, server, faulty)
    assert faulty.order.instructed


@pytest.mark.parametrize("name", ["late", "lost_before", "lost_after"])
async def test_missing_replies_over_a_socket(session: aiohttp.ClientSession, name: str) -> None:
    """The server waits until the client closes the connection."""
    faulty = Faulty(name)
    async with SandboxServer(faulty.exchange, faults=faulty.plan) as server:
        sending = asyncio.create_task(sent(session, server, faulty))
        await until(lambda: server._connections._waiting)
        assert faulty.order.instructed == SILENT[name][0]
        sending.cancel()
        await until(lambda: not server._connections._waiting)
        await until(lambda: not server._connections.connections)


@pytest.mark.parametrize("name", ["late", "slow", "lost_before", "lost_after"])
async def test_a_server_stops_while_requests_wait(
    session: aiohttp.ClientSession, name: str
) -> None:
    """Leaving the context ends every wait."""
    faulty = Faulty(FAULTS[name].lasting(600.0))
    async with SandboxServer(faulty.exchange, faults=faulty.plan) as server:
        sending = asyncio.create_task(sent(session, server, faulty))
        await until(lambda: server._connections._waiting)
        start = time.perf_counter()
    assert time.perf_counter() - start < TIMEOUT
    [end] = await asyncio.gather(sending, return_exceptions=True)
    lost = name.startswith("lost")
    assert isinstance(end, aiohttp.ServerDisconnectedError if lost else tuple)


async def test_a_client_that_closes_during_a_slow_reply(session: aiohttp.ClientSession) -> None:
    """The server does not send the rest."""
    faulty = Faulty(FAULTS["slow"].lasting(600.0))
    async with SandboxServer(faulty.exchange, faults=faulty.plan) as server:
        response = await session.post(url(server.base_url, CANCEL), json=faulty.fields)
        response.close()
        await until(lambda: not server._connections.connections)
    assert faulty.order.instructed


async def test_a_client_that_closes_before_its_fault(session: aiohttp.ClientSession) -> None:
    """The request is executed; nothing waits for the closed connection or closes it again."""
    faulty = Faulty("lost_after")
    async with SandboxServer(faulty.exchange, faults=faulty.plan, delay=0.02) as server:
        sending = asyncio.create_task(sent(session, server, faulty))
        await until(lambda: faulty.plan.injected)
        sending.cancel()
        await until(
            lambda: any(handler.transport is None for handler in server._connections.connections)
        )
        server._connections.abort()
        await until(lambda: not server._connections.connections)
    assert faulty.order.instructed


async def test_a_server_goes_down_and_up(session: aiohttp.ClientSession) -> None:
    """Down, it refuses connections and has closed the open ones; its port stays the same."""
    faulty = Faulty("html")
    async with SandboxServer(faulty.exchange, faults=faulty.plan) as server:
        base_url = server.base_url
        assert (await sent(session, server, faulty))[0] == 403
        await server.down()
        await until(lambda: not server._connections.connections)
        with pytest.raises(aiohttp.ClientConnectorError):
            await sent(session, server, faulty)
        await server.up()
        assert server.base_url == base_url
        assert (await sent(session, server, faulty))[0] == 200
    assert faulty.exchange.calls[CANCEL] == 1


async def test_a_server_that_goes_down_drops_its_requests(session: aiohttp.ClientSession) -> None:
    """The server can stop while it is down."""
    faulty = Faulty("lost_before")
    async with SandboxServer(faulty.exchange, faults=faulty.plan) as server:
        sending = asyncio.create_task(sent(session, server, faulty))
        await until(lambda: server._connections._waiting)
        await server.down()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await sending


async def test_no_wait_begins_after_a_release(session: aiohttp.ClientSession) -> None:
    """A new request cannot keep a server from stopping."""
    faulty = Faulty("lost_after")
    async with SandboxServer(faulty.exchange, faults=faulty.plan) as server:
        server._connections.release()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await sent(session, server, faulty)
