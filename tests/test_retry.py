"""Which answers are retried, and what two answers mean together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.retry import RETRY, RetryAction, RetryPolicy, merge
from htx_cancel.status import STATUS, CancelStatus, Finding
from htx_cancel.wire.codes import Meaning

findings = st.builds(Finding, st.sampled_from(Meaning))


def status(finding: Finding) -> CancelStatus:
    """Return the status of a finding."""
    return STATUS[finding.meaning][0]


def test_every_meaning_has_a_retry_action() -> None:
    """The table is complete; final answers and refusals of an order are not retried."""
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
    """Each case is a row of the table in the docstring of ``merge``."""
    before = None if earlier is None else Finding(earlier)
    assert merge(before, Finding(later)).meaning is together


@given(st.lists(findings, min_size=1, max_size=6))
def test_attempts_together_never_mean_more_than_one_of_them(attempts: list[Finding]) -> None:
    """Accepted needs an accepted attempt; unsent needs that no attempt was sent."""
    known = None
    for finding in attempts:
        known = merge(known, finding)
    assert known in attempts
    meanings = [finding.meaning for finding in attempts]
    assert (status(known) is CancelStatus.ACCEPTED) <= (Meaning.ACCEPTED in meanings)
    assert (status(known) is CancelStatus.UNSENT) == (set(meanings) == {Meaning.NOT_SENT})


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_backoff_is_within_its_bounds(failures: int, chance: float) -> None:
    """Full jitter: from 0 to the doubled first backoff, never above the longest."""
    policy = RetryPolicy(backoff_initial=0.1, backoff_max=2.0)
    backoff = policy.backoff(failures, chance)
    assert 0 <= backoff <= min(2.0, 0.1 * 2.0 ** min(failures - 1, 10))


def test_a_backoff_doubles_up_to_the_longest() -> None:
    """An urgent call waits at most a quarter of a second."""
    policy = RetryPolicy(backoff_initial=0.1, backoff_max=2.0)
    assert [policy.backoff(n, 1.0) for n in (1, 2, 3, 5, 6, 99)] == [0.1, 0.2, 0.4, 1.6, 2.0, 2.0]
    assert [policy.backoff(n, 1.0, urgent=True) for n in (1, 2, 3, 99)] == [0.1, 0.2, 0.25, 0.25]
    assert policy.backoff(3, 0.5) == 0.2
    assert RetryPolicy(backoff_max=0.1).backoff(3, 1.0, urgent=True) == 0.1


def test_an_invalid_policy_is_refused() -> None:
    """All values are checked when the policy is made."""
    with pytest.raises(InvalidValueError, match="max_attempts must be at least 1"):
        RetryPolicy(max_attempts=0)
    with pytest.raises(InvalidTypeError, match="max_attempts must be a whole number"):
        RetryPolicy(max_attempts=1.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="max_elapsed must be 0 or more"):
        RetryPolicy(max_elapsed=float("inf"))
    with pytest.raises(InvalidValueError, match="backoff_initial must be 0 or more"):
        RetryPolicy(backoff_initial=-1.0)
    with pytest.raises(InvalidTypeError, match="backoff_max must be a number"):
        RetryPolicy(backoff_max="2")  # type: ignore[arg-type]
