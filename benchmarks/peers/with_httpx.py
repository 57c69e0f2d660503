"""httpx with signing, chunking and reading written by hand.

The bench extra installs sniffio for it: without, httpcore tries to import that at every step, which
takes half of its time.
"""

import json

import httpx

from benchmarks.peers import Setting
from benchmarks.peers.byhand import HEADERS, ByHand, evenly, signed, tls


class WithHttpx(ByHand):
    """One client, over HTTP/1.1."""

    pace = staticmethod(evenly)
    not_sent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
    unsure = (httpx.HTTPError,)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._client = httpx.AsyncClient(
            headers=HEADERS,
            timeout=setting.timeout,
            verify=tls(setting.certificate) or True,
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=100),
            trust_env=False,
        )

    async def post(self, path: str, content: dict[str, str]) -> tuple[int, bytes]:
        """Sign and send one request; return status and body."""
        url = f"{self.base_url}{path}?{signed('POST', self.host, path)}"
        response = await self._client.post(url, content=json.dumps(content).encode())
        return response.status_code, response.content

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


async def open_peer(setting: Setting) -> WithHttpx:
    """Make the peer."""
    return WithHttpx(setting)
