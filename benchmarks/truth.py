"""What each client reports of every order when something goes wrong, compared with the truth.

In each case one fault strikes the first request with each order. The sandbox makes the fault and
knows what became of the orders. It answers retries without faults.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

from msgspec import Struct

from benchmarks.clients import Claim, Claims, Settings, open_client, title
from benchmarks.process import Answer, child, fresh
from benchmarks.report import Findings, Table, Target
from benchmarks.workload import WORK, Product, order_ids
from htx_cancel.sandbox import Exchange, Fault, FaultPlan, SandboxServer
from htx_cancel.sandbox.exchange import HttpResponse
from htx_cancel.sandbox.rules import State

COMPARED = ("ours", "ccxt", "aiohttp")  # the pace of the aiohttp client makes no difference here
DEAD_END = "http://127.0.0.1:9"  #: a port that refuses connections
UNLISTED_CODE = 4999  #: a code that no table has
TIMEOUT = 2.0  #: seconds for one request: enough for 20 cases at once on a busy machine


class Case(Struct, frozen=True):
    """One thing that goes wrong, and the orders it strikes."""

    name: str
    states: tuple[State | Literal["missing", "refused"], ...]  #: of the orders before the cancel
    fault: str = ""
    product: Product = "coin_m_swap"
    certain: bool = True  #: whether a client can know what became of the orders


_OPEN: tuple[State, ...] = ("open",)
_NINE, _TEN = _OPEN * 9, _OPEN * 10
CASES = (
    Case("35 open orders, nothing goes wrong", _OPEN * 35),
    Case("first of 10 orders does not exist (1061)", ("missing", *_NINE)),
    Case("last of 10 orders is filled (1063)", (*_NINE, "filled")),
    Case("one order, its cancel is under way (1062)", ("canceling",)),
    Case("one order, canceled before (1071)", ("canceled",)),
    Case("one of 10 refused with an unlisted code", (*_NINE, "refused"), certain=False),
    Case("10 orders canceled, the reply names 9 of them", _TEN, "unnamed", certain=False),
    Case("usdt_m: open, under way, filled", ("open", "canceling", "filled"), product="usdt_m"),
    Case("refused by the rate limit (1032)", _TEN, "rate"),
    Case("usdt_m: refused by the rate limit (1032)", _OPEN * 3, "rate", "usdt_m"),
    Case("refused by the rate limit (HTTP 429)", _TEN, "http_429"),
    Case("exchange busy (1004)", _TEN, "busy"),
    Case("carried out, reply is a system error (1000)", _TEN, "system_error", certain=False),
    Case("carried out, reply is a proxy's page (HTTP 502)", _TEN, "html_after", certain=False),
    Case("not carried out, HTTP 503", _TEN, "http_5xx", certain=False),
    Case("carried out, no reply before the timeout", _TEN, "lost_after", certain=False),
    Case("not carried out, no reply before the timeout", _TEN, "lost_before", certain=False),
    Case("carried out, connection reset before the reply", _TEN, "reset_after", certain=False),
    Case("carried out, connection closed within the reply", _TEN, "cut", certain=False),
    Case("connection refused, nothing sent", _TEN, "down"),
)
IDS = [order_ids(case.product, len(case.states), 7 + n) for n, case in enumerate(CASES)]


def _fault(case: Case, ids: list[str]) -> str | Fault | None:
    if case.fault != "unnamed":
        return None if case.fault in ("", "down") else case.fault
    data = {"errors": [], "successes": ",".join(ids[:-1])}
    body = json.dumps({"status": "ok", "data": data, "ts": 1}).encode()
    return Fault("unnamed", reply=HttpResponse(200, {"Content-Type": "text/plain"}, body))


@asynccontextmanager
async def sandbox() -> AsyncIterator[Answer]:
    """Serve the orders of all cases; answer with the URL, then with each order's true state."""
    exchange, script = Exchange(limits=False, keep_log=False), {}
    for case, ids in zip(CASES, IDS, strict=True):
        work, fault = WORK[case.product], _fault(case, ids)
        for order_id, state in zip(ids, case.states, strict=True):
            script[order_id] = [fault]
            add = partial(exchange.book.add, work.kind, work.contract_code, order_id=order_id)
            if state == "refused":
                add(refusal=UNLISTED_CODE)
            elif state != "missing":
                add(state=state)
    async with SandboxServer(exchange, faults=FaultPlan(script)) as server:

        def truth(order_id: str) -> tuple[str, bool]:
            state = exchange.book.verdict(order_id)
            return state, state != "missing" and exchange.book[order_id].instructed

        async def answer(question: str) -> Any:
            if question == "url":
                return server.base_url
            return {order_id: truth(order_id) for ids in IDS for order_id in ids}

        yield answer


async def play(name: str, url: str) -> list[Claims]:
    """Play all cases at once; return the claims in each. This runs in the client's process."""

    async def play_one(case: Case, ids: list[str]) -> Claims:
        base_url = DEAD_END if case.fault == "down" else url
        client = open_client(name, Settings(base_url, timeout=TIMEOUT, retry_for=4 * TIMEOUT))
        try:
            return client.claims(await client.cancel(case.product, ids))
        finally:
            await client.close()

    return await asyncio.gather(*map(play_one, CASES, IDS))


def judge(claim: Claim | None, state: str, instructed: bool, *, certain: bool) -> str:
    """Return ``true``, ``false``, or ``lost`` if the client claims less than it can know."""
    if claim is None or (claim == "unknown" and certain):
        return "lost"
    true = {
        "done": instructed,
        "closed": state in ("canceled", "filled", "canceling"),
        "missing": state == "missing",
        "failed": not instructed,
        "unknown": True,
    }
    return "true" if true[claim] else "false"


async def _verdicts(name: str) -> list[Counter[str]]:
    """Return how many of a client's claims are true, false and lost in each case."""
    async with child(sandbox) as ask:
        claimed, truth = await fresh(play, name, await ask("url")), await ask("truth")
    return [
        Counter(judge(claims.get(each), *truth[each], certain=case.certain) for each in ids)
        for case, ids, claims in zip(CASES, IDS, claimed, strict=True)
    ]


async def run(*, quick: bool) -> Findings:
    """Play all cases to each client, each time on a new sandbox."""
    del quick
    found = dict(zip(COMPARED, await asyncio.gather(*map(_verdicts, COMPARED)), strict=True))
    wrong = {
        name: [n for n, verdicts in enumerate(cases) if verdicts["true"] < verdicts.total()]
        for name, cases in found.items()
    }
    figure = ", ".join(f"{title(name)} {len(cases)}" for name, cases in wrong.items())
    target = Target(
        "every claim of htx_cancel is true, and none is lost",
        not wrong["ours"],
        f"of {len(CASES)} cases, those with false or lost claims: {figure}",
        must=True,
    )
    table = Table(
        "The cases in which a client's claims were not all true.",
        ("case", *map(title, COMPARED)),
        [
            (CASES[n].name, *(_cell(found[name][n]) for name in COMPARED))
            for n in sorted(set().union(*wrong.values()))
        ],
    )
    return Findings(
        "What does each client report when something goes wrong?",
        f"{len(CASES)} cases. A claim is what a client reports of one order. False: the claim is "
        "wrong. Lost: the client claims nothing, or that it does not know although it can know. "
        "ccxt's exceptions name no ids.",
        [target],
        [table],
    )


def _cell(verdicts: Counter[str]) -> str:
    total = verdicts.total()
    bad = [f"{word} {verdicts[word]} of {total}" for word in ("false", "lost") if verdicts[word]]
    return ", ".join(bad) or "true"
