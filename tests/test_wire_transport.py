"""Send requests over aiohttp: what is sent, how often, and what an error means."""

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
from htx_cancel.wire import transport as transport_module
from htx_cancel.wire.transport import AiohttpTransport, Request

pytestmark = pytest.mark.loops

METHODS = ["GET", "POST"]
CANCELED = b'{"status":"ok","data":{"errors":[],"successes":"7"},"ts":1}'
GONE = (
    b'{"status":"ok","data":{"errors":[{"order_id":"7","err_code":1061,"err_msg":"none"}],'
    b'"successes":""},"ts":1}'
)
SECONDS = 2.0  #: the timeout of tests that are not about timeouts


class RawServer:
    """A server whose replies are written byte for byte; records its requests."""

    def __init__(self, talk: Callable[["Talk"], Awaitable[None]]) -> None:
        self.requests: list[bytes] = []
        self.received = asyncio.Event()
        self.connections = 0
        self.origin = ""
        self._talk = talk
        self._tasks: list[asyncio.Task[Any] | None] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, then close it."""
        self.connections += 1
        self._tasks.append(asyncio.current_task())
        ends = asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError
        with contextlib.suppress(*ends):
            await self._talk(Talk(self, self.connections, reader, writer))
        writer.close()

    async def stop(self) -> None:
        """Close every connection."""
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def targets(self) -> list[str]:
        """The path and query of each request."""
        return [head.split(b" ")[1].decode() for head in self.requests]


class Talk:
    """The ``number``-th connection of a raw server."""

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
        self._server.received.set()
        return head

    async def say(self, *replies: bytes) -> None:
        """Send replies in one piece."""
        self._writer.write(b"".join(replies))
        await self._writer.drain()

    def abort(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()


def reply(body: bytes = b"{}", status: int = 200, /, **headers: str) -> bytes:
    """Return the bytes of a reply."""
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
    """Return a request with a signature."""
    body = b'{"order_id":"7"}' if method == "POST" else b""
    return Request(method, origin, f"{path}?Signature=canary", body)


def answering(*replies: bytes) -> Callable[[Talk], Awaitable[None]]:
    """Answer the requests of each connection with these replies."""

    async def talk(connection: Talk) -> None:
        for answer in replies:
            await connection.request()
            await connection.say(answer)
        await connection.request()

    return talk


async def silence(connection: Talk) -> None:
    """Receive requests and answer none."""
    while True:
        await connection.request()


async def echo(connection: Talk) -> None:
    """Answer each request with its own path."""
    while True:
        head = await connection.request()
        await connection.say(reply(head.split(b" ")[1].partition(b"?")[0]))


def texts(error: BaseException | None) -> str:
    """Return the reprs of an exception and of all its causes and contexts."""
    chain: list[BaseException] = []
    pending = [error]
    while pending:
        exception = pending.pop()
        if exception is not None and exception not in chain:
            chain.append(exception)
            pending += [exception.__cause__, exception.__context__]
    return " ".join(map(repr, chain))


async def cancel_one(raw: RawServer) -> OrderResult:
    """Cancel order 7 without retries."""
    async with CancelClient(credentials(), base_url=raw.origin, retry=ONCE) as client:
        outcome = await client.coin_m_swap.cancel_orders("BTC-USD", ["7"])
    result: OrderResult = outcome["7"]
    return result


# replies


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", ""])
async def test_the_content_type_of_a_reply_is_ignored(content_type: str) -> None:
    """The exchange sends JSON as text/plain."""
    async with serving(answering(reply(CANCELED, Content_Type=content_type))) as raw:
        assert (await cancel_one(raw)).status is CancelStatus.ACCEPTED


@pytest.mark.parametrize("status", [301, 302, 307, 403, 404, 408, 500, 502, 503])
async def test_a_page_that_does_not_come_from_the_exchange_is_unknown(status: int) -> None:
    """The HTTP status does not matter, and a redirect is not followed."""
    page = reply(b"<html>secret page</html>", status, Location="/elsewhere")
    async with serving(answering(page)) as raw:
        result = await cancel_one(raw)
        assert len(raw.requests) == 1
    assert (result.status, result.code, result.attempts) == (CancelStatus.UNKNOWN, None, 1)
    assert result.message.startswith(f"HTTP {status}")
    assert "secret" not in result.message


async def test_http_429_without_retries_is_rejected() -> None:
    """The result carries the code 429."""
    async with serving(answering(reply(b"slow down", 429))) as raw:
        result = await cancel_one(raw)
    assert (result.status, result.code) == (CancelStatus.REJECTED, 429)


@pytest.mark.parametrize("encode", [bytes, gzip.compress])
async def test_a_reply_that_is_too_long_has_no_answer(encode: Any) -> None:
    """Or that is too long after decompression."""
    headers = {"Content_Encoding": "gzip"} if encode is gzip.compress else {}
    async with (
        serving(answering(reply(encode(b"x" * 100_000), **headers))) as raw,
        transporting(max_reply_bytes=50_000) as transport,
    ):
        with pytest.raises(NoAnswerError, match="longer than 50000 bytes"):
            await transport.send(request(raw.origin), timeout=SECONDS)


@pytest.mark.parametrize("method", METHODS)
async def test_a_reply_has_the_time_when_its_request_left(method: str) -> None:
    """Budgets count from that time. This also tests the hook that aiohttp calls to write."""
    loop = asyncio.get_running_loop()
    async with serving(answering(reply())) as raw, transporting() as transport:
        began = loop.time()
        answer = await transport.send(request(raw.origin, method=method), timeout=SECONDS)
        assert answer.left_at is not None
        assert began <= answer.left_at <= loop.time()


# requests


async def test_a_post_has_the_signature_in_its_query_only() -> None:
    """The body is JSON."""
    async with serving(answering(reply(CANCELED))) as raw:
        await cancel_one(raw)
    [head] = raw.requests
    assert head.startswith(b"POST /swap-api/v1/swap_cancel?AccessKeyId=")
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert b"\r\nContent-Length: 42\r\n" in head


async def test_a_cookie_is_not_stored() -> None:
    """The next request does not send a cookie that a reply set."""
    async with (
        serving(answering(reply(Set_Cookie="a=b"), reply())) as raw,
        transporting() as transport,
    ):
        origin = raw.origin.replace(
            "127.0.0.1", "localhost"
        )  # aiohttp ignores cookies of addresses
        for _ in range(2):
            await transport.send(request(origin), timeout=SECONDS)
    assert len(raw.requests) == 2
    assert b"ookie" not in b"".join(raw.requests)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed requests go only to the exchange."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with serving(echo) as raw, transporting() as transport:
        assert (await transport.send(request(raw.origin), timeout=SECONDS)).body == b"/p"


@pytest.mark.parametrize("method", METHODS)
async def test_a_request_on_a_connection_that_breaks_is_sent_once(method: str) -> None:
    """A permit is for one request, so aiohttp must not repeat it."""
    async with serving(answering(reply())) as raw, transporting() as transport:
        await transport.send(request(raw.origin, "/1", method), timeout=SECONDS)
        with pytest.raises(NoAnswerError, match="ServerDisconnectedError"):
            await transport.send(request(raw.origin, "/2", method), timeout=SECONDS)
    assert [target[:2] for target in raw.targets] == ["/1", "/2"]


# replies to no request


@pytest.mark.parametrize("method", METHODS)
async def test_a_second_reply_to_one_request_is_dropped(method: str) -> None:
    """The connection is closed."""

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
async def test_a_request_is_not_sent_where_data_arrived_before(method: str, stray: bytes) -> None:
    """The connection is closed, and the next attempt gets its own reply."""
    arrived = asyncio.Event()

    async def talk(connection: Talk) -> None:
        if connection.number > 1:
            await echo(connection)
        await connection.request()
        await connection.say(reply(b"/1"))
        await asyncio.sleep(0.01)
        await connection.say(stray)
        arrived.set()
        await connection.request()

    async with serving(talk) as raw, transporting() as transport:
        await transport.send(request(raw.origin, "/1", method), timeout=SECONDS)
        await arrived.wait()
        await asyncio.sleep(0.05)
        with pytest.raises(NotSentError, match="data arrived on the connection before"):
            await transport.send(request(raw.origin, "/2", method), timeout=SECONDS)
        answer = await transport.send(request(raw.origin, "/3", method), timeout=SECONDS)
        assert answer.body == b"/3"
    assert [target[:2] for target in raw.targets] == ["/1", "/3"]


async def test_a_success_before_the_request_accepts_no_order() -> None:
    """The next cancel uses a new connection, and its own reply counts."""
    arrived = asyncio.Event()

    async def talk(connection: Talk) -> None:
        await connection.request()
        if connection.number > 1:
            await connection.say(reply(GONE))
        else:
            await connection.say(reply(CANCELED.replace(b"7", b"6")))
            await asyncio.sleep(0.01)
            await connection.say(reply(CANCELED))
            arrived.set()
        await connection.request()

    async with (
        serving(talk) as raw,
        CancelClient(credentials(), base_url=raw.origin) as client,
    ):
        first = await client.coin_m_swap.cancel_orders("BTC-USD", ["6"])
        await arrived.wait()
        await asyncio.sleep(0.05)
        second = await client.coin_m_swap.cancel_orders("BTC-USD", ["7"])
    assert first["6"].status is CancelStatus.ACCEPTED
    assert second["7"].status is CancelStatus.NOT_FOUND


# time and cancellation


async def test_a_request_without_a_reply_in_time_has_no_answer() -> None:
    """The exchange may have executed the request."""
    async with serving(silence) as raw, transporting() as transport:
        with pytest.raises(NoAnswerError, match=r"^no reply within 0\.2 s$"):
            await transport.send(request(raw.origin), timeout=0.2)


async def test_a_request_that_gets_no_connection_in_time_is_not_sent() -> None:
    """The pool is full."""
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


async def test_after_a_request_that_was_not_sent_the_connections_stay_in_use() -> None:
    """The next request waits for the only connection; no second one is opened."""

    async def talk(connection: Talk) -> None:
        while True:
            await connection.request()
            await asyncio.sleep(0.4)
            await connection.say(reply())

    async with serving(talk) as raw, transporting() as transport:
        first = asyncio.create_task(transport.send(request(raw.origin), timeout=SECONDS))
        await raw.received.wait()
        with pytest.raises(NotSentError):
            await transport.send(request(raw.origin), timeout=0.1)
        assert (await transport.send(request(raw.origin), timeout=SECONDS)).status == 200
        assert (await first).status == 200
        assert raw.connections == 1


async def test_a_connection_that_does_not_open_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request does not hold its token until its own timeout."""
    monkeypatch.setattr(transport_module, "CONNECT_TIMEOUT", 0.2)
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        origin = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with transporting() as transport:
            with pytest.raises(NotSentError, match=r"^(?!not sent within)"):
                await transport.send(request(origin), timeout=SECONDS)


async def test_a_cancelled_request_raises_cancelled_error() -> None:
    """The caller's cancellation is passed on."""
    async with serving(silence) as raw, transporting() as transport:
        task = asyncio.create_task(transport.send(request(raw.origin), timeout=SECONDS))
        await raw.received.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_request_cancelled_as_its_timeout_ends_raises_cancelled_error() -> None:
    """The timeout does not hide the caller's cancellation."""
    loop = asyncio.get_running_loop()
    async with serving(silence) as raw, transporting() as transport:
        task = asyncio.create_task(transport.send(request(raw.origin), timeout=0.1))
        loop.call_later(0.05, time.sleep, 0.1)  # both timers are due at the loop's next step
        loop.call_later(0.1, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_cancelled_error_without_a_cancellation_is_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library may raise it, as the result of a cancelled future does."""

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
    """The exchange may have executed the request; the error shows no URL."""

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


async def test_an_unexpected_error_is_no_answer_after_the_request_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error's text is not shown."""

    async def fail(_self: object) -> bytes:
        raise KeyError("Signature=canary")

    monkeypatch.setattr(aiohttp.StreamReader, "readany", fail)
    async with serving(answering(reply())) as raw, transporting() as transport:
        with pytest.raises(NoAnswerError, match=r"^KeyError$") as caught:
            await transport.send(request(raw.origin), timeout=SECONDS)
    assert "canary" not in texts(caught.value)


@pytest.mark.parametrize("origin", ["https://a..b", f"https://{'a' * 64}.example", "nonsense"])
async def test_a_request_to_an_invalid_address_is_not_sent(origin: str) -> None:
    """Nothing leaves before there is a connection."""
    async with transporting() as transport:
        with pytest.raises(NotSentError) as caught:
            await transport.send(request(origin), timeout=SECONDS)
    assert "canary" not in texts(caught.value)


async def test_a_request_to_a_name_that_does_not_resolve_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The resolver's error numbers are not errno's, so the message has only the type."""

    async def fail(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(8, "no such name")

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", fail)
    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", fail)
    async with transporting() as transport:
        with pytest.raises(NotSentError, match=r"^ClientConnectorDNSError$") as caught:
            await transport.send(request("https://no.example"), timeout=SECONDS)
    assert "canary" not in texts(caught.value)


async def test_a_refused_connection_is_not_sent() -> None:
    """The message is the system's, without the URL."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{held.getsockname()[1]}"
        async with transporting() as transport:
            with pytest.raises(NotSentError, match="Connection refused") as caught:
                await transport.send(request(origin), timeout=SECONDS)
    assert "canary" not in texts(caught.value) + repr(request(origin))


async def test_a_closed_transport_sends_nothing() -> None:
    """The error is ``NotSentError``."""
    async with transporting() as transport:
        pass
    with pytest.raises(NotSentError, match=r"^the transport was closed$"):
        await transport.send(request("http://127.0.0.1:9"), timeout=SECONDS)


# TLS


def context_for(name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context with a certificate for a name, and a client's that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def test_a_private_authority_is_trusted_if_its_context_is_given() -> None:
    """A request to its server is sent."""
    server, client = context_for("127.0.0.1")
    async with serving(echo, server) as raw, transporting(ssl_context=client) as transport:
        assert (await transport.send(request(raw.origin), timeout=SECONDS)).body == b"/p"


@pytest.mark.parametrize("trusts", [True, False])
async def test_a_client_uses_its_ssl_context(*, trusts: bool) -> None:
    """The default verifies certificates, too, so nothing is sent to an unknown server."""
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
async def test_the_message_names_a_certificate_that_does_not_verify(name: str) -> None:
    """The words are OpenSSL's, not an errno's."""
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


async def test_the_message_names_a_server_without_tls() -> None:
    """The words are OpenSSL's, not errno 1's ("Operation not permitted")."""

    async def talk(connection: Talk) -> None:
        await connection.say(reply(b"plain" * 100))
        await asyncio.sleep(0.1)

    async with serving(talk) as raw, transporting() as transport:
        with pytest.raises(NotSentError, match=r"^TLS: [a-z ]*(record|version)"):
            await transport.send(request(raw.origin.replace("http", "https")), timeout=SECONDS)


async def test_after_a_missing_reply_requests_use_new_connections() -> None:
    """Requests in flight on the old connections may still be answered."""

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
        await asyncio.gather(*(transport.send(one, timeout=5.0) for one in first))
        late = asyncio.create_task(transport.send(request(raw.origin, "/late"), timeout=5.0))
        with pytest.raises(NoAnswerError):
            await transport.send(request(raw.origin), timeout=0.2)
        for _ in range(3):
            assert (await transport.send(request(raw.origin), timeout=5.0)).status == 200
        assert raw.connections == 5
        assert (await late).body == b"late"


async def test_after_a_reset_requests_use_the_other_old_connections() -> None:
    """The reset says nothing about the other connections."""

    async def talk(connection: Talk) -> None:
        while True:
            head = await connection.request()
            if b"/reset" in head:
                connection.abort()
            else:
                await asyncio.sleep(0.1)
                await connection.say(reply())

    async with serving(talk) as raw, transporting(max_connections=10) as transport:
        first = [request(raw.origin) for _ in range(4)]
        await asyncio.gather(*(transport.send(one, timeout=SECONDS) for one in first))
        with pytest.raises(NoAnswerError):
            await transport.send(request(raw.origin, "/reset"), timeout=SECONDS)
        await transport.send(request(raw.origin), timeout=SECONDS)
        assert raw.connections == 4


async def test_after_a_cancelled_request_requests_use_new_connections() -> None:
    """Its caller may have cancelled it because no reply came in time."""

    async def talk(connection: Talk) -> None:
        while True:
            head = await connection.request()
            if b"/silent" not in head:
                await asyncio.sleep(0.1)
                await connection.say(reply())

    async with serving(talk) as raw, transporting(max_connections=10) as transport:
        first = [request(raw.origin) for _ in range(4)]
        await asyncio.gather(*(transport.send(one, timeout=SECONDS) for one in first))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await transport.send(request(raw.origin, "/silent"), timeout=SECONDS)
        await transport.send(request(raw.origin), timeout=SECONDS)
        assert raw.connections == 5


async def test_a_pool_has_connections_for_the_budgets_that_a_client_shares() -> None:
    """No request holds its token while it waits for a connection."""
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
