"""The sandbox's tables, texts and windows."""

import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_requests import CANCEL, TRACK, TRACK_ALL, TRIGGER, V5

from htx_cancel.sandbox.rules import INTERFACES, PRODUCTS, ROUTES, Rules
from htx_cancel.sandbox.texts import DENIALS, TEXTS, contract_refusal, refusal, text
from htx_cancel.sandbox.windows import (
    WINDOWS,
    Budget,
    WindowRule,
    WindowState,
    milliseconds,
)

RULES: list[WindowRule] = ["first", "epoch", "slide"]
#: Eighths of a second are exact in binary, so boundaries are exact.
arrivals = st.lists(st.integers(0, 160), min_size=1, max_size=120).map(
    lambda eighths: [1000 + eighth / 8 for eighth in sorted(eighths)]
)


def admitted(rule: WindowRule, calls: int, seconds: float, times: list[float]) -> list[float]:
    """Return the times at which a window admits a call."""
    window = WINDOWS[rule](Budget("some", calls, seconds))
    return [now for now in times if window.admit(now).admitted]


def naive(rule: WindowRule, calls: int, seconds: float, times: list[float]) -> list[float]:
    """Return the same, by counting all earlier calls for each call."""
    passed: list[float] = []
    starts: list[float] = []
    for now in times:
        if rule == "slide":
            recent = [time for time in passed if now - time < seconds]
        elif rule == "epoch":
            recent = [time for time in passed if int(time / seconds) == int(now / seconds)]
        else:
            if not starts or now - starts[-1] >= seconds:
                starts.append(now)
            recent = [time for time in passed if time >= starts[-1]]
        if len(recent) < calls:
            passed.append(now)
    return passed


@pytest.mark.parametrize("rule", RULES)
@given(times=arrivals, calls=st.integers(1, 6), seconds=st.sampled_from([1, 2, 3]))
def test_windows_admit_what_a_naive_count_admits(
    rule: WindowRule, times: list[float], calls: int, seconds: int
) -> None:
    """The naive count checks all earlier calls for each call."""
    assert admitted(rule, calls, seconds, times) == naive(rule, calls, seconds, times)


@given(times=arrivals, calls=st.integers(1, 6))
def test_epoch_admits_no_more_in_a_second_of_the_clock(times: list[float], calls: int) -> None:
    """An aligned window never has more calls than the budget."""
    seconds = Counter(int(now) for now in admitted("epoch", calls, 1, times))
    assert max(seconds.values()) <= calls


@given(times=arrivals, calls=st.integers(1, 6))
def test_slide_admits_no_more_in_any_second(times: list[float], calls: int) -> None:
    """No second has more calls than the budget, wherever the second begins."""
    starts = admitted("slide", calls, 1, times)
    assert all(sum(now <= time < now + 1 for time in starts) <= calls for now in starts)


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
def test_the_state_after_the_first_call(rule: WindowRule, expected: WindowState) -> None:
    """The state has the remaining calls and the window's end."""
    assert WINDOWS[rule](Budget("some", 2, 3)).admit(5.5) == expected


@pytest.mark.parametrize(("rule", "frees"), [("first", 6.5), ("epoch", 6.0), ("slide", 6.5)])
def test_a_full_window_admits_again_at_its_reset(rule: WindowRule, frees: float) -> None:
    """The window admits a call at exactly that time, and not before."""
    window = WINDOWS[rule](Budget("some", 2, 1))
    window.admit(5.5)
    full = window.admit(5.75)
    assert (full.remaining, full.reset_ms) == (0, frees * 1000)
    assert not window.admit(frees - 1 / 1024).admitted
    assert window.admit(frees).admitted


def test_slide_frees_one_call_at_a_time() -> None:
    """A fixed window frees all calls at its end."""
    remaining = {}
    for rule in RULES:
        window = WINDOWS[rule](Budget("some", 2, 1))
        window.admit(5.0)
        window.admit(5.5)
        remaining[rule] = window.admit(6.25).remaining
    assert remaining == {"first": 1, "epoch": 1, "slide": 0}


@pytest.mark.parametrize("rule", RULES)
def test_an_unused_window_has_its_whole_budget(rule: WindowRule) -> None:
    """All calls remain."""
    state = WINDOWS[rule](Budget("some", 2, 1)).state(7.0, admitted=False)
    assert (state.remaining, state.reset_ms) == (2, 8000)


def test_milliseconds_are_rounded_down() -> None:
    """The float's own rounding error does not count."""
    assert [milliseconds(seconds) for seconds in (1767323045.123, 1.9996, 0.29)] == [
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
def test_every_call_has_its_page_s_limit(path: str, limit: int, interval_ms: int) -> None:
    """A call is admitted that often, and no more."""
    rules = Rules()
    states = [rules.admit(path, 50.0) for _ in range(limit + 1)]
    assert [state is not None and state.admitted for state in states] == [True] * limit + [False]
    assert states[0] is not None
    assert (states[0].limit, states[0].interval_ms) == (limit, interval_ms)


def test_calls_have_their_own_windows() -> None:
    """A full window affects no other call and no pool."""
    rules = Rules()
    assert exhaust(rules, TRACK) == 5
    assert [exhaust(rules, path) for path in (TRACK_ALL, TRIGGER, CANCEL, V5)] == [5, 5, 36, 72]


def test_pools_are_charged_with_charge_pools() -> None:
    """Calls with their own window then charge their product's pool, too."""
    rules = Rules(charge_pools=True)
    assert [exhaust(rules, path) for path in (TRACK, TRACK_ALL, CANCEL)] == [5, 5, 26]
    assert [exhaust(rules, path) for path in (TRIGGER, V5)] == [5, 67]


def test_the_headers_of_a_refusal_by_the_pool_describe_the_call_s_own_window() -> None:
    """Which still has room."""
    rules = Rules(charge_pools=True)
    exhaust(rules, CANCEL)
    state = rules.admit(TRACK, 10.0)
    assert state is not None
    assert (state.admitted, state.limit, state.remaining) == (False, 5, 5)


@pytest.mark.parametrize(("count_refused", "remaining"), [(False, 5), (True, 3)])
def test_a_refused_call_charges_none_or_all(count_refused: bool, remaining: int) -> None:
    """A refused call charges no budget, or all its budgets with ``count_refused``."""
    rules = Rules(charge_pools=True, count_refused=count_refused)
    exhaust(rules, CANCEL, refusals=0)
    rules.admit(TRACK, 10.0)
    later = rules.admit(TRACK, 10.5)
    assert later is not None
    assert later.remaining == remaining


def test_refused_calls_that_count_keep_a_sliding_log_full() -> None:
    """A client that does not pause is never admitted again; one that waits for the reset is."""
    rules = Rules(window="slide", count_refused=True)
    states = [rules.admit(TRACK, 10 + eighth / 8) for eighth in range(80)]
    assert sum(state is not None and state.admitted for state in states) == 5
    assert states[-1] is not None
    later = rules.admit(TRACK, states[-1].reset_ms / 1000)
    assert later is not None
    assert later.admitted


def test_limits_are_changed_by_budget_and_by_path() -> None:
    """A changed path gets its own window."""
    rules = Rules(limits={"usdt_m_trade": (3, 1), TRACK: (2, 0.5), CANCEL: (1, 1)})
    assert [exhaust(rules, path) for path in (V5, TRACK, TRACK_ALL, CANCEL)] == [3, 2, 5, 1]


def test_limits_can_be_switched_off() -> None:
    """No call is refused, and there is no state of a window."""
    assert Rules(limits=False).admit(TRACK, 10.0) is None


def test_unknown_limits_are_refused() -> None:
    """The error names the unknown limit."""
    with pytest.raises(ValueError, match="swap_trade"):
        Rules(limits={"swap_trade": (1, 1)})


def exhaust(rules: Rules, path: str, *, refusals: int = 1) -> int:
    """Call until refused, or until no call remains if not ``refusals``; return how many passed."""
    count = 0
    while (state := rules.admit(path, 10.0)) is not None and state.admitted:
        count += 1
        if not refusals and not state.remaining:
            break
    return count


def test_the_table_as_the_pages_state_it() -> None:
    """The number and kinds of ids, the envelope and the pool."""
    table = {
        path: (row.max_ids, row.client_ids, row.envelope, row.pool.calls, row.pool.seconds)
        for path, row in INTERFACES.items()
    }
    expected = {
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
        "/linear-swap-api/v1/swap_cancel": (25, True, "v1", 72, 3),
        V5: (1, True, "v5", 72, 3),
        "/v5/trade/cancel_batch_orders": (10, True, "v5", 72, 3),
        "/v5/algo/cancel_orders": (10, True, "v5", 72, 3),
    }
    assert expected.items() <= table.items()
    assert len(table) == 4 * 8 + 4  # for each of four v1 products four kinds, by ids and all
    own = [row.own for row in INTERFACES.values() if row.own is not None]
    assert len(own) == 4 * 6
    assert {(budget.calls, budget.seconds) for budget in own} == {(5, 1)}


def test_the_filters_as_the_pages_state_them() -> None:
    """The filters of a call without ids, and whether it may name no contract."""
    table = {path: (row.filters, row.anywhere) for path, row in ROUTES.items()}
    expected = {
        "/swap-api/v1/swap_cancelall": (("direction", "offset"), False),
        "/swap-api/v1/swap_tpsl_cancelall": (("direction",), False),
        "/api/v1/contract_cancelall": (
            ("contract_code", "contract_type", "direction", "offset"),
            False,
        ),
        "/v5/trade/cancel_all_orders": (("side", "position_side"), True),
        "/linear-swap-api/v1/swap_trigger_openorders": ((), False),
        "/linear-swap-api/v1/swap_cross_trigger_openorders": ((), True),
    }
    assert expected.items() <= table.items()


def test_every_kind_has_a_product_with_its_own_contracts() -> None:
    """No contract is traded by two products."""
    swap, futures, usdt_m = PRODUCTS["swap"], PRODUCTS["futures"], PRODUCTS["v5"]
    for kind, product in PRODUCTS.items():
        start = kind.partition("_")[0]
        assert product == {"swap": swap, "futures": futures}.get(start, usdt_m), kind
    assert len(PRODUCTS) == 4 * 4 + 2
    assert not swap.contracts & usdt_m.contracts
    assert not futures.contracts & (swap.contracts | usdt_m.contracts)


def test_both_envelopes_have_texts_for_the_same_codes() -> None:
    """The texts have the same placeholders."""
    assert TEXTS["v1"].keys() == TEXTS["v5"].keys()
    assert DENIALS["v1"].keys() == DENIALS["v5"].keys()
    for code, template in TEXTS["v1"].items():
        assert placeholders(template) == placeholders(TEXTS["v5"][code])


def placeholders(template: str) -> set[str | None]:
    """Return the placeholders of a text."""
    return {name for _, name, _, _ in string.Formatter().parse(template)} - {None}


def test_texts() -> None:
    """Placeholders are filled in; an unknown code has a text, too."""
    assert text("v1", 1061) == "This order doesnt exist."
    assert text("v5", 1061) == "The order does not exist."
    assert text("v1", 1066, "order_id") == "order_id cannot be empty."
    assert text("v1", 4999, "BTC-USD") == "Unknown error."


def test_refusals_of_a_contract() -> None:
    """A missing contract and an unknown one have different codes in v1, but not in v5."""
    refusals = {
        (path, is_given): contract_refusal(INTERFACES[path], given=is_given).args
        for path in (CANCEL, TRIGGER, V5)
        for is_given in (False, True)
    }
    assert refusals == {
        (CANCEL, False): (1066, "contract_code cannot be empty."),
        (CANCEL, True): (1014, "This contract doesnt exist."),
        (TRIGGER, False): (1066, "contract_code cannot be empty."),
        (TRIGGER, True): (1332, "The contract doesnt exist."),
        (V5, False): (1067, "Invalid contract_code parameter"),
        (V5, True): (1067, "Invalid contract_code parameter"),
    }


def test_a_refusal_has_the_text_of_its_envelope() -> None:
    """It also has the outcome for the log."""
    refused = refusal(INTERFACES[V5], 1032, outcome="rate")
    assert (refused.code, refused.text, refused.outcome) == (
        1032,
        "Maximum number of access attempts exceeded.",
        "rate",
    )
