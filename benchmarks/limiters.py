"""Which limiter keeps the exchange's limits, how much of them it uses, and what it costs.

Each limiter, in a process of its own, wants all its calls at once. A timer stands for the way to
the exchange and back. The sandbox's windows count the same calls under each rule that it knows:
fixed windows that start with their first call, fixed windows of the clock, and sliding ones.
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
from benchmarks.report import ROUNDS, Findings, Target
from benchmarks.work import Rate, least
from htx_cancel import Budgets, Limit
from htx_cancel.sandbox.windows import WINDOWS, Budget

DELAY, JITTER = 0.010, 0.005  #: seconds, each way

Gate = Callable[[], AbstractAsyncContextManager[object]]


def _ours(calls: int, seconds: float) -> Gate:
    budgets = Budgets({"usdt_m_trade": Limit(calls, seconds)}, max_in_flight=100_000)
    return lambda: budgets.permit("usdt_m_trade")


def _aiolimiter(calls: int, seconds: float) -> Gate:
    limiter = AsyncLimiter(calls, seconds)
    return lambda: limiter


def _ccxt(**config: Any) -> Gate:
    from ccxt.async_support.base.throttler import (  # type: ignore[import-untyped]  # noqa: PLC0415 - it imports every exchange
        Throttler,
    )

    return _waited_for(Throttler(config, asyncio.get_running_loop()))


def _pyrate(calls: int, seconds: float) -> Gate:
    limiter = Limiter(PyrateRate(calls, int(seconds * 1000)))
    return _waited_for(lambda: limiter.try_acquire_async("calls"))


def _waited_for(wait: Callable[[], Any]) -> Gate:
    @asynccontextmanager
    async def gate() -> AsyncIterator[None]:
        await wait()
        yield

    return gate


OURS, BASE = "htx_cancel Budgets.permit", "aiolimiter (N, W)"
GATES: dict[str, Callable[[int, float], Gate]] = {
    OURS: _ours,
    BASE: _aiolimiter,
    "aiolimiter (1, W/N)": lambda n, w: _aiolimiter(1, w / n),
    "ccxt leaky bucket": lambda n, w: _ccxt(refillRate=n / w / 1000),
    "ccxt rolling window": lambda n, w: _ccxt(
        algorithm="rollingWindow", windowSize=w * 1000, rateLimit=w * 1000 / n
    ),
    "pyrate-limiter": _pyrate,
}


#: How many calls are wanted at once, under which limit; the last one in a quick run.
CASES: dict[str, tuple[int, Rate]] = {
    "50 calls, 5 per 1 s": (50, (5, 1.0)),
    "288 calls, 72 per 3 s": (288, (72, 3.0)),
    "11 calls, 5 per 0.5 s": (11, (5, 0.5)),
}


async def hurry(name: str, case: str, at: float) -> dict[str, float]:
    """Inside a limiter's process: want all calls at once; tell the share, and calls refused."""
    wanted, rate = CASES[case]
    budget = Budget("calls", *rate)
    windows = {rule: window(budget) for rule, window in WINDOWS.items()}
    refused: dict[str, float] = dict.fromkeys(windows, 0)
    gate, chance = GATES[name](*rate), random.Random(0)

    async def call() -> None:
        async with gate():
            await asyncio.sleep(DELAY + JITTER * chance.random())
            for rule, window in windows.items():
                refused[rule] += not window.admit(time.time()).admitted
            await asyncio.sleep(DELAY + JITTER * chance.random())

    await until(at)
    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(wanted)))
    took = time.perf_counter() - began
    return {case: (least(wanted, rate) + 2 * DELAY) / took, **refused}


async def price(name: str, waiting: int, watch: float) -> dict[str, float]:
    """Inside a limiter's process: CPU of one passage, alone and with a crowd waiting."""
    make = GATES[name]
    return {"alone": await _alone(make, waiting // 50), "crowd": await _crowd(make, waiting, watch)}


async def _alone(make: Callable[[int, float], Gate], times: int) -> float:
    """Pass 60 times through a new limiter that has room for all, again and again."""
    spent = 0.0
    for _ in range(times):
        gate = make(1_000_000, 1.0)
        cpu = time.process_time()
        for _ in range(60):
            async with gate():
                pass
        spent += time.process_time() - cpu
        await asyncio.sleep(0)
    return spent / (60 * times)


async def _crowd(make: Callable[[int, float], Gate], waiting: int, watch: float) -> float:
    """Let many wait for 1,000 per s; return the CPU per call served in the seconds after."""
    gate, served = make(1_000, 1.0), 0

    async def one() -> None:
        nonlocal served
        async with gate():
            served += 1

    crowd = [asyncio.ensure_future(one()) for _ in range(waiting)]
    await asyncio.sleep(0.5)
    gc.collect()
    gc.freeze()  # the waiters are many for the garbage collector, whatever the limiter
    before, cpu = served, time.process_time()
    await asyncio.sleep(watch)
    cpu, passed = time.process_time() - cpu, served - before
    for each in crowd:
        each.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    return cpu / max(1, passed)


Found = dict[str, defaultdict[str, list[float]]]  #: figures of each limiter, by their names


async def run(*, quick: bool) -> Findings:
    """Let all limiters hurry side by side, and price them in turns."""
    cases, rounds = (list(CASES)[2:], 1) if quick else (list(CASES)[:2], ROUNDS)
    crowd = (500, 0.3) if quick else (10_000, 1.0)
    found: Found = {name: defaultdict(list) for name in GATES}
    for _ in range(rounds):
        at = time.monotonic() + (2.0 if quick else 4.0)
        pairs = list(product(GATES, cases))
        told = await asyncio.gather(*(fresh(hurry, *pair, at) for pair in pairs))
        named = [(name, figures) for (name, _), figures in zip(pairs, told, strict=True)]
        named += [(name, await fresh(price, name, *crowd)) for name in GATES]
        for name, figures in named:
            for what, value in figures.items():
                found[name][what].append(value)
    return _findings(found, cases, rounds)


def _findings(found: Found, cases: list[str], rounds: int) -> Findings:
    refused = {name: sum(sum(row[rule]) for rule in WINDOWS) for name, row in found.items()}
    kept = [name for name in GATES if name != OURS and not refused[name]]
    shares = {it: tuple(median(found[it][case]) for case in cases) for it in GATES}
    ahead = [it for it in kept if any(map(float.__gt__, shares[it], shares[OURS]))]
    base = {what: median(found[BASE][what]) for what in ("alone", "crowd")}
    return Findings(
        "Which limiter keeps the limits, and what does it waste?",
        f"Share of the least possible time; calls refused in {rounds} rounds under fixed windows "
        "that start with their first call (first), fixed windows of the clock (epoch) and sliding "
        f"ones; CPU of one acquire as a ratio to {BASE}, with nobody and with 10,000 waiting for "
        f"1,000 per s. One way takes {DELAY * 1e3:.0f} ms and up to {JITTER * 1e3:.0f} ms more. A "
        "limiter that is refused is not done, whatever its share.",
        [
            Target("no call of htx_cancel is refused", not refused[OURS], f"{refused[OURS]}", True),
            Target(
                "no limiter that is never refused has a larger share",
                not ahead,
                f"never refused: {', '.join(kept) or 'none'}; "
                f"larger share: {', '.join(ahead) or 'none'}",
            ),
        ],
        ("", *cases, *(f"refused, {rule}" for rule in WINDOWS), "CPU alone", "CPU in a crowd"),
        [
            (
                name,
                *(f"{share * 100:.1f} %" for share in shares[name]),
                *(f"{sum(row[rule])}" for rule in WINDOWS),
                *(f"{median(row[what]) / cost:.2f}" for what, cost in base.items()),
            )
            for name, row in found.items()
        ],
    )
