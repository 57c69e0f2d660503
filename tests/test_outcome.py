"""What became of every id."""

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.outcome import CancelAllOutcome, Outcome, Part, Tally
from htx_cancel.results import CallResult, OrderResult, Refusal, Source, call_result, order_result
from htx_cancel.retry import merge
from htx_cancel.status import (
    REQUEST_REFUSALS,
    STATUS,
    CancelStatus,
    CloseReason,
    Finding,
    OrderState,
)
from htx_cancel.wire.codes import Meaning

SOURCE = Source("coin_m_swap.cancel_orders", "BTC-USD", "order_id")
OTHER = Source("coin_m_swap.cancel_orders", "ETH-USD", "order_id")
LIVE = {CancelStatus.REJECTED, CancelStatus.UNKNOWN, CancelStatus.UNSENT, CancelStatus.OPEN}


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
    return Outcome([tally.part(SOURCE)], tally.counts)


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
    whole = Outcome([tally.part(SOURCE)], tally.counts)
    assert repr(whole) == "<Outcome of 100000 ids: 100000 accepted>"
    assert str(Outcome.of([])) == "<Outcome of 0 ids: nothing to do>"


def test_the_outcome_of_all_tells_the_fate_of_the_call() -> None:
    """A call that names no ids has a status of its own."""
    found = CancelAllOutcome.of(call=call_result(Finding(Meaning.NO_ANSWER, None, "cut"), 2))
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


def test_live_holds_what_may_be_live_in_the_order_given() -> None:
    """Rejected, unknown, unsent and open orders, and no others."""
    found = Outcome.of([OrderResult(status, status) for status in reversed(CancelStatus)])
    assert [it.status for it in found.live] == [
        each for each in reversed(CancelStatus) if each in LIVE
    ]


@pytest.mark.parametrize("status", CancelStatus)
def test_an_outcome_is_settled_if_nothing_in_it_may_be_live(status: CancelStatus) -> None:
    """One order that may be live is enough to leave it unsettled."""
    fine = OrderResult("1", CancelStatus.ACCEPTED)
    assert Outcome.of([fine, OrderResult("2", status)]).settled == (status not in LIVE)
    assert Outcome.of([]).settled


@pytest.mark.parametrize("status", CancelStatus)
def test_a_cancel_of_all_is_settled_only_if_its_call_is(status: CancelStatus) -> None:
    """Orders that a failed call never listed may be live."""
    found = CancelAllOutcome.of([OrderResult("1", CancelStatus.ACCEPTED)], call=CallResult(status))
    assert found.settled == (status in {CancelStatus.ACCEPTED, CancelStatus.NOT_FOUND})
    assert not CancelAllOutcome.of([OrderResult("1", CancelStatus.UNKNOWN)]).settled


def test_a_result_is_retryable_where_another_cancel_may_help() -> None:
    """Refusals for the rate, the clock or as busy pass; those of an account or order do not."""
    found = {meaning for meaning in Meaning if order_result("1", Finding(meaning), 1).retryable}
    assert found == {
        Meaning.RATE_LIMITED,
        Meaning.BUSY,
        Meaning.SETTLING,
        Meaning.ENTRY_OPEN,
        Meaning.CLOCK,
        *(key for key in Meaning if STATUS[key][0] in {CancelStatus.UNKNOWN, CancelStatus.UNSENT}),
    }
    assert found == {meaning for meaning in Meaning if call_result(Finding(meaning), 1).retryable}
    assert OrderResult("1", CancelStatus.OPEN).retryable


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        *((code, True) for code in (1032, 429, 1004, 1056, 12001)),
        *((code, False) for code in (403, 1088, 99999, None)),
    ],
)
def test_a_hand_made_refusal_is_retryable_by_its_code(code: int | None, *, retryable: bool) -> None:
    """A result that was not read from a reply knows its code only."""
    assert OrderResult("1", CancelStatus.REJECTED, code).retryable == retryable
    assert CallResult(CancelStatus.REJECTED, code).retryable == retryable


def test_what_a_refusal_meant_counts_more_than_its_code() -> None:
    """The same code can mean different things in two envelopes."""
    assert not order_result("1", Finding(Meaning.INVALID, 1004), 1).retryable
    assert order_result("1", Finding(Meaning.BUSY, 1088), 1).retryable


def test_an_outcome_tells_what_stopped_the_call_and_when_the_unsent_could_leave() -> None:
    """``error`` and ``retry_in`` are the call's; without them both are ``None``."""
    error = Refusal(403, "wrong key")
    plain, stopped = outcome(), Outcome.of([], error=error, retry_in=1.5)
    assert (plain.error, plain.retry_in) == (None, None)
    assert (stopped.error, stopped.retry_in) == (error, 1.5)
    unsent = CallResult(CancelStatus.UNSENT)
    every = CancelAllOutcome.of(call=unsent, error=error, retry_in=2.0)
    assert (every.error, every.retry_in) == (error, 2.0)


class Counted(list[tuple[OrderResult, ...]]):
    """Batches that count how often they are walked through."""

    walks = 0  #: so far

    def __iter__(self) -> Iterator[tuple[OrderResult, ...]]:
        self.walks += 1
        return super().__iter__()


def test_all_views_of_an_outcome_are_built_once() -> None:
    """One walk through the results groups them, one more finds the live; none follows."""
    batches = Counted()
    batches.append(tuple(OrderResult(status, status) for status in CancelStatus))
    found = Outcome([Part(SOURCE, batches)], dict.fromkeys(CancelStatus, 1))
    for _ in range(3):
        for status in CancelStatus:
            assert [it.status for it in getattr(found, status)] == [status]
        assert found.accepted is found.accepted
    assert batches.walks == 1
    for _ in range(3):
        assert len(found.live) == 4
        assert found.live is found.live
        assert not found.settled
        assert len(found.counts) == len(found) == 7
    assert batches.walks == 2


def test_an_outcome_made_by_hand_has_everything() -> None:
    """Tests of code that reads outcomes need no exchange."""
    error = Refusal(None, "stopped")
    results = (OrderResult("7", CancelStatus.ACCEPTED), OrderResult("8", CancelStatus.UNSENT))
    made = Outcome.of(iter(results), error=error, retry_in=0.5)
    assert made.results == results
    assert made.counts == {CancelStatus.ACCEPTED: 1, CancelStatus.UNSENT: 1}
    assert made[7] is results[0]
    assert (made.error, made.retry_in, made.settled) == (error, 0.5, False)
    every = CancelAllOutcome.of(results, error=error, retry_in=0.5)
    assert (every.results, every.error, every.retry_in) == (results, error, 0.5)
    assert every.call == CallResult(CancelStatus.ACCEPTED)


def test_an_outcome_made_by_hand_holds_each_id_once() -> None:
    """Doubled ids and things that are no results are refused by name."""
    one = OrderResult("7", CancelStatus.ACCEPTED)
    with pytest.raises(InvalidValueError, match="results must hold each id once, got '7' twice"):
        Outcome.of([one, one])
    with pytest.raises(InvalidTypeError, match="each result must be an OrderResult, got '7'"):
        Outcome.of(["7"])  # type: ignore[list-item]


@pytest.mark.parametrize(("earlier", "later"), list(product(Meaning, Meaning)))
def test_outcomes_merge_by_the_table_of_the_attempts(earlier: Meaning, later: Meaning) -> None:
    """What two attempts of one call mean together, two calls mean, too."""
    first, second = Finding(earlier), Finding(later)
    merged = Outcome.merge(
        Outcome.of([order_result("1", first, 1)]), Outcome.of([order_result("1", second, 2)])
    )
    assert merged.results == (order_result("1", merge(first, second), 3),)


@pytest.mark.parametrize(
    ("earlier", "later", "together"),
    [
        ("accepted", "not_found", "accepted"),
        ("accepted", "unknown", "accepted"),
        ("unsent", "rejected", "rejected"),
        ("unknown", "unsent", "unknown"),
        ("rejected", "unsent", "rejected"),
        ("unknown", "closed", "closed"),
        ("unknown", "not_found", "not_found"),
        ("unknown", "open", "open"),
        ("open", "unknown", "unknown"),
        ("open", "unsent", "open"),
        ("open", "accepted", "accepted"),
        ("open", "closed", "closed"),
        ("not_found", "unknown", "unknown"),
        ("closed", "unknown", "closed"),
        ("closed", "not_found", "closed"),
        ("closed", "accepted", "accepted"),
    ],
)
def test_two_statuses_of_one_id_merge_to_what_is_true(
    earlier: str, later: str, together: str
) -> None:
    """One line a case of ``Outcome.merge``."""
    merged = Outcome.merge(
        Outcome.of([OrderResult("1", CancelStatus(earlier))]),
        Outcome.of([OrderResult("1", CancelStatus(later))]),
    )
    assert merged["1"].status == together


@pytest.mark.parametrize("meaning", sorted(REQUEST_REFUSALS, key=str))
@pytest.mark.parametrize("status", ["unknown", "open", "not_found"])
def test_a_refusal_of_the_whole_request_overwrites_no_earlier_answer(
    status: str, meaning: Meaning
) -> None:
    """The earlier request may have canceled the order."""
    before = Outcome.of([OrderResult("1", CancelStatus(status))])
    refused = Outcome.of([order_result("1", Finding(meaning), 1)])
    assert Outcome.merge(before, refused)["1"].status == status


def test_every_refusal_is_of_the_request_or_of_the_order() -> None:
    """A new meaning has to be put on one side."""
    rejected = {meaning for meaning in Meaning if STATUS[meaning][0] is CancelStatus.REJECTED}
    assert rejected - REQUEST_REFUSALS == {Meaning.INVALID, Meaning.REFUSED, Meaning.ENTRY_OPEN}
    assert rejected >= REQUEST_REFUSALS


def test_a_code_tells_the_meaning_of_refusals_only() -> None:
    """An unknown result may carry the code of a failure, or one that nobody could trust."""
    gone = OrderResult("1", CancelStatus.NOT_FOUND)
    unknown = OrderResult("1", CancelStatus.UNKNOWN, 1004)
    assert gone.merged(unknown).status is CancelStatus.UNKNOWN
    assert gone.merged(OrderResult("1", CancelStatus.REJECTED, 1004)).status == "not_found"


def test_merging_keeps_a_later_state_and_adds_up_attempts() -> None:
    """A state that only the earlier one knew is kept, too."""
    first = OrderResult("1", CancelStatus.OPEN, attempts=1, state=OrderState.OPEN)
    again = OrderResult("1", CancelStatus.ACCEPTED, attempts=2)
    done = OrderResult("1", CancelStatus.ACCEPTED, attempts=1, state=OrderState.CANCELED)
    assert first.merged(again).state is OrderState.OPEN
    assert first.merged(again).attempts == 3
    assert first.merged(done).state is OrderState.CANCELED


def test_ids_of_different_sources_are_different_orders() -> None:
    """A look-up by id finds the first; the parts tell which is whose."""
    one, two = OrderResult("1", CancelStatus.UNKNOWN), OrderResult("1", CancelStatus.ACCEPTED)
    merged = Outcome.merge(
        Outcome.of([one], source=SOURCE),
        Outcome.of([two], source=OTHER),
        Outcome.of([OrderResult("2", CancelStatus.UNSENT)], source=SOURCE),
    )
    assert [it.order_id for it in merged] == ["1", "1", "2"]
    assert merged["1"] is one
    assert [part.source for part in merged.parts] == [SOURCE, OTHER, SOURCE]
    assert merged.counts == {"accepted": 1, "unknown": 1, "unsent": 1}


def test_a_merge_has_the_error_and_the_wait_of_its_last_outcome() -> None:
    """What stopped an earlier call was tried again since."""
    first = Outcome.of([], error=Refusal(403, "wrong key"), retry_in=1.0)
    last = Outcome.of([], retry_in=2.0)
    assert (Outcome.merge(first, last).error, Outcome.merge(first, last).retry_in) == (None, 2.0)
    assert Outcome.merge(last, first).error == first.error


def test_a_merge_with_a_cancel_of_all_keeps_the_fate_of_every_call() -> None:
    """A later call may have had other filters, so it settles nothing for an earlier one."""
    lost = CancelAllOutcome.of(call=CallResult(CancelStatus.UNKNOWN))
    fine, ids = CancelAllOutcome.of(), Outcome.of([OrderResult("1", CancelStatus.ACCEPTED)])
    assert Outcome.merge(fine, ids, fine).settled
    for merged in (Outcome.merge(lost, ids, fine), Outcome.merge(fine, lost), Outcome.merge(lost)):
        assert not merged.settled
        assert not Outcome.merge(merged, fine).settled
    assert Outcome.merge(lost, fine).calls == (lost.call, fine.call)
    assert repr(Outcome.merge(lost, ids, fine)) == (
        "<Outcome of 1 ids: 1 accepted; calls unknown, accepted>"
    )


def test_merging_needs_outcomes() -> None:
    """One alone is returned as it is; none, or something else, is refused."""
    alone = outcome()
    assert Outcome.merge(alone) is alone
    with pytest.raises(InvalidValueError, match="one outcome or more must be given, got none"):
        Outcome.merge()
    with pytest.raises(InvalidTypeError, match="each outcome must be an Outcome, got 7"):
        Outcome.merge(alone, 7)  # type: ignore[arg-type]


results = st.builds(
    OrderResult,
    st.integers(1, 6).map(str),
    st.sampled_from(CancelStatus),
    attempts=st.integers(0, 3),
    state=st.none() | st.sampled_from(OrderState),
    meaning=st.none() | st.sampled_from(sorted(REQUEST_REFUSALS, key=str)),
)
by_hand = st.builds(
    lambda listed, source, call: Outcome.merge(
        Outcome.of(listed, source=source),
        *([] if call is None else [CancelAllOutcome.of(call=call)]),
    ),
    st.lists(results, unique_by=lambda it: it.order_id, max_size=6),
    st.sampled_from([SOURCE, OTHER]),
    st.none() | st.builds(CallResult, st.sampled_from(CancelStatus)),
)


def listed(found: Outcome) -> list[tuple[Source, OrderResult]]:
    """List every result with its source."""
    return [
        (part.source, result) for part in found.parts for batch in part.batches for result in batch
    ]


@given(by_hand, by_hand, by_hand)
def test_merging_is_associative(one: Outcome, two: Outcome, three: Outcome) -> None:
    """Outcomes may be merged as they come, or all at once."""
    all_at_once = Outcome.merge(one, two, three)
    for other in (
        Outcome.merge(Outcome.merge(one, two), three),
        Outcome.merge(one, Outcome.merge(two, three)),
    ):
        assert listed(other) == listed(all_at_once)
        assert other.counts == all_at_once.counts
        assert other.calls == all_at_once.calls


@given(st.lists(by_hand, min_size=1, max_size=5))
def test_a_merge_holds_every_order_once_and_settles_none_without_an_answer(
    outcomes: list[Outcome],
) -> None:
    """Order of first appearance; a live order is settled only if some outcome says it is."""
    merged = Outcome.merge(*outcomes)
    keys = [(source, it.order_id) for each in outcomes for source, it in listed(each)]
    assert [(source, it.order_id) for source, it in listed(merged)] == list(dict.fromkeys(keys))
    for source, result in listed(merged):
        said = [
            it
            for each in outcomes
            for key, it in listed(each)
            if (key, it.order_id) == (source, result.order_id)
        ]
        assert result.status in {it.status for it in said}
        assert result.attempts == sum(it.attempts for it in said)
        if result.status not in LIVE:
            assert any(it.status == result.status for it in said)
        if said[-1].status in LIVE - {CancelStatus.UNSENT} and not said[-1].meaning:
            assert result.status in LIVE | {CancelStatus.ACCEPTED, CancelStatus.CLOSED}
    assert merged.settled <= all(call.status in {"accepted", "not_found"} for call in merged.calls)


@given(st.lists(by_hand, min_size=1, max_size=4))
def test_the_views_of_a_merge_agree_with_its_results(outcomes: list[Outcome]) -> None:
    """Counts, groups and the live are those of the results."""
    merged = Outcome.merge(*outcomes)
    for status in CancelStatus:
        group = tuple(it for it in merged.results if it.status is status)
        assert merged.with_status(status) == group
        assert merged.counts.get(status, 0) == len(group)
    assert merged.live == tuple(it for it in merged.results if it.status in LIVE)


def test_the_words_for_an_order_not_found_take_the_place_of_those_for_its_cancel() -> None:
    """Unless the exchange's own words about the cancel still hold."""
    unknown = OrderResult("1", CancelStatus.UNKNOWN, 1000, "system error")
    assert unknown.confirmed(None, "looked up").message == "looked up"
    assert unknown.confirmed(None, "looked up").code is None
    assert unknown.confirmed(None).message == "system error"
    assert unknown.confirmed(OrderState.FILLED, "looked up").message == "system error"
    taken = OrderResult("1", CancelStatus.ACCEPTED, 1062, "canceling")
    assert taken.confirmed(None, "looked up") == taken
