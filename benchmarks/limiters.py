"""Which limiter keeps the exchange's limits, how much of them it uses, and what it costs.

Each limiter, in a process of its own, is asked for all its requests at once. A timer stands for the
way to the exchange and back. The sandbox's windows count the same requests under each rule.
"""

import asyncio
import gc
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import product
from statistics import median
from typing import Any

from aiolimiter import AsyncLimiter
from pyrate_limiter import Limiter
from pyrate_limiter import Rate as PyrateRate

from benchmarks.process import fresh, until
from benchmarks.report import ROUNDS, Findings, Table, Target
from benchmarks.workload import Rate, minimum, refusals
from htx_cancel import Budgets, Limit
from htx_cancel.sandbox.windows import WINDOWS

DELAY, JITTER = 0.010, 0.005  #: seconds, each way

Enter = Callable[[], AbstractAsyncContextManager[object]]  #: waits for leave to send a request
Create = Callable[[int, float], Enter]  #: creates a limiter for N requests per T seconds


def _ours(calls: int, seconds: float) -> Enter:
    budgets = Budgets({"usdt_m_trade": Limit(calls, seconds)}, max_in_flight=100_000)
    return lambda: budgets.permit("usdt_m_trade")


def _aiolimiter(calls: int, seconds: float) -> Enter:
    limiter = AsyncLimiter(calls, seconds)
    return lambda: limiter


def _ccxt(**config: Any) -> Enter:
    from ccxt.async_support.base.throttler import (  # type: ignore[import-untyped]  # noqa: PLC0415 - it imports every exchange
        Throttler,
    )

    return _entered_after(Throttler(config, asyncio.get_running_loop()))


def _pyrate(calls: int, seconds: float) -> Enter:
    limiter = Limiter(PyrateRate(calls, int(seconds * 1000)))
    return _entered_after(lambda: limiter.try_acquire_async("calls"))


def _entered_after(wait: Callable[[], Any]) -> Enter:
    @asynccontextmanager
    async def enter() -> AsyncIterator[None]:
        await wait()
        yield

    return enter


OURS, BASE = "htx_cancel Budgets.permit", "aiolimiter (N, T)"
LIMITERS: dict[str, Create] = {
    OURS: _ours,
    BASE: _aiolimiter,
    "aiolimiter (1, T/N)": lambda n, t: _aiolimiter(1, t / n),
    "ccxt leaky bucket": lambda n, t: _ccxt(refillRate=n / t / 1000),
    "ccxt rolling window": lambda n, t: _ccxt(
        algorithm="rollingWindow", windowSize=t * 1000, rateLimit=t * 1000 / n
    ),
    "pyrate-limiter": _pyrate,
}

#: The requests wanted at once, and their limit.
CASES: dict[str, tuple[int, Rate]] = {
    "50 requests, 5 per 1 s": (50, (5, 1.0)),
    "288 requests, 72 per 3 s": (288, (72, 3.0)),
}
QUICK_CASES: dict[str, tuple[int, Rate]] = {"11 requests, 5 per 0.5 s": (11, (5, 0.5))}

Found = dict[str, defaultdict[str, list[float]]]  #: figures by limiter and name


async def efficiency(name: str, case: str, at: float) -> dict[str, float]:
    """Want all requests at once; return the efficiency and the requests that each rule refuses."""
    wanted, rate = (CASES | QUICK_CASES)[case]
    enter, chance = LIMITERS[name](*rate), random.Random(0)
    arrivals: list[float] = []

    async def request() -> None:
        async with enter():
            await asyncio.sleep(DELAY + JITTER * chance.random())
            arrivals.append(time.time())
            await asyncio.sleep(DELAY + JITTER * chance.random())

    await until(at)
    began = time.perf_counter()
    await asyncio.gather(*(request() for _ in range(wanted)))
    took = time.perf_counter() - began
    return {case: (minimum(wanted, rate) + 2 * DELAY) / took, **refusals(arrivals, rate)}


async def cost(name: str, waiting: int, seconds: float) -> dict[str, float]:
    """Return the CPU seconds of one acquire, alone and with many requests waiting."""
    create = LIMITERS[name]
    return {
        "alone": await _cost_alone(create, waiting // 50),
        "waiting": await _cost_with_waiters(create, waiting, seconds),
    }


async def _cost_alone(create: Create, times: int) -> float:
    """Enter a new limiter 60 times without a wait, again and again."""
    used = 0.0
    for _ in range(times):
        enter = create(1_000_000, 1.0)
        cpu = time.process_time()
        for _ in range(60):
            async with enter():
                pass
        used += time.process_time() - cpu
        await asyncio.sleep(0)
    return used / (60 * times)


async def _cost_with_waiters(create: Create, waiting: int, seconds: float) -> float:
    """Let many wait for 1,000 per s; return the CPU seconds for each request served."""
    enter, served = create(1_000, 1.0), 0

    async def request() -> None:
        nonlocal served
        async with enter():
            served += 1

    requests = [asyncio.ensure_future(request()) for _ in range(waiting)]
    await asyncio.sleep(0.5)
    gc.collect()
    gc.freeze()  # so many waiters would slow the garbage collector, whatever the limiter
    before, cpu = served, time.process_time()
    await asyncio.sleep(seconds)
    cpu = (time.process_time() - cpu) / max(1, served - before)
    for task in requests:
        task.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    return cpu


async def run(*, quick: bool) -> Findings:
    """Measure the efficiency of all limiters at the same time, and their costs in turns."""
    cases, rounds = (QUICK_CASES, 1) if quick else (CASES, ROUNDS)
    waiting, seconds = (500, 0.3) if quick else (10_000, 1.0)
    found: Found = {name: defaultdict(list) for name in LIMITERS}
    for _ in range(rounds):
        at = time.monotonic() + (2.0 if quick else 4.0)
        pairs = list(product(LIMITERS, cases))
        results = await asyncio.gather(*(fresh(efficiency, *pair, at) for pair in pairs))
        for (name, _), figures in zip(pairs, results, strict=True):
            for figure, value in figures.items():
                found[name][figure].append(value)
    for name in LIMITERS:
        for figure, value in (await fresh(cost, name, waiting, seconds)).items():
            found[name][figure].append(value)
    return _findings(found, list(cases), rounds)


def _findings(found: Found, cases: list[str], rounds: int) -> Findings:
    refused = {name: sum(sum(row[rule]) for rule in WINDOWS) for name, row in found.items()}
    efficient = {name: [median(row[case]) for case in cases] for name, row in found.items()}
    exact = [name for name in LIMITERS if name != OURS and not refused[name]]
    ahead = [name for name in exact if any(map(float.__gt__, efficient[name], efficient[OURS]))]
    base = {figure: median(found[BASE][figure]) for figure in ("alone", "waiting")}
    table = Table(
        f"Efficiency, requests refused under each rule, and CPU of one acquire relative to {BASE}.",
        ("", *cases, *(f"refused, {rule}" for rule in WINDOWS), "CPU alone", "CPU, many waiting"),
        [
            (
                name,
                *(f"{share * 100:.1f} %" for share in efficient[name]),
                *(f"{sum(row[rule])}" for rule in WINDOWS),
                *(f"{median(row[figure]) / cost:.2f}" for figure, cost in base.items()),
            )
            for name, row in found.items()
        ],
    )
    return Findings(
        "Which limiter keeps the rate limits, and how much of them does it use?",
        "Each limiter is asked for all requests at once; a message takes "
        f"{DELAY * 1e3:.0f} to {(DELAY + JITTER) * 1e3:.0f} ms each way. Refused requests are the "
        f"sum of {rounds} rounds. CPU is measured once with nobody waiting, and once with 10,000 "
        "requests that wait for 1,000 per s.",
        [
            Target(
                "no request of htx_cancel is refused", not refused[OURS], f"{refused[OURS]}", True
            ),
            Target(
                "no limiter without refusals is more efficient",
                not ahead,
                f"without refusals: {', '.join(exact) or 'none'}; "
                f"more efficient: {', '.join(ahead) or 'none'}",
            ),
        ],
        [table],
    )
