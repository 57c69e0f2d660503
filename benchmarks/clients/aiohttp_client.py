"""aiohttp with hand-written signing, and aiolimiter to keep the limits."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

import aiohttp
from aiolimiter import AsyncLimiter
from yarl import URL

from benchmarks.clients import Claim, Settings
from benchmarks.clients.batching import Batching, payload, read
from benchmarks.workload import ACCESS_KEY, SECRET_KEY, WORK, Product, Rate

_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}


def _signed_query(host: str, path: str) -> str:
    """Return the query that signs one request."""
    query = urlencode(
        {
            "AccessKeyId": ACCESS_KEY,
            "SignatureMethod": "HmacSHA256",
            "SignatureVersion": "2",
            "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        }
    )
    text = f"POST\n{host}\n{path}\n{query}".encode()
    digest = hmac.new(SECRET_KEY.encode(), text, hashlib.sha256).digest()
    return f"{query}&{urlencode({'Signature': base64.b64encode(digest).decode()})}"


class Bursting(Batching):
    """One session and ``AsyncLimiter(N, T)``, as aiolimiter's documentation suggests at first."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._base_url = settings.base_url
        self._host = urlsplit(settings.base_url).netloc
        self._limiters = {
            product: self.limiter(rate) for product, rate in (settings.rates or {}).items()
        }
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=settings.timeout), headers=_HEADERS
        )

    def limiter(self, rate: Rate) -> AsyncLimiter:
        """Return a new limiter for one product."""
        return AsyncLimiter(*rate)

    async def batch(self, product: Product, ids: Sequence[str]) -> dict[str, Claim]:
        """Cancel one batch."""
        if limiter := self._limiters.get(product):
            await limiter.acquire()
        async with self.slots:
            try:
                status, body = await self._post(product, ids)
            except aiohttp.ClientConnectorError:
                return dict.fromkeys(ids, "failed")
            except (aiohttp.ClientError, TimeoutError):
                return dict.fromkeys(ids, "unknown")
        if status == 429:
            return dict.fromkeys(ids, "failed")
        try:
            return read(json.loads(body), ids)
        except (ValueError, KeyError, TypeError):
            return dict.fromkeys(ids, "unknown")

    async def _post(self, product: Product, ids: Sequence[str]) -> tuple[int, bytes]:
        path = WORK[product].path_for(ids)
        url = URL(f"{self._base_url}{path}?{_signed_query(self._host, path)}", encoded=True)
        body = json.dumps(payload(product, ids)).encode()
        async with self._session.post(url, data=body) as response:
            return response.status, await response.read()

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


class Paced(Bursting):
    """The same client with ``AsyncLimiter(1, T / N)``, which allows no bursts."""

    def limiter(self, rate: Rate) -> AsyncLimiter:
        """Return a new limiter for one product."""
        return AsyncLimiter(1, rate[1] / rate[0])
