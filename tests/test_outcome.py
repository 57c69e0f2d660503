"""Outcomes: views, look-ups, hand-made outcomes and merging."""

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
    CancelStatus,
    CloseReason,
    Finding,
    OrderState,
)
from htx_cancel.wire.codes import Meaning

SOURCE = Source("coin_m_swap.cancel_orders", "BTC-USD", "order_id")
OTHER = Source("coin_m_swap.cancel_orders", "ETH-USD", "order_id")
LIVE = {CancelStatus.REJECTED, CancelStatus.UNKNOWN, CancelStatus.UNSENT, CancelStatus.OPEN}


def two_batches() -> Outcome:
    """Return an outcome of two batches, which were put in reverse."""
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


def test_results_are_in_the_order_of_the_batches() -> None:
    """Batches end in any order."""
    outcome = two_batches()
    assert [result.order_id for result in outcome.results] == ["2", "1", "3"]
    assert outcome.results == tuple(outcome)
    assert len(outcome) == 3


def test_each_view_has_the_results_of_its_status() -> None:
    """The views together are the results."""
    outcome = two_batches()
    assert [result.order_id for result in outcome.accepted] == ["2"]
    assert [result.order_id for result in outcome.closed] == ["3"]
    assert outcome.closed[0].reason is CloseReason.FILLED
    assert [result.order_id for result in outcome.unsent] == ["1"]
    assert outcome.not_found == outcome.rejected == outcome.unknown == outcome.open == ()
    assert outcome.counts == {
        CancelStatus.ACCEPTED: 1,
        CancelStatus.CLOSED: 1,
        CancelStatus.UNSENT: 1,
    }


def test_a_result_is_found_by_its_id() -> None:
    """As a string or a number; an id that was not given is a KeyError."""
    outcome = two_batches()
    assert outcome["2"] is outcome[2]
    assert 2 in outcome
    assert "9" not in outcome
    with pytest.raises(KeyError):
        outcome["9"]


def test_the_repr_stays_short_for_many_ids() -> None:
    """A hundred thousand ids print as one line of counts."""
    tally = Tally(1)
    finding = Finding(Meaning.ACCEPTED)
    tally.put(0, tuple(order_result(str(key), finding, 1) for key in range(100_000)))
    whole = Outcome([tally.part(SOURCE)], tally.counts)
    assert repr(whole) == "<Outcome of 100000 ids: 100000 accepted>"
    assert str(Outcome.of([])) == "<Outcome of 0 ids: nothing to do>"
    results = [OrderResult("1", CancelStatus.UNSENT), OrderResult("2", CancelStatus.ACCEPTED)]
    assert repr(Outcome.of(results)) == "<Outcome of 2 ids: 1 accepted, 1 unsent>"


def test_the_outcome_of_a_cancel_all_has_the_result_of_the_call() -> None:
    """A call that names no ids has a status of its own."""
    outcome = CancelAllOutcome.of(call=call_result(Finding(Meaning.NO_ANSWER, None, "cut"), 2))
    assert (outcome.call.status, outcome.call.message, outcome.call.attempts) == (
        CancelStatus.UNKNOWN,
        "cut",
        2,
    )
    assert repr(outcome) == "<CancelAllOutcome of 0 ids: nothing to do; call unknown>"


def test_live_has_the_results_that_may_be_live_in_the_order_given() -> None:
    """Rejected, unknown, unsent and open orders, and no others."""
    outcome = Outcome.of([OrderResult(status, status) for status in reversed(CancelStatus)])
    assert [result.status for result in outcome.live] == [
        status for status in reversed(CancelStatus) if status in LIVE
    ]


@pytest.mark.parametrize("status", CancelStatus)
def test_an_outcome_is_settled_if_no_order_may_be_live(status: CancelStatus) -> None:
    """One order that may be live leaves the outcome unsettled."""
    accepted = OrderResult("1", CancelStatus.ACCEPTED)
    assert Outcome.of([accepted, OrderResult("2", status)]).settled == (status not in LIVE)
    assert Outcome.of([]).settled


@pytest.mark.parametrize("status", CancelStatus)
def test_a_cancel_all_is_settled_only_if_its_call_is(status: CancelStatus) -> None:
    """Orders that a failed call did not list may be live."""
    accepted = OrderResult("1", CancelStatus.ACCEPTED)
    outcome = CancelAllOutcome.of([accepted], call=CallResult(status))
    assert outcome.settled == (status in {CancelStatus.ACCEPTED, CancelStatus.NOT_FOUND})
    assert not CancelAllOutcome.of([OrderResult("1", CancelStatus.UNKNOWN)]).settled


def test_an_outcome_has_the_error_and_the_wait_of_its_call() -> None:
    """Without an error or a wait, ``error`` and ``retry_in`` are ``None``."""
    error = Refusal(403, "wrong key")
    plain, stopped = two_batches(), Outcome.of([], error=error, retry_in=1.5)
    assert (plain.error, plain.retry_in) == (None, None)
    assert (stopped.error, stopped.retry_in) == (error, 1.5)
    unsent = CallResult(CancelStatus.UNSENT)
    cancel_all = CancelAllOutcome.of(call=unsent, error=error, retry_in=2.0)
    assert (cancel_all.error, cancel_all.retry_in) == (error, 2.0)


class CountedBatches(list[tuple[OrderResult, ...]]):
    """Batches that count how often they are iterated over."""

    walks = 0

    def __iter__(self) -> Iterator[tuple[OrderResult, ...]]:
        self.walks += 1
        return super().__iter__()


def test_all_views_of_an_outcome_are_built_once() -> None:
    """One walk through the results groups them, and one more finds those that may be live."""
    batches = CountedBatches()
    batches.append(tuple(OrderResult(status, status) for status in CancelStatus))
    outcome = Outcome([Part(SOURCE, batches)], dict.fromkeys(CancelStatus, 1))
    for _ in range(3):
        for status in CancelStatus:
            assert [result.status for result in getattr(outcome, status)] == [status]
        assert outcome.accepted is outcome.accepted
    assert batches.walks == 1
    for _ in range(3):
        assert len(outcome.live) == 4
        assert outcome.live is outcome.live
        assert not outcome.settled
        assert len(outcome.counts) == len(outcome) == 7
    assert batches.walks == 2


def test_a_hand_made_outcome_has_everything() -> None:
    """Tests of code that reads outcomes need no exchange."""
    error = Refusal(None, "stopped")
    results = (OrderResult("7", CancelStatus.ACCEPTED), OrderResult("8", CancelStatus.UNSENT))
    made = Outcome.of(iter(results), error=error, retry_in=0.5)
    assert made.results == results
    assert made.counts == {CancelStatus.ACCEPTED: 1, CancelStatus.UNSENT: 1}
    assert made[7] is results[0]
    assert (made.error, made.retry_in, made.settled) == (error, 0.5, False)
    cancel_all = CancelAllOutcome.of(results, error=error, retry_in=0.5)
    assert (cancel_all.results, cancel_all.error, cancel_all.retry_in) == (results, error, 0.5)
    assert cancel_all.call == CallResult(CancelStatus.ACCEPTED)
    assert [part.source for part in CancelAllOutcome.of(results, source=SOURCE).parts] == [SOURCE]


def test_a_later_error_replaces_the_error_of_an_outcome() -> None:
    """Without a later one, the outcome's own error stays."""
    first, later = Refusal(403, "wrong key"), Refusal(1220, "no permission")
    outcome = Outcome.of([], error=first)
    assert outcome.with_parts([], {}, later).error == later
    assert outcome.with_parts([], {}).error == first


def test_a_hand_made_outcome_has_each_id_once() -> None:
    """An id that comes twice, or an argument that is not a result, is refused by name."""
    result = OrderResult("7", CancelStatus.ACCEPTED)
    with pytest.raises(InvalidValueError, match="results must hold each id once, got '7' twice"):
        Outcome.of([result, result])
    with pytest.raises(InvalidTypeError, match="each result must be an OrderResult, got '7'"):
        Outcome.of(["7"])  # type: ignore[list-item]


@pytest.mark.parametrize(("earlier", "later"), list(product(Meaning, Meaning)))
def test_outcomes_merge_as_attempts_do(earlier: Meaning, later: Meaning) -> None:
    """Two calls mean together what two attempts of one call mean."""
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
def test_two_statuses_of_one_id_merge_by_the_rules(earlier: str, later: str, together: str) -> None:
    """Each case is a line of the list in ``Outcome.merge``."""
    merged = Outcome.merge(
        Outcome.of([OrderResult("1", CancelStatus(earlier))]),
        Outcome.of([OrderResult("1", CancelStatus(later))]),
    )
    assert merged["1"].status == together


@pytest.mark.parametrize("meaning", sorted(REQUEST_REFUSALS, key=str))
@pytest.mark.parametrize("status", ["unknown", "open", "not_found"])
def test_a_refusal_of_the_whole_request_replaces_no_earlier_answer(
    status: str, meaning: Meaning
) -> None:
    """The earlier request may have canceled the order."""
    before = Outcome.of([OrderResult("1", CancelStatus(status))])
    refused = Outcome.of([order_result("1", Finding(meaning), 1)])
    assert Outcome.merge(before, refused)["1"].status == status


def test_ids_of_different_sources_are_different_orders() -> None:
    """A look-up by id finds the first; the parts name the source of each."""
    one, two = OrderResult("1", CancelStatus.UNKNOWN), OrderResult("1", CancelStatus.ACCEPTED)
    merged = Outcome.merge(
        Outcome.of([one], source=SOURCE),
        Outcome.of([two], source=OTHER),
        Outcome.of([OrderResult("2", CancelStatus.UNSENT)], source=SOURCE),
    )
    assert [result.order_id for result in merged] == ["1", "1", "2"]
    assert merged["1"] is one
    assert [part.source for part in merged.parts] == [SOURCE, OTHER, SOURCE]
    assert merged.counts == {"accepted": 1, "unknown": 1, "unsent": 1}


def test_a_merge_has_the_error_and_the_wait_of_its_last_outcome() -> None:
    """The later call tried again what had stopped the earlier one."""
    first = Outcome.of([], error=Refusal(403, "wrong key"), retry_in=1.0)
    last = Outcome.of([], retry_in=2.0)
    assert (Outcome.merge(first, last).error, Outcome.merge(first, last).retry_in) == (None, 2.0)
    assert Outcome.merge(last, first).error == first.error


def test_a_merge_has_the_result_of_every_cancel_all() -> None:
    """A later call may have had other filters, so it does not settle an earlier one."""
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


def test_merging_takes_one_outcome_or_more() -> None:
    """A single outcome is returned unchanged."""
    alone = two_batches()
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
hand_made = st.builds(
    lambda listed, source, call: Outcome.merge(
        Outcome.of(listed, source=source),
        *([] if call is None else [CancelAllOutcome.of(call=call)]),
    ),
    st.lists(results, unique_by=lambda result: result.order_id, max_size=6),
    st.sampled_from([SOURCE, OTHER]),
    st.none() | st.builds(CallResult, st.sampled_from(CancelStatus)),
)


def with_sources(outcome: Outcome) -> list[tuple[Source, OrderResult]]:
    """List every result with its source."""
    return [
        (part.source, result)
        for part in outcome.parts
        for batch in part.batches
        for result in batch
    ]


@given(hand_made, hand_made, hand_made)
def test_merging_is_associative(one: Outcome, two: Outcome, three: Outcome) -> None:
    """Outcomes may be merged one after another, or all at once."""
    all_at_once = Outcome.merge(one, two, three)
    for other in (
        Outcome.merge(Outcome.merge(one, two), three),
        Outcome.merge(one, Outcome.merge(two, three)),
    ):
        assert with_sources(other) == with_sources(all_at_once)
        assert other.counts == all_at_once.counts
        assert other.calls == all_at_once.calls


@given(st.lists(hand_made, min_size=1, max_size=5))
def test_a_merge_has_every_order_once_and_settles_none_without_an_answer(
    outcomes: list[Outcome],
) -> None:
    """In the order of first appearance; an order is settled only if an outcome says so."""
    merged = Outcome.merge(*outcomes)
    given_results = [entry for outcome in outcomes for entry in with_sources(outcome)]
    keys = [(source, result.order_id) for source, result in given_results]
    merged_keys = [(source, result.order_id) for source, result in with_sources(merged)]
    assert merged_keys == list(dict.fromkeys(keys))
    for (_, result), key in zip(with_sources(merged), merged_keys, strict=True):
        inputs = [each for source, each in given_results if (source, each.order_id) == key]
        assert result.status in {each.status for each in inputs}
        assert result.attempts == sum(each.attempts for each in inputs)
        if inputs[-1].status in LIVE - {CancelStatus.UNSENT} and not inputs[-1].meaning:
            assert result.status in LIVE | {CancelStatus.ACCEPTED, CancelStatus.CLOSED}
    assert merged.settled <= all(call.status in {"accepted", "not_found"} for call in merged.calls)


@given(st.lists(hand_made, min_size=1, max_size=4))
def test_the_views_of_a_merge_agree_with_its_results(outcomes: list[Outcome]) -> None:
    """Counts, groups and ``live`` are those of the results."""
    merged = Outcome.merge(*outcomes)
    for status in CancelStatus:
        group = tuple(result for result in merged.results if result.status is status)
        assert merged.with_status(status) == group
        assert merged.counts.get(status, 0) == len(group)
    assert merged.live == tuple(result for result in merged.results if result.status in LIVE)
