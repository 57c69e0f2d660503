"""What one request carries, and what its attempts said so far."""

from htx_cancel.batch import CancelAll, CancelBatch
from htx_cancel.endpoints import coin_m_swap
from htx_cancel.outcome import CancelStatus, Finding
from htx_cancel.retry import RetryAction
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import AttemptResult


def batch(*ids: str) -> CancelBatch:
    """Return a batch that was never tried."""
    return CancelBatch(coin_m_swap.ORDERS, "BTC-USD", "order_id", ids, 0)


def test_only_what_is_not_settled_is_sent_again() -> None:
    """Attempts count the requests that carried an id."""
    attempts = batch("1", "2", "3")
    first = {"1": Finding(Meaning.ACCEPTED), "2": Finding(Meaning.BUSY, 1004)}
    assert (
        attempts.take(AttemptResult(Finding(Meaning.ACCEPTED), None, first)) is RetryAction.BACKOFF
    )
    assert attempts.pending == ["2", "3"]
    assert attempts.take(AttemptResult(Finding(Meaning.NOT_SENT))) is RetryAction.BACKOFF
    second = {"2": Finding(Meaning.CANCELED, 1071), "3": Finding(Meaning.NOT_FOUND, 1061)}
    assert attempts.take(AttemptResult(Finding(Meaning.ACCEPTED), None, second)) is RetryAction.STOP
    assert [(it.order_id, it.status, it.attempts) for it in attempts.results()] == [
        ("1", CancelStatus.ACCEPTED, 1),
        ("2", CancelStatus.CLOSED, 2),
        ("3", CancelStatus.NOT_FOUND, 2),
    ]


def test_a_call_that_names_no_ids_settles_as_a_whole() -> None:
    """What any try listed is in the results."""
    attempts = CancelAll(coin_m_swap.ALL_TRAILING_ORDERS, b"{}")
    assert attempts.take(AttemptResult(Finding(Meaning.UNREADABLE))) is RetryAction.BACKOFF
    listed = {"7": Finding(Meaning.ACCEPTED)}
    assert attempts.take(AttemptResult(Finding(Meaning.ACCEPTED), None, listed)) is RetryAction.STOP
    assert (attempts.call().status, attempts.call().attempts) == (CancelStatus.ACCEPTED, 2)
    assert [(it.order_id, it.attempts) for it in attempts.results()] == [("7", 2)]


def test_a_batch_with_a_failure_and_a_refusal_for_the_rate_pauses() -> None:
    """It is counted, whichever of its ids failed first."""
    failed = {"1": Finding(Meaning.RATE_LIMITED), "2": Finding(Meaning.BUSY)}
    for ids in (("1", "2"), ("2", "1")):
        answer = AttemptResult(Finding(Meaning.ACCEPTED), None, failed)
        assert batch(*ids).take(answer) is RetryAction.BACKOFF
