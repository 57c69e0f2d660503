"""What became of every id."""

import pytest

from htx_cancel.errors import Meaning
from htx_cancel.outcome import (
    STATUS,
    CancelStatus,
    CloseReason,
    Finding,
    OrderResult,
    OrderState,
    Outcome,
    Source,
    Tally,
    call_result,
    order_result,
)

SOURCE = Source("swap_cancel", "BTC-USD", "order_id")


def outcome() -> Outcome:
    """Two batches, put in reverse."""
    tally = Tally(2)
    tally.put(1, (order_result("3", Finding(Meaning.FILLED, 1063, "executed"), 1),))
    tally.put(
        0,
        (
            order_result("2", Finding(Meaning.ACCEPTED), 1),
            order_result("1", Finding(Meaning.NOT_SENT, None, "late"), 0),
        ),
    )
    return tally.outcome(SOURCE)


def test_results_stand_in_the_order_of_the_batches() -> None:
    """Batches settle in any order; their ids keep theirs."""
    assert [result.order_id for result in outcome().results] == ["2", "1", "3"]
    assert outcome().results == tuple(outcome())
    assert len(outcome()) == 3


def test_each_view_holds_the_results_of_its_status() -> None:
    """The views together are the results."""
    found = outcome()
    assert [result.order_id for result in found.accepted] == ["2"]
    assert [result.order_id for result in found.closed] == ["3"]
    assert found.closed[0].reason is CloseReason.FILLED
    assert [result.order_id for result in found.unsent] == ["1"]
    assert found.not_found == found.rejected == found.unknown == found.open == ()
    assert found.counts == {
        CancelStatus.ACCEPTED: 1,
        CancelStatus.CLOSED: 1,
        CancelStatus.UNSENT: 1,
    }


def test_a_result_is_found_by_its_id() -> None:
    """Both ways to write an id work; one that was not given is a KeyError."""
    found = outcome()
    assert found["2"] is found[2]
    assert 2 in found
    assert "9" not in found
    with pytest.raises(KeyError):
        found["9"]


def test_every_meaning_has_a_status() -> None:
    """The table is complete, and only a success is accepted."""
    assert set(STATUS) == set(Meaning)
    accepted = [key for key, (status, _) in STATUS.items() if status is CancelStatus.ACCEPTED]
    assert accepted == [Meaning.ACCEPTED]


def test_the_repr_stays_short_for_many_ids() -> None:
    """A hundred thousand ids print as one line of counts."""
    tally = Tally(1)
    finding = Finding(Meaning.ACCEPTED)
    tally.put(0, tuple(order_result(str(key), finding, 1) for key in range(100_000)))
    assert repr(tally.outcome(SOURCE)) == "<Outcome of 100000 ids: 100000 accepted>"
    assert str(Tally(0).outcome(SOURCE)) == "<Outcome of 0 ids: nothing to do>"


def test_the_outcome_of_all_tells_the_fate_of_the_call() -> None:
    """A call that names no ids has a status of its own."""
    found = Tally(0).outcome_of_all(SOURCE, call_result(Finding(Meaning.NO_ANSWER, None, "cut"), 2))
    assert (found.call.status, found.call.message, found.call.attempts) == (
        CancelStatus.UNKNOWN,
        "cut",
        2,
    )
    assert repr(found) == "<CancelAllOutcome of 0 ids: nothing to do; call unknown>"


@pytest.mark.parametrize(
    ("status", "state", "settled"),
    [
        (CancelStatus.UNKNOWN, OrderState.CANCELED, (CancelStatus.CLOSED, CloseReason.CANCELED)),
        (CancelStatus.UNKNOWN, OrderState.FILLED, (CancelStatus.CLOSED, CloseReason.FILLED)),
        (
            CancelStatus.UNKNOWN,
            OrderState.PARTIALLY_CANCELED,
            (CancelStatus.CLOSED, CloseReason.CANCELED),
        ),
        (CancelStatus.UNKNOWN, OrderState.CANCELING, (CancelStatus.CLOSED, CloseReason.CANCELING)),
        (CancelStatus.UNKNOWN, OrderState.GONE, (CancelStatus.CLOSED, None)),
        (CancelStatus.UNKNOWN, OrderState.OPEN, (CancelStatus.OPEN, None)),
        (CancelStatus.UNKNOWN, None, (CancelStatus.NOT_FOUND, None)),
        (CancelStatus.OPEN, OrderState.CANCELED, (CancelStatus.CLOSED, CloseReason.CANCELED)),
        (CancelStatus.ACCEPTED, OrderState.CANCELED, (CancelStatus.ACCEPTED, None)),
        (CancelStatus.ACCEPTED, OrderState.FILLED, (CancelStatus.ACCEPTED, None)),
        (CancelStatus.ACCEPTED, None, (CancelStatus.ACCEPTED, None)),
    ],
)
def test_a_state_decides_only_what_was_not_known(
    status: CancelStatus,
    state: OrderState | None,
    settled: tuple[CancelStatus, CloseReason | None],
) -> None:
    """What the exchange said of the cancel stands beside the order's own state."""
    result = OrderResult("1", status, attempts=2).confirmed(state)
    assert (result.status, result.reason) == settled
    assert (result.state, result.attempts) == (state, 2)


def test_only_what_a_query_can_settle_is_unsettled() -> None:
    """Settled, refused and unsent ids need no query, nor does a final state."""
    asked = {status for status in CancelStatus if OrderResult("1", status).unsettled}
    assert asked == {CancelStatus.ACCEPTED, CancelStatus.UNKNOWN, CancelStatus.OPEN}
    canceling = OrderResult("1", CancelStatus.CLOSED, reason=CloseReason.CANCELING)
    assert canceling.unsettled
    assert not canceling.confirmed(OrderState.FILLED).unsettled
    assert OrderResult("1", CancelStatus.ACCEPTED, state=OrderState.CANCELING).unsettled
