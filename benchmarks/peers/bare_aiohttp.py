"""aiohttp with signing, chunking and reading written by hand."""

import json

import aiohttp
from yarl import URL

from benchmarks.peers import Setting
from benchmarks.peers.byhand import HEADERS, ByHand, signed, tls


class BareAiohttp(ByHand):
    """One session."""

    not_sent = (aiohttp.ClientConnectorError,)
    unsure = (aiohttp.ClientError, TimeoutError)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls(setting.certificate) or True),
            timeout=aiohttp.ClientTimeout(total=setting.timeout),
            headers=HEADERS,
        )

    async def post(self, path: str, content: dict[str, str]) -> tuple[int, bytes]:
        """Sign and send one request; return status and body."""
        url = f"{self.base_url}{path}?{signed('POST', self.host, path)}"
        async with self._session.post(
            URL(url, encoded=True), data=json.dumps(content).encode()
        ) as response:
            return response.status, await response.read()

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


async def open_peer(setting: Setting) -> BareAiohttp:
    """Make the peer."""
    return BareAiohttp(setting)
