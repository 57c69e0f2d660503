"""pybotters, which signs through a table of hosts; the row for this host is written by hand.

Its own rows for this way of signing belong to another exchange and leave the port out.
"""

from typing import Any

import aiohttp
import pybotters
from aiohttp.payload import JsonPayload
from pybotters.auth import Hosts, Item
from yarl import URL

from benchmarks.peers import Setting
from benchmarks.peers.byhand import HEADERS, ByHand, in_bursts, signed, tls
from benchmarks.workload import ACCESS_KEY, SECRET_KEY


def _sign(args: tuple[str, URL], kwargs: dict[str, Any]) -> tuple[str, URL]:
    method, url = args
    kwargs["data"] = JsonPayload(kwargs["data"])
    query = signed(method, url.authority, url.raw_path)
    return method, URL(f"{url.origin()}{url.raw_path}?{query}", encoded=True)


class WithPybotters(ByHand):
    """One client."""

    pace = staticmethod(in_bursts)
    not_sent = (aiohttp.ClientConnectorError,)
    unsure = (aiohttp.ClientError, TimeoutError)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        Hosts.items["127.0.0.1"] = Item("htx", _sign)
        self._client = pybotters.Client(
            apis={"htx": [ACCESS_KEY, SECRET_KEY]},
            base_url=setting.base_url,
            headers=HEADERS,
            connector=aiohttp.TCPConnector(ssl=tls(setting.certificate) or True),
            timeout=aiohttp.ClientTimeout(total=setting.timeout),
        )

    async def post(self, path: str, content: dict[str, str]) -> tuple[int, bytes]:
        """Sign and send one request; return status and body."""
        async with self._client.post(path, data=content) as response:
            return response.status, await response.read()

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()


async def open_peer(setting: Setting) -> WithPybotters:
    """Make the peer."""
    return WithPybotters(setting)
