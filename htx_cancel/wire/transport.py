"""Move one request and one reply, over aiohttp.

Rules:

* A request is sent at most once. aiohttp by itself would repeat a query on a broken connection.
* ``NotSentError`` means that no byte of the request left: an exchange cannot act on it. Once the
  request began to leave, every failure is ``NoAnswerError``. Nothing else is raised, but for the
  cancellation of the caller.
* Data read from a connection before the request left are no reply to it: the request does not
  leave there, and the connection is closed.
* When a request that left gets no reply in time, the connections of its pool may all be dark, as
  after a flush of a firewall's table: later requests are made on new ones.
* Redirects are not followed, cookies are not kept, proxies from the environment are not used.
* No exception carries a URL, nor does one behind it: it would carry the signature.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from msgspec import Struct
from yarl import URL

from htx_cancel.errors import NoAnswerError, NotSentError, StaleConnectionError, TransportError

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http import StreamWriter

CONNECT_TIMEOUT = 2.0  #: seconds; an attempt that waits for a connection holds its token meanwhile

_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
_UNASKED = "data arrived before the request left"


class Request(Struct, frozen=True, gc=False):
    """One signed request. Its ``target`` (path and query) is secret."""

    method: str
    origin: str
    target: str
    body: bytes = b""

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.origin}{self.target.partition('?')[0]}>"


class Reply(Struct, frozen=True):
    """One reply, with its body as sent before any content encoding."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    left_at: float | None = None  #: loop time; without it no round trip is learnt


class Transport(Protocol):
    """What the client needs of a transport."""

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

    def _leave(self, pool: "_Pool", *, dark: bool) -> None:
        """End the use of a pool; one that went dark is used no more, and closed when it is free."""
        pool.users -= 1
        if dark and pool is self._pool:
            self._pool = None
        if not pool.users and pool is not self._pool:
            task = asyncio.get_running_loop().create_task(pool.session.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send once; raise ``NotSentError`` or ``NoAnswerError``, or return any reply."""
        body = _Body(request.body)
        limit = asyncio.timeout(timeout)
        pool = self._open()
        pool.users += 1
        dark = True
        try:
            async with limit:
                reply = await self._exchange(pool.session, request, body)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure = body.failure(error)  # nobody cancelled: a library raised it by itself
        except Exception as error:  # noqa: BLE001 - whatever it is, it says whether the body left
            dark = limit.expired()
            failure = body.failure(error)
        else:
            dark = False
            return reply
        finally:
            self._leave(pool, dark=dark and body.left_at is not None)
        if limit.expired():
            what = "not sent" if body.left_at is None else "no reply"
            failure = type(failure)(f"{what} within {timeout:.3g} s")
        try:
            raise failure
        finally:
            del failure  # it would hold this frame, which holds it

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
        """Read to the end, at which the connection goes back to the pool by itself."""
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
    """Connections that were opened by one session, and how many requests use them."""

    __slots__ = ("session", "users")

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.users = 0


class _Body(aiohttp.BytesPayload):
    """A request's body, which knows when it began to leave."""

    left_at: float | None = None

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write headers and body, which leave together, unless data were there before them."""
        protocol = cast("ResponseHandler", cast("StreamWriter", writer).protocol)
        if protocol.should_close:
            raise StaleConnectionError(_UNASKED)
        self.left_at = asyncio.get_running_loop().time()
        await super().write_with_length(writer, content_length)

    async def send_once(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Stand between aiohttp's loop of tries and a try, and end the loop after the first."""
        try:
            response = await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise self.failure(error) from None
        if self.left_at is None:
            response.close()
            raise StaleConnectionError(_UNASKED)
        return response

    def failure(self, error: BaseException) -> TransportError:
        """Say what an error means: whether the request had begun to leave, and why it failed."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, TransportError):
                return cause  # one of ours, perhaps within one of aiohttp's
            cause = cause.__cause__
        return (NotSentError if self.left_at is None else NoAnswerError)(_words(error))


def _words(error: BaseException) -> str:
    """Describe an error by its kind and the system's words, never by its own text."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, aiohttp.ClientError):
            return _tls_words(cause)
        cause = cause.__cause__
    kind = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorDNSError):  # name resolution has its own numbers
        return kind
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    errno = cause.errno if isinstance(cause, OSError) else None
    return f"{kind}: {os.strerror(errno)}" if errno else kind


def _tls_words(error: ssl.SSLError) -> str:
    """Describe a TLS failure in OpenSSL's words; what follows a comma would name a host."""
    reason = getattr(error, "reason", None) or type(error).__name__
    detail = getattr(error, "verify_message", "").partition(",")[0]
    return f"TLS: {reason.replace('_', ' ').lower()}" + (f": {detail}" if detail else "")
