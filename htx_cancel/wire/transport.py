"""Send one request over aiohttp, and return its reply.

Rules:

* A request is sent at most once. By itself, aiohttp would repeat a GET on a broken connection.
* ``NotSentError`` means that no byte of the request left, so the exchange cannot act on it. Once
  the first byte may have left, every failure is ``NoAnswerError``. Nothing else is raised, except
  the cancellation of the caller.
* Data that arrived on a connection before the request left are not its reply: the request is not
  sent on this connection, and the connection is closed.
* If a request that left gets no reply in time, or is cancelled by its caller, all connections of
  its pool may be dead, as after a firewall dropped its table: later requests use new connections.
* Redirects are not followed, cookies are not stored, and proxies of the environment are not used.
* No exception, and no cause or context of one, carries a URL, which would show the signature.
"""

import asyncio
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from msgspec import Struct
from yarl import URL

from htx_cancel.errors import NoAnswerError, NotSentError, StaleConnectionError, TransportError

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http import StreamWriter

CONNECT_TIMEOUT = 2.0  #: seconds; an attempt holds its token while it waits for a connection

_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
_STALE = "data arrived on the connection before the request was sent"


class Request(Struct, frozen=True, gc=False):
    """One signed request. Its ``target`` (path and query) is secret."""

    method: str
    origin: str
    target: str
    body: bytes = b""

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.origin}{self.target.partition('?')[0]}>"


class Reply(Struct, frozen=True):
    """One reply, its body decoded from any content encoding."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    left_at: float | None = None  #: loop time; ``None`` if no round trip can be measured


class Transport(Protocol):
    """What the client needs from a transport."""

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send once; raise ``NotSentError`` or ``NoAnswerError``, or return any reply."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class AiohttpTransport:
    """A transport over one pool of connections."""

    def __init__(
        self,
        *,
        max_connections: int,
        max_reply_bytes: int,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._max_connections = max_connections
        self._max_reply_bytes = max_reply_bytes
        self._ssl_context = ssl_context
        self._pool: _Pool | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def _open(self) -> "_Pool":
        if self._closed:
            raise NotSentError("the transport was closed")
        if self._pool is None:
            connector = aiohttp.TCPConnector(
                limit=self._max_connections,
                ssl=self._ssl_context or True,
                keepalive_timeout=60.0,
            )
            session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT),
                trust_env=False,
            )
            self._pool = _Pool(session)
        return self._pool

    def _release(self, pool: "_Pool", *, dead: bool) -> None:
        """End one use of a pool; a dead pool gets no new requests, and closes after its last."""
        pool.requests -= 1
        if dead and pool is self._pool:
            self._pool = None
        if not pool.requests and pool is not self._pool:
            task = asyncio.get_running_loop().create_task(pool.session.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send once; raise ``NotSentError`` or ``NoAnswerError``, or return any reply."""
        body = _Body(request.body)
        limit = asyncio.timeout(timeout)
        pool = self._open()
        pool.requests += 1
        dead = True
        try:
            async with limit:
                reply = await self._exchange(pool.session, request, body)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure = body.failure(error)  # no caller cancelled: a library raised it by itself
        except Exception as error:  # noqa: BLE001 - any error becomes "not sent" or "no answer"
            dead = limit.expired()
            failure = body.failure(error)
        else:
            dead = False
            return reply
        finally:
            self._release(pool, dead=dead and body.left_at is not None)
        if limit.expired():
            outcome = "not sent" if body.left_at is None else "no reply"
            failure = type(failure)(f"{outcome} within {timeout:.3g} s")
        try:
            raise failure
        finally:
            del failure  # it would make a reference cycle with this frame

    async def _exchange(
        self, session: aiohttp.ClientSession, request: Request, body: "_Body"
    ) -> Reply:
        response = await session.request(
            request.method,
            URL(request.origin + request.target, encoded=True),
            data=body,
            allow_redirects=False,
            middlewares=(body.send_once,),
        )
        try:
            content = await self._read(response)
        except BaseException:
            response.close()
            raise
        return Reply(response.status, response.headers, content, body.left_at)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read the whole body; at its end aiohttp returns the connection to the pool."""
        chunks, size = [], 0
        while not response.content.at_eof():
            chunk = await response.content.readany()
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_reply_bytes:
                raise NoAnswerError(f"the reply is longer than {self._max_reply_bytes} bytes")
        return b"".join(chunks)

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._pool is not None:
            await self._pool.session.close()
        if self._closing:
            await asyncio.wait(self._closing)


class _Pool:
    """One session, and the number of requests that use its connections."""

    __slots__ = ("requests", "session")

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.requests = 0


class _Body(aiohttp.BytesPayload):
    """A request's body, which records when the request began to leave."""

    left_at: float | None = None

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write headers and body together, unless data arrived on the connection before."""
        protocol = cast("ResponseHandler", cast("StreamWriter", writer).protocol)
        if protocol.should_close:
            raise StaleConnectionError(_STALE)
        self.left_at = asyncio.get_running_loop().time()
        await super().write_with_length(writer, content_length)

    async def send_once(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Let aiohttp try once: turn the errors that it would retry into other errors."""
        try:
            response = await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise self.failure(error) from None
        if self.left_at is None:
            response.close()
            raise StaleConnectionError(_STALE)
        return response

    def failure(self, error: BaseException) -> TransportError:
        """Return the error of ours that says whether the request left, and why it failed."""
        for cause in _causes(error):
            if isinstance(cause, TransportError):
                return cause  # ours already, perhaps wrapped by aiohttp
        return (NotSentError if self.left_at is None else NoAnswerError)(_describe(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _describe(error: BaseException) -> str:
    """Describe an error by its type and the system's message; its own text may hold the URL."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, aiohttp.ClientError):
            return _describe_tls(cause)
    kind = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorDNSError):  # its error numbers are not errno's
        return kind
    system = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    errno = system.errno if isinstance(system, OSError) else None
    return f"{kind}: {os.strerror(errno)}" if errno else kind


def _describe_tls(error: ssl.SSLError) -> str:
    """Describe a TLS failure in OpenSSL's words, up to a comma: the host's name may follow it."""
    reason = getattr(error, "reason", None) or type(error).__name__
    detail = getattr(error, "verify_message", "").partition(",")[0]
    return f"TLS: {reason.replace('_', ' ').lower()}" + (f": {detail}" if detail else "")
