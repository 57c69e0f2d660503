"""Move one request and one reply, over aiohttp.

Rules:

* ``NotSentError`` is raised only where no byte of the body can have left: an exchange cannot act
  on a request whose body it does not have. Everything else is ``NoAnswerError``.
* Redirects are not followed, cookies are not kept, proxies from the environment are not used.
* No exception carries a URL: it would carry the signature.
* One timer watches over all requests: measured, an ``asyncio.timeout`` for each was a tenth of the
  client's time.
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
        self._watch = _Watch()
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
        watched = self._watch.begin(timeout)
        try:
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
        except _NOT_CONNECTED as error:
            raise NotSentError(_words(error)) from None
        except (aiohttp.ClientError, OSError, EOFError) as error:
            raise NoAnswerError(_words(error)) from None
        except asyncio.CancelledError:
            if not watched.is_expiry():
                raise
            if body.left_at is None:
                raise NotSentError(f"not sent within {timeout:.3g} s") from None
            raise NoAnswerError(f"no reply within {timeout:.3g} s") from None
        finally:
            self._watch.end(watched)

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
        self._watch.stop()
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


class _Watched:
    """One request, its task and its time."""

    __slots__ = ("cancelling", "deadline", "expired", "task")

    def __init__(self, deadline: float, task: "asyncio.Task[object]") -> None:
        self.deadline = deadline
        self.task = task
        self.cancelling = task.cancelling()
        self.expired = False

    def is_expiry(self) -> bool:
        """Whether the time was the only reason to cancel the task; then that is undone."""
        return self.expired and self.task.uncancel() <= self.cancelling


class _Watch:
    """Cancels the task of each request whose time is over, with one timer for all of them."""

    def __init__(self) -> None:
        self._all: set[_Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, timeout: float) -> _Watched:
        """Watch over the current task for so many seconds."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: a coroutine runs in a task
        watched = _Watched(loop.time() + timeout, task)
        self._all.add(watched)
        if self._timer is None or watched.deadline < self._timer.when():
            self._set(watched.deadline)
        return watched

    def end(self, watched: _Watched) -> None:
        """Watch no more. The timer stays: most requests end long before it."""
        self._all.discard(watched)

    def stop(self) -> None:
        """Set no more timers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, when: float) -> None:
        self.stop()
        self._timer = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        waiting = []
        for watched in self._all:
            if watched.expired:
                continue
            if watched.deadline <= now:
                watched.expired = True
                watched.task.cancel()
            else:
                waiting.append(watched.deadline)
        if waiting:
            self._set(min(waiting))


def _words(error: BaseException) -> str:
    """Describe an error by its kind and the system's words, never by its own text."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    errno = cause.errno if isinstance(cause, OSError) else None
    if errno is None or errno <= 0:  # name resolution has numbers of its own
        return type(error).__name__
    return f"{type(error).__name__}: {os.strerror(errno)}"
