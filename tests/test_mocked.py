"""A client with a mocked aiohttp session, as in a user's tests."""

import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import aioresponses
from clients import ONCE, credentials

from htx_cancel import CancelClient, CancelStatus, OrderResult

HOST = "https://api.hbdm.com"
URL = HOST + "/swap-api/v1/swap_cancel"
BODY = b'{"status":"ok","data":{"errors":[],"successes":"7"},"ts":1}'
ADDRESS = ConnectionKey("api.hbdm.com", 443, True, True, None, None, None)


class MockedResponse(aiohttp.ClientResponse):
    """A response of aioresponses, with an argument that newer versions of aiohttp need."""

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
    web.post(re.compile(re.escape(URL)), **reply)
    async with CancelClient(credentials(), retry=ONCE) as client:
        outcome = await client.coin_m_swap.cancel_orders("BTC-USD", ["7"])
    result: OrderResult = outcome["7"]
    return result


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", ""])
async def test_a_mocked_success_is_accepted(web: aioresponses, content_type: str) -> None:
    """The content type does not matter."""
    result = await cancel_one(web, body=BODY, content_type=content_type)
    assert result.status is CancelStatus.ACCEPTED


@pytest.mark.parametrize("status", [302, 403, 502])
async def test_a_mocked_page_is_unknown(web: aioresponses, status: int) -> None:
    """An HTML page is not a reply of the exchange, and its text is not quoted."""
    result = await cancel_one(web, status=status, body=b"<html>secret page</html>")
    assert (result.status, result.attempts) == (CancelStatus.UNKNOWN, 1)
    assert "secret" not in result.message


async def test_a_mocked_refused_connection_is_unsent(web: aioresponses) -> None:
    """Nothing was sent, and the message has only the kind of failure."""
    error = aiohttp.ClientConnectorError(ADDRESS, OSError(111, "Connection refused"))
    result = await cancel_one(web, exception=error)
    assert (result.status, result.attempts) == (CancelStatus.UNSENT, 0)
    assert result.message == "ClientConnectorError: Connection refused"
