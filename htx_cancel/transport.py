"""Move one request and one reply, over aiohttp.

Rules:

* ``NotSentError`` is raised only where no byte of the body can have left: an exchange cannot act
  on a request whose body it does not have. Everything else is ``NoAnswerError``.
* Redirects are not followed, cookies are not kept, proxies from the environment are not used.
* No exception carries a URL: it would carry the signature.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from msgspec import Struct
from yarl import URL

from htx_cancel.errors import NoAnswerError, NotSentError

_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}

#: What aiohttp raises before it has a connection to write on.
_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)


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
    left_at: float | None = None  #: loop time; without it the budgets give no credit for the way


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
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise NotSentError("the transport was closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._max_connections,
                    ssl=self._ssl_context or True,
                    keepalive_timeout=60.0,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(),
                trust_env=False,
            )
        return self._session

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send once; raise ``NotSentError`` or ``NoAnswerError``, or return any reply."""
        body = _Body(request.body)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._exchange(request, body)
        except _NOT_CONNECTED as error:
            raise NotSentError(_words(error)) from None
        except (aiohttp.ClientError, OSError, EOFError) as error:
            if not limit.expired():
                raise NoAnswerError(_words(error)) from None
            if body.left_at is None:
                raise NotSentError(f"not sent within {timeout:.3g} s") from None
            raise NoAnswerError(f"no reply within {timeout:.3g} s") from None

    async def _exchange(self, request: Request, body: "_Body") -> Reply:
        response = await self._open().request(
            request.method,
            URL(request.origin + request.target, encoded=True),
            data=body,
            allow_redirects=False,
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
        if self._session is not None:
            await self._session.close()


class _Body(aiohttp.BytesPayload):
    """A request's body that knows when it began to leave."""

    left_at: float | None = None

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        self.left_at = asyncio.get_running_loop().time()
        await super().write_with_length(writer, content_length)


def _words(error: BaseException) -> str:
    """Describe an error by its kind and the system's words, never by its own text."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    errno = cause.errno if isinstance(cause, OSError) else None
    if errno is None or errno <= 0:  # name resolution has numbers of its own
        return type(error).__name__
    return f"{type(error).__name__}: {os.strerror(errno)}"
