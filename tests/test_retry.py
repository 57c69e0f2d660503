"""What may be sent again, and what two answers mean together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.retry import RETRY, RetryAction, RetryPolicy, merge
from htx_cancel.status import STATUS, CancelStatus, Finding
from htx_cancel.wire.codes import Meaning

findings = st.builds(Finding, st.sampled_from(Meaning))


def status(finding: Finding) -> CancelStatus:
    """Name the status of a finding."""
    return STATUS[finding.meaning][0]


def test_every_meaning_says_whether_to_send_again() -> None:
    """The table is complete; what the exchange settled, or forbids, is never sent again."""
    assert set(RETRY) == set(Meaning)
    assert {key for key in Meaning if RETRY[key] is RetryAction.STOP} == {
        Meaning.ACCEPTED,
        Meaning.FILLED,
        Meaning.CANCELED,
        Meaning.CANCELING,
        Meaning.NOT_FOUND,
        Meaning.AUTH,
        Meaning.INVALID,
        Meaning.REFUSED,
        Meaning.ENTRY_OPEN,
        Meaning.UNCLEAR,
    }


@pytest.mark.parametrize(
    ("earlier", "later", "together"),
    [
        (None, Meaning.NO_ANSWER, Meaning.NO_ANSWER),
        (Meaning.NOT_SENT, Meaning.NOT_FOUND, Meaning.NOT_FOUND),
        (Meaning.ACCEPTED, Meaning.NOT_FOUND, Meaning.ACCEPTED),
        (Meaning.NO_ANSWER, Meaning.NOT_SENT, Meaning.NO_ANSWER),
        (Meaning.BUSY, Meaning.NOT_SENT, Meaning.BUSY),
        (Meaning.NO_ANSWER, Meaning.CANCELED, Meaning.CANCELED),
        (Meaning.NO_ANSWER, Meaning.NOT_FOUND, Meaning.NOT_FOUND),
        (Meaning.NO_ANSWER, Meaning.ACCEPTED, Meaning.ACCEPTED),
        (Meaning.NO_ANSWER, Meaning.REFUSED, Meaning.REFUSED),
        (Meaning.NO_ANSWER, Meaning.RATE_LIMITED, Meaning.NO_ANSWER),
        (Meaning.FAULT, Meaning.AUTH, Meaning.FAULT),
        (Meaning.NO_ANSWER, Meaning.UNREADABLE, Meaning.UNREADABLE),
        (Meaning.BUSY, Meaning.NO_ANSWER, Meaning.NO_ANSWER),
        (Meaning.RATE_LIMITED, Meaning.BUSY, Meaning.BUSY),
    ],
)
def test_two_answers_mean_together_what_the_table_says(
    earlier: Meaning | None, later: Meaning, together: Meaning
) -> None:
    """One row a case of ``merge``."""
    before = None if earlier is None else Finding(earlier)
    assert merge(before, Finding(later)).meaning is together


@given(st.lists(findings, min_size=1, max_size=6))
def test_tries_never_add_up_to_more_than_was_said(attempt_count: list[Finding]) -> None:
    """Accepted needs a try that said so; unsent needs that no try left."""
    known = None
    for finding in attempt_count:
        known = merge(known, finding)
    assert known in attempt_count
    said = [finding.meaning for finding in attempt_count]
    assert (status(known) is CancelStatus.ACCEPTED) <= (Meaning.ACCEPTED in said)
    assert (status(known) is CancelStatus.UNSENT) == (set(said) == {Meaning.NOT_SENT})


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_pause_is_within_its_bounds(attempt_count: int, chance: float) -> None:
    """Full jitter: from nothing to the doubled first pause, never above the longest."""
    policy = RetryPolicy(backoff_initial=0.1, backoff_max=2.0)
    pause = policy.backoff(attempt_count, chance)
    assert 0 <= pause <= min(2.0, 0.1 * 2.0 ** min(attempt_count - 1, 10))


def test_a_pause_doubles_up_to_the_longest() -> None:
    """Or to a quarter of a second where the call is urgent."""
    policy = RetryPolicy(backoff_initial=0.1, backoff_max=2.0)
    assert [policy.backoff(n, 1.0) for n in (1, 2, 3, 5, 6, 99)] == [0.1, 0.2, 0.4, 1.6, 2.0, 2.0]
    assert [policy.backoff(n, 1.0, urgent=True) for n in (1, 2, 3, 99)] == [0.1, 0.2, 0.25, 0.25]
    assert policy.backoff(3, 0.5) == 0.2


def test_a_policy_that_cannot_be_followed_is_refused() -> None:
    """Counts and spans are checked when the policy is made."""
    with pytest.raises(InvalidValueError, match="max_attempts must be at least 1"):
        RetryPolicy(max_attempts=0)
    with pytest.raises(InvalidTypeError, match="max_attempts must be a whole number"):
        RetryPolicy(max_attempts=1.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="max_elapsed must be 0 or more"):
        RetryPolicy(max_elapsed=float("inf"))
    with pytest.raises(InvalidTypeError, match="backoff_max must be a number"):
        RetryPolicy(backoff_max="2")  # type: ignore[arg-type]
