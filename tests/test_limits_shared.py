"""Budgets shared by several processes, on virtual time: the script in an embedded Lua."""

import asyncio
import pickle
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self

import msgspec
import pytest
from clients import EPOCH, add, credentials, in_process
from lua_store import LuaStore, Network
from msgspec.structs import replace
from virtualtime import VirtualLoop, now, run

from htx_cancel import (
    FAIR_SHARE,
    HOLD,
    BudgetEvent,
    CancelClient,
    InvalidTypeError,
    InvalidValueError,
    Limit,
    Priority,
    Share,
    SharedBudgets,
    WrongLoopError,
)
from htx_cancel.limits.shared import ANSWER_WITHIN, GRACE, LEASE, RENEWAL
from htx_cancel.limits.store import (
    Answer,
    Lent,
    Message,
    Recall,
    Want,
    decode_answer,
    encode,
)
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.wire.transport import Reply, Request

POOL, FIVE = "usdt_m_trade", "/swap-api/v1/swap_trigger_cancel"
SWAP_POOL = "coin_m_swap_trade"
LIMITS = {POOL: Limit(12, 3.0), FIVE: Limit(5, 1.0)}
ONE_WAY = 0.005


class World:
    """Processes of one account, their way to the store, and what arrives at the exchange."""

    def __init__(self, *, age: float = 1e6, **options: Any) -> None:
        self.network = Network(age=age)
        self.arrivals: dict[str, list[float]] = {}
        self.events: list[BudgetEvent] = []
        self._stack = AsyncExitStack()
        self._options = {"limits": LIMITS, **options}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *trouble: object) -> None:
        await self._stack.aclose()

    async def join(
        self, *, store: LuaStore | None = None, name: str = "", **options: Any
    ) -> "Process":
        """Let a process join."""
        store = store or LuaStore(self.network)
        budgets = SharedBudgets(store, on_event=self.hear, **{**self._options, **options})
        budgets.process = name or budgets.process
        process = Process(self, store, budgets)
        await self._stack.enter_async_context(budgets)
        return process

    def hear(self, event: BudgetEvent) -> None:
        """Note an event that is no wait."""
        if event.kind != "wait":
            self.events.append(event)

    def check(self, name: str = POOL, *, limit: Limit | None = None) -> None:
        """Check that no window has more requests than the limit, wherever it begins."""
        limit = limit or LIMITS[name]
        times = sorted(self.arrivals.get(name, []))
        for first, last in zip(times, times[limit.calls :], strict=False):
            assert last - first >= limit.seconds, (first, last)

    def took(self, name: str = POOL) -> float:
        """Say how long it took from the first arrival to the last."""
        return max(self.arrivals[name]) - min(self.arrivals[name])


class Process:
    """One process: it sends requests, and hears its replies."""

    def __init__(self, world: World, store: LuaStore, budgets: SharedBudgets) -> None:
        self.world = world
        self.store = store
        self.budgets = budgets

    async def send(
        self, *names: str, priority: Priority = Priority.ROUTINE, trip: float = ONE_WAY
    ) -> float:
        """Send one request when it may leave; return how long it waited for that."""
        names = names or (POOL,)
        began = now()
        permit = await self.budgets.acquire(names, priority=priority)
        waited = now() - began
        permit.sent("host", now())
        await asyncio.sleep(trip)
        for name in names:
            self.world.arrivals.setdefault(name, []).append(now())
        await asyncio.sleep(trip)
        permit.replied()
        return waited

    async def send_many(self, count: int, *names: str) -> None:
        """Send so many at once."""
        await asyncio.gather(*(self.send(*names) for _ in range(count)))

    def held(self, name: str = POOL) -> int:
        """Say how many tokens it holds."""
        return {it.name: it for it in self.budgets.snapshot()}[name].held


def test_alone_it_is_as_fast_as_without_a_store() -> None:
    """Four windows and one request more: the least time, and few messages."""

    async def main() -> None:
        async with World() as world:
            one = await world.join()
            await one.send_many(49)
            world.check()
            assert world.took() < 4 * 3.0 * 1.01
            assert one.store.syncs < 30
            assert world.events == []

    run(main())


@pytest.mark.parametrize("processes", [2, 4, 7])
@pytest.mark.parametrize("name", [POOL, FIVE])
def test_together_they_use_every_token_and_none_twice(processes: int, name: str) -> None:
    """In shares that are equal or not, and nobody is left behind."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(processes)]
            limit = LIMITS[name]
            count = 4 * limit.calls + 1
            shares = [len(range(number, count, processes)) for number in range(processes)]
            await asyncio.gather(
                *(it.send_many(share, name) for it, share in zip(joined, shares, strict=True))
            )
            world.check(name)
            assert len(world.arrivals[name]) == count
            assert world.took(name) < 4 * limit.seconds * (
                1.04 if processes < limit.calls else 1.08
            )

    run(main())


def test_the_busy_one_gets_what_the_others_do_not_need() -> None:
    """Three that send now and then, and one that sends all it can."""

    async def main() -> None:
        async with World() as world:
            busy, *quiet = [await world.join() for _ in range(4)]
            for it in quiet:
                await it.send()
            await asyncio.sleep(4.0)
            world.arrivals.clear()
            await busy.send_many(49)
            world.check()
            assert world.took() < 4 * 3.0 * 1.02

    run(main())


def test_an_urgent_call_leaves_with_the_next_token_of_anybody() -> None:
    """Three processes flood, a fourth asks urgently."""

    async def main() -> None:
        async with World() as world:
            flooding = [await world.join() for _ in range(3)]
            tasks = [asyncio.create_task(it.send_many(40, FIVE)) for it in flooding]
            urgent = await world.join()
            await asyncio.sleep(2.53)
            for _ in range(5):
                began = now()
                await urgent.send(FIVE, priority=Priority.URGENT)
                left = now() - 2 * ONE_WAY
                # A token rests a round trip longer for another process than for its own.
                others = [at - ONE_WAY for at in world.arrivals[FIVE]]
                assert not [at for at in others if began < at < left - 2 * ONE_WAY - 0.002]
                await asyncio.sleep(0.41)
            world.check(FIVE)
            await asyncio.gather(*tasks)
            world.check(FIVE)

    run(main())


def test_an_urgent_call_swaps_a_token_of_its_own_for_a_sooner_one() -> None:
    """What it holds rests, and another process's is free before that."""

    async def main() -> None:
        async with World(limits={FIVE: Limit(2, 1.0)}) as world:
            other, urgent = await world.join(), await world.join()
            await asyncio.sleep(2.0)
            await other.send(FIVE)
            await asyncio.sleep(0.59)
            await urgent.send(FIVE, priority=Priority.URGENT)
            task = asyncio.create_task(other.send_many(3, FIVE))
            began = now()
            await urgent.send(FIVE, priority=Priority.URGENT)
            assert now() - began < 0.45
            await task
            world.check(FIVE, limit=Limit(2, 1.0))

    run(main())


def test_kept_tokens_are_for_urgent_calls_of_any_process() -> None:
    """They are there at once, though all others are used."""

    async def main() -> None:
        async with World(keep_for_urgent=2) as world:
            flooding = [await world.join() for _ in range(2)]
            tasks = [asyncio.create_task(it.send_many(30)) for it in flooding]
            urgent = await world.join()
            await asyncio.sleep(1.0)
            assert await urgent.send(priority=Priority.URGENT) < 0.01
            assert await urgent.send(priority=Priority.URGENT) < 0.01
            await asyncio.gather(*tasks)
            world.check()
            with pytest.raises(AssertionError):
                world.check(limit=Limit(10, 3.0))  # the urgent ones came on top

    run(main())


def test_whoever_wants_much_gets_an_equal_part() -> None:
    """Also where there are more processes than tokens, and whatever their names are."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(8)]
            sent = [0] * 8

            async def send(number: int) -> None:
                while True:
                    await joined[number].send(FIVE)
                    sent[number] += 1

            tasks = [asyncio.create_task(send(number)) for number in [*range(8)] * 6]
            await asyncio.sleep(32.0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            world.check(FIVE)
            assert sum(sent) > 32 * 5 * 0.95
            assert min(sent) > 0.7 * 20

    run(main())


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("rest", [0.0, 4.0])
def test_composite_budgets_take_little_more_than_their_least_time(
    processes: int, rest: float
) -> None:
    """Calls that charge a scarcer budget find tokens of the pool, in whichever process.

    Whether these begin to use their budgets, or did so before. And the store is not told again and
    again what it knows.
    """
    limits = {SWAP_POOL: Limit(36, 3.0), FIVE: Limit(5, 1.0)}

    async def main() -> None:
        async with World(limits=limits) as world:
            joined = [await world.join() for _ in range(processes)]
            if rest:
                await asyncio.gather(*(it.send(FIVE, SWAP_POOL) for it in joined))
                await asyncio.sleep(rest)
                world.arrivals.clear()
            began, before = now(), sum(it.store.syncs for it in joined)
            ended: dict[str, float] = {}

            async def narrow(it: Process) -> None:
                await it.send_many(52 // processes, FIVE, SWAP_POOL)
                ended["narrow"] = now() - began

            async def wide(it: Process) -> None:
                await it.send_many(120 // processes, SWAP_POOL)
                ended["wide"] = now() - began

            await asyncio.gather(*map(narrow, joined), *map(wide, joined))
            for name, limit in limits.items():
                world.check(name, limit=limit)
            assert ended["narrow"] < 10.0 * 1.15
            assert ended["wide"] < 12.0 * 1.15
            assert sum(it.store.syncs for it in joined) - before < 80 * processes

    for _ in range(4):  # each process has another name
        run(main())


def test_a_killed_process_s_tokens_are_back_after_its_lease() -> None:
    """And not before."""

    async def main() -> None:
        async with World() as world:
            dead, other = await world.join(), await world.join()
            await dead.send_many(12)
            at = now()
            dead.store.down = True
            await other.send()
            assert LEASE + GRACE + 3.0 - RENEWAL < now() - at < LEASE + GRACE + 3.0 + RENEWAL
            await other.send_many(30)
            world.check()

    run(main())


@pytest.mark.parametrize("under_way", [False, True])
def test_a_process_that_stood_still_asks_before_it_sends(*, under_way: bool) -> None:
    """The store is not away, even if a message was under way: another process holds all tokens."""

    async def main() -> None:
        async with World() as world:
            stopped = await world.join(store=LuaStore(world.network, delay=0.1))
            await stopped.send()
            renewal = stopped.budgets._synced_at + RENEWAL
            await asyncio.sleep(renewal + (0.05 if under_way else 0.3) - now())
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.stall(LEASE + 1.0)
            assert take_all(world) == 12
            assert await stopped.send() > LEASE
            assert "store_lost" not in [it.kind for it in world.events]

    run(main())


def test_a_process_that_stalled_while_the_store_failed_goes_on_by_itself() -> None:
    """The lease ended before a message failed: the first failure shows that the store is away."""

    async def main() -> None:
        async with World() as world:
            stalled = await world.join()
            await stalled.send()
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.stall(LEASE + 1.0)
            stalled.store.down = True
            assert await stalled.send() < 0.1
            assert [event.kind for event in world.events] == ["store_lost"]

    run(main())


def test_a_process_that_stood_still_as_it_joined_does_without_the_store() -> None:
    """It has no word of the store yet, and says that it is away until there is one."""

    async def main() -> None:
        async with World() as world:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            store = LuaStore(world.network, delay=0.1)
            loop.call_later(0.05, loop.stall, LEASE + 1.0)
            one = await world.join(store=store)
            assert [it.kind for it in world.events] == ["store_lost"]
            assert await one.send() == 0.0
            await asyncio.sleep(1.0)
            assert [it.kind for it in world.events] == ["store_lost", "store_back"]

    run(main())


def take_all(world: World) -> int:
    """Be another process, which needs all tokens; return how many it holds."""
    seconds = LIMITS[POOL].seconds
    want = Want(
        name=POOL,
        calls=LIMITS[POOL].calls,
        window=round(seconds * 1e6),
        taught=False,
        claim=0,
        given=[],
        used=0,
        in_flight=0,
        soonest=round(seconds * 1e6),
        waiting=(0, LIMITS[POOL].calls, 0),
    )
    message = Message(
        process="other",
        serial=1,
        lease=round(LEASE * 1e6),
        grace=round(GRACE * 1e6),
        known=False,
        bye=False,
        keep_for_urgent=0,
        wants=[want],
    )
    return decode_answer(world.network.run(encode(message))).lents[0].held


def test_a_process_that_stood_still_uses_nothing_that_was_lent_to_others() -> None:
    """It grants nothing after its own lease's end, and drops what it lost."""

    async def main() -> None:
        async with World() as world:
            stopped, other = await world.join(when_cut_off=HOLD), await world.join()
            await stopped.send_many(6)
            stopped.store.down = True
            await asyncio.sleep(4.0)
            task = asyncio.create_task(stopped.send_many(6))
            await other.send_many(12)
            assert not task.done()
            stopped.store.down = False
            await task
            world.check()
            assert [it.kind for it in world.events] == ["store_lost", "store_back"]

    run(main())


@pytest.mark.parametrize("hold", [HOLD, pickle.loads(pickle.dumps(HOLD))])  # noqa: S301 - ours
def test_with_hold_nothing_is_sent_while_the_store_is_away(hold: Any) -> None:
    """What is held serves until the lease ends; then all wait, and go on when it is back.

    So with a copy that was given to another process.
    """

    async def main() -> None:
        async with World(when_cut_off=hold) as world:
            joined = [await world.join() for _ in range(2)]
            await asyncio.gather(*(it.send() for it in joined))
            for it in joined:
                it.store.down = True
            await asyncio.sleep(LEASE)
            began, tasks = now(), [asyncio.create_task(it.send_many(20)) for it in joined]
            await asyncio.sleep(10.0)
            assert not any(at > began for at in world.arrivals[POOL])
            states = {it.store for it in joined[0].budgets.snapshot()}
            assert states == {"cut_off"}
            for it in joined:
                it.store.down = False
            await asyncio.gather(*tasks)
            world.check()

    run(main())


@pytest.mark.parametrize("when_cut_off", [FAIR_SHARE, Share(0.5)])
def test_with_a_share_each_process_goes_on_by_itself(when_cut_off: Any) -> None:
    """Nothing is refused, since all are cut off; together they use all in the end."""

    async def main() -> None:
        async with World(when_cut_off=when_cut_off) as world:
            joined = [await world.join() for _ in range(2)]
            for it in joined:
                await it.send()
            await asyncio.sleep(1.0)
            for it in joined:
                it.store.down = True
            tasks = [asyncio.create_task(it.send_many(60)) for it in joined]
            await asyncio.sleep(20.0)
            states = {it.store for it in joined[0].budgets.snapshot()}
            assert states == {"own_share"}
            recent = [at for at in world.arrivals[POOL] if at > now() - 9.0]
            assert 34 <= len(recent) <= 38
            for it in joined:
                it.store.down = False
            await asyncio.gather(*tasks)
            world.check()
            assert [it.kind for it in world.events] == ["store_lost"] * 2 + ["store_back"] * 2

    run(main())


def test_a_share_of_less_than_one_token_rests_longer() -> None:
    """An eighth of five a second is one in 1.6 seconds."""

    async def main() -> None:
        async with World(when_cut_off=Share(0.125)) as world:
            one = await world.join()
            await one.send(FIVE)
            one.store.down = True
            await asyncio.sleep(10.0)
            world.arrivals.clear()
            await one.send_many(5, FIVE)
            gaps = [
                b - a for a, b in zip(world.arrivals[FIVE], world.arrivals[FIVE][1:], strict=False)
            ]
            assert all(1.6 <= gap < 1.62 for gap in gaps)

    run(main())


def test_without_a_store_from_the_beginning_it_sends_all_the_same() -> None:
    """Nobody else was ever seen: all is its share. It says that the store is away."""

    async def main() -> None:
        async with World() as world:
            store = LuaStore(world.network)
            store.down = True
            one = await world.join(store=store)
            await one.send_many(24)
            world.check()
            assert [it.kind for it in world.events] == ["store_lost"]
            store.down = False
            await asyncio.sleep(1.0)
            assert [it.kind for it in world.events] == ["store_lost", "store_back"]
            await one.send_many(24)

    run(main())


@pytest.mark.parametrize("keep", [True, False])
def test_a_restarted_store_loses_nothing(*, keep: bool) -> None:
    """With its book or without, whatever was held is still held, and only by who held it."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(3)]
            tasks = [asyncio.create_task(it.send_many(16)) for it in joined]
            await asyncio.sleep(4.0)
            world.network.server.restart(keep=keep)
            await asyncio.gather(*tasks)
            world.check()
            assert world.took() < 4 * 3.0 + 1.0

    run(main())


def test_a_flushed_store_loses_nothing() -> None:
    """The first who speaks proves that there was a book."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(3)]
            tasks = [asyncio.create_task(it.send_many(16)) for it in joined]
            await asyncio.sleep(4.0)
            world.network.server.book = None
            await asyncio.gather(*tasks)
            world.check()
            assert world.took() < 4 * 3.0 + 1.0

    run(main())


@pytest.mark.parametrize("after", [0.0, 0.3, 0.59])
def test_nor_if_a_new_process_is_the_first_to_speak_to_it(after: float) -> None:
    """It waits until those that live have spoken, too."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(2)]
            await asyncio.gather(*(it.send_many(6) for it in joined))
            await asyncio.sleep(after)
            world.network.server.book = None
            joined.append(await world.join())
            await asyncio.gather(*(it.send_many(12) for it in joined))
            world.check()
            assert world.events == []

    run(main())


@pytest.mark.parametrize("seed", range(8))
def test_whatever_becomes_of_messages_no_window_has_too_many(seed: int) -> None:
    """Lost before and after, late, doubled; processes that come, go, and stand cut off."""

    async def main() -> None:
        chance = random.Random(seed)
        async with World(when_cut_off=HOLD) as world:
            joined = [
                await world.join(store=LuaStore(world.network, share=0.3, seed=seed * 10 + number))
                for number in range(4)
            ]
            tasks = [asyncio.create_task(it.send_many(25)) for it in joined]
            while not all(task.done() for task in tasks):
                await asyncio.sleep(chance.uniform(0.1, 3.0))
                it = chance.choice(joined)
                it.store.down = not it.store.down and chance.random() < 0.3
                if chance.random() < 0.05:
                    world.network.server.restart(keep=chance.random() < 0.5)
                if chance.random() < 0.5:
                    for it in joined:
                        it.store.down = False
                assert now() < 300.0
            world.check()
            assert len(world.arrivals[POOL]) == 100

    run(main())


class Recalling(LuaStore):
    """A way to the store on which, once, a recall overtakes the answer to a message."""

    def __init__(self, network: Network) -> None:
        super().__init__(network, delay=0.05)
        self.queue: asyncio.Queue[bytes] | None = None
        self.given: list[int] = []

    async def sync(self, message: bytes) -> bytes:
        """Take a message there and an answer back."""
        self.given += [
            at for want in msgspec.msgpack.decode(message, type=Message).wants for at in want.given
        ]
        if self.queue is not None:
            recall = encode([Recall(POOL, 1, urgent=False)])
            asyncio.get_running_loop().call_later(0.03, self.queue.put_nowait, recall)
            self.queue = None
        return await super().sync(message)


def test_a_recall_that_overtakes_an_answer_is_not_forgotten() -> None:
    """The answer to an older message does not know of it."""

    async def main() -> None:
        async with World() as world:
            store = Recalling(world.network)
            one = await world.join(store=store)
            await one.send()
            store.queue = world.network.queues[one.budgets.process]
            await asyncio.sleep(RENEWAL + 0.3)
            assert store.queue is None
            assert len(store.given) == 1

    run(main())


class Forgetful(LuaStore):
    """A way to the store on which the answer to each message is lost that gives tokens back."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.given: list[float] = []  #: when they are free

    async def sync(self, message: bytes) -> bytes:
        """Take a message there and an answer back."""
        given = [
            at for want in msgspec.msgpack.decode(message, type=Message).wants for at in want.given
        ]
        self.given += [round(now() + at / 1e6, 3) for at in given]
        answer = await super().sync(message)
        if given:
            raise ConnectionError("the answer was lost")
        return answer


def test_what_an_unanswered_message_gave_back_is_not_told_again() -> None:
    """The store may have lent other tokens, meanwhile: it would take one of these to be as free."""

    async def main() -> None:
        async with World() as world:
            store = Forgetful(world.network)
            one = await world.join(store=store)
            other = await world.join()
            for _ in range(12):
                await one.send()
            await other.send()
            assert store.given
            assert len(store.given) == len(set(store.given))
            await asyncio.gather(one.send_many(12), other.send_many(12))
            world.check()

    run(main())


@pytest.mark.parametrize("seed", range(6))
def test_processes_do_not_wake_one_another_without_end(seed: int) -> None:
    """Calls of all priorities, some of two budgets, refusals, and messages that get lost."""
    limits = {SWAP_POOL: Limit(12, 3.0), FIVE: Limit(5, 1.0), POOL: Limit(12, 3.0)}
    chance = random.Random(seed)

    async def main() -> None:
        async with World(limits=limits, when_cut_off=HOLD) as world:
            joined = [
                await world.join(
                    store=LuaStore(world.network, share=0.01, seed=seed + number),
                    name=f"{chance.random()}",
                )
                for number in range(chance.choice([2, 4, 7]))
            ]

            async def use(it: Process) -> None:
                while True:
                    names = chance.choice([(FIVE, SWAP_POOL), (SWAP_POOL,), (FIVE,), (POOL,)])
                    permit = await it.budgets.acquire(names, priority=chance.choice([*Priority]))
                    await asyncio.sleep(chance.uniform(0.01, 0.02))
                    permit.replied()
                    if chance.random() < 0.02:
                        permit.refused()
                    await asyncio.sleep(chance.choice([0.0, 0.0, 0.0, chance.random() * 3]))

            tasks = [
                asyncio.create_task(use(it))
                for it in joined
                for _ in range(chance.choice([1, 6, 20]))
            ]
            for _ in range(150):
                before = [it.store.syncs for it in joined]
                await asyncio.sleep(0.1)
                after = [it.store.syncs for it in joined]
                assert max(map(int.__sub__, after, before)) < 30
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run(main())


class Senseless(LuaStore):
    """A store that answers for budgets that nobody has asked about, for a while."""

    async def sync(self, message: bytes) -> bytes:
        """Answer."""
        if 1.0 < now() < 6.0:
            lent = Lent("nonsense", 1, 1, 1, [], 0, 0, 1, others=False)
            return encode(Answer(read=True, processes=1, lents=[lent]))
        return await super().sync(message)


def test_a_store_that_talks_nonsense_is_away() -> None:
    """It is told of, and it is asked again until it makes sense."""

    async def main() -> None:
        told = list[str]()
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: told.append(context["message"])
        )
        async with World() as world:
            one = await world.join(store=Senseless(world.network))
            await one.send_many(36)
            await asyncio.sleep(5.0)
            assert [it.kind for it in world.events] == ["store_lost", "store_back"]
            assert set(told) == {"the answer of the shared budgets' store is invalid"}
            world.check()

    run(main())


def test_a_refusal_holds_all() -> None:
    """One process is refused, and nobody sends for a window."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(), await world.join()
            await other.send()
            permit = await one.budgets.acquire((POOL,))
            permit.replied()
            permit.refused()
            await asyncio.sleep(0.01)
            began = now()
            await other.send()
            assert now() - began > 2.9

    run(main())


def test_a_refusal_holds_all_though_the_word_of_it_was_lost() -> None:
    """It is told until the store has answered."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(), await world.join()
            await other.send()
            permit = await one.budgets.acquire((POOL,))
            one.store.down = True
            permit.replied()
            permit.refused()
            await asyncio.sleep(0.01)
            one.store.down = False
            await asyncio.sleep(RENEWAL)
            began = now()
            await other.send()
            assert 2.9 - RENEWAL < now() - began < 3.1 - RENEWAL

    run(main())


@pytest.mark.parametrize("used", [2, 12])
def test_who_waits_urgently_for_the_end_of_a_hold_disturbs_nobody(used: int) -> None:
    """No token of another's would be of use; and the hold ends, however often it is told."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(3)]
            await asyncio.gather(*(it.send_many(used // 2) for it in joined[:2]))
            await asyncio.sleep(1.0)
            permit = await joined[2].budgets.acquire((POOL,), priority=Priority.URGENT)
            permit.replied()
            permit.refused()
            refused = now()
            urgent = [it.send(priority=Priority.URGENT) for it in joined for _ in "ab"]
            tasks = [asyncio.create_task(each) for each in urgent]
            await asyncio.sleep(0.5)
            before = sum(it.store.syncs for it in joined)
            await asyncio.sleep(2.0)
            assert sum(it.store.syncs for it in joined) - before < 3 * (2.0 / RENEWAL + 2)
            await asyncio.sleep(1.0)
            assert min(at for at in world.arrivals[POOL] if at > refused) < refused + 3.02
            await asyncio.gather(*tasks)
            world.check()

    run(main())


def test_a_limit_that_replies_teach_is_everybody_s() -> None:
    """By one process, for all; it is told of once."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(), await world.join()
            await other.send()
            permit = await one.budgets.acquire((POOL,))
            headers = {"ratelimit-limit": "24", "ratelimit-interval": "3000"}
            permit.replied({**headers, "ratelimit-remaining": "22"}, 0.0)
            await asyncio.sleep(2.0)
            states = {it.name: it for it in other.budgets.snapshot()}
            assert states[POOL].calls == 24
            assert [it.kind for it in world.events] == ["learned", "other_limit"]

    run(main())


def test_of_two_configured_limits_the_store_s_counts() -> None:
    """An event tells."""

    async def main() -> None:
        async with World() as world:
            one = await world.join()
            await one.send()
            other = await world.join(limits={POOL: Limit(30, 3.0)})
            await other.send()
            assert [(it.kind, it.names) for it in world.events] == [("other_limit", (POOL,))]
            await other.send_many(24)
            world.check()

    run(main())


def test_what_others_used_is_no_stranger_s() -> None:
    """Headers count all of the account; the other processes' requests are known."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(), await world.join()
            await other.send_many(6)
            permit = await one.budgets.acquire((POOL,))
            headers = {"ratelimit-limit": "12", "ratelimit-interval": "3000"}
            permit.replied({**headers, "ratelimit-remaining": "5"}, 0.0)
            state = {it.name: it for it in one.budgets.snapshot()}[POOL]
            assert (state.foreign, state.reserve) == (0, 0)

    run(main())


def test_a_snapshot_shows_who_holds_what() -> None:
    """Tokens held, the fair part, processes, and the state of the store."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(), await world.join()
            await asyncio.gather(one.send_many(12), other.send())
            await asyncio.sleep(1.0)
            state = {it.name: it for it in one.budgets.snapshot()}[POOL]
            assert (state.processes, state.store) == (2, "linked")
            assert state.held + other.held() <= 12
            assert state.fair >= 6

    run(main())


def test_a_process_that_leaves_gives_back_what_it_holds() -> None:
    """The next one has it at once, but for what was used within a window."""

    async def main() -> None:
        async with World() as world:
            leaving = SharedBudgets(LuaStore(world.network), limits=LIMITS)
            async with leaving:
                process = Process(world, LuaStore(world.network), leaving)
                await process.send_many(5)
            other = await world.join()
            began = now()
            await other.send_many(7)
            assert now() - began < 0.1
            assert {it.processes for it in other.budgets.snapshot()} == {1}
            await other.send_many(12)
            world.check()

    run(main())


def test_a_client_cancels_through_shared_budgets() -> None:
    """Two clients, each in a process of its own, on one sandbox exchange."""

    async def main() -> None:
        exchange = Exchange()
        ids = [add(exchange, "swap", 400) for _ in range(2)]
        async with World(limits={}) as world:
            budgets = [(await world.join()).budgets for _ in range(2)]

            async def pull(shared: SharedBudgets, order_ids: list[str]) -> None:
                async with in_process(exchange, delay=0.005, budgets=shared) as client:
                    outcome = await client.coin_m_swap.cancel_orders("BTC-USD", order_ids)
                assert outcome.settled

            await asyncio.gather(*(pull(*each) for each in zip(budgets, ids, strict=True)))
        assert not exchange.refused
        assert not exchange.book.open()
        assert now() < 6.0 * 1.05

    run(main())


class Noting(InProcessTransport):
    """A transport that notes how often the store was spoken to before each request left."""

    def __init__(self, exchange: Exchange, store: LuaStore) -> None:
        super().__init__(exchange, epoch=EPOCH)
        self.syncs: list[int] = []
        self._store = store

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Carry a request."""
        self.syncs.append(self._store.syncs)
        return await super().send(request, timeout=timeout)


def test_a_permit_that_is_too_old_is_not_used() -> None:
    """The process stood still between its grant and the write: it asks the store for another."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        stalled: list[int] = []

        def stalling_clock() -> float:
            if not stalled:
                loop.stall(5.0)
            stalled.append(one.store.syncs)
            return EPOCH + loop.time()

        async with World(limits={}) as world:
            one = await world.join()
            transport = Noting(exchange, one.store)
            async with CancelClient(
                credentials(),
                transport=transport,
                wall_clock=stalling_clock,
                budgets=one.budgets,
            ) as client:
                outcome = await client.coin_m_swap.cancel_orders("BTC-USD", ids)
        assert outcome.settled
        assert len(exchange.log) == len(transport.syncs) == 1
        assert transport.syncs[0] > stalled[0]

    run(main())


def use(budgets: SharedBudgets) -> Callable[[], Awaitable[object]]:
    """Ask for a permit."""
    return lambda: budgets.acquire((POOL,))


def test_it_must_be_entered_before_use() -> None:
    """And is of no use after its end."""

    async def main() -> None:
        async with World() as world:
            store = LuaStore(world.network)
            budgets = SharedBudgets(store, limits=LIMITS, on_event=world.hear)
            for _ in range(2):
                with pytest.raises(InvalidValueError, match="entered with 'async with'"):
                    await use(budgets)()
                async with budgets:
                    await use(budgets)()
                    await asyncio.sleep(1.0)
                    assert {it.store for it in budgets.snapshot()} == {"linked"}
            assert store.closed
            assert world.events == []

    run(main())


def test_it_belongs_to_one_loop() -> None:
    """As all budgets do."""

    async def joined() -> SharedBudgets:
        budgets = SharedBudgets(LuaStore(Network()))
        async with budgets:
            await use(budgets)()
        return budgets

    budgets = run(joined())

    async def other() -> None:
        async with budgets:
            await use(budgets)()

    with pytest.raises(WrongLoopError):
        run(other())


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"keep_for_urgent": -1}, InvalidValueError, "keep_for_urgent must be at least 1"),
        ({"keep_for_urgent": 1.5}, InvalidTypeError, "keep_for_urgent must be a whole number"),
        ({"when_cut_off": "hold"}, InvalidTypeError, "when_cut_off must be FAIR_SHARE, HOLD or"),
        ({"max_in_flight": 0}, InvalidValueError, "max_in_flight must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    """With what was given."""

    async def main() -> None:
        with pytest.raises(error, match=words):
            SharedBudgets(LuaStore(Network()), **given)

    run(main())


@pytest.mark.parametrize("part", [0, -0.1, 1.01, float("nan")])
def test_a_share_is_a_part(part: float) -> None:
    """Above 0, and at most 1."""
    with pytest.raises(InvalidValueError, match="part must be"):
        Share(part)


def test_the_names_of_what_to_do_without_a_store_are_shown() -> None:
    """In a repr."""
    assert [repr(it) for it in (FAIR_SHARE, HOLD)] == ["FAIR_SHARE", "HOLD"]
    assert replace(Share(0.5), part=0.25) == Share(0.25)
    assert ANSWER_WITHIN < LEASE
