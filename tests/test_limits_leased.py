"""Test the ledger of leased tokens: which may be used, and which are given back."""

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
    """Make a ledger of five tokens per second, of which ``held`` are held."""
    trips, link = RoundTrips(), Link()
    trips.floor, link.ends_at = floor, 1e9
    budget = LeasedBudget("five", Limit(calls, 1.0), trips, link)
    budget.hold(held, [], 0.0)
    return budget


def use(budget: LeasedBudget, *times: float) -> None:
    """Use a token at each of these times; each reply arrives at once."""
    for at in times:
        budget.take(at)
        budget.replied(at, at)


def test_only_held_tokens_can_be_used() -> None:
    """The limit does not count, and nothing can be used once the lease has ended."""
    budget = ledger(2)
    assert budget.room(0.0) == 2
    budget.link.ends_at = 3.0
    assert (budget.room(2.9), budget.room(3.0)) == (2, 0)
    use(budget, 2.9)
    assert budget.next_at(2.9) < budget.next_at(3.0) == float("inf")


def test_a_lent_token_rests_until_it_is_free() -> None:
    """The floor of the round trip is not subtracted, because another process used it."""
    budget = ledger(0)
    budget.hold(3, [0.0, 0.4, 0.7], 10.0)
    assert [budget.room(at) for at in (10.0, 10.39, 10.41, 10.69, 10.71)] == [1, 1, 2, 2, 3]


def test_a_token_that_changes_process_rests_in_full() -> None:
    """For the process that used it, it is free one round trip sooner."""
    budget = ledger(1)
    use(budget, 10.0)
    sooner = 10.0 + REST - FLOOR + 1e-9
    assert budget.room(sooner) == 1
    assert budget.give(1, sooner) == [10.0 + REST]
    assert budget.held == budget.room(sooner) == 0


def test_the_idle_token_that_rests_longest_elsewhere_is_used_first() -> None:
    """The other one can be given without a rest."""
    budget = ledger(2)
    use(budget, 10.0)
    sooner = 10.0 + REST - FLOOR + 1e-9
    assert budget.room(sooner) == 2
    budget.take(sooner)
    assert budget.give(2, sooner) == [sooner]
    budget = ledger(2)
    use(budget, 10.0, 10.05)
    assert budget.room(sooner + 0.05) == 2
    budget.take(sooner + 0.05)
    assert budget.give(2, sooner + 0.05) == [10.0 + REST]


def test_a_token_that_was_lost_is_not_given() -> None:
    """The book knows when it is free; a given token rests at least as long."""
    for soonest in (True, False):
        budget = ledger(3)
        use(budget, 10.0, 10.2, 10.4)
        budget.hold(1, [], 10.5)
        assert budget.give(3, 10.6, soonest=soonest) == [10.4 + REST]
        assert budget.held == 0
        assert budget.give(1, 10.6, soonest=soonest) == []


def test_a_lost_token_does_not_count_as_idle() -> None:
    """The given token still rests in full for other processes."""
    budget = ledger(2)
    use(budget, 10.0, 10.01)
    lost = ledger(2)
    use(lost, 10.0, 10.01)
    lost.hold(1, [], 10.1)
    assert (lost.idle, lost.soonest(10.2)) == (0, 10.0 + REST - FLOOR)
    now = 10.01 + REST - FLOOR + 1e-9
    assert budget.room(now) == 2
    budget.hold(1, [], now)
    assert budget.give(2, now) == [10.01 + REST]
    assert budget.room(now) == 0
    emptied = ledger(2)
    use(emptied, 10.0, 10.01)
    assert emptied.room(now) == 2
    emptied.hold(0, [], now)
    assert emptied.give(2, now) == []


def test_a_token_in_flight_is_not_given_in_place_of_a_lost_one() -> None:
    """The call uses the token that is left."""
    budget = ledger(2)
    use(budget, 10.0)
    budget.take(10.1)
    budget.hold(1, [], 10.2)
    assert budget.give(1, 10.3) == []


def test_the_soonest_token_does_not_depend_on_a_hold() -> None:
    """A token of another process would be held, too."""
    budget = ledger(2)
    use(budget, 10.0)
    assert budget.soonest(10.1) == 10.1
    use(budget, 10.2)
    budget.held_until = 99.0
    assert budget.soonest(10.3) == 10.0 + REST - FLOOR
    assert budget.next_at(10.3) == 99.0
    assert budget.soonest(12.0) == 12.0


def test_the_soonest_token_can_be_one_that_was_just_lent() -> None:
    """It is free when the store said."""
    budget = ledger(0)
    budget.hold(2, [0.5, 0.7], 10.0)
    assert budget.soonest(10.1) == pytest.approx(10.5)


def test_a_token_that_has_rested_in_full_is_free_at_once_elsewhere() -> None:
    """Its rest is not remembered."""
    budget = ledger(2)
    use(budget, 10.0)
    budget.room(10.0 + REST - FLOOR + 1e-9)
    assert budget.give(2, 11.5) == [11.5] * 2
    budget.hold(2, [0.0, 0.0], 12.0)
    assert budget.give(2, 12.0) == [12.0, 12.0]


def test_no_token_in_flight_is_given() -> None:
    """No token is given twice."""
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
    """For an urgent call elsewhere, the soonest tokens go."""
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
def test_idle_tokens_can_be_kept(*, soonest: bool) -> None:
    """The other idle tokens are given first, then the cooling ones."""
    budget = ledger(3)
    use(budget, 10.0)
    assert budget.give(3, 10.5, keep=1, soonest=soonest) == [10.5, 10.0 + REST]
    assert budget.held == 1
    assert budget.give(1, 10.5, keep=1, soonest=soonest) == []
    assert budget.give(1, 10.5, soonest=soonest) == [10.5]


def test_uses_of_tokens_that_change_process_are_not_foreign() -> None:
    """Within the window, another process used the lent tokens, and this one the given tokens."""
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


def test_changes_older_than_a_window_are_forgotten() -> None:
    """Neither lent nor given tokens count once their window is over."""
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


def test_more_use_than_all_processes_can_have_had_is_foreign() -> None:
    """Four of six tokens are held: two may be used elsewhere, and a third use is foreign."""
    budget = ledger(4, calls=6)
    mark = budget.returned
    use(budget, 10.0)
    budget.charge(1 + 2, mark, 10.0, 10.1)
    assert not budget.foreign
    budget.charge(1 + 3, mark, 10.0, 10.1)
    assert len(budget.foreign) == 1


def test_given_tokens_may_have_been_used_elsewhere_at_once() -> None:
    """Even if they have been held here for long."""
    budget = ledger(5)
    budget.hold(5, [], 10.0)
    budget.give(2, 10.1)
    mark = budget.returned
    use(budget, 10.2)
    budget.charge(1 + 2, mark, 10.2, 10.3)
    assert not budget.foreign


def test_more_held_tokens_than_the_limit_has_are_no_foreign_use() -> None:
    """The limit has just shrunk."""
    budget = ledger(6, calls=5)
    budget.settle(10.0)
    mark = budget.returned
    use(budget, 10.0)
    budget.charge(1, mark, 10.0, 10.1)
    assert not budget.foreign


def test_tokens_held_elsewhere_within_a_window_may_have_been_used_there() -> None:
    """Even if they are held here by now."""
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


def test_a_share_is_first_limited_to_the_held_tokens() -> None:
    """Later the whole share can be used, and counts as held, so that the store learns of it."""
    budget = ledger(1, calls=8)
    budget.use_share(0.5, held_only=True)
    assert (budget.room(10.0), budget.held) == (1, 1)
    budget.use_share(0.5)
    assert (budget.room(10.0), budget.held) == (4, 4)
    budget.use_share(None)
    assert budget.room(10.0) == 4


def test_a_larger_holding_than_the_share_is_still_held() -> None:
    """The tokens beyond the share stay held, but are not used."""
    budget = ledger(5)
    budget.use_share(0.5)
    assert (budget.room(10.0), budget.held) == (2, 5)


def test_a_share_below_one_token_rests_longer() -> None:
    """Half of one token per second is one token in two seconds."""
    budget = ledger(1, floor=0.0, calls=1)
    budget.use_share(0.5)
    use(budget, 10.0)
    assert [budget.room(10.0 + at) for at in (1.9, 2.0 + MARGIN)] == [0, 1]
    budget.use_share(None)
    use(budget, 20.0)
    assert budget.room(20.0 + REST) == 1


def test_expected_slots_include_tokens_to_count_on() -> None:
    """They include at least one token, whatever the reserve is."""
    assert len(ledger(5).expected_slots(10.0)) == 5
    budget = ledger(1)
    assert len(budget.expected_slots(10.0)) == 1
    budget.fair = 3
    assert budget.expected_slots(10.0) == [10.0] * 3
    assert len(budget.slots(10.0)) == 1
    nothing = ledger(0)
    assert (nothing.slots(10.0), nothing.expected_slots(10.0)) == ([], [10.0])
    nothing.reserve = 3
    assert len(nothing.expected_slots(10.0)) == 1
    assert len(nothing.expected_slots(10.0, urgent=True)) == 4


def test_an_urgent_call_may_use_the_reserve() -> None:
    """Other calls leave it, as without a store."""
    budget = ledger(2)
    budget.reserve = 2
    assert (budget.room(10.0), budget.room(10.0, urgent=True)) == (0, 2)


def test_the_limit_of_the_store_does_not_change_the_held_tokens() -> None:
    """Only the calls and the window change."""
    budget = ledger(3)
    budget.set_limit(Limit(9, 2.0))
    assert (budget.calls, budget.seconds, budget.room(10.0)) == (9, 2.0, 3)


@pytest.mark.parametrize("seed", range(6))
def test_processes_near_to_and_far_from_the_exchange_keep_the_limit(seed: int) -> None:
    """A near process does not use a token of a far process before its window is over."""

    async def main() -> None:
        chance = random.Random(seed)
        async with World() as world:
            far = await world.join(store=LuaStore(world.network, delay=0.02))
            near = await world.join()

            async def keep_busy(process: Process, trip: float) -> None:
                while now() < 60.0:
                    sends = (process.send(trip=trip) for _ in range(chance.randint(1, 12)))
                    await asyncio.gather(*sends)
                    await asyncio.sleep(chance.choice((0.0, 0.5, 3.0)))

            await asyncio.gather(keep_busy(far, 0.2), keep_busy(near, 0.002))
            world.check(POOL)

    run(main())
