"""One request and one reply over aiohttp: status codes, content types and broken connections."""

import asyncio
import gzip
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import aioresponses
from roads import ONCE, SECRET, credentials

from htx_cancel import CancelClient, CancelStatus, OrderResult
from htx_cancel.errors import NoAnswerError, NotSentError
from htx_cancel.transport import AiohttpTransport, Request

pytestmark = pytest.mark.loops

HOST = "https://api.hbdm.com"
PAGE = HOST + "/swap-api/v1/swap_cancel"
BODY = b'{"status":"ok","data":{"errors":[],"successes":"7"},"ts":1}'
ADDRESS = ConnectionKey("api.hbdm.com", 443, True, True, None, None, None)


class MockedResponse(aiohttp.ClientResponse):
    """A response as aioresponses makes it, with what aiohttp has asked for since."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, stream_writer=Mock(output_size=0), **kwargs)


@pytest.fixture
def web() -> Iterator[aioresponses]:
    """Mock every session."""
    with aioresponses() as mocked:
        yield mocked


async def cancel_one(web: aioresponses, **reply: Any) -> OrderResult:
    """Cancel order 7 with one mocked reply, without retries."""
    if "exception" not in reply:
        reply["response_class"] = MockedResponse
    web.post(re.compile(re.escape(PAGE)), **reply)
    async with CancelClient(credentials(), retry=ONCE) as client:
        outcome = await client.cancel_swap_orders("BTC-USD", ["7"])
    result: OrderResult = outcome["7"]
    return result


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", ""])
async def test_the_bytes_count_and_not_the_content_type(
    web: aioresponses, content_type: str
) -> None:
    """The exchange says text/plain where it means JSON."""
    result = await cancel_one(web, body=BODY, content_type=content_type)
    assert result.status is CancelStatus.ACCEPTED


@pytest.mark.parametrize("status", [301, 302, 307, 403, 404, 408, 500, 502, 503])
async def test_a_page_that_is_not_the_exchanges_is_unknown(web: aioresponses, status: int) -> None:
    """HTML of any status settles nothing, and no redirect is followed."""
    result = await cancel_one(
        web, status=status, body=b"<html>secret page</html>", headers={"Location": HOST + "/x"}
    )
    assert (result.status, result.code, result.attempts) == (CancelStatus.UNKNOWN, None, 1)
    assert result.message.startswith(f"HTTP {status}")
    assert "secret" not in result.message


async def test_http_429_is_a_refusal(web: aioresponses) -> None:
    """A refusal for the rate is told as such where retries are off."""
    result = await cancel_one(web, status=429, body=b"slow down")
    assert (result.status, result.code) == (CancelStatus.REJECTED, 429)


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectorError(ADDRESS, OSError(111, "Connection refused")),
        aiohttp.ClientConnectorDNSError(ADDRESS, OSError(-2, "Name or service not known")),
        aiohttp.ClientConnectorCertificateError(ADDRESS, ssl.CertificateError("bad")),
        aiohttp.ConnectionTimeoutError("Connection timeout to host https://x?Signature=y"),
    ],
)
async def test_a_request_without_a_connection_is_unsent(
    web: aioresponses, error: Exception
) -> None:
    """Nothing can have left where nothing was connected."""
    result = await cancel_one(web, exception=error)
    assert (result.status, result.attempts) == (CancelStatus.UNSENT, 0)
    assert "Signature" not in result.message


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientOSError(104, "Connection reset by peer"),
        aiohttp.ClientPayloadError("Signature=canary"),
        aiohttp.SocketTimeoutError("Timeout on reading data from socket"),
        TimeoutError(),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
)
async def test_a_request_whose_reply_is_lost_is_unknown(
    web: aioresponses, error: Exception
) -> None:
    """The exchange may have acted; only a reply can say."""
    result = await cancel_one(web, exception=error)
    assert (result.status, result.attempts) == (CancelStatus.UNKNOWN, 1)
    assert "canary" not in result.message


async def test_an_error_that_nobody_foresaw_is_unknown(web: aioresponses) -> None:
    """No exception of a request leaves the call, nor does its text."""
    result = await cancel_one(web, exception=KeyError("Signature=canary"))
    assert (result.status, result.message) == (CancelStatus.UNKNOWN, "KeyError")


async def test_a_request_carries_what_was_signed_and_nothing_secret_in_its_body(
    web: aioresponses,
) -> None:
    """One POST, JSON in the body, the signature in the query, no redirects."""
    await cancel_one(web, body=BODY)
    [(method, url)] = web.requests
    [call] = web.requests[method, url]
    assert method == "POST"
    assert set(url.query) == {
        "AccessKeyId",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
        "Signature",
    }
    assert call.kwargs["allow_redirects"] is False
    assert await call.kwargs["data"].as_bytes() == b'{"contract_code":"BTC-USD","order_id":"7"}'
    assert SECRET not in repr(call)


@pytest.mark.parametrize("encode", [bytes, gzip.compress])
async def test_a_reply_is_read_no_further_than_its_bound(encode: Any) -> None:
    """A reply that never ends, or unpacks to too much, is given up."""

    async def endless(_request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
        headers = {"Content-Encoding": "gzip"} if encode is gzip.compress else {}
        return aiohttp.web.Response(body=encode(b"x" * 100_000), headers=headers)

    server = aiohttp.web.Server(endless)
    runner = aiohttp.web.ServerRunner(server)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    transport = AiohttpTransport(max_connections=1, max_reply_bytes=50_000)
    request = Request("POST", f"http://127.0.0.1:{port}", "/p?Signature=canary", b"{}")
    with pytest.raises(NoAnswerError, match="longer than 50000 bytes"):
        await transport.send(request, timeout=5.0)
    await transport.close()
    await runner.cleanup()
    with pytest.raises(NotSentError, match="the transport was closed"):
        await transport.send(request, timeout=5.0)


async def test_a_refused_connection_is_named_without_the_url() -> None:
    """Nothing listens: not sent, in the system's words."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{held.getsockname()[1]}"
        transport = AiohttpTransport(max_connections=1, max_reply_bytes=50_000)
        request = Request("POST", origin, "/p?Signature=canary", b"{}")
        with pytest.raises(NotSentError, match="Connection refused") as caught:
            await transport.send(request, timeout=5.0)
        await transport.close()
    assert "canary" not in str(caught.value) + repr(request)


async def test_a_request_that_waits_for_a_connection_too_long_is_unsent() -> None:
    """The pool is full: nothing left, so a late request is not sent."""

    async def slow(_request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    runner = aiohttp.web.ServerRunner(aiohttp.web.Server(slow), shutdown_timeout=0.01)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    transport = AiohttpTransport(max_connections=1, max_reply_bytes=1000)
    request = Request("POST", f"http://127.0.0.1:{runner.addresses[0][1]}", "/p", b"{}")
    first, second = await asyncio.gather(
        transport.send(request, timeout=0.2),
        transport.send(request, timeout=0.1),
        return_exceptions=True,
    )
    assert isinstance(first, NoAnswerError)
    assert isinstance(second, NotSentError)
    await transport.close()
    await runner.cleanup()
