"""The sandbox's tables and windows."""

import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_cancel.sandbox.rules import INTERFACES, PRODUCTS, Rules
from htx_cancel.sandbox.texts import DENIALS, TEXTS, contract_refusal, refusal, text
from htx_cancel.sandbox.windows import (
    WINDOWS,
    Budget,
    WindowRule,
    WindowState,
    milliseconds,
)

CANCEL = "/swap-api/v1/swap_cancel"
TRACK = "/swap-api/v1/swap_track_cancel"
TRACK_ALL = "/swap-api/v1/swap_track_cancelall"
TRIGGER = "/linear-swap-api/v1/swap_trigger_cancel"
V5 = "/v5/trade/cancel_order"

RULES: list[WindowRule] = ["first", "epoch", "slide"]
#: Eighths of a second are exact in binary, so that boundaries are.
arrivals = st.lists(st.integers(0, 160), min_size=1, max_size=120).map(
    lambda eighths: [1000 + each / 8 for each in sorted(eighths)]
)


def admitted(rule: WindowRule, calls: int, seconds: float, times: list[float]) -> list[float]:
    """Return the arrivals that a window admits."""
    window = WINDOWS[rule](Budget("some", calls, seconds))
    return [now for now in times if window.admit(now).admitted]


def naive(rule: WindowRule, calls: int, seconds: float, times: list[float]) -> list[float]:
    """Decide every call by looking at all that were admitted before it."""
    taken: list[float] = []
    starts: list[float] = []
    for now in times:
        if rule == "slide":
            recent = [each for each in taken if now - each < seconds]
        elif rule == "epoch":
            recent = [each for each in taken if int(each / seconds) == int(now / seconds)]
        else:
            if not starts or now - starts[-1] >= seconds:
                starts.append(now)
            recent = [each for each in taken if each >= starts[-1]]
        if len(recent) < calls:
            taken.append(now)
    return taken


@pytest.mark.parametrize("rule", RULES)
@given(times=arrivals, calls=st.integers(1, 6), seconds=st.sampled_from([1, 2, 3]))
def test_windows_admit_what_a_naive_count_admits(
    rule: WindowRule, times: list[float], calls: int, seconds: int
) -> None:
    """Each rule admits exactly what counting all earlier calls one by one admits."""
    assert admitted(rule, calls, seconds, times) == naive(rule, calls, seconds, times)


@given(times=arrivals, calls=st.integers(1, 6))
def test_epoch_never_admits_more_in_a_second_of_the_clock(times: list[float], calls: int) -> None:
    """An aligned window never has more calls than its budget."""
    seconds = Counter(int(now) for now in admitted("epoch", calls, 1, times))
    assert max(seconds.values()) <= calls


@given(times=arrivals, calls=st.integers(1, 6))
def test_slide_never_admits_more_in_any_second(times: list[float], calls: int) -> None:
    """No interval of one second, wherever it begins, has more calls than the budget."""
    taken = admitted("slide", calls, 1, times)
    assert all(sum(now <= each < now + 1 for each in taken) <= calls for now in taken)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "first",
            WindowState(admitted=True, limit=2, interval_ms=3000, remaining=1, reset_ms=8500),
        ),
        (
            "epoch",
            WindowState(admitted=True, limit=2, interval_ms=3000, remaining=1, reset_ms=6000),
        ),
        (
            "slide",
            WindowState(admitted=True, limit=2, interval_ms=3000, remaining=1, reset_ms=8500),
        ),
    ],
)
def test_first_call_of_a_window(rule: WindowRule, expected: WindowState) -> None:
    """A window says after its first call what is left and when it ends."""
    assert WINDOWS[rule](Budget("some", 2, 3)).admit(5.5) == expected


@pytest.mark.parametrize(("rule", "frees"), [("first", 6.5), ("epoch", 6.0), ("slide", 6.5)])
def test_full_window_frees_at_its_reset_and_not_before(rule: WindowRule, frees: float) -> None:
    """A full window refuses until its reset and admits at that very moment."""
    window = WINDOWS[rule](Budget("some", 2, 1))
    window.admit(5.5)
    full = window.admit(5.75)
    assert (full.remaining, full.reset_ms) == (0, frees * 1000)
    assert not window.admit(frees - 1 / 1024).admitted
    assert window.admit(frees).admitted


def test_slide_frees_one_call_at_a_time_and_first_all() -> None:
    """After a burst and a straggler a sliding log has one call left in it, a fixed window none."""
    left = {}
    for rule in RULES:
        window = WINDOWS[rule](Budget("some", 2, 1))
        window.admit(5.0)
        window.admit(5.5)
        left[rule] = window.admit(6.25).remaining
    assert left == {"first": 1, "epoch": 1, "slide": 0}


@pytest.mark.parametrize("rule", RULES)
def test_untouched_window_is_whole(rule: WindowRule) -> None:
    """A window without a call has all of its budget left."""
    state = WINDOWS[rule](Budget("some", 2, 1)).state(7.0, admitted=False)
    assert (state.remaining, state.reset_ms) == (2, 8000)


def test_milliseconds_are_cut_off() -> None:
    """A time is told in whole milliseconds, without the float's own error."""
    assert [milliseconds(each) for each in (1767323045.123, 1.9996, 0.29)] == [
        1767323045123,
        1999,
        290,
    ]


@pytest.mark.parametrize(
    ("path", "limit", "interval_ms"),
    [
        (CANCEL, 36, 3000),
        (TRACK, 5, 1000),
        (TRACK_ALL, 5, 1000),
        (TRIGGER, 5, 1000),
        (V5, 72, 3000),
    ],
)
def test_every_interface_states_its_limit(path: str, limit: int, interval_ms: int) -> None:
    """Each path is admitted as often as its page says, and not once more."""
    rules = Rules()
    states = [rules.admit(path, 50.0) for _ in range(limit + 1)]
    assert [state is not None and state.admitted for state in states] == [True] * limit + [False]
    assert states[0] is not None
    assert (states[0].limit, states[0].interval_ms) == (limit, interval_ms)


def test_interfaces_have_windows_of_their_own() -> None:
    """A full interface leaves the others and the pools alone."""
    rules = Rules()
    assert exhaust(rules, TRACK) == 5
    assert [exhaust(rules, path) for path in (TRACK_ALL, TRIGGER, CANCEL, V5)] == [5, 5, 36, 72]


def test_pools_are_charged_by_their_interfaces_if_asked() -> None:
    """With ``charge_pools`` the calls of a product's interfaces leave its pool with fewer."""
    rules = Rules(charge_pools=True)
    assert [exhaust(rules, path) for path in (TRACK, TRACK_ALL, CANCEL)] == [5, 5, 26]
    assert [exhaust(rules, path) for path in (TRIGGER, V5)] == [5, 67]


def test_refusal_by_the_pool_describes_the_interface() -> None:
    """An interface that its pool refuses still tells that its own window has room."""
    rules = Rules(charge_pools=True)
    exhaust(rules, CANCEL)
    state = rules.admit(TRACK, 10.0)
    assert state is not None
    assert (state.admitted, state.limit, state.remaining) == (False, 5, 5)


@pytest.mark.parametrize(("count_refused", "left"), [(False, 5), (True, 3)])
def test_a_refused_call_charges_none_or_all(count_refused: bool, left: int) -> None:
    """A call that one budget refuses charges no other, unless refused calls count."""
    rules = Rules(charge_pools=True, count_refused=count_refused)
    exhaust(rules, CANCEL, refusals=0)
    rules.admit(TRACK, 10.0)
    later = rules.admit(TRACK, 10.5)
    assert later is not None
    assert later.remaining == left


def test_refused_calls_that_count_keep_a_sliding_log_full() -> None:
    """Under a sliding log that counts refusals a client that hammers is never let in again."""
    rules = Rules(window="slide", count_refused=True)
    states = [rules.admit(TRACK, 10 + each / 8) for each in range(80)]
    assert sum(state is not None and state.admitted for state in states) == 5


def test_limits_are_changed_by_budget_and_by_path() -> None:
    """Other numbers replace a pool's, an interface's own, or give an interface a window."""
    rules = Rules(limits={"usdt_m_trade": (3, 1), TRACK: (2, 0.5), CANCEL: (1, 1)})
    assert [exhaust(rules, path) for path in (V5, TRACK, TRACK_ALL, CANCEL)] == [3, 2, 5, 1]


def test_limits_can_be_switched_off() -> None:
    """Without limits nothing is refused and no window is described."""
    assert Rules(limits=False).admit(TRACK, 10.0) is None


def test_unknown_limits_are_refused() -> None:
    """A limit for something that does not exist is an error, with its name."""
    with pytest.raises(ValueError, match="swap_trade"):
        Rules(limits={"swap_trade": (1, 1)})


def exhaust(rules: Rules, path: str, *, refusals: int = 1) -> int:
    """Call until refused this often (0: until none is left); return how many were admitted."""
    count = 0
    while (state := rules.admit(path, 10.0)) is not None and state.admitted:
        count += 1
        if not refusals and not state.remaining:
            break
    return count


def test_the_table_as_the_pages_state_it() -> None:
    """Each path takes as many ids, of the kinds, and answers in the envelope of its page."""
    table = {
        path: (row.max_ids, row.client_ids, row.envelope, row.pool.calls, row.pool.seconds)
        for path, row in INTERFACES.items()
    }
    told = {
        CANCEL: (10, True, "v1", 36, 3),
        "/swap-api/v1/swap_trigger_cancel": (10, False, "v1", 36, 3),
        "/swap-api/v1/swap_tpsl_cancelall": (0, False, "v1", 36, 3),
        TRACK: (10, False, "v1", 36, 3),
        TRACK_ALL: (0, False, "v1", 36, 3),
        "/api/v1/contract_cancel": (10, True, "v1", 36, 3),
        "/api/v1/contract_track_cancelall": (0, False, "v1", 36, 3),
        TRIGGER: (20, False, "v1", 72, 3),
        "/linear-swap-api/v1/swap_cross_trigger_cancel": (10, False, "v1", 72, 3),
        "/linear-swap-api/v1/swap_cross_cancel": (25, True, "v1", 72, 3),
        V5: (1, True, "v5", 72, 3),
        "/v5/trade/cancel_batch_orders": (10, True, "v5", 72, 3),
        "/v5/algo/cancel_orders": (10, True, "v5", 72, 3),
    }
    assert told.items() <= table.items()
    assert len(table) == 4 * 8 + 4  # of each product of v1 four sorts, by ids and all at once
    own = [row.own for row in INTERFACES.values() if row.own is not None]
    assert len(own) == 4 * 6
    assert {(each.calls, each.seconds) for each in own} == {(5, 1)}


def test_a_kind_belongs_to_a_product_and_the_lists_are_apart() -> None:
    """No contract is traded by two products."""
    swap, futures, usdt_m = PRODUCTS["swap"], PRODUCTS["futures"], PRODUCTS["v5"]
    for kind, product in PRODUCTS.items():
        start = kind.partition("_")[0]
        assert product == {"swap": swap, "futures": futures}.get(start, usdt_m), kind
    assert len(PRODUCTS) == 4 * 4 + 2
    assert not swap.contracts & usdt_m.contracts
    assert not futures.contracts & (swap.contracts | usdt_m.contracts)


def test_both_envelopes_have_words_for_the_same_codes() -> None:
    """Each code has a text in both envelopes, with the same blanks to fill."""
    assert TEXTS["v1"].keys() == TEXTS["v5"].keys()
    assert DENIALS["v1"].keys() == DENIALS["v5"].keys()
    for code, words in TEXTS["v1"].items():
        assert blanks(words) == blanks(TEXTS["v5"][code])


def blanks(words: str) -> set[str | None]:
    """Return the blanks of a text."""
    return {name for _, name, _, _ in string.Formatter().parse(words)} - {None}


def test_texts() -> None:
    """Texts are HTX's, filled in; a code that the table lacks has one too."""
    assert text("v1", 1061) == "This order doesnt exist."
    assert text("v5", 1061) == "The order does not exist."
    assert text("v1", 1066, "order_id") == "order_id cannot be empty."
    assert text("v1", 4999, "BTC-USD") == "Unknown error."


def test_refusals_of_a_contract() -> None:
    """A missing contract and an unknown one are told apart in v1 and not in v5."""
    told = {
        (path, is_given): contract_refusal(INTERFACES[path], given=is_given).args
        for path in (CANCEL, TRIGGER, V5)
        for is_given in (False, True)
    }
    assert told == {
        (CANCEL, False): (1066, "contract_code cannot be empty."),
        (CANCEL, True): (1014, "This contract doesnt exist."),
        (TRIGGER, False): (1066, "contract_code cannot be empty."),
        (TRIGGER, True): (1332, "The contract doesnt exist."),
        (V5, False): (1067, "Invalid contract_code parameter"),
        (V5, True): (1067, "Invalid contract_code parameter"),
    }


def test_refusal_speaks_the_interfaces_words() -> None:
    """A refusal carries the text of its envelope and the log's word."""
    refused = refusal(INTERFACES[V5], 1032, outcome="rate")
    assert (refused.code, refused.text, refused.outcome) == (
        1032,
        "Maximum number of access attempts exceeded.",
        "rate",
    )
