"""What a user of a plain HTTP library writes: sign, chunk, pace, and read the reply.

Written as a careful user would, so that a difference to it is not one of sloppiness: ids are cut
to the exchange's batch size, both lists of a reply are read, and one failed batch does not hide
the others.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from aiolimiter import AsyncLimiter

from benchmarks.peers import Setting, Word, Words
from benchmarks.workload import ACCESS_KEY, SECRET_KEY, WORK, Work, cut

HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
CODES: dict[int, Word] = {1061: "missing", 1062: "closed", 1063: "closed", 1071: "closed"}


def signed(method: str, host: str, path: str) -> str:
    """Return the query that signs one request."""
    query = urlencode(
        {
            "AccessKeyId": ACCESS_KEY,
            "SignatureMethod": "HmacSHA256",
            "SignatureVersion": "2",
            "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        }
    )
    text = f"{method}\n{host}\n{path}\n{query}"
    digest = hmac.new(SECRET_KEY.encode(), text.encode(), hashlib.sha256).digest()
    return f"{query}&{urlencode({'Signature': base64.b64encode(digest).decode()})}"


def payload(work: Work, ids: Sequence[str]) -> dict[str, str]:
    """Return the body of one request."""
    return {"contract_code": work.contract_code, "order_id": ",".join(ids)}


def read(reply: Any, ids: Sequence[str]) -> dict[str, Word]:
    """Read either envelope."""
    if "status" in reply:
        if reply["status"] != "ok":
            return dict.fromkeys(ids, _word(reply.get("err_code")))
        data = reply["data"]
        words: dict[str, Word] = {
            error["order_id"]: _word(error.get("err_code")) for error in data["errors"]
        }
        words.update(dict.fromkeys(filter(None, data["successes"].split(",")), "done"))
        return words
    return dict.fromkeys(ids, "done" if reply["code"] == 200 else _word(reply["code"]))


def _word(code: Any) -> Word:
    return CODES.get(int(code or 0), "failed")


Pace = Callable[[], Awaitable[object]]


def at_once(work: Work, scale: float) -> Pace:
    """Pace by a leaky bucket of N per W, as its documentation reads at first sight."""
    return AsyncLimiter(work.calls, work.seconds * scale).acquire


def evenly(work: Work, scale: float) -> Pace:
    """Pace by a leaky bucket of one call per W/N."""
    return AsyncLimiter(1, work.seconds * scale / work.calls).acquire


def in_bursts(work: Work, scale: float) -> Pace:
    """Let N go, then sleep W: the advice in the issues of the exchange's older SDK."""
    lock, sent = asyncio.Lock(), 0

    async def pace() -> None:
        nonlocal sent
        async with lock:
            if sent and sent % work.calls == 0:
                await asyncio.sleep(work.seconds * scale)
            sent += 1

    return pace


class ByHand(ABC):
    """A hand-written client over some HTTP library; a subclass posts, and says what may fail."""

    pace = staticmethod(at_once)
    not_sent: tuple[type[Exception], ...] = ()  #: certain that nothing left
    unsure: tuple[type[Exception], ...] = ()

    def __init__(self, setting: Setting) -> None:
        self.base_url = setting.base_url
        self.host = urlsplit(setting.base_url).netloc
        self.slots = asyncio.Semaphore(setting.in_flight)
        self.paces: dict[str, Pace] = {}
        if setting.limited:
            self.paces = {kind: self.pace(work, setting.scale) for kind, work in WORK.items()}

    async def cancel(self, kind: str, ids: Sequence[str]) -> Words:
        """Cancel any number of ids, a task a batch."""
        batches = cut(ids, WORK[kind].batch)
        if len(batches) == 1:
            return await self._batch(kind, batches[0])
        words: dict[str, Word] = {}
        for part in await asyncio.gather(*(self._batch(kind, batch) for batch in batches)):
            words.update(part)
        return words

    async def _batch(self, kind: str, ids: Sequence[str]) -> dict[str, Word]:
        work = WORK[kind]
        if pace := self.paces.get(kind):
            await pace()
        async with self.slots:
            try:
                status, body = await self.post(work.path, payload(work, ids))
            except self.not_sent:
                return dict.fromkeys(ids, "failed")
            except self.unsure:
                return dict.fromkeys(ids, "unknown")
        if status == 429:
            return dict.fromkeys(ids, "failed")
        try:
            return read(json.loads(body), ids)
        except (ValueError, KeyError, TypeError):
            return dict.fromkeys(ids, "unknown")

    @abstractmethod
    async def post(self, path: str, content: dict[str, str]) -> tuple[int, bytes]:
        """Sign and send one request; return status and body."""

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""


def tls(certificate: str | None) -> ssl.SSLContext | None:
    """Trust one more authority."""
    return ssl.create_default_context(cafile=certificate) if certificate else None
