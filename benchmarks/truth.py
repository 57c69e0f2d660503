"""What a client says of each order when things go wrong, compared with the truth.

A scene is some orders and a trouble that befalls the first request with each of them. The sandbox
makes the trouble and knows what became of the orders. A client that tries again is answered truly.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from msgspec import Struct

from benchmarks.peers import PEERS, Setting, Word, open_peer
from benchmarks.process import Answer, child, fresh
from benchmarks.report import Findings, Target
from benchmarks.work import WORK, Product, order_ids
from htx_cancel.sandbox import Exchange, Fault, FaultPlan, SandboxServer
from htx_cancel.sandbox.exchange import HttpResponse
from htx_cancel.sandbox.rules import State

COMPARED = ("ours", "ccxt", "aiohttp")  # how the aiohttp peer is paced makes no difference here
NOBODY = "http://127.0.0.1:9"  #: the port where nothing listens
REFUSED = 4999  #: a code that is in no table


class Scene(Struct, frozen=True):
    """One kind of trouble. ``missing`` orders do not exist; ``refused`` are so with ``REFUSED``."""

    words: str
    states: tuple[State | Literal["missing", "refused"], ...]  #: of the orders before
    fault: str = ""
    product: Product = "coin_m_swap"
    certain: bool = True  #: whether a client could tell what became of the orders


_OPEN: tuple[State, ...] = ("open",)
_NINE, _TEN = _OPEN * 9, _OPEN * 10
SCENES = (
    Scene("35 open orders, no trouble", _OPEN * 35),
    Scene("first of 10 does not exist (1061)", ("missing", *_NINE)),
    Scene("last of 10 is filled (1063)", (*_NINE, "filled")),
    Scene("one order: its cancel is under way (1062)", ("canceling",)),
    Scene("one order: canceled before (1071)", ("canceled",)),
    Scene("one of 10 refused with a code of no table", (*_NINE, "refused"), certain=False),
    Scene("one of 10 canceled, but named nowhere in the reply", _TEN, "unnamed", certain=False),
    Scene("usdt_m: open, under way, filled", ("open", "canceling", "filled"), product="usdt_m"),
    Scene("refused for the rate (1032)", _TEN, "rate"),
    Scene("usdt_m: refused for the rate (1032)", _OPEN * 3, "rate", "usdt_m"),
    Scene("refused for the rate (HTTP 429)", _TEN, "http_429"),
    Scene("exchange busy (1004)", _TEN, "busy"),
    Scene("carried out, reply is a system error (1000)", _TEN, "system_error", certain=False),
    Scene("carried out, reply is a page of a proxy (HTTP 502)", _TEN, "html_after", certain=False),
    Scene("not carried out, HTTP 503", _TEN, "http_5xx", certain=False),
    Scene("carried out, no reply before the timeout", _TEN, "lost_after", certain=False),
    Scene("not carried out, no reply before the timeout", _TEN, "lost_before", certain=False),
    Scene("carried out, connection reset before the reply", _TEN, "reset_after", certain=False),
    Scene("carried out, connection closed within the reply", _TEN, "cut", certain=False),
    Scene("connection refused, nothing sent", _TEN, "down"),
)
IDS = [order_ids(scene.product, len(scene.states), 7 + n) for n, scene in enumerate(SCENES)]


def _fault(scene: Scene, ids: list[str]) -> str | Fault | None:
    if scene.fault != "unnamed":
        return None if scene.fault in ("", "down") else scene.fault
    data = {"errors": [], "successes": ",".join(ids[:-1])}
    body = json.dumps({"status": "ok", "data": data, "ts": 1}).encode()
    return Fault("unnamed", reply=HttpResponse(200, {"Content-Type": "text/plain"}, body))


@asynccontextmanager
async def stage() -> AsyncIterator[Answer]:
    """Serve all scenes; tell the address, and then each order's true state."""
    exchange, script = Exchange(limits=False, keep_log=False), {}
    for scene, ids in zip(SCENES, IDS, strict=True):
        work, fault = WORK[scene.product], _fault(scene, ids)
        for it, state in zip(ids, scene.states, strict=True):
            script[it] = [fault]
            if state == "refused":
                exchange.book.add(work.kind, work.contract_code, order_id=it, refusal=REFUSED)
            elif state != "missing":
                exchange.book.add(work.kind, work.contract_code, order_id=it, state=state)
    async with SandboxServer(exchange, faults=FaultPlan(script)) as server:

        async def answer(question: str) -> Any:
            if question == "url":
                return server.base_url
            book = exchange.book
            states = {it: book.verdict(it) for ids in IDS for it in ids}
            return {
                it: (its, its != "missing" and book[it].instructed) for it, its in states.items()
            }

        yield answer


async def play(name: str, url: str) -> list[dict[str, Word]]:
    """Inside a client's process: go through all scenes at once; return its words in each."""

    async def one(scene: Scene, ids: list[str]) -> dict[str, Word]:
        base_url = NOBODY if scene.fault == "down" else url
        peer = open_peer(name, Setting(base_url, timeout=0.5, patience=2.0))
        try:
            return dict(peer.words(await peer.cancel(scene.product, ids)))
        finally:
            await peer.close()

    return await asyncio.gather(*map(one, SCENES, IDS))


def judge(word: Word | None, state: str, instructed: bool, *, certain: bool) -> str:
    """Judge one word: ``true``; ``false``; or ``lost``, which says less than could be told."""
    if word is None or (word == "unknown" and certain):
        return "lost"
    true = {
        "done": instructed,
        "closed": state in ("canceled", "filled", "canceling"),
        "missing": state == "missing",
        "failed": not instructed,
        "unknown": True,
    }
    return "true" if true[word] else "false"


async def _one(name: str) -> list[Counter[str]]:
    async with child(stage) as ask:
        said, truth = await fresh(play, name, await ask("url")), await ask("truth")
    return [
        Counter(judge(words.get(it), *truth[it], certain=scene.certain) for it in ids)
        for scene, ids, words in zip(SCENES, IDS, said, strict=True)
    ]


async def run(*, quick: bool) -> Findings:
    """Play all scenes to each client, each time on a new stage."""
    del quick
    found = dict(zip(COMPARED, await asyncio.gather(*map(_one, COMPARED)), strict=True))
    wrong = {
        name: [n for n, it in enumerate(verdicts) if it["true"] < it.total()]
        for name, verdicts in found.items()
    }
    titles = {name: PEERS[name][0].partition(",")[0] for name in COMPARED}
    figure = ", ".join(f"{titles[name]} {len(scenes)}" for name, scenes in wrong.items())
    return Findings(
        "What does a client say when things go wrong?",
        f"{len(SCENES)} scenes; the table has those in which a client was not wholly true. False: "
        "what it says of an order is not so. Lost: it says nothing of an order, or that it cannot "
        "tell, although it could. ccxt's exceptions name no ids.",
        [
            Target(
                "every word of htx_cancel is true, and none is lost",
                not wrong["ours"],
                f"of {len(SCENES)} scenes not wholly true: {figure}",
                must=True,
            )
        ],
        ("scene", *titles.values()),
        [
            (SCENES[n].words, *(_cell(found[name][n]) for name in COMPARED))
            for n in sorted(set().union(*wrong.values()))
        ],
    )


def _cell(counts: Counter[str]) -> str:
    total = counts.total()
    bad = [f"{word} {counts[word]} of {total}" for word in ("false", "lost") if counts[word]]
    return ", ".join(bad) or "true"
