"""Scripted trouble, on both ways."""

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

#: Of each fault that brings a reply: its status, whether the order is canceled, a word in it.
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
#: Of each fault that brings none: whether the order is canceled, and the client's timeout passes.
SILENT: dict[str, tuple[bool, bool]] = {
    "late": (True, True),
    "lost_before": (False, True),
    "lost_after": (True, True),
    "reset_before": (False, False),
    "reset_after": (True, False),
    "cut": (True, False),
}


def test_every_fault_is_here() -> None:
    """Each fault of the table has a name of its own and is tested below."""
    assert set(FAULTS) == {*REPLIES, *SILENT, "refused_connection"}
    assert all(fault.name == name for name, fault in FAULTS.items())
    for name, (executed, _) in SILENT.items():
        assert FAULTS[name].executed == executed


# Which request meets which fault


def met(plan: FaultPlan, *requests: tuple[str, ...], path: str = CANCEL) -> list[str | None]:
    """Return the names of the faults that requests for these ids meet."""
    faults = [plan.next(ids, path) for ids in requests]
    return [None if fault is None else fault.name for fault in faults]


def test_an_order_has_a_fault_for_each_attempt() -> None:
    """Each request that names the order takes the next of its faults, until none is left."""
    plan = FaultPlan({"7": ["cut", None, "busy"]})
    assert met(plan, ("7",), ("8",), ("7", "8"), ("8", "7"), ("7",)) == [
        "cut",
        None,
        None,
        "busy",
        None,
    ]
    assert plan.struck == {"cut": 1, "busy": 1}


def test_a_path_has_a_fault_for_each_request() -> None:
    """The faults of a path are met by its requests in turn, and by no other's."""
    plan = FaultPlan({CANCEL: [None, "html"]})
    assert met(plan, ("1",), path=TRACK) == [None]
    assert met(plan, ("1",), ("2",), ("3",)) == [None, "html", None]


def test_of_several_faults_the_first_is_met() -> None:
    """A request meets one fault: that of the first id that has one, before its path's."""
    plan = FaultPlan({"1": [None, "cut"], "2": ["busy", "late"], CANCEL: ["html"] * 3})
    assert met(plan, ("1", "2"), ("1", "2"), ("1", "2")) == ["busy", "cut", "html"]


def test_a_fault_of_ones_own() -> None:
    """A script can have a fault with other numbers in it."""
    late = FAULTS["late"].lasting(2.0)
    assert (late.seconds, late.name, late.executed) == (2.0, "late", True)
    assert FaultPlan({"1": [late]}).next(("1",), CANCEL) is late


def test_a_name_that_is_no_fault() -> None:
    """A script with an unknown name is an error when it is given."""
    with pytest.raises(KeyError, match="typhoon"):
        FaultPlan({"1": ["typhoon"]})


def test_random_faults_repeat_with_their_seed() -> None:
    """A seed gives the same faults again, in about the share asked for, of the kinds given."""

    def drawn(seed: int, **options: Any) -> list[str | None]:
        return met(FaultPlan(share=0.3, seed=seed, **options), *[("1",)] * 400)

    assert drawn(1) == drawn(1) != drawn(2)
    assert 80 < sum(name is not None for name in drawn(1)) < 160
    assert {*drawn(1)} == {*FAULTS, None}
    assert {*drawn(1, kinds=["cut", "late"])} == {"cut", "late", None}


def test_no_plan_no_fault() -> None:
    """A plan without script and share leaves every request alone."""
    assert met(FaultPlan(), *[("1",)] * 50) == [None] * 50


# What the exchange does


@pytest.mark.parametrize("path", [CANCEL, V5])
@pytest.mark.parametrize("executed", [True, False])
def test_a_scripted_code_hides_what_was_done(path: str, executed: bool) -> None:
    """The reply is the code, in its envelope and with the rate headers, whatever was done."""
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


def test_a_call_that_is_not_let_in_is_told_so() -> None:
    """A true refusal comes before a scripted one, and a public call has none."""
    exchange = Exchange(limits={CANCEL: (1, 1)})
    request = post(CANCEL, batch("BTC-USD", "1"))
    told = [
        decoded(exchange.handle(each, NOW, Script(1004)))
        for each in (request, request, post(TRACK, {}, now=NOW + 600))
    ]
    assert [reply["err_code"] for reply in told] == [1004, 1032, 12001]


def test_a_clock_goes_wrong_and_right_again() -> None:
    """The fault shifts the exchange's clock; met again it puts it right."""
    exchange = Exchange()
    offsets = []
    for _ in range(3):
        respond(exchange, post(CANCEL, {}), NOW, FAULTS["wrong_clock"])
        offsets.append(exchange.clock_offset)
    assert offsets == [600.0, 0.0, 600.0]


def test_a_client_that_takes_the_replys_time_is_let_in() -> None:
    """A stamp of the wrong clock's own time is right."""
    exchange = Exchange()
    reply = respond(exchange, post(CANCEL, {}), NOW, FAULTS["wrong_clock"])
    assert reply is not None
    stamp = decoded(reply)["ts"] / 1000
    order = exchange.book.add("swap", "BTC-USD")
    request = post(CANCEL, batch("BTC-USD", order.order_id), now=stamp)
    assert decoded(exchange.handle(request, NOW))["data"]["successes"] == order.order_id


# Without a socket


class Desk:
    """An exchange with one order, whose next request meets a fault."""

    def __init__(self, fault: str | Fault, **options: Any) -> None:
        self.exchange = Exchange(**options)
        self.order = self.exchange.book.add("swap", "BTC-USD")
        self.plan = FaultPlan({self.order.order_id: [fault]})
        self.fields = batch("BTC-USD", self.order.order_id)

    def request(self, host: str = "api.hbdm.com") -> Request:
        """Return a request that cancels the order."""
        body = json.dumps(self.fields).encode()
        return Request("POST", f"https://{host}", signed_target(CANCEL, host=host), body)


def carried(desk: Desk) -> tuple[Reply | Exception, float]:
    """Return what a request on virtual time brings, and after how long."""

    async def main() -> tuple[Reply | Exception, float]:
        transport = InProcessTransport(desk.exchange, delay=0.25, faults=desk.plan)
        try:
            reply = await transport.send(desk.request(), timeout=TIMEOUT)
        except (NoAnswerError, NotSentError) as error:
            return error, asyncio.get_running_loop().time()
        return reply, asyncio.get_running_loop().time()

    return virtualtime.run(main())


@pytest.mark.parametrize("name", REPLIES)
def test_replies_in_process(name: str) -> None:
    """A reply that is not as it should be is still a reply; the book knows what was done."""
    desk = Desk(name)
    reply, took = carried(desk)
    status, executed, word = REPLIES[name]
    assert isinstance(reply, Reply)
    assert (reply.status, desk.order.instructed) == (status, executed)
    assert word in reply.body.decode() if word else reply.body == b""
    assert took == pytest.approx(0.5 + FAULTS[name].seconds, abs=1e-6)
    assert desk.plan.struck == {name: 1}


@pytest.mark.parametrize("name", SILENT)
def test_silence_in_process(name: str) -> None:
    """Without a reply there is no answer: at the timeout, or when the connection breaks."""
    desk = Desk(name)
    error, took = carried(desk)
    executed, to_the_end = SILENT[name]
    assert isinstance(error, NoAnswerError)
    assert str(error) == ("no reply within 5 s" if to_the_end else "the connection was lost")
    assert took == pytest.approx(TIMEOUT if to_the_end else 0.5, abs=1e-6)
    assert desk.order.instructed == executed


def test_late_but_in_time() -> None:
    """A reply that is late by less than the timeout arrives."""
    reply, took = carried(Desk(FAULTS["late"].lasting(2.0)))
    assert isinstance(reply, Reply)
    assert took == pytest.approx(2.5, abs=1e-6)


def test_a_refused_connection_in_process() -> None:
    """A refused connection is known at once to have carried nothing."""
    desk = Desk("refused_connection")
    error, took = carried(desk)
    assert isinstance(error, NotSentError)
    assert took < 1e-6
    assert not desk.exchange.calls


def test_doors_that_are_down_in_process() -> None:
    """A host that is down refuses what goes through it; the others, and it later, do not."""
    desk = Desk("cut")

    async def main() -> list[int]:
        transport = InProcessTransport(desk.exchange)
        transport.down.add("https://a.test")
        with pytest.raises(NotSentError):
            await transport.send(desk.request("a.test"), timeout=TIMEOUT)
        other = await transport.send(desk.request("b.test"), timeout=TIMEOUT)
        transport.down.clear()
        again = await transport.send(desk.request("a.test"), timeout=TIMEOUT)
        return [other.status, again.status]

    assert virtualtime.run(main()) == [200, 200]
    assert desk.exchange.calls[CANCEL] == 2


# Over a socket


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Return a plain client."""
    async with aiohttp.ClientSession() as client:
        yield client


async def sent(
    session: aiohttp.ClientSession, server: SandboxServer, desk: Desk
) -> tuple[int, str]:
    """Send the request of a desk; return the status and text of its reply."""
    async with session.post(url(server.base_url, CANCEL), json=desk.fields) as response:
        return response.status, await response.text()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0)


@pytest.mark.parametrize("name", REPLIES)
async def test_replies_over_a_socket(session: aiohttp.ClientSession, name: str) -> None:
    """The same replies arrive over a socket, slow ones in the end too."""
    desk = Desk(FAULTS[name].lasting(FAULTS[name].seconds / 100))
    async with SandboxServer(desk.exchange, faults=desk.plan) as server:
        reply = await sent(session, server, desk)
    status, executed, word = REPLIES[name]
    assert (reply[0], desk.order.instructed) == (status, executed)
    assert word in reply[1] if word else reply[1] == ""


@pytest.mark.parametrize("name", ["reset_before", "reset_after", "refused_connection"])
async def test_resets_over_a_socket(session: aiohttp.ClientSession, name: str) -> None:
    """A reset is one on the wire, before or after the exchange has done its part."""
    desk = Desk(name)
    async with SandboxServer(desk.exchange, faults=desk.plan) as server:
        with pytest.raises(aiohttp.ClientOSError) as caught:
            await sent(session, server, desk)
    assert caught.value.errno == errno.ECONNRESET
    assert desk.order.instructed == (name == "reset_after")


@pytest.mark.parametrize("gzip", [True, False])
async def test_a_cut_over_a_socket(session: aiohttp.ClientSession, gzip: bool) -> None:
    """A reply that is cut has a head and half a body."""
    desk = Desk("cut", gzip=gzip)
    async with SandboxServer(desk.exchange, faults=desk.plan) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            await sent(session, server, desk)
    assert desk.order.instructed


@pytest.mark.parametrize("name", ["late", "lost_before", "lost_after"])
async def test_silence_over_a_socket_until_the_client_goes(
    session: aiohttp.ClientSession, name: str
) -> None:
    """A request is held while its client waits, and let go when that hangs up."""
    desk = Desk(name)
    async with SandboxServer(desk.exchange, faults=desk.plan) as server:
        sending = asyncio.create_task(sent(session, server, desk))
        await until(lambda: server._connections._waiting)
        assert desk.order.instructed == SILENT[name][0]
        sending.cancel()
        await until(lambda: not server._connections._waiting)
        await until(lambda: not server._connections.connections)


@pytest.mark.parametrize("name", ["late", "slow", "lost_before", "lost_after"])
async def test_a_server_stops_with_requests_on_hold(
    session: aiohttp.ClientSession, name: str
) -> None:
    """Leaving the context ends every wait at once."""
    desk = Desk(FAULTS[name].lasting(600.0))
    async with SandboxServer(desk.exchange, faults=desk.plan) as server:
        sending = asyncio.create_task(sent(session, server, desk))
        await until(lambda: server._connections._waiting)
        start = time.perf_counter()
    assert time.perf_counter() - start < TIMEOUT
    [end] = await asyncio.gather(sending, return_exceptions=True)
    lost = name.startswith("lost")
    assert isinstance(end, aiohttp.ServerDisconnectedError if lost else tuple)


async def test_a_client_that_goes_while_the_reply_drips(session: aiohttp.ClientSession) -> None:
    """A reply whose client has gone is not brought to its end."""
    desk = Desk(FAULTS["slow"].lasting(600.0))
    async with SandboxServer(desk.exchange, faults=desk.plan) as server:
        response = await session.post(url(server.base_url, CANCEL), json=desk.fields)
        response.close()
        await until(lambda: not server._connections.connections)
    assert desk.order.instructed


async def test_a_client_that_went_before_its_fault(session: aiohttp.ClientSession) -> None:
    """A request whose client has gone is carried out; nothing waits for it or closes it again."""
    desk = Desk("lost_after")
    async with SandboxServer(desk.exchange, faults=desk.plan, delay=0.02) as server:
        sending = asyncio.create_task(sent(session, server, desk))
        await until(lambda: desk.plan.struck)
        sending.cancel()
        await until(lambda: any(it.transport is None for it in server._connections.connections))
        server._connections.abort()
        await until(lambda: not server._connections.connections)
    assert desk.order.instructed


async def test_a_door_goes_down_and_up(session: aiohttp.ClientSession) -> None:
    """A server that is down refuses and has closed what was open; up again it has its port."""
    desk = Desk("html")
    async with SandboxServer(desk.exchange, faults=desk.plan) as server:
        base_url = server.base_url
        assert (await sent(session, server, desk))[0] == 403
        await server.down()
        await until(lambda: not server._connections.connections)
        with pytest.raises(aiohttp.ClientConnectorError):
            await sent(session, server, desk)
        await server.up()
        assert server.base_url == base_url
        assert (await sent(session, server, desk))[0] == 200
    assert desk.exchange.calls[CANCEL] == 1


async def test_a_door_that_goes_down_drops_its_requests(session: aiohttp.ClientSession) -> None:
    """What is on hold when the server goes down is lost, and the server can stop while it is."""
    desk = Desk("lost_before")
    async with SandboxServer(desk.exchange, faults=desk.plan) as server:
        sending = asyncio.create_task(sent(session, server, desk))
        await until(lambda: server._connections._waiting)
        await server.down()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await sending


async def test_no_wait_begins_once_all_are_released(session: aiohttp.ClientSession) -> None:
    """A request that would be held while the server stops is not."""
    desk = Desk("lost_after")
    async with SandboxServer(desk.exchange, faults=desk.plan) as server:
        server._connections.release()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await sent(session, server, desk)
