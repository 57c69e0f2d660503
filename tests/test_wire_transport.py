"""One request and one reply over aiohttp: what leaves, how often, and what an error says."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import trustme
from clients import ONCE, add, credentials

from htx_cancel import Budgets, CancelClient, CancelStatus, OrderResult
from htx_cancel.errors import NoAnswerError, NotSentError
from htx_cancel.sandbox import Exchange, SandboxServer
from htx_cancel.wire.transport import AiohttpTransport, Request

pytestmark = pytest.mark.loops

METHODS = ["GET", "POST"]
CANCELED = b'{"status":"ok","data":{"errors":[],"successes":"7"},"ts":1}'
GONE = (
    b'{"status":"ok","data":{"errors":[{"order_id":"7","err_code":1061,"err_msg":"none"}],'
    b'"successes":""},"ts":1}'
)
SECONDS = 2.0  #: for what is not about time


class RawServer:
    """A server that is written byte for byte, and the requests that reached it."""

    def __init__(self, talk: Callable[["Talk"], Awaitable[None]]) -> None:
        self.requests: list[bytes] = []
        self.came = asyncio.Event()
        self.connections = 0
        self.origin = ""
        self._talk = talk
        self._tasks: list[asyncio.Task[Any] | None] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk on one connection, then close it."""
        self.connections += 1
        self._tasks.append(asyncio.current_task())
        gone = asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError
        with contextlib.suppress(*gone):
            await self._talk(Talk(self, self.connections, reader, writer))
        writer.close()

    async def stop(self) -> None:
        """End every talk."""
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def targets(self) -> list[str]:
        """Path and query of each request."""
        return [head.split(b" ")[1].decode() for head in self.requests]


class Talk:
    """One connection of a raw server, which is the ``number``-th."""

    def __init__(
        self,
        server: RawServer,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.number = number
        self._server = server
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """Read a whole request; return its head."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        [length] = [line[15:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
        await self._reader.readexactly(int(length))
        self._server.requests.append(head)
        self._server.came.set()
        return head

    async def say(self, *replies: bytes) -> None:
        """Write replies in one piece."""
        self._writer.write(b"".join(replies))
        await self._writer.drain()

    def abort(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()


def reply(body: bytes = b"{}", status: int = 200, /, **headers: str) -> bytes:
    """Write a reply out."""
    headers = {"Content-Length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status} Any", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.asynccontextmanager
async def serving(
    talk: Callable[[Talk], Awaitable[None]], context: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Serve on loopback."""
    raw = RawServer(talk)
    server = await asyncio.start_server(raw.connected, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    raw.origin = f"http{'s' if context else ''}://127.0.0.1:{port}"
    try:
        yield raw
    finally:
        server.close()
        await raw.stop()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def transporting(**settings: Any) -> AsyncIterator[AiohttpTransport]:
    """Open a transport over one connection."""
    transport = AiohttpTransport(**{"max_connections": 1, "max_reply_bytes": 50_000, **settings})
    try:
        yield transport
    finally:
        await transport.close()


def request(origin: str, path: str = "/p", method: str = "POST") -> Request:
    """Make a request whose target is secret."""
    body = b'{"order_id":"7"}' if method == "POST" else b""
    return Request(method, origin, f"{path}?Signature=canary", body)


def answering(*replies: bytes) -> Callable[[Talk], Awaitable[None]]:
    """Answer the requests of each connection with these."""

    async def talk(connection: Talk) -> None:
        for each in replies:
            await connection.request()
            await connection.say(each)
        await connection.request()

    return talk


async def silence(connection: Talk) -> None:
    """Take requests and answer none."""
    while True:
        await connection.request()


async def echo(connection: Talk) -> None:
    """Answer each request with its own path."""
    while True:
        head = await connection.request()
        await connection.say(reply(head.split(b" ")[1].partition(b"?")[0]))


def texts(error: BaseException | None) -> str:
    """All that an exception and those behind it say."""
    chain: list[BaseException] = []
    behind = [error]
    while behind:
        each = behind.pop()
        if each is not None and each not in chain:
            chain.append(each)
            behind += [each.__cause__, each.__context__]
    return " ".join(map(repr, chain))


async def cancel_one(raw: RawServer) -> OrderResult:
    """Cancel order 7 without retries."""
    async with CancelClient(credentials(), base_url=raw.origin, retry=ONCE) as client:
        outcome = await client.coin_m_swap.cancel_orders("BTC-USD", ["7"])
    result: OrderResult = outcome["7"]
    return result


# what a reply may be


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", ""])
async def test_the_bytes_of_a_reply_count_and_not_its_content_type(content_type: str) -> None:
    """The exchange says text/plain where it means JSON."""
    async with serving(answering(reply(CANCELED, Content_Type=content_type))) as raw:
        assert (await cancel_one(raw)).status is CancelStatus.ACCEPTED


@pytest.mark.parametrize("status", [301, 302, 307, 403, 404, 408, 500, 502, 503])
async def test_a_page_that_is_not_the_exchanges_is_unknown(status: int) -> None:
    """HTML of any status settles nothing, and no redirect is followed."""
    page = reply(b"<html>secret page</html>", status, Location="/elsewhere")
    async with serving(answering(page)) as raw:
        result = await cancel_one(raw)
        assert len(raw.requests) == 1
    assert (result.status, result.code, result.attempts) == (CancelStatus.UNKNOWN, None, 1)
    assert result.message.startswith(f"HTTP {status}")
    assert "secret" not in result.message


async def test_http_429_is_a_refusal() -> None:
    """A refusal for the rate is told as such where retries are off."""
    async with serving(answering(reply(b"slow down", 429))) as raw:
        result = await cancel_one(raw)
    assert (result.status, result.code) == (CancelStatus.REJECTED, 429)


@pytest.mark.parametrize("encode", [bytes, gzip.compress])
async def test_a_reply_is_read_no_further_than_its_bound(encode: Any) -> None:
    """A reply that is too long, or unpacks to too much, is given up."""
    headers = {"Content_Encoding": "gzip"} if encode is gzip.compress else {}
    async with (
        serving(answering(reply(encode(b"x" * 100_000), **headers))) as raw,
        transporting(max_reply_bytes=50_000) as transport,
    ):
        with pytest.raises(NoAnswerError, match="longer than 50000 bytes"):
            await transport.send(request(raw.origin), timeout=SECONDS)


@pytest.mark.parametrize("method", METHODS)
async def test_a_reply_knows_when_its_request_left(method: str) -> None:
    """The budgets count from then; this also holds the hook that aiohttp calls to write."""
    loop = asyncio.get_running_loop()
    async with serving(answering(reply())) as raw, transporting() as transport:
        began = loop.time()
        answer = await transport.send(request(raw.origin, method=method), timeout=SECONDS)
        assert answer.left_at is not None
        assert began <= answer.left_at <= loop.time()


# what leaves


async def test_a_post_carries_its_target_its_body_and_nothing_of_the_signature_in_it() -> None:
    """The signature is in the query, JSON in the body."""
    async with serving(answering(reply(CANCELED))) as raw:
        await cancel_one(raw)
    [head] = raw.requests
    assert head.startswith(b"POST /swap-api/v1/swap_cancel?AccessKeyId=")
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert b"\r\nContent-Length: 42\r\n" in head


async def test_a_cookie_is_not_kept() -> None:
    """What one reply sets, the next request does not send."""
    async with (
        serving(answering(reply(Set_Cookie="a=b"), reply())) as raw,
        transporting() as transport,
    ):
        origin = raw.origin.replace("127.0.0.1", "localhost")  # aiohttp keeps none of an address
        for _ in range(2):
            await transport.send(request(origin), timeout=SECONDS)
    assert len(raw.requests) == 2
    assert b"ookie" not in b"".join(raw.requests)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed requests go to the exchange and nowhere else."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with serving(echo) as raw, transporting() as transport:
        assert (await transport.send(request(raw.origin), timeout=SECONDS)).body == b"/p"


@pytest.mark.parametrize("method", METHODS)
async def test_a_request_on_a_connection_that_breaks_is_sent_once(method: str) -> None:
    """A permit is one request, so that aiohttp must not repeat one by itself."""
    async with serving(answering(reply())) as raw, transporting() as transport:
        await transport.send(request(raw.origin, "/1", method), timeout=SECONDS)
        with pytest.raises(NoAnswerError, match="ServerDisconnectedError"):
            await transport.send(request(raw.origin, "/2", method), timeout=SECONDS)
    assert [target[:2] for target in raw.targets] == ["/1", "/2"]


# replies that nobody asked for


@pytest.mark.parametrize("method", METHODS)
async def test_a_reply_that_came_with_another_answers_no_request(method: str) -> None:
    """Two replies in one piece: the second is dropped with its connection."""

    async def talk(connection: Talk) -> None:
        head = await connection.request()
        own = reply(head.split(b" ")[1].partition(b"?")[0])
        await connection.say(own, reply(b"stray"))
        await connection.request()

    async with serving(talk) as raw, transporting() as transport:
        for path in ("/1", "/2", "/3"):
            answer = await transport.send(request(raw.origin, path, method), timeout=SECONDS)
            assert answer.body == path.encode()
    assert raw.connections == 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stray", [reply(b"stray"), reply(b"stray")[:-2]], ids=["whole", "cut"])
async def test_a_request_does_not_leave_on_a_connection_where_data_arrived_before(
    method: str, stray: bytes
) -> None:
    """It is not sent, the connection is closed, and the next try gets its own answer."""
    came = asyncio.Event()

    async def talk(connection: Talk) -> None:
        if connection.number > 1:
            await echo(connection)
        await connection.request()
        await connection.say(reply(b"/1"))
        await asyncio.sleep(0.01)
        await connection.say(stray)
        came.set()
        await connection.request()

    async with serving(talk) as raw, transporting() as transport:
        await transport.send(request(raw.origin, "/1", method), timeout=SECONDS)
        await came.wait()
        await asyncio.sleep(0.05)
        with pytest.raises(NotSentError, match="data arrived on the connection before"):
            await transport.send(request(raw.origin, "/2", method), timeout=SECONDS)
        answer = await transport.send(request(raw.origin, "/3", method), timeout=SECONDS)
        assert answer.body == b"/3"
    assert [target[:2] for target in raw.targets] == ["/1", "/3"]


async def test_a_success_that_nobody_asked_for_accepts_no_order() -> None:
    """The next cancel leaves on a fresh connection, and its own reply counts."""
    came = asyncio.Event()

    async def talk(connection: Talk) -> None:
        await connection.request()
        if connection.number > 1:
            await connection.say(reply(GONE))
        else:
            await connection.say(reply(CANCELED.replace(b"7", b"6")))
            await asyncio.sleep(0.01)
            await connection.say(reply(CANCELED))
            came.set()
        await connection.request()

    async with (
        serving(talk) as raw,
        CancelClient(credentials(), base_url=raw.origin) as client,
    ):
        first = await client.coin_m_swap.cancel_orders("BTC-USD", ["6"])
        await came.wait()
        await asyncio.sleep(0.05)
        second = await client.coin_m_swap.cancel_orders("BTC-USD", ["7"])
    assert first["6"].status is CancelStatus.ACCEPTED
    assert second["7"].status is CancelStatus.NOT_FOUND


# time and cancellation


async def test_a_request_without_a_reply_in_time_has_no_answer() -> None:
    """It left, and the exchange may have acted on it."""
    async with serving(silence) as raw, transporting() as transport:
        with pytest.raises(NoAnswerError, match=r"^no reply within 0\.2 s$"):
            await transport.send(request(raw.origin), timeout=0.2)


async def test_a_request_that_waits_for_a_connection_too_long_is_not_sent() -> None:
    """The pool is full: nothing left."""
    async with serving(silence) as raw, transporting() as transport:
        first, second = await asyncio.gather(
            transport.send(request(raw.origin, "/1"), timeout=0.4),
            transport.send(request(raw.origin, "/2"), timeout=0.1),
            return_exceptions=True,
        )
        assert isinstance(first, NoAnswerError)
        assert isinstance(second, NotSentError)
        assert str(second) == "not sent within 0.1 s"
    assert [target[:2] for target in raw.targets] == ["/1"]


async def test_a_cancelled_request_raises_cancelled_error() -> None:
    """A real cancellation is not an answer."""
    async with serving(silence) as raw, transporting() as transport:
        task = asyncio.create_task(transport.send(request(raw.origin), timeout=SECONDS))
        await raw.came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_request_cancelled_as_its_time_ends_raises_cancelled_error() -> None:
    """The timeout does not swallow its caller's cancellation."""
    loop = asyncio.get_running_loop()
    async with serving(silence) as raw, transporting() as transport:
        task = asyncio.create_task(transport.send(request(raw.origin), timeout=0.1))
        loop.call_later(0.05, time.sleep, 0.1)  # both timers are due when the loop looks again
        loop.call_later(0.1, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_cancelled_error_that_nobody_caused_is_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library may raise it by itself, as a cancelled future's result does."""

    async def fail(_self: object) -> bytes:
        raise asyncio.CancelledError

    monkeypatch.setattr(aiohttp.StreamReader, "readany", fail)
    async with serving(answering(reply())) as raw, transporting() as transport:
        with pytest.raises(NoAnswerError, match="CancelledError"):
            await transport.send(request(raw.origin), timeout=SECONDS)


# errors


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", ["close", "reset", "cut", "junk"])
async def test_a_request_whose_reply_is_lost_has_no_answer(method: str, end: str) -> None:
    """The exchange may have acted; the error shows no URL."""

    async def talk(connection: Talk) -> None:
        await connection.request()
        if end == "reset":
            connection.abort()
        elif end != "close":
            await connection.say(reply(b"{}")[:-1] if end == "cut" else b"junk\r\n\r\n")

    async with serving(talk) as raw, transporting() as transport:
        with pytest.raises(NoAnswerError) as caught:
            await transport.send(request(raw.origin, method=method), timeout=SECONDS)
    assert str(caught.value)
    assert "canary" not in texts(caught.value)
    assert len(raw.requests) == 1


async def test_an_error_that_nobody_foresaw_is_no_answer_once_the_request_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever aiohttp raises, the caller learns what it means for the order."""

    async def fail(_self: object) -> bytes:
        raise KeyError("Signature=canary")

    monkeypatch.setattr(aiohttp.StreamReader, "readany", fail)
    async with serving(answering(reply())) as raw, transporting() as transport:
        with pytest.raises(NoAnswerError, match=r"^KeyError$") as caught:
            await transport.send(request(raw.origin), timeout=SECONDS)
    assert "canary" not in texts(caught.value)


@pytest.mark.parametrize("origin", ["https://a..b", f"https://{'a' * 64}.example", "nonsense"])
async def test_an_address_that_cannot_be_one_is_not_sent(origin: str) -> None:
    """An error before a connection is there means that nothing left."""
    async with transporting() as transport:
        with pytest.raises(NotSentError) as caught:
            await transport.send(request(origin), timeout=SECONDS)
    assert "canary" not in texts(caught.value)


async def test_a_name_that_does_not_resolve_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver's numbers are not the system's, so that only the kind is told."""

    async def fail(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(8, "no such name")

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", fail)
    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", fail)
    async with transporting() as transport:
        with pytest.raises(NotSentError, match=r"^ClientConnectorDNSError$") as caught:
            await transport.send(request("https://no.example"), timeout=SECONDS)
    assert "canary" not in texts(caught.value)


async def test_a_refused_connection_is_named_without_the_url() -> None:
    """Nothing listens: not sent, in the system's words."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{held.getsockname()[1]}"
        async with transporting() as transport:
            with pytest.raises(NotSentError, match="Connection refused") as caught:
                await transport.send(request(origin), timeout=SECONDS)
    assert "canary" not in texts(caught.value) + repr(request(origin))


async def test_a_closed_transport_sends_nothing() -> None:
    """A request after the end is not sent."""
    async with transporting() as transport:
        pass
    with pytest.raises(NotSentError, match=r"^the transport was closed$"):
        await transport.send(request("http://127.0.0.1:9"), timeout=SECONDS)


# TLS


def context_for(name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for a name: the server's context, and one that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def test_a_context_of_the_user_is_the_one_that_trusts() -> None:
    """A private authority is accepted where it is given."""
    server, client = context_for("127.0.0.1")
    async with serving(echo, server) as raw, transporting(ssl_context=client) as transport:
        assert (await transport.send(request(raw.origin), timeout=SECONDS)).body == b"/p"


@pytest.mark.parametrize("trusts", [True, False])
async def test_a_client_trusts_whom_its_context_trusts(*, trusts: bool) -> None:
    """Without one it verifies all the same, and sends nothing to a stranger."""
    server, trusted = context_for("127.0.0.1")
    exchange = Exchange()
    ids = add(exchange, "swap", 1)
    async with (
        SandboxServer(exchange, ssl_context=server) as sandbox,
        CancelClient(
            credentials(),
            base_url=sandbox.base_url,
            ssl_context=trusted if trusts else None,
            retry=ONCE,
        ) as client,
    ):
        outcome = await client.coin_m_swap.cancel_orders("BTC-USD", ids)
    assert outcome.counts == {CancelStatus.ACCEPTED if trusts else CancelStatus.UNSENT: 1}
    assert exchange.calls.total() == trusts


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"])
async def test_a_certificate_that_does_not_verify_is_named(name: str) -> None:
    """Not sent, with OpenSSL's words and not an errno's."""
    server, client = context_for(name)
    trusted = client if name == "other.example" else None
    words = "IP address mismatch" if trusted else "unable to get local issuer certificate"
    async with serving(echo, server) as raw, transporting(ssl_context=trusted) as transport:
        with pytest.raises(
            NotSentError, match=f"^TLS: certificate verify failed: {words}$"
        ) as caught:
            await transport.send(request(raw.origin), timeout=SECONDS)
    assert "canary" not in texts(caught.value)
    assert not raw.requests


async def test_a_server_that_speaks_no_tls_is_named() -> None:
    """A plain server behind an https address is not an operation that is not permitted."""

    async def talk(connection: Talk) -> None:
        await connection.say(reply(b"plain" * 100))
        await asyncio.sleep(0.1)

    async with serving(talk) as raw, transporting() as transport:
        with pytest.raises(NotSentError, match=r"^TLS: [a-z ]*(record|version)"):
            await transport.send(request(raw.origin.replace("http", "https")), timeout=SECONDS)


async def test_after_a_reply_that_did_not_come_requests_go_on_new_connections() -> None:
    """A pool that went dark is left; what is under way there may still be answered."""

    async def talk(connection: Talk) -> None:
        while True:
            head = await connection.request()
            if connection.number > 4 or b"/first" in head:
                await connection.say(reply())
            elif b"/late" in head:
                await asyncio.sleep(0.5)
                await connection.say(reply(b"late"))

    async with serving(talk) as raw, transporting(max_connections=10) as transport:
        first = [request(raw.origin, "/first") for _ in range(4)]
        await asyncio.gather(*(transport.send(each, timeout=5.0) for each in first))
        late = asyncio.create_task(transport.send(request(raw.origin, "/late"), timeout=5.0))
        with pytest.raises(NoAnswerError):
            await transport.send(request(raw.origin), timeout=0.2)
        for _ in range(3):
            assert (await transport.send(request(raw.origin), timeout=5.0)).status == 200
        assert raw.connections == 5
        assert (await late).body == b"late"


async def test_a_pool_is_as_large_as_the_budgets_that_a_client_shares() -> None:
    """No request waits for a connection with its token in hand."""
    exchange = Exchange()
    ids = add(exchange, "swap", 20)
    async with (
        SandboxServer(exchange, delay=0.3) as server,
        CancelClient(
            credentials(), base_url=server.base_url, budgets=Budgets(), max_in_flight=1
        ) as client,
    ):
        began = asyncio.get_running_loop().time()
        outcome = await client.coin_m_swap.cancel_orders("BTC-USD", ids)
        assert outcome.counts == {CancelStatus.ACCEPTED: 20}
        assert asyncio.get_running_loop().time() - began < 1.1
