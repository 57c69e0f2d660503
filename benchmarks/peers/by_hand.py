"""The loop that users write around a library which cancels one batch: cut, send all, read.

Written with care: ids are cut to the exchange's batch size, both lists of a reply are read, and one
failed batch does not hide the others.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from benchmarks.peers import Setting, Word, Words
from benchmarks.work import WORK, Product

_CODES: dict[int, Word] = {1061: "missing", 1062: "closed", 1063: "closed", 1071: "closed"}


class ByHand(ABC):
    """A client that sends batches with ``batch``."""

    def __init__(self, setting: Setting) -> None:
        self.slots = asyncio.Semaphore(setting.in_flight)

    async def warm_up(self) -> None:
        """Do nothing: there is nothing to call."""
        await asyncio.sleep(0)

    async def cancel(self, product: Product, ids: Sequence[str]) -> dict[str, Word]:
        """Cancel any number of ids, a task a batch."""
        size = WORK[product].batch
        batches = [ids[at : at + size] for at in range(0, len(ids), size)]
        if len(batches) == 1:
            return await self.batch(product, batches[0])
        words: dict[str, Word] = {}
        for part in await asyncio.gather(*(self.batch(product, batch) for batch in batches)):
            words.update(part)
        return words

    def words(self, result: dict[str, Word]) -> Words:
        """Return the result, which is words."""
        return result

    @abstractmethod
    async def batch(self, product: Product, ids: Sequence[str]) -> dict[str, Word]:
        """Cancel one batch."""


def payload(product: Product, ids: Sequence[str]) -> dict[str, Any]:
    """Return the body of one request."""
    work = WORK[product]
    listed = work.path_of_one and len(ids) > 1
    return {
        "contract_code": work.contract_code,
        "order_id": list(ids) if listed else ",".join(ids),
    }


def read(reply: Any, ids: Sequence[str]) -> dict[str, Word]:
    """Read a reply of either shape."""
    if isinstance(reply.get("data"), list):
        return {
            item["order_id"]: "done" if item["code"] == 200 else _word(item["code"])
            for item in reply["data"]
        }
    if "status" not in reply:
        return dict.fromkeys(ids, "done" if reply["code"] == 200 else _word(reply["code"]))
    if reply["status"] != "ok":
        return dict.fromkeys(ids, _word(reply.get("err_code")))
    data = reply["data"]
    words = {error["order_id"]: _word(error.get("err_code")) for error in data["errors"]}
    words.update(dict.fromkeys(filter(None, data["successes"].split(",")), "done"))
    return words


def _word(code: Any) -> Word:
    return _CODES.get(int(code or 0), "failed")
