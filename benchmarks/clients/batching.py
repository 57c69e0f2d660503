"""The loop that users write around a library that cancels one batch: cut, send all, read.

The loop is written with care: it cuts ids to the exchange's batch size, reads both lists of a
reply, and does not let one failed batch hide the others.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from benchmarks.clients import Claim, Client, Settings
from benchmarks.workload import WORK, Product

_CODES: dict[int, Claim] = {1061: "missing", 1062: "closed", 1063: "closed", 1071: "closed"}


class Batching(Client):
    """A client that cancels each batch with ``batch``."""

    def __init__(self, settings: Settings) -> None:
        self.slots = asyncio.Semaphore(settings.in_flight)

    async def cancel(self, product: Product, ids: Sequence[str]) -> dict[str, Claim]:
        """Cancel any number of ids, each batch in a task of its own."""
        size = WORK[product].batch
        batches = [ids[at : at + size] for at in range(0, len(ids), size)]
        if len(batches) == 1:
            return await self.batch(product, batches[0])
        claims: dict[str, Claim] = {}
        for part in await asyncio.gather(*(self.batch(product, batch) for batch in batches)):
            claims.update(part)
        return claims

    @abstractmethod
    async def batch(self, product: Product, ids: Sequence[str]) -> dict[str, Claim]:
        """Cancel one batch."""


def payload(product: Product, ids: Sequence[str]) -> dict[str, Any]:
    """Return the body of one request."""
    work = WORK[product]
    as_list = work.path_of_one and len(ids) > 1
    return {
        "contract_code": work.contract_code,
        "order_id": list(ids) if as_list else ",".join(ids),
    }


def read(reply: Any, ids: Sequence[str]) -> dict[str, Claim]:
    """Return the claims of a reply of either shape."""
    if isinstance(reply.get("data"), list):
        return {
            item["order_id"]: "done" if item["code"] == 200 else _claim(item["code"])
            for item in reply["data"]
        }
    if "status" not in reply:
        return dict.fromkeys(ids, "done" if reply["code"] == 200 else _claim(reply["code"]))
    if reply["status"] != "ok":
        return dict.fromkeys(ids, _claim(reply.get("err_code")))
    data = reply["data"]
    claims = {error["order_id"]: _claim(error.get("err_code")) for error in data["errors"]}
    claims.update(dict.fromkeys(filter(None, data["successes"].split(",")), "done"))
    return claims


def _claim(code: Any) -> Claim:
    return _CODES.get(int(code or 0), "failed")
