"""Test which tokens a process gives back, and when it sends the store a message."""

from math import inf

import pytest

from htx_cancel import Limit
from htx_cancel.limits.budget import MARGIN
from htx_cancel.limits.leased import LeasedBudget, Link
from htx_cancel.limits.loan import Loan, Needs
from htx_cancel.limits.round_trip import RoundTrips
from htx_cancel.limits.store import MICROSECONDS, Lent, Want

NOW = 100.0
WINDOW = 3.0
IDLE = Needs((0, 0, 0), 0, 0, {})


def loan(idle: int, used: tuple[float, ...] = ()) -> Loan:
    """Make a loan of idle tokens, and of tokens used that many seconds ago."""
    link = Link()
    link.ends_at = NOW + 2.0
    found = Loan(LeasedBudget("pool", Limit(10, WINDOW), RoundTrips(), link))
    found.budget.hold(idle + len(used), [], NOW)
    for ago in sorted(used, reverse=True):
        found.budget.take(NOW - ago)
        found.budget.replied(NOW - ago, NOW - ago)
    return found


def is_due(found: Loan, needs: Needs) -> bool:
    """Return whether the store should get a message when calls have these needs."""
    found.needs = needs
    return found.is_due(NOW)


def want(found: Loan, needs: Needs, accompanying: int = 0) -> Want:
    """Return what the next message says when calls have these needs."""
    found.needs = needs
    return found.want(accompanying, NOW)


def given(found: Loan, needs: Needs, accompanying: int = 0) -> list[float]:
    """Return for each token that the next message gives back the seconds until it is free."""
    return [at / MICROSECONDS for at in want(found, needs, accompanying).given]


def answer(*, held: int, give: int = 0, hold: float = 0.0, calls: int = 10) -> Lent:
    """Make the store's answer: tokens held, tokens to give, seconds to hold, and the limit."""
    window, hold = round(WINDOW * MICROSECONDS), round(hold * MICROSECONDS)
    return Lent("pool", calls, window, held, [], give, hold, held, others=False)


def rest(ago: float) -> object:
    """Return in how many seconds a token is free that was used ``ago`` seconds ago."""
    return pytest.approx(WINDOW + MARGIN - ago, abs=1e-5)


COMPOSITE = Needs((0, 2, 0), 2, 2, {"five": 3})
URGENT = Needs((2, 0, 0), 0, 0, {})


@pytest.mark.parametrize("needs", [COMPOSITE, URGENT])
def test_idle_tokens_are_kept_for_calls_here_that_need_them_soon(needs: Needs) -> None:
    """The store gets one of three idle tokens, and the cooling ones; then none is left to give."""
    found = loan(3, (1.0, 2.0))
    found.recall(2, urgent=False)
    assert is_due(found, needs)
    assert given(found, needs) == [0.0, rest(1.0)]
    found.recall(9, urgent=False)
    assert given(found, needs) == [rest(2.0)]
    found.urgent_told = 2
    assert not is_due(found, needs)


@pytest.mark.parametrize("needs", [COMPOSITE, URGENT])
def test_an_urgent_call_elsewhere_gets_the_soonest_tokens(needs: Needs) -> None:
    """Even if calls here need them."""
    found = loan(2, (1.0, 2.0))
    found.recall(3, urgent=True)
    assert is_due(found, needs)
    assert given(found, needs) == [0.0, 0.0, rest(2.0)]


def test_a_routine_recall_after_an_urgent_one_is_not_urgent() -> None:
    """Once the tokens of the urgent recall are given, idle ones are kept for urgent calls here."""
    found = loan(3)
    found.recall(1, urgent=True)
    assert given(found, URGENT) == [0.0]
    found.recall(2, urgent=False)
    assert given(found, URGENT) == []


def test_tokens_recalled_for_an_urgent_call_are_owed_until_they_are_given() -> None:
    """Those of a routine recall only until the next answer, which says what to give."""
    found = loan(1)
    for urgent, owed in ((False, 0), (True, 1)):
        found.budget.take(NOW)
        found.recall(1, urgent=urgent)
        assert given(found, IDLE) == []
        found.take(answer(held=1), NOW)
        assert found.owed == owed
        found.budget.unsent(NOW)
    found.take(answer(held=1, give=3), NOW)
    assert given(found, URGENT) == [0.0]


def test_an_answer_recalls_tokens_for_routine_calls() -> None:
    """Even if an urgent recall came before it, once its tokens are given."""
    found = loan(4)
    found.recall(1, urgent=True)
    assert given(found, IDLE) == [0.0]
    found.take(answer(held=3, give=2), NOW)
    assert given(found, URGENT) == [0.0]


def test_a_lost_token_is_noticed_even_if_another_one_was_lent() -> None:
    """The count of held tokens is the same."""
    found = loan(2)
    want(found, IDLE)
    assert found.take(answer(held=2), NOW) == (False, False)
    lent = Lent("pool", 10, 3 * MICROSECONDS, 2, [0], 0, 0, 2, others=False)
    assert found.take(lent, NOW) == (True, False)


def test_a_second_recall_does_not_replace_the_first() -> None:
    """The larger count, the urgency and the tokens to fetch all outlast it."""
    found = loan(3)
    want(found, IDLE)
    found.recall(2, urgent=True)
    found.recall(1, urgent=False)
    found.take(answer(held=3), NOW)
    assert given(found, URGENT) == [0.0, 0.0]
    want(found, IDLE)
    found.recall(2, urgent=False)
    found.recall(1, urgent=False)
    found.take(answer(held=1), NOW)
    assert found.owed == 2
    found = loan(0)
    found.recall(0, urgent=False)
    found.recall(1, urgent=False)
    assert is_due(found, IDLE)


def test_a_recall_of_tokens_that_cannot_be_given_is_no_reason_for_a_message() -> None:
    """One token was lost, and the other one is in flight."""
    found = loan(1, (1.0,))
    found.budget.take(NOW)
    found.budget.hold(1, [], NOW)
    found.recall(1, urgent=True)
    assert not is_due(found, IDLE)


def test_a_lost_token_does_not_count_as_used() -> None:
    """The store is told of held tokens only."""
    found = loan(2, (1.0,))
    for _ in range(2):
        found.budget.take(NOW)
    found.budget.hold(1, [], NOW)
    told = want(found, IDLE)
    assert (told.claim, told.used, told.in_flight) == (1, 1, 1)


def test_accompanying_tokens_are_the_soonest_except_those_kept() -> None:
    """Owed tokens count towards the accompanying ones."""
    found = loan(3, (1.0, 2.0))
    told = want(found, COMPOSITE, 3)
    assert [at / MICROSECONDS for at in told.given] == [0.0, rest(2.0), rest(1.0)]
    assert (told.composite, told.scarcer, told.accompanying) == (2, {"five": 3}, 3)
    assert found.given == 3
    found = loan(3, (1.0, 2.0))
    found.recall(2, urgent=False)
    assert given(found, COMPOSITE, 2) == [0.0, rest(1.0)]


@pytest.mark.parametrize("waiting", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_idle_tokens_that_only_others_need_are_given(waiting: tuple[int, int, int]) -> None:
    """They are given if other processes wait and no call waits here."""
    found = loan(2, (1.0,))
    assert not is_due(found, IDLE)
    found.others_wait = True
    assert is_due(found, IDLE)
    assert given(found, Needs(waiting, 0, 0, {})) == []
    assert given(found, IDLE) == [0.0, 0.0]
    assert not is_due(found, IDLE)


def test_a_token_that_only_others_need_is_given_when_it_has_rested() -> None:
    """The next message is due at that time, and not before."""
    found = loan(0, (1.0,))
    assert found.due_at(NOW) == inf
    found.others_wait = True
    free_at = found.due_at(NOW)
    assert free_at - NOW == rest(1.0)
    assert not is_due(found, IDLE)
    assert found.is_due(free_at)
    found.needs = Needs((0, 1, 0), 0, 0, {})
    assert found.due_at(NOW) == inf


def test_owed_tokens_are_given_before_those_that_only_others_need() -> None:
    """The next message gives the others."""
    found = loan(3)
    found.others_wait = True
    found.recall(1, urgent=False)
    assert given(found, IDLE) == [0.0]
    assert is_due(found, IDLE)
    assert given(found, IDLE) == [0.0, 0.0]


def test_the_store_is_told_of_needs_once() -> None:
    """It learns of a need for more tokens than it knows, and of urgent calls without a token."""
    found = loan(1, (1.0,))
    few, more = Needs((0, 1, 0), 0, 0, {}), Needs((0, 2, 0), 0, 0, {})
    assert not is_due(found, few)
    assert is_due(found, more)
    want(found, more)
    assert not is_due(found, more)
    found = loan(0, (1.0, 2.0))
    urgent = Needs((1, 0, 0), 0, 0, {})
    assert is_due(found, urgent)
    assert want(found, urgent).pressing == 1
    assert not is_due(found, urgent)
    assert want(found, urgent).pressing == 0


def test_an_urgent_call_is_news_even_if_no_more_tokens_are_needed() -> None:
    """It takes the place of a routine call that the store knows."""
    found = loan(0, (1.0,))
    want(found, Needs((0, 2, 0), 0, 0, {}))
    assert is_due(found, Needs((1, 1, 0), 0, 0, {}))


def test_an_urgent_call_that_has_a_token_is_no_news() -> None:
    """The call leaves at once, so the store need not know."""
    assert not is_due(loan(1), Needs((1, 0, 0), 0, 0, {}))


def test_a_recall_since_the_last_message_outlives_its_answer() -> None:
    """The answer left the store before the recall."""
    found = loan(3)
    want(found, IDLE)
    found.recall(2, urgent=False)
    found.take(answer(held=3), NOW)
    assert found.owed == 2
    want(found, IDLE)
    found.take(answer(held=1), NOW)
    assert found.owed == 0


def test_a_hold_that_the_store_knows_is_not_sent_back() -> None:
    """A slow answer prolongs the hold by its delay, and a faster one does not make that news."""
    found = loan(1)
    for seconds in (1.0, 0.9):
        found.take(answer(held=1, hold=seconds), NOW)
        assert found.budget.held_until == NOW + 1.0
        assert not is_due(found, IDLE)
        assert want(found, IDLE).hold == 0
    found.budget.held_until = NOW + 2.0
    assert is_due(found, IDLE)
    assert want(found, IDLE).hold == 2 * MICROSECONDS


def test_a_hold_that_is_over_is_no_news() -> None:
    """The store never knew it."""
    found = loan(1)
    found.budget.held_until = NOW - 0.1
    assert not is_due(found, IDLE)


def test_a_limit_that_replies_taught_is_news() -> None:
    """Until the store states the same limit."""
    found = loan(1)
    assert not want(found, IDLE).taught
    found.take(answer(held=1), NOW)
    found.budget.set_limit(Limit(20, WINDOW))
    assert is_due(found, IDLE)
    assert want(found, IDLE).taught
    assert found.take(answer(held=1, calls=20), NOW) == (False, False)
    assert not is_due(found, IDLE)
