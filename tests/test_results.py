"""The result of one order id, and of one call that names no ids."""

import pytest

from htx_cancel.results import CallResult, OrderResult, call_result, order_result
from htx_cancel.status import STATUS, CancelStatus, CloseReason, Finding, OrderState
from htx_cancel.wire.codes import Meaning


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
def test_a_state_decides_only_a_cancel_whose_result_was_unknown(
    status: CancelStatus,
    state: OrderState | None,
    settled: tuple[CancelStatus, CloseReason | None],
) -> None:
    """What the exchange said about the cancel stands beside the order's own state."""
    result = OrderResult("1", status, attempts=2).confirmed(state)
    assert (result.status, result.reason) == settled
    assert (result.state, result.attempts) == (state, 2)


def test_a_message_for_an_order_not_found_replaces_the_message_of_its_cancel() -> None:
    """The exchange's message about a cancel whose status stands is not replaced."""
    unknown = OrderResult("1", CancelStatus.UNKNOWN, 1000, "system error")
    assert unknown.confirmed(None, "looked up").message == "looked up"
    assert unknown.confirmed(None, "looked up").code is None
    assert unknown.confirmed(None).message == "system error"
    assert unknown.confirmed(OrderState.FILLED, "looked up").message == "system error"
    accepted = OrderResult("1", CancelStatus.ACCEPTED, 1062, "canceling")
    assert accepted.confirmed(None, "looked up") == accepted
    plain = OrderResult("1", CancelStatus.ACCEPTED)
    assert plain.confirmed(None, "looked up").message == "looked up"


@pytest.mark.parametrize("meaning", Meaning)
def test_only_a_refusal_has_a_meaning(meaning: Meaning) -> None:
    """Other results are described by their status."""
    finding = Finding(meaning)
    for result in (order_result("1", finding, 1), call_result(finding, 1)):
        rejected = result.status is CancelStatus.REJECTED
        assert result.meaning is (meaning if rejected else None)


def test_a_result_is_unsettled_if_a_query_can_settle_it() -> None:
    """Closed, refused and unsent ids need no query, nor do ids with a final state."""
    unsettled = {status for status in CancelStatus if OrderResult("1", status).unsettled}
    assert unsettled == {CancelStatus.ACCEPTED, CancelStatus.UNKNOWN, CancelStatus.OPEN}
    canceling = OrderResult("1", CancelStatus.CLOSED, reason=CloseReason.CANCELING)
    assert canceling.unsettled
    assert not canceling.confirmed(OrderState.FILLED).unsettled
    assert OrderResult("1", CancelStatus.ACCEPTED, state=OrderState.CANCELING).unsettled


def test_a_result_is_retryable_if_another_cancel_may_help() -> None:
    """Refusals for the rate or the clock, or by a busy exchange, pass; others do not."""
    retryable = {meaning for meaning in Meaning if order_result("1", Finding(meaning), 1).retryable}
    assert retryable == {
        Meaning.RATE_LIMITED,
        Meaning.BUSY,
        Meaning.SETTLING,
        Meaning.ENTRY_OPEN,
        Meaning.CLOCK,
        *(key for key in Meaning if STATUS[key][0] in {CancelStatus.UNKNOWN, CancelStatus.UNSENT}),
    }
    calls = {meaning for meaning in Meaning if call_result(Finding(meaning), 1).retryable}
    assert calls == retryable
    assert OrderResult("1", CancelStatus.OPEN).retryable


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        *((code, True) for code in (1032, 429, 1004, 1056, 12001)),
        *((code, False) for code in (403, 1088, 99999, None)),
    ],
)
def test_a_hand_made_refusal_is_retryable_by_its_code(code: int | None, *, retryable: bool) -> None:
    """A result that was not read from a reply has no meaning."""
    assert OrderResult("1", CancelStatus.REJECTED, code).retryable == retryable
    assert CallResult(CancelStatus.REJECTED, code).retryable == retryable


def test_the_meaning_of_a_refusal_prevails_over_its_code() -> None:
    """The same code can mean different things in two envelopes."""
    assert not order_result("1", Finding(Meaning.INVALID, 1004), 1).retryable
    assert order_result("1", Finding(Meaning.BUSY, 1088), 1).retryable


def test_a_code_has_a_meaning_only_in_a_refusal() -> None:
    """An unknown result may have the code of a failure, or a code that cannot be trusted."""
    not_found = OrderResult("1", CancelStatus.NOT_FOUND)
    unknown = OrderResult("1", CancelStatus.UNKNOWN, 1004)
    assert not_found.merged(unknown).status is CancelStatus.UNKNOWN
    assert not_found.merged(OrderResult("1", CancelStatus.REJECTED, 1004)).status == "not_found"


def test_merging_takes_the_latest_known_state_and_adds_up_attempts() -> None:
    """A state that only the earlier result has is not lost."""
    first = OrderResult("1", CancelStatus.OPEN, attempts=1, state=OrderState.OPEN)
    again = OrderResult("1", CancelStatus.ACCEPTED, attempts=2)
    done = OrderResult("1", CancelStatus.ACCEPTED, attempts=1, state=OrderState.CANCELED)
    assert first.merged(again).state is OrderState.OPEN
    assert first.merged(again).attempts == 3
    assert first.merged(done).state is OrderState.CANCELED
