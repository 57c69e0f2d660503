"""The ledger of tokens that a process holds on a lease: what it may use, and what it gives."""

import asyncio
import random

import pytest
from lua_store import LuaStore
from test_limits_shared import POOL, Process, World
from virtualtime import now, run

from htx_cancel.endpoints import Limit
from htx_cancel.limits.budget import MARGIN
from htx_cancel.limits.leased import LeasedBudget, Link
from htx_cancel.limits.round_trip import RoundTrips

REST = 1.0 + MARGIN  #: of a token that changes process
FLOOR = 0.1  #: of the round trip


def ledger(held: int = 5, *, floor: float = FLOOR, calls: int = 5) -> LeasedBudget:
    """Make a ledger of five tokens a second, so many of them here."""
    trips, link = RoundTrips(), Link()
    trips.floor, link.ends_at = floor, 1e9
    budget = LeasedBudget("five", Limit(calls, 1.0), trips, link)
    budget.hold(held, [], 0.0)
    return budget


def use(budget: LeasedBudget, *times: float) -> None:
    """Use a token at each of these times, answered at once."""
    for at in times:
        budget.take(at)
        budget.replied(at, at)


def test_what_is_held_is_what_there_is() -> None:
    """Not the limit; and nothing once the lease has ended."""
    budget = ledger(2)
    assert budget.room(0.0) == 2
    budget.link.ends_at = 3.0
    assert (budget.room(2.9), budget.room(3.0)) == (2, 0)
    assert budget.next_at(3.0) == float("inf")


def test_a_lent_token_rests_until_it_is_free() -> None:
    """Without the credit of a round trip: another process used it."""
    budget = ledger(0)
    budget.hold(3, [0.0, 0.4, 0.7], 10.0)
    assert [budget.room(at) for at in (10.0, 10.39, 10.41, 10.69, 10.71)] == [1, 1, 2, 2, 3]


def test_a_token_that_changes_process_rests_in_full() -> None:
    """For its own process it is free a round trip sooner."""
    budget = ledger(1)
    use(budget, 10.0)
    sooner = 10.0 + REST - FLOOR + 1e-9
    assert budget.room(sooner) == 1
    assert budget.give(1, sooner) == [10.0 + REST]
    assert budget.held == budget.room(sooner) == 0


def test_of_idle_tokens_the_one_is_used_that_others_must_wait_for() -> None:
    """The other one goes at once."""
    budget = ledger(2)
    use(budget, 10.0)
    sooner = 10.0 + REST - FLOOR + 1e-9
    assert budget.room(sooner) == 2
    budget.take(sooner)
    assert budget.give(2, sooner) == [sooner]


def test_a_token_that_was_lost_is_not_given() -> None:
    """The book knows when it is free; what is given rests as long as any that was used here."""
    for soonest in (True, False):
        budget = ledger(3)
        use(budget, 10.0, 10.2, 10.4)
        budget.hold(1, [], 10.5)
        assert budget.give(3, 10.6, soonest=soonest) == [10.4 + REST]
        assert budget.held == 0
        assert budget.give(1, 10.6, soonest=soonest) == []


def test_nor_is_one_that_was_lost_idle() -> None:
    """It could be used here sooner than elsewhere, and that is the time that counts."""
    budget = ledger(2)
    use(budget, 10.0, 10.01)
    now = 10.01 + REST - FLOOR + 1e-9
    assert budget.room(now) == 2
    budget.hold(1, [], now)
    assert budget.give(2, now) == [10.01 + REST]


def test_nor_is_one_in_its_place_while_a_call_is_under_way() -> None:
    """The call has the token that is left."""
    budget = ledger(2)
    use(budget, 10.0)
    budget.take(10.1)
    budget.hold(1, [], 10.2)
    assert budget.give(1, 10.3) == []


def test_when_the_soonest_token_is_free_does_not_depend_on_a_hold() -> None:
    """Nor on the lease: another's would be of no more use."""
    budget = ledger(2)
    use(budget, 10.0)
    assert budget.soonest(10.1) == 10.1
    use(budget, 10.2)
    budget.held_until = 99.0
    assert budget.soonest(10.3) == 10.0 + REST - FLOOR
    assert budget.next_at(10.3) == 99.0


def test_a_token_that_has_rested_in_full_goes_at_once() -> None:
    """And is not remembered."""
    budget = ledger(2)
    use(budget, 10.0)
    budget.room(10.0 + REST - FLOOR + 1e-9)
    assert budget.give(2, 10.0 + REST) == [10.0 + REST] * 2
    budget.hold(2, [0.0, 0.0], 12.0)
    assert budget.give(2, 12.0) == [12.0, 12.0]


def test_none_that_is_under_way_is_given() -> None:
    """Nor is one given twice."""
    budget = ledger(3)
    budget.take(10.0)
    assert budget.give(5, 10.0) == [10.0, 10.0]
    assert (budget.held, budget.used, budget.idle) == (1, 1, 0)
    assert budget.give(1, 10.0) == []
    budget.replied(10.0, 10.2)
    assert budget.give(1, 10.3) == [10.2 + REST]
    assert (budget.held, budget.used) == (0, 0)


@pytest.mark.parametrize("gave_up", [False, True])
def test_idle_tokens_go_first_and_then_those_that_rest_longest(*, gave_up: bool) -> None:
    """For an urgent call elsewhere the soonest go."""
    for soonest, expected in ((False, [10.5, 10.3 + REST]), (True, [10.5, 10.1 + REST])):
        budget = ledger(4)
        for at in (10.1, 10.2, 10.3):
            budget.take(at)
            if gave_up and at == 10.3:
                budget.gave_up(at, at)
            else:
                budget.replied(at, at)
        assert budget.give(2, 10.5, soonest=soonest) == expected
        assert (budget.held, budget.room(10.5), budget.room(12.0)) == (2, 0, 2)


@pytest.mark.parametrize("soonest", [False, True])
def test_some_idle_tokens_may_be_kept(*, soonest: bool) -> None:
    """The others are given first, and then those that rest."""
    budget = ledger(3)
    use(budget, 10.0)
    assert budget.give(3, 10.5, keep=1, soonest=soonest) == [10.5, 10.0 + REST]
    assert budget.held == 1
    assert budget.give(1, 10.5, keep=1, soonest=soonest) == []
    assert budget.give(1, 10.5, soonest=soonest) == [10.5]


def test_tokens_that_change_hands_are_nobody_s_foreign_use() -> None:
    """Lent ones were used by another process, given ones by this one, within the window."""
    budget = ledger(0)
    budget.hold(5, [0.5, 0.5, 0.6], 10.0)
    mark = budget.returned
    budget.take(10.0)
    budget.replied(10.0, 10.1)
    budget.charge(4, mark, 10.0, 10.1)
    assert not budget.foreign
    budget.give(2, 10.1)
    use(budget, 10.2)
    budget.charge(5, budget.returned, 10.2, 10.3)
    assert not budget.foreign


def test_what_changed_hands_long_ago_is_forgotten() -> None:
    """Neither what was lent nor what was given is counted once its window is over."""
    lent, gave = ledger(0), ledger(5)
    lent.hold(5, [0.5, 0.6, 0.7], 10.0)
    use(gave, 10.0, 10.1)
    gave.give(5, 10.2)
    gave.hold(5, [], 10.3)
    for budget in (lent, gave):
        assert budget.room(14.0) == 5
        mark = budget.returned
        use(budget, 14.0)
        budget.charge(1, mark, 14.0, 14.1)
        assert not budget.foreign
        budget.charge(2, mark, 14.0, 14.1)
        assert len(budget.foreign) == 1


def test_what_neither_we_nor_others_can_have_used_is_strangers() -> None:
    """Of six a second four are here: two may be used elsewhere, and three were."""
    budget = ledger(4, calls=6)
    mark = budget.returned
    use(budget, 10.0)
    budget.charge(1 + 2, mark, 10.0, 10.1)
    assert not budget.foreign
    budget.charge(1 + 3, mark, 10.0, 10.1)
    assert len(budget.foreign) == 1


def test_tokens_that_others_held_within_a_window_may_be_what_they_used() -> None:
    """Though they are here by now."""
    budget = ledger(1)
    budget.hold(5, [0.0] * 4, 10.0)
    mark = budget.returned
    use(budget, 10.5)
    budget.charge(5, mark, 10.5, 10.6)
    assert not budget.foreign
    budget.settle(12.5)
    mark = budget.returned
    use(budget, 12.5)
    budget.charge(5, mark, 12.5, 12.6)
    assert len(budget.foreign) == 4


def test_a_share_is_used_as_far_as_it_was_held_and_then_all_of_it() -> None:
    """What is used of it beyond that counts as held, for the store to know."""
    budget = ledger(1, calls=8)
    budget.use_share(0.5, held_only=True)
    assert (budget.room(10.0), budget.held) == (1, 1)
    budget.use_share(0.5)
    assert (budget.room(10.0), budget.held) == (4, 4)
    budget.use_share(None)
    assert budget.room(10.0) == 4


def test_a_larger_holding_than_the_share_is_still_held() -> None:
    """But not used."""
    budget = ledger(5)
    budget.use_share(0.4)
    assert (budget.room(10.0), budget.held) == (2, 5)


def test_a_share_below_one_token_rests_longer() -> None:
    """Half a token of one a second is one in two seconds."""
    budget = ledger(1, floor=0.0, calls=1)
    budget.use_share(0.5)
    use(budget, 10.0)
    assert [budget.room(10.0 + at) for at in (1.9, 2.0 + MARGIN)] == [0, 1]
    budget.use_share(None)
    use(budget, 20.0)
    assert budget.room(20.0 + REST) == 1


def test_tokens_due_are_expected_though_they_are_not_here() -> None:
    """At least one, whatever is reserved."""
    budget = ledger(1)
    assert len(budget.expected_slots(10.0)) == 1
    budget.fair = 3
    assert budget.expected_slots(10.0) == [10.0] * 3
    assert len(budget.slots(10.0)) == 1
    nothing = ledger(0)
    assert (nothing.slots(10.0), nothing.expected_slots(10.0)) == ([], [10.0])


def test_the_store_s_limit_leaves_what_is_held() -> None:
    """Only what it is of changes."""
    budget = ledger(3)
    budget.set_limit(Limit(9, 2.0))
    assert (budget.calls, budget.seconds, budget.room(10.0)) == (9, 2.0, 3)


@pytest.mark.parametrize("seed", range(6))
def test_processes_near_and_far_keep_the_limit_together(seed: int) -> None:
    """A token of one that is far is not used by one that is near before its window is over."""

    async def main() -> None:
        chance = random.Random(seed)
        async with World() as world:
            far = await world.join(store=LuaStore(world.network, delay=0.02))
            near = await world.join()

            async def keep_busy(it: Process, trip: float) -> None:
                while now() < 60.0:
                    sends = (it.send(trip=trip) for _ in range(chance.randint(1, 12)))
                    await asyncio.gather(*sends)
                    await asyncio.sleep(chance.choice((0.0, 0.5, 3.0)))

            await asyncio.gather(keep_busy(far, 0.2), keep_busy(near, 0.002))
            world.check(POOL)

    run(main())
