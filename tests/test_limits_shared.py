"""Test shared budgets on virtual time, with the script in an embedded Lua."""

import asyncio
import pickle
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
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
    BudgetState,
    CancelClient,
    InvalidTypeError,
    InvalidValueError,
    Limit,
    Priority,
    Share,
    SharedBudgets,
    WrongLoopError,
)
from htx_cancel.limits.shared import ANSWER_WITHIN, GRACE, LEASE, RENEWAL, RETRY_AFTER
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
    """The processes of one account, their store, and the requests that arrive at the exchange."""

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
        """Start a process, and let it join."""
        store = store or LuaStore(self.network)
        budgets = SharedBudgets(store, on_event=self.note_event, **{**self._options, **options})
        budgets.process = name or budgets.process
        process = Process(self, store, budgets)
        await self._stack.enter_async_context(budgets)
        return process

    def note_event(self, event: BudgetEvent) -> None:
        """Note an event, except waits."""
        if event.kind != "wait":
            self.events.append(event)

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events so far."""
        return [event.kind for event in self.events]

    def check(self, name: str = POOL, *, limit: Limit | None = None) -> None:
        """Check that no window has more requests than the limit allows."""
        limit = limit or LIMITS[name]
        times = sorted(self.arrivals.get(name, []))
        for first, last in zip(times, times[limit.calls :], strict=False):
            assert last - first >= limit.seconds, (first, last)

    def took(self, name: str = POOL) -> float:
        """Return the time from the first arrival to the last."""
        return max(self.arrivals[name]) - min(self.arrivals[name])


class Process:
    """One process, which sends requests and gets replies."""

    def __init__(self, world: World, store: LuaStore, budgets: SharedBudgets) -> None:
        self.world = world
        self.store = store
        self.budgets = budgets

    async def send(
        self, *names: str, priority: Priority = Priority.ROUTINE, trip: float = ONE_WAY
    ) -> float:
        """Send one request when it may leave; return how long it waited for its permit."""
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
        """Send ``count`` requests at once."""
        await asyncio.gather(*(self.send(*names) for _ in range(count)))

    def held(self, name: str = POOL) -> int:
        """Return how many tokens the process holds."""
        return state(self.budgets, name).held


def state(budgets: SharedBudgets, name: str = POOL) -> BudgetState:
    """Return the state of one budget."""
    return next(found for found in budgets.snapshot() if found.name == name)


def test_a_lone_process_is_as_fast_as_without_a_store() -> None:
    """It sends four windows and one request in the least time, with few messages."""

    async def main() -> None:
        async with World() as world:
            one = await world.join()
            await one.send_many(49)
            world.check()
            assert world.took() < 4 * 3.0 * 1.01
            assert one.store.syncs < 30
            assert world.kinds == []

    run(main())


@pytest.mark.parametrize("processes", [2, 4, 7])
@pytest.mark.parametrize("name", [POOL, FIVE])
def test_processes_together_use_every_token_once(processes: int, name: str) -> None:
    """Equal and unequal shares of the work end in nearly the least time."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(processes)]
            limit = LIMITS[name]
            count = 4 * limit.calls + 1
            shares = [len(range(number, count, processes)) for number in range(processes)]
            await asyncio.gather(
                *(
                    process.send_many(share, name)
                    for process, share in zip(joined, shares, strict=True)
                )
            )
            world.check(name)
            assert len(world.arrivals[name]) == count
            assert world.took(name) < 4 * limit.seconds * (
                1.04 if processes < limit.calls else 1.08
            )

    run(main())


def test_a_busy_process_gets_the_tokens_that_others_do_not_need() -> None:
    """Three processes have sent one request each; the fourth sends as many as it can."""

    async def main() -> None:
        async with World() as world:
            busy, *quiet = [await world.join() for _ in range(4)]
            for process in quiet:
                await process.send()
            await asyncio.sleep(4.0)
            world.arrivals.clear()
            await busy.send_many(49)
            world.check()
            assert world.took() < 4 * 3.0 * 1.02

    run(main())


def test_a_token_that_only_another_process_needs_is_given_when_it_has_rested() -> None:
    """It is not kept until the next renewal."""

    async def main() -> None:
        async with World(limits={FIVE: Limit(2, 1.0)}) as world:
            one, other = await world.join(name="a"), await world.join(name="b")
            await asyncio.sleep(2.0)
            await one.send_many(2, FIVE)
            began = now()
            await other.send_many(2, FIVE)
            assert now() - began < 1.05

    run(main())


@pytest.mark.parametrize("held_for", [0.005, 0.5])
def test_a_token_that_another_process_needs_is_given_as_soon_as_it_is_idle(held_for: float) -> None:
    """Its request was not sent, after the store has recalled the token or not."""

    async def main() -> None:
        async with World(limits={FIVE: Limit(2, 1.0)}) as world:
            one, other = await world.join(name="a"), await world.join(name="b")
            await one.send(FIVE)
            await asyncio.sleep(2.0 - now())
            permit = await one.budgets.acquire((FIVE,))
            asyncio.get_running_loop().call_later(held_for, permit.unsent)
            began = now()
            await other.send_many(2, FIVE)
            assert now() - began < held_for + 0.05

    run(main())


def test_calls_of_one_budget_keep_no_tokens_of_another() -> None:
    """A process that only waits for one budget gives all its tokens of the other one."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(), await world.join()
            await one.send()
            await asyncio.sleep(4.0)
            flood = asyncio.create_task(one.send_many(30, FIVE))
            began = now()
            await other.send_many(12)
            assert now() - began < 0.5
            await flood
            world.check()

    run(main())


def test_an_urgent_call_gets_the_next_token_of_any_process() -> None:
    """Three processes send as many requests as they can; a fourth sends urgent ones."""

    async def main() -> None:
        async with World() as world:
            flooding = [await world.join() for _ in range(3)]
            tasks = [asyncio.create_task(process.send_many(40, FIVE)) for process in flooding]
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


def test_urgent_calls_of_a_flooded_process_get_the_next_tokens_of_others() -> None:
    """The store learns of each, though it knows already that the process needs all tokens."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join(name=name) for name in "ab"]
            for number in range(15):  # spread the tokens over the window
                await joined[number % 3 % 2].send(FIVE)
                await asyncio.sleep(0.2)
            tasks = [asyncio.create_task(process.send_many(60, FIVE)) for process in joined]
            await asyncio.sleep(3.0)
            for number in range(20):
                assert await joined[0].send(FIVE, priority=Priority.URGENT) < 0.25
                await asyncio.sleep(0.05 + number / 100)
            await asyncio.gather(*tasks)
            world.check(FIVE)

    run(main())


def test_an_urgent_call_swaps_its_token_for_a_sooner_one() -> None:
    """Its own token rests, and a token of another process is free before."""

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


def test_tokens_kept_for_urgent_calls_serve_any_process() -> None:
    """They are available at once when all other tokens are used."""

    async def main() -> None:
        async with World(keep_for_urgent=2) as world:
            flooding = [await world.join() for _ in range(2)]
            tasks = [asyncio.create_task(process.send_many(30)) for process in flooding]
            urgent = await world.join()
            await asyncio.sleep(1.0)
            assert await urgent.send(priority=Priority.URGENT) < 0.01
            assert await urgent.send(priority=Priority.URGENT) < 0.01
            await asyncio.gather(*tasks)
            world.check()
            with pytest.raises(AssertionError):
                world.check(limit=Limit(10, 3.0))  # the urgent ones came on top

    run(main())


def test_processes_that_want_many_tokens_get_equal_parts() -> None:
    """Even if there are more processes than tokens."""

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
def test_composite_budgets_take_little_more_than_the_least_time(
    processes: int, rest: float
) -> None:
    """Calls that also charge a scarcer budget find tokens of the pool, in every process.

    With and without an earlier use of the budgets, and without needless messages.
    """
    limits = {SWAP_POOL: Limit(36, 3.0), FIVE: Limit(5, 1.0)}

    async def main() -> None:
        async with World(limits=limits) as world:
            joined = [await world.join() for _ in range(processes)]
            if rest:
                await asyncio.gather(*(process.send(SWAP_POOL) for process in joined))
                await asyncio.gather(*(process.send(FIVE, SWAP_POOL) for process in joined))
                await asyncio.sleep(rest)
                world.arrivals.clear()
            began, before = now(), sum(process.store.syncs for process in joined)
            ended: dict[str, float] = {}

            async def send_composite(process: Process) -> None:
                await process.send_many(52 // processes, FIVE, SWAP_POOL)
                ended["composite"] = now() - began

            async def send_wide(process: Process) -> None:
                await process.send_many(120 // processes, SWAP_POOL)
                ended["wide"] = now() - began

            await asyncio.gather(*map(send_composite, joined), *map(send_wide, joined))
            for name, limit in limits.items():
                world.check(name, limit=limit)
            assert ended["composite"] < 10.0 * (1.15 if rest else 1.02)
            assert ended["wide"] < 12.0 * (1.2 if rest else 1.15)
            assert sum(process.store.syncs for process in joined) - before < 80 * processes

    for _ in range(4):  # each process has another name
        run(main())


def test_the_tokens_of_a_killed_process_are_back_after_its_lease() -> None:
    """They are not back before."""

    async def main() -> None:
        async with World() as world:
            dead, other = await world.join(), await world.join()
            await dead.send_many(12)
            began = dead.budgets._synced_at
            dead.store.down = True
            await other.send()
            assert LEASE + GRACE + 3.0 < now() - began < LEASE + GRACE + 3.0 + RENEWAL
            await other.send_many(30)
            world.check()

    run(main())


@pytest.mark.parametrize("under_way", [False, True])
def test_a_process_that_stalled_asks_before_it_sends(*, under_way: bool) -> None:
    """Its timeout does not mean that the store is unavailable: another process got all tokens."""

    async def main() -> None:
        async with World() as world:
            stalled_process = await world.join(store=LuaStore(world.network, delay=0.1))
            await stalled_process.send()
            renewal = stalled_process.budgets._synced_at + RENEWAL
            await asyncio.sleep(renewal + (0.05 if under_way else 0.3) - now())
            virtual_loop().stall(LEASE + 1.0)
            assert take_all(world) == 12
            assert await stalled_process.send() > LEASE
            assert world.kinds == ["lease_lost"]

    run(main())


def test_a_process_that_stalled_while_the_store_failed_goes_on_by_itself() -> None:
    """The lease ended before a message failed, so the first failure cuts it off."""

    async def main() -> None:
        async with World() as world:
            stalled = await world.join()
            await stalled.send()
            virtual_loop().stall(LEASE + 1.0)
            stalled.store.down = True
            assert await stalled.send() < 0.1
            assert world.kinds == ["store_lost"]

    run(main())


def test_a_process_that_stalled_as_it_joined_goes_on_without_the_store() -> None:
    """No store has answered it yet, so it counts as cut off until one does."""

    async def main() -> None:
        async with World() as world:
            loop = virtual_loop()
            store = LuaStore(world.network, delay=0.1)
            loop.call_later(0.05, loop.stall, LEASE + 1.0)
            one = await world.join(store=store)
            assert world.kinds == ["store_lost"]
            assert await one.send() == 0.0
            await asyncio.sleep(1.0)
            assert world.kinds == ["store_lost", "store_back"]

    run(main())


def virtual_loop() -> VirtualLoop:
    """Return the running loop, which can stall."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def take_all(world: World) -> int:
    """Let another process ask for all tokens; return how many it gets."""
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


def test_a_process_that_was_cut_off_uses_no_token_lent_to_others() -> None:
    """It grants nothing after the end of its lease, and drops the tokens that it lost."""

    async def main() -> None:
        async with World() as world:
            stalled_process, other = await world.join(when_cut_off=HOLD), await world.join()
            await stalled_process.send_many(6)
            stalled_process.store.down = True
            await asyncio.sleep(4.0)
            task = asyncio.create_task(stalled_process.send_many(6))
            await other.send_many(12)
            assert not task.done()
            stalled_process.store.down = False
            await task
            world.check()
            assert world.kinds == ["store_lost", "store_back"]

    run(main())


@pytest.mark.parametrize("hold", [HOLD, pickle.loads(pickle.dumps(HOLD))])  # noqa: S301 - ours
def test_with_hold_nothing_is_sent_while_the_store_is_unavailable(hold: Any) -> None:
    """Held tokens serve until the lease ends; then all calls wait until the store is back.

    The same holds for a copy of ``HOLD`` that was sent to another process.
    """

    async def main() -> None:
        async with World(when_cut_off=hold) as world:
            joined = [await world.join() for _ in range(2)]
            await asyncio.gather(*(process.send() for process in joined))
            for process in joined:
                process.store.down = True
            await asyncio.sleep(LEASE)
            began, tasks = now(), [asyncio.create_task(process.send_many(20)) for process in joined]
            before = joined[0].store.syncs
            await asyncio.sleep(10.0)
            assert not any(at > began for at in world.arrivals[POOL])
            assert joined[0].store.syncs - before <= 10.0 / RETRY_AFTER
            assert state(joined[0].budgets).store == "cut_off"
            for process in joined:
                process.store.down = False
            await asyncio.gather(*tasks)
            world.check()

    run(main())


@pytest.mark.parametrize("when_cut_off", [FAIR_SHARE, Share(0.5)])
def test_with_a_share_each_process_goes_on_alone(when_cut_off: Any) -> None:
    """All are cut off, so nothing is refused; in the end they use all tokens together."""

    async def main() -> None:
        async with World(when_cut_off=when_cut_off) as world:
            joined = [await world.join() for _ in range(2)]
            for process in joined:
                await process.send()
            await asyncio.sleep(1.0)
            for process in joined:
                process.store.down = True
            tasks = [asyncio.create_task(process.send_many(60)) for process in joined]
            await asyncio.sleep(20.0)
            assert state(joined[0].budgets).store == "own_share"
            recent = [at for at in world.arrivals[POOL] if at > now() - 9.0]
            assert 34 <= len(recent) <= 38
            for process in joined:
                process.store.down = False
            await asyncio.gather(*tasks)
            world.check()
            assert world.kinds == ["store_lost"] * 2 + ["store_back"] * 2
            await asyncio.sleep(4.0)
            world.arrivals.clear()
            await joined[0].send_many(12)
            assert world.took() < 0.5

    run(main())


def test_a_share_of_less_than_one_token_rests_longer() -> None:
    """An eighth of five tokens per second is one token in 1.6 seconds."""

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


def test_a_process_that_never_reached_a_store_sends_alone() -> None:
    """It has seen no other process, so its share is the whole limit."""

    async def main() -> None:
        async with World() as world:
            store = LuaStore(world.network)
            store.down = True
            one = await world.join(store=store)
            await one.send_many(24)
            world.check()
            assert world.kinds == ["store_lost"]
            store.down = False
            await asyncio.sleep(1.1 * RETRY_AFTER)
            assert world.kinds == ["store_lost", "store_back"]
            await one.send_many(24)

    run(main())


def test_a_store_that_does_not_answer_counts_as_unavailable() -> None:
    """As one that cannot be reached does."""

    async def main() -> None:
        async with World() as world:
            store = LuaStore(world.network)
            one = await world.join(store=store)
            await one.send()
            store._delay = 60.0
            ends = one.budgets._synced_at + LEASE
            await asyncio.sleep(ends - 0.01 - now())
            assert world.kinds == []
            await asyncio.sleep(0.02)
            assert world.kinds == ["store_lost"]
            store._delay = 0.0

    run(main())


def test_a_message_that_fails_changes_nothing_before_the_lease_ends() -> None:
    """The process goes on with the tokens that it holds."""

    async def main() -> None:
        async with World(when_cut_off=HOLD) as world:
            one = await world.join()
            await one.send_many(2)
            one.store.down = True
            await asyncio.sleep(LEASE - RENEWAL)
            one.store.down = False
            assert await one.send() == 0.0
            await asyncio.sleep(LEASE)
            assert world.kinds == []

    run(main())


def test_a_lease_counts_from_the_departure_of_the_message() -> None:
    """The store may have counted from its arrival, or later."""

    async def main() -> None:
        async with World() as world:
            one = await world.join(store=LuaStore(world.network, delay=0.2))
            permit = await one.budgets.acquire((POOL,))
            assert permit.valid_until == pytest.approx(now() - 0.4 + LEASE, abs=0.01)
            permit.unsent()

    run(main())


def test_a_share_does_not_exceed_the_held_tokens_before_all_leases_have_ended() -> None:
    """The other process may still hold and use the rest."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(when_cut_off=Share(1.0)), await world.join()
            await asyncio.gather(one.send_many(2), other.send_many(8))
            held, ends = one.held(), one.budgets._synced_at + LEASE
            one.store.down = True
            await asyncio.sleep(ends + 0.2 - now())
            assert state(one.budgets).store == "own_share"
            assert one.held() == held < 12
            await asyncio.sleep(LEASE + GRACE + 3.0 - 0.3)
            assert one.held() == held
            await asyncio.sleep(0.2)
            assert one.held() == 12

    run(main())


def test_a_process_that_is_linked_again_uses_no_share() -> None:
    """Though the leases of the others would have ended by now."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(when_cut_off=Share(1.0)), await world.join()
            await one.send()
            one.store.down = True
            await asyncio.sleep(3.0)
            assert state(one.budgets).store == "own_share"
            one.store.down = False
            await asyncio.sleep(LEASE + GRACE + 3.0)
            await asyncio.gather(one.send_many(24), other.send_many(24))
            world.check()

    run(main())


class Cancelling(LuaStore):
    """A client that raises ``CancelledError`` of its own, for a second and for the first notice."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.subscriptions = 0

    async def sync(self, message: bytes) -> bytes:
        """Carry a message to the server and the answer back."""
        if 0.5 < now() < 1.5:
            raise asyncio.CancelledError
        return await super().sync(message)

    async def notices(self, process: str) -> AsyncIterator[bytes]:
        """Yield the notices that the server publishes for a process."""
        self.subscriptions += 1
        if self.subscriptions == 1:
            raise asyncio.CancelledError
        async for notice in super().notices(process):
            yield notice


def test_a_client_that_cancels_itself_stops_nothing() -> None:
    """The process sends the next message, and still gets notices."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(store=Cancelling(world.network)), await world.join()
            await one.send_many(12)
            await asyncio.sleep(4.0 - now())
            assert state(one.budgets).store == "linked"
            assert await other.send(priority=Priority.URGENT) < 0.1
            assert world.kinds == []

    run(main())


def test_a_store_that_reads_no_message_counts_as_unavailable() -> None:
    """A client sends each message twice, and returns the second answer, which says so."""

    async def main() -> None:
        async with World() as world:
            doubling = LuaStore(world.network, fault_rate=1.0, faults=["doubled"])
            one = await world.join(store=doubling)
            await one.send_many(2)
            assert world.kinds == ["store_lost"]
            assert state(one.budgets).processes == 1

    run(main())


def test_a_new_process_can_begin_a_book() -> None:
    """It need not wait as long as after a loss."""

    async def main() -> None:
        async with World() as world:
            world.network.server.book = None
            one = await world.join()
            assert await one.send() < 1.2 + RENEWAL

    run(main())


@pytest.mark.parametrize("keep", [True, False])
def test_a_restarted_store_loses_nothing(*, keep: bool) -> None:
    """With its book or without, each process keeps exactly the tokens that it held."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(3)]
            tasks = [asyncio.create_task(process.send_many(16)) for process in joined]
            await asyncio.sleep(4.0)
            world.network.server.restart(keep=keep)
            await asyncio.gather(*tasks)
            world.check()
            assert world.took() < 4 * 3.0 + 1.0

    run(main())


def test_a_flushed_store_loses_nothing() -> None:
    """The first message proves that there was a book."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(3)]
            tasks = [asyncio.create_task(process.send_many(16)) for process in joined]
            await asyncio.sleep(4.0)
            world.network.server.book = None
            await asyncio.gather(*tasks)
            world.check()
            assert world.took() < 4 * 3.0 + 1.0

    run(main())


def test_a_flushed_store_lends_no_token_of_a_process_that_ended_before() -> None:
    """Another process, which uses another budget, tells the store that there was a book."""

    async def main() -> None:
        async with World() as world:
            dead, one = await world.join(), await world.join()
            await asyncio.gather(dead.send_many(12), one.send(FIVE))
            dead.store.down = True
            world.network.server.book = None
            await asyncio.sleep(RENEWAL)
            other = await world.join()
            await other.send_many(12)
            world.check()

    run(main())


@pytest.mark.parametrize("after", [0.0, 0.3, 0.59])
def test_a_flushed_store_loses_nothing_if_a_new_process_is_first(after: float) -> None:
    """The new process gets no tokens until the live processes have claimed theirs."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(2)]
            await asyncio.gather(*(process.send_many(6) for process in joined))
            await asyncio.sleep(after)
            world.network.server.book = None
            joined.append(await world.join())
            await asyncio.gather(*(process.send_many(12) for process in joined))
            world.check()
            assert world.kinds == []

    run(main())


@pytest.mark.parametrize("seed", range(8))
def test_no_window_has_too_many_requests_whatever_happens_to_messages(seed: int) -> None:
    """Messages are lost before or after the store, late or doubled; processes are cut off."""

    async def main() -> None:
        chance = random.Random(seed)
        async with World(when_cut_off=HOLD) as world:
            joined = [
                await world.join(
                    store=LuaStore(world.network, fault_rate=0.3, seed=seed * 10 + number)
                )
                for number in range(4)
            ]
            tasks = [asyncio.create_task(process.send_many(25)) for process in joined]
            while not all(task.done() for task in tasks):
                await asyncio.sleep(chance.uniform(0.1, 3.0))
                process = chance.choice(joined)
                process.store.down = not process.store.down and chance.random() < 0.3
                if chance.random() < 0.05:
                    world.network.server.restart(keep=chance.random() < 0.5)
                if chance.random() < 0.5:
                    for process in joined:
                        process.store.down = False
                assert now() < 300.0
            world.check()
            assert len(world.arrivals[POOL]) == 100

    run(main())


class Overtaking(LuaStore):
    """A connection on which, once, a recall overtakes the answer to a message."""

    def __init__(self, network: Network) -> None:
        super().__init__(network, delay=0.05)
        self.queue: asyncio.Queue[bytes] | None = None
        self.given: list[int] = []

    async def sync(self, message: bytes) -> bytes:
        """Carry a message to the server and the answer back."""
        self.given += [
            at for want in msgspec.msgpack.decode(message, type=Message).wants for at in want.given
        ]
        if self.queue is not None:
            recall = encode([Recall(POOL, 1, urgent=False)])
            asyncio.get_running_loop().call_later(0.03, self.queue.put_nowait, recall)
            self.queue = None
        return await super().sync(message)


def test_a_recall_that_overtakes_an_answer_is_obeyed() -> None:
    """The answer was written before the recall."""

    async def main() -> None:
        async with World() as world:
            store = Overtaking(world.network)
            one = await world.join(store=store)
            await one.send()
            store.queue = world.network.queues[one.budgets.process]
            await asyncio.sleep(RENEWAL + 0.3)
            assert store.queue is None
            assert len(store.given) == 1

    run(main())


class Forgetful(LuaStore):
    """A connection that loses the answer to each message that gives tokens back."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.given: list[float] = []  #: when they are free

    async def sync(self, message: bytes) -> bytes:
        """Carry a message to the server and the answer back."""
        given = [
            at for want in msgspec.msgpack.decode(message, type=Message).wants for at in want.given
        ]
        self.given += [round(now() + at / 1e6, 3) for at in given]
        answer = await super().sync(message)
        if given:
            raise ConnectionError("the answer was lost")
        return answer


def test_tokens_given_by_an_unanswered_message_are_not_reported_again() -> None:
    """The store may have lent other tokens since, and would take them to be as free."""

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
def test_processes_do_not_wake_each_other_without_end(seed: int) -> None:
    """With calls of all priorities and of two budgets, refusals, and lost messages."""
    limits = {SWAP_POOL: Limit(12, 3.0), FIVE: Limit(5, 1.0), POOL: Limit(12, 3.0)}
    chance = random.Random(seed)

    async def main() -> None:
        async with World(limits=limits, when_cut_off=HOLD) as world:
            joined = [
                await world.join(
                    store=LuaStore(world.network, fault_rate=0.01, seed=seed + number),
                    name=f"{chance.random()}",
                )
                for number in range(chance.choice([2, 4, 7]))
            ]

            async def use(process: Process) -> None:
                while True:
                    names = chance.choice([(FIVE, SWAP_POOL), (SWAP_POOL,), (FIVE,), (POOL,)])
                    permit = await process.budgets.acquire(
                        names, priority=chance.choice([*Priority])
                    )
                    await asyncio.sleep(chance.uniform(0.01, 0.02))
                    permit.replied()
                    if chance.random() < 0.02:
                        permit.refused()
                    await asyncio.sleep(chance.choice([0.0, 0.0, 0.0, chance.random() * 3]))

            tasks = [
                asyncio.create_task(use(process))
                for process in joined
                for _ in range(chance.choice([1, 6, 20]))
            ]
            for _ in range(150):
                before = [process.store.syncs for process in joined]
                await asyncio.sleep(0.1)
                after = [process.store.syncs for process in joined]
                assert max(map(int.__sub__, after, before)) < 30
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run(main())


UNKNOWN = Answer(True, 1, [Lent("nonsense", 1, 1, 1, [], 0, 0, 1, others=False)])


class Invalid(LuaStore):
    """A store with invalid answers from ``since`` on, for 5 s."""

    def __init__(self, network: Network, answer: bytes, since: float) -> None:
        super().__init__(network)
        self._answer = answer
        self._since = since

    async def sync(self, message: bytes) -> bytes:
        """Return an invalid answer for a while, then valid ones."""
        if self._since <= now() < self._since + 5.0:
            return self._answer
        return await super().sync(message)


@pytest.mark.parametrize("since", [0.0, 1.0])
@pytest.mark.parametrize("answer", [b"nonsense", encode(UNKNOWN)])
def test_a_store_with_invalid_answers_counts_as_unavailable(answer: bytes, since: float) -> None:
    """From the first message on, or later. It is reported, and asked until it is back."""

    async def main() -> None:
        messages = list[str]()
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: messages.append(context["message"])
        )
        async with World() as world:
            one = await world.join(store=Invalid(world.network, answer, since))
            await one.send_many(36)
            await asyncio.sleep(5.0)
            assert world.kinds == ["store_lost", "store_back"]
            assert set(messages) == {"the answer of the shared budgets' store is invalid"}
            world.check()

    run(main())


def test_a_refusal_holds_all_processes() -> None:
    """One process is refused, and no process sends for one window."""

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


def test_a_refusal_holds_all_processes_even_if_a_message_is_lost() -> None:
    """The process reports the refusal until the store has answered, but not at once again."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(), await world.join()
            await other.send()
            permit = await one.budgets.acquire((POOL,))
            one.store.down, before = True, one.store.syncs
            permit.replied()
            permit.refused()
            await asyncio.sleep(0.01)
            assert one.store.syncs == before + 1
            one.store.down = False
            await asyncio.sleep(RENEWAL)
            began = now()
            await other.send()
            assert 2.9 - RENEWAL < now() - began < 3.1 - RENEWAL

    run(main())


@pytest.mark.parametrize("used", [2, 12])
def test_urgent_calls_recall_no_tokens_during_a_hold(used: int) -> None:
    """No other token would be of use. Repeated messages do not prolong the hold."""

    async def main() -> None:
        async with World() as world:
            joined = [await world.join() for _ in range(3)]
            await asyncio.gather(*(process.send_many(used // 2) for process in joined[:2]))
            await asyncio.sleep(1.0)
            permit = await joined[2].budgets.acquire((POOL,), priority=Priority.URGENT)
            permit.replied()
            permit.refused()
            refused = now()
            urgent = [process.send(priority=Priority.URGENT) for process in joined for _ in "ab"]
            tasks = [asyncio.create_task(each) for each in urgent]
            await asyncio.sleep(0.5)
            before = sum(process.store.syncs for process in joined)
            await asyncio.sleep(2.0)
            assert sum(process.store.syncs for process in joined) - before < 3 * (2.0 / RENEWAL + 2)
            await asyncio.sleep(1.0)
            assert min(at for at in world.arrivals[POOL] if at > refused) < refused + 3.02
            await asyncio.gather(*tasks)
            world.check()

    run(main())


def test_all_processes_adopt_a_limit_that_replies_teach() -> None:
    """One process learns it; one event tells of it in each process."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(), await world.join()
            await other.send()
            permit = await one.budgets.acquire((POOL,))
            headers = {"ratelimit-limit": "24", "ratelimit-interval": "3000"}
            before = one.store.syncs
            permit.replied({**headers, "ratelimit-remaining": "22"}, 0.0)
            await asyncio.sleep(0.01)
            assert one.store.syncs == before + 1
            await asyncio.sleep(2.0)
            assert state(other.budgets).calls == 24
            assert world.kinds == ["learned", "other_limit"]

    run(main())


def test_the_limit_of_the_store_counts() -> None:
    """An event tells that another process states another limit."""

    async def main() -> None:
        async with World() as world:
            one = await world.join()
            await one.send()
            other = await world.join(limits={POOL: Limit(30, 3.0)})
            await other.send()
            assert [(event.kind, event.names) for event in world.events] == [
                ("other_limit", (POOL,))
            ]
            await other.send_many(24)
            world.check()

    run(main())


def test_uses_by_the_other_processes_are_not_foreign() -> None:
    """Headers count all requests of the account; those of the other processes are known."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(), await world.join()
            await other.send_many(6)
            permit = await one.budgets.acquire((POOL,))
            headers = {"ratelimit-limit": "12", "ratelimit-interval": "3000"}
            permit.replied({**headers, "ratelimit-remaining": "5"}, 0.0)
            shown = state(one.budgets)
            assert (shown.foreign, shown.reserve) == (0, 0)

    run(main())


def test_a_snapshot_shows_the_state_of_the_shared_budget() -> None:
    """It shows the held tokens, the fair part, the processes, and the state of the store."""

    async def main() -> None:
        async with World() as world:
            one, other = await world.join(), await world.join()
            await asyncio.gather(one.send_many(12), other.send())
            await asyncio.sleep(1.0)
            shown = state(one.budgets)
            assert (shown.processes, shown.store) == (2, "linked")
            assert shown.held + other.held() <= 12
            assert shown.fair >= 6

    run(main())


def test_a_process_that_leaves_gives_back_its_tokens() -> None:
    """The next process gets them at once, except those used within one window."""

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
            assert state(other.budgets).processes == 1
            await other.send_many(12)
            world.check()

    run(main())


def test_a_process_that_leaves_asks_for_nothing() -> None:
    """Its last call was just cancelled, so a waiting process gets its token at once."""
    limits = {FIVE: Limit(1, 1.0)}

    async def main() -> None:
        async with World(limits=limits) as world:
            async with SharedBudgets(LuaStore(world.network), limits=limits) as leaving:
                other = await world.join()
                permit = await leaving.acquire((FIVE,))
                urgent = asyncio.create_task(leaving.acquire((FIVE,), priority=Priority.URGENT))
                routine = asyncio.create_task(other.send(FIVE))
                await asyncio.sleep(1.0)
                urgent.cancel()
                await asyncio.wait([urgent])
                permit.unsent()
            left = now()
            await routine
            assert now() - left < 0.05

    run(main())


@pytest.mark.parametrize("down", [False, True])
def test_a_process_that_is_cancelled_closes_its_store(*, down: bool) -> None:
    """Even if the store is unavailable. No token is left, and no timer that would add one."""

    async def main() -> None:
        store = LuaStore(Network())
        budgets = SharedBudgets(store, limits=LIMITS)
        joined = asyncio.Event()

        async def use() -> None:
            async with budgets:
                await budgets.acquire((POOL,))
                store.down = down
                joined.set()
                await asyncio.sleep(60.0)

        task = asyncio.create_task(use())
        await joined.wait()
        await asyncio.sleep(LEASE + 1.0)
        assert state(budgets).free > 0
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert store.closed
        for _ in range(2):
            shown = state(budgets)
            assert (shown.store, shown.held, shown.free) == ("cut_off", 0, 0)
            await asyncio.sleep(LEASE + GRACE + 5.0)

    run(main())


class Stubborn(LuaStore):
    """A client that swallows each cancellation."""

    async def sync(self, message: bytes) -> bytes:
        """Carry a message to the server and the answer back."""
        answer = asyncio.create_task(super().sync(message))
        with suppress(asyncio.CancelledError):
            await asyncio.wait([answer])
        return await answer

    async def notices(self, process: str) -> AsyncIterator[bytes]:
        """Yield the notices that the server publishes for a process."""
        with suppress(asyncio.CancelledError):
            async for notice in super().notices(process):
                yield notice


class Lingering(LuaStore):
    """A client that takes a minute to unsubscribe."""

    async def notices(self, process: str) -> AsyncIterator[bytes]:
        """Yield the notices that the server publishes for a process."""
        try:
            async for notice in super().notices(process):
                yield notice
        finally:
            await asyncio.sleep(60.0)


def test_a_process_leaves_though_its_client_does_not_end() -> None:
    """It waits for the client about as long as for an answer."""

    async def main() -> None:
        store = Lingering(Network())
        async with SharedBudgets(store, limits=LIMITS):
            await asyncio.sleep(1.0)
        assert now() < 1.0 + 2 * ANSWER_WITHIN
        assert store.closed

    run(main())


def test_a_process_that_left_sends_no_message() -> None:
    """Even if the client of its store swallowed the cancellation of the last message."""

    async def main() -> None:
        store = Stubborn(Network(), delay=0.1)
        async with SharedBudgets(store, limits=LIMITS):
            await asyncio.sleep(RENEWAL - 0.1)
        assert store.closed
        syncs = store.syncs
        await asyncio.sleep(10 * RENEWAL)
        assert store.syncs == syncs
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_a_client_cancels_through_shared_budgets() -> None:
    """Two clients with budgets of their own share one sandbox exchange."""

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


class Recording(InProcessTransport):
    """A transport that records how many messages the store had got when each request left."""

    def __init__(self, exchange: Exchange, store: LuaStore) -> None:
        super().__init__(exchange, epoch=EPOCH)
        self.syncs: list[int] = []
        self._store = store

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Record the number of messages, and send the request."""
        self.syncs.append(self._store.syncs)
        return await super().send(request, timeout=timeout)


def test_a_permit_that_is_too_old_is_not_used() -> None:
    """The process stalled between grant and write, so it asks the store for another permit."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 1)
        loop = virtual_loop()
        stalled: list[int] = []

        def stalling_clock() -> float:
            if not stalled:
                loop.stall(5.0)
            stalled.append(one.store.syncs)
            return EPOCH + loop.time()

        async with World(limits={}) as world:
            one = await world.join()
            transport = Recording(exchange, one.store)
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


def test_shared_budgets_must_be_entered_before_use() -> None:
    """They cannot be used after their end, but can be entered again."""

    async def main() -> None:
        async with World() as world:
            store = LuaStore(world.network)
            budgets = SharedBudgets(store, limits=LIMITS, on_event=world.note_event)
            for _ in range(2):
                with pytest.raises(InvalidValueError, match="entered with 'async with'"):
                    await budgets.acquire((POOL,))
                async with budgets:
                    await budgets.acquire((POOL,))
                    await asyncio.sleep(1.0)
                    assert state(budgets).store == "linked"
            assert store.closed
            assert world.kinds == []

    run(main())


def test_shared_budgets_belong_to_one_loop() -> None:
    """They belong to one event loop, as all budgets do."""

    async def joined() -> SharedBudgets:
        budgets = SharedBudgets(LuaStore(Network()))
        async with budgets:
            await budgets.acquire((POOL,))
        return budgets

    budgets = run(joined())

    async def other() -> None:
        async with budgets:
            await budgets.acquire((POOL,))

    with pytest.raises(WrongLoopError):
        run(other())


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"keep_for_urgent": -1}, InvalidValueError, "keep_for_urgent must be at least 0"),
        ({"keep_for_urgent": 1.5}, InvalidTypeError, "keep_for_urgent must be a whole number"),
        ({"when_cut_off": "hold"}, InvalidTypeError, "when_cut_off must be FAIR_SHARE, HOLD or"),
        ({"max_in_flight": 0}, InvalidValueError, "max_in_flight must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    """The message names the argument."""

    async def main() -> None:
        with pytest.raises(error, match=words):
            SharedBudgets(LuaStore(Network()), **given)

    run(main())


@pytest.mark.parametrize("part", [0, -0.1, 1.01, float("nan")])
def test_a_share_must_be_above_0_and_at_most_1(part: float) -> None:
    """Other numbers are refused."""
    with pytest.raises(InvalidValueError, match="part must be"):
        Share(part)


def test_the_policies_show_their_names() -> None:
    """Their names are their repr."""
    assert [repr(policy) for policy in (FAIR_SHARE, HOLD)] == ["FAIR_SHARE", "HOLD"]
    assert replace(Share(0.5), part=0.25) == Share(0.25)
    assert ANSWER_WITHIN < LEASE
