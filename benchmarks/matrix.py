"""Are the limits kept whatever the limit, the delay and the jitter, and at what loss of time.

Over sockets and in real time: every cell has a server of its own, which counts the same calls
under each rule that its windows may have.
"""

import asyncio
from itertools import product
from statistics import median
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from benchmarks import limiters
from benchmarks.process import Server, fresh, soon
from benchmarks.report import Findings, Options, Table, Target

NAME = "matrix"
QUESTION = "8. Are the limits kept at every limit, delay and jitter?"
APART = 0.1  #: seconds between the starts of two cells


class Cell(Struct, frozen=True):
    """So many calls wanted at once under a limit, over a line."""

    calls: int
    seconds: float
    wanted: int
    delay: float
    jitter: float

    @property
    def least(self) -> float:
        """The least seconds for a limiter that must be sure of every rule, on the average.

        It cannot know how long a call was on its way: half of the jitter a window.
        """
        windows = (self.wanted - 1) // self.calls
        return windows * (self.seconds + self.jitter / 2) + 2 * self.delay + self.jitter


LIMITS = ((5, 1.0, 100), (36, 3.0, 180), (72, 3.0, 360))
CELLS = [
    Cell(*limit, delay, jitter)
    for limit, delay, jitter in product(LIMITS, (0.001, 0.02, 0.1), (0.0, 0.005, 0.05))
]
QUICK = [Cell(5, 1.0, 11, 0.001, jitter) for jitter in (0.0, 0.005)]


async def hurry(task: dict[str, Any]) -> list[float]:
    """Inside a fresh process: all cells side by side; return how long each took."""
    each = enumerate(zip(task["cells"], task["ports"], strict=True))
    return await asyncio.gather(
        *(
            limiters.hurry(cell | {"peer": "ours", "port": port, "at": soon(number * APART)})
            for number, (cell, port) in each
        )
    )


async def run(options: Options) -> Findings:
    """Let all cells run side by side, five times."""
    cells, rounds = (QUICK, 1) if options.quick else (CELLS, 5)
    times: list[list[float]] = []
    refused = 0
    for _ in range(rounds):
        each = [asdict(cell) for cell in cells]
        async with Server("counters", each=each) as server:
            task = {"do": "matrix:hurry", "peer": "ours", "ports": server.said, "cells": each}
            times.append(await fresh(task))
            counts = await server.ask()
        refused += sum(sum(each["ours"].values()) for each in counts)
    shares = {
        cell: cell.least / median(took[at] for took in times) for at, cell in enumerate(cells)
    }
    return Findings(
        NAME,
        QUESTION,
        [
            (
                f"Our limiter alone, median of {rounds}. The least is what a limiter can do that "
                "must be sure whatever the phase of the windows. The same calls are counted "
                "with windows that start with their first call, follow the clock, or slide."
            ),
        ],
        [_table(shares)],
        _targets(shares, refused),
    )


def _table(shares: dict[Cell, float]) -> Table:
    lines = list(dict.fromkeys((cell.delay, cell.jitter) for cell in shares))
    limits = list(dict.fromkeys((cell.calls, cell.seconds) for cell in shares))
    found = {(c.calls, c.seconds, c.delay, c.jitter): share for c, share in shares.items()}
    return Table(
        "Least / taken",
        ("one way, ms", *(f"{calls} per {seconds:g} s" for calls, seconds in limits)),
        [
            (
                f"{delay * 1e3:g} + 0..{jitter * 1e3:g}",
                *(f"{found[*limit, delay, jitter] * 100:.1f} %" for limit in limits),
            )
            for delay, jitter in lines
        ],
    )


def _targets(shares: dict[Cell, float], refused: int) -> list[Target]:
    small = min(share for cell, share in shares.items() if cell.jitter <= 0.005)
    large = min((share for cell, share in shares.items() if cell.jitter > 0.005), default=1.0)
    return [
        Target("no call refused in any cell", refused == 0, f"{refused} refused", must=True),
        Target("99 % of the least at up to 5 ms of jitter", small >= 0.99, f"{small * 100:.1f} %"),
        Target("95 % of the least at 50 ms of jitter", large >= 0.95, f"{large * 100:.1f} %"),
    ]
