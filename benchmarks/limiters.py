"""Which limiter keeps the exchange's limits, how much of them it uses, and what it costs.

Each limiter, in a process of its own, wants all its calls at once; the server counts them where
the exchange does, at arrival, under each rule that its windows may have.
"""

import asyncio
import gc
import time
from typing import Any

from msgspec import Struct

from benchmarks.chart import BAD, OTHERS, OURS, Bar, bars
from benchmarks.counting import Line
from benchmarks.gates import GATES, Gate
from benchmarks.process import Server, fresh, soon, until
from benchmarks.report import Findings, Options, Table, Target

NAME = "limiters"
QUESTION = "7. Which limiter keeps the limits, and what does it waste?"
RULES = ("first", "epoch", "slide")
DELAY, JITTER = 0.010, 0.005


class Case(Struct, frozen=True):
    """So many calls are wanted at once, under so many per so long."""

    name: str
    calls: int
    seconds: float
    wanted: int

    @property
    def least(self) -> float:
        """The least seconds that the limit and the line allow."""
        return (self.wanted - 1) // self.calls * self.seconds + 2 * DELAY


CASES = (Case("5 per 1 s", 5, 1.0, 50), Case("72 per 3 s", 72, 3.0, 288))
QUICK = (Case("5 per 1 s", 5, 1.0, 11),)


async def hurry(task: dict[str, Any]) -> float:
    """Inside a limiter's process: want all calls at once; return how long they took."""
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(lambda: Line(task["peer"]), "127.0.0.1", task["port"])
    gate = GATES[task["peer"]][1](task["calls"], task["seconds"])

    async def one() -> None:
        leave = await gate.before()
        gate.after(leave, await line.call())

    await until(task["at"])
    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(task["wanted"])))
    return time.perf_counter() - began


async def price(task: dict[str, Any]) -> dict[str, float]:
    """Inside a limiter's process: what one passage costs, alone and with a crowd waiting."""
    make = GATES[task["peer"]][1]
    return {"alone": await _alone(make, task["times"]), "crowd": await _crowd(make, task)}


async def _alone(make: Any, times: int) -> float:
    """Pass 60 times through a new limiter that has room for all, again and again."""
    spent = 0.0
    for _ in range(times):
        gate: Gate = make(1_000_000, 1.0)
        await gate.before()
        cpu = time.process_time()
        for _ in range(60):
            gate.after(await gate.before(), admitted=True)
        spent += time.process_time() - cpu
        await asyncio.sleep(0)
    return spent / (60 * times)


async def _crowd(make: Any, task: dict[str, Any]) -> float:
    """Let many wait for 1,000 per s; return the CPU per call served in the seconds after."""
    gate: Gate = make(1_000, 1.0)
    served = 0

    async def one() -> None:
        nonlocal served
        leave = await gate.before()
        served += 1
        gate.after(leave, admitted=True)

    waiting = [asyncio.ensure_future(one()) for _ in range(task["waiting"])]
    await asyncio.sleep(0.5)
    gc.collect()
    gc.freeze()  # the waiters are many for the garbage collector, whatever the limiter
    before, cpu = served, time.process_time()
    await asyncio.sleep(task["watch"])
    cpu, passed = time.process_time() - cpu, served - before
    for task_ in waiting:
        task_.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return cpu / max(1, passed)


async def run(options: Options) -> Findings:
    """Let all limiters hurry side by side, case by case; then price them one by one."""
    cases = QUICK if options.quick else CASES
    took: dict[tuple[str, str], float] = {}
    refused: dict[tuple[str, str], dict[str, int]] = {}
    for case in cases:
        for name, (seconds, counts) in (await _side_by_side(case)).items():
            took[case.name, name], refused[case.name, name] = seconds, counts
    prices = await _prices(options)
    tables = [_table(case, took, refused) for case in cases]
    return Findings(
        NAME,
        QUESTION,
        [
            (
                f"One way takes {DELAY * 1e3:.0f} ms and up to {JITTER * 1e3:.0f} ms more, evenly. "
                "Windows may start with their first call, follow the clock (epoch) or slide; "
                "the same calls are counted under all three. One that is refused is not done, "
                "whatever its time."
            ),
        ],
        [*tables, _price_table(prices)],
        _targets(cases, took, refused),
        {"limiters.svg": _picture(cases, took, refused)},
    )


async def _side_by_side(case: Case) -> dict[str, tuple[float, dict[str, int]]]:
    settings = {"calls": case.calls, "seconds": case.seconds}
    async with Server("windows", **settings, delay=DELAY, jitter=JITTER) as server:
        task = {"do": "limiters:hurry", "port": server.said, "wanted": case.wanted, **settings}
        task["at"] = soon()
        times = await asyncio.gather(*(fresh(task | {"peer": name}) for name in GATES))
        counts = await server.ask()
    return {name: (took, counts[name]) for name, took in zip(GATES, times, strict=True)}


async def _prices(options: Options) -> dict[str, dict[str, float]]:
    """Price one by one; or all at once, if only that it runs is wanted."""
    if options.quick:
        tasks = (fresh(_pricing(name, options)) for name in GATES)
        return dict(zip(GATES, await asyncio.gather(*tasks), strict=True))
    return {name: await fresh(_pricing(name, options)) for name in GATES}


def _pricing(name: str, options: Options) -> dict[str, Any]:
    small = {"times": 5, "waiting": 2_000, "watch": 0.8}
    whole = {"times": 200, "waiting": 10_000, "watch": 2.0}
    return {"do": "limiters:price", "peer": name, **(small if options.quick else whole)}


Took = dict[tuple[str, str], float]
Refused = dict[tuple[str, str], dict[str, int]]


def _table(case: Case, took: Took, refused: Refused) -> Table:
    return Table(
        f"{case.wanted} calls wanted at once under {case.name}: least possible {case.least:.2f} s",
        ("", "least / taken", "seconds", *(f"refused, {rule}" for rule in RULES)),
        [
            (
                title,
                f"{case.least / took[case.name, name] * 100:.1f} %",
                f"{took[case.name, name]:.2f}",
                *(str(refused[case.name, name][rule]) for rule in RULES),
            )
            for name, (title, _) in GATES.items()
        ],
    )


def _price_table(prices: dict[str, dict[str, float]]) -> Table:
    base = prices["ours"]
    return Table(
        "CPU of one passage: ratio to ours (microseconds)",
        ("", "nobody waiting", "10,000 waiting"),
        [
            (
                title,
                *(
                    f"{prices[name][what] / base[what]:.2f} ({prices[name][what] * 1e6:,.1f})"
                    for what in ("alone", "crowd")
                ),
            )
            for name, (title, _) in GATES.items()
        ],
        "Ours takes a token and hears of its return; the others only take one. With a crowd, the "
        "limit is 1,000 per s and the CPU counts what polls as well.",
    )


def _targets(cases: tuple[Case, ...], took: Took, refused: Refused) -> list[Target]:
    shares = {case.name: case.least / took[case.name, "ours"] for case in cases}
    worst = sum(max(refused[case.name, "ours"].values()) for case in cases)
    clean = [name for name in GATES if not any(sum(refused[c.name, name].values()) for c in cases)]
    best = {c.name: max(c.least / took[c.name, name] for name in clean) for c in cases if clean}
    return [
        Target("no call refused under any rule", worst == 0, f"{worst} refused", must=True),
        Target(
            "first of those that are never refused",
            all(shares[name] >= share for name, share in best.items()),
            "never refused: " + ", ".join(GATES[name][0] for name in clean),
        ),
    ]


def _picture(cases: tuple[Case, ...], took: Took, refused: Refused) -> str:
    groups = {}
    for case in cases:
        groups[f"{case.name}, {case.wanted} calls wanted at once"] = [
            _bar(name, case, took[case.name, name], max(refused[case.name, name].values()))
            for name in GATES
        ]
    return bars(
        "Share of the exchange's limit that is used, and calls refused",
        groups,
        note="red: the exchange refuses calls under at least one rule its windows may have",
    )


def _bar(name: str, case: Case, seconds: float, refused: int) -> Bar:
    share = case.least / seconds
    words = f"{share * 100:.1f} %" + (f", {refused} refused" if refused else "")
    colour = BAD if refused else OURS if name == "ours" else OTHERS
    return Bar(GATES[name][0], share, words, colour)
