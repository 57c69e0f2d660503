"""Test the store's script: a state machine checks that no window ever has more than N requests."""

from collections import Counter
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from lua_store import LuaServer

from htx_cancel.limits import store
from htx_cancel.limits.store import Answer, Lent, Message, Want

LEASE, GRACE = 2.0, 0.25
NAME = "pool"
US = 1_000_000


class Process:
    """A minimal model of one process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.serial = 0
        self.tokens: list[float] = []  # when each token held is free, in the server's time
        self.given: list[float] = []  # tokens that the next message gives back
        self.ends_at = -inf
        self.known = False

    def message(self, now: float, calls: int, window: float, **wants: object) -> Message:
        """Return the next message."""
        self.serial += 1
        if now >= self.ends_at:
            self.tokens = []  # other processes may hold them
        needs: dict[str, object] = {"waiting": (0, 0, 0), **wants}
        given, self.given = self.given, []  # reported once, answered or not
        want = Want(
            name=NAME,
            calls=calls,
            window=round(window * US),
            taught=False,
            claim=len(self.tokens),
            given=[round(max(at - now, 0) * US) + 1 for at in given],
            used=sum(at > now for at in self.tokens),
            in_flight=0,
            soonest=round((min(self.tokens, default=now) - now) * US),
            **needs,  # type: ignore[arg-type]
        )
        return Message(
            self.name,
            self.serial,
            round(LEASE * US),
            round(GRACE * US),
            self.known,
            False,
            0,
            [want],
        )

    def take(self, answer: Answer, sent_at: float, now: float) -> None:
        """Take the answer to the last message."""
        self.known = True
        self.ends_at = sent_at + LEASE
        (lent,) = answer.lents
        remaining = lent.held - len(lent.fresh)
        self.tokens = sorted(self.tokens)[-remaining:] if remaining else []
        self.tokens += [now + delay / US for delay in lent.fresh]
        assert len(self.tokens) == lent.held


class Sharing(RuleBasedStateMachine):
    """Processes join, use, give, crash and stall; messages are lost, late or doubled.

    A use takes no time here: a token used now is free one window later.
    """

    CALLS, WINDOW = 5, 1.0

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.server = LuaServer(lambda: self.now)
        self.processes = [Process(f"p{number}") for number in range(3)]
        self.late: list[bytes] = []
        self.uses: list[float] = []

    process_number = st.integers(0, 2)
    need = st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 2))

    def _message(self, number: int, need: tuple[int, int, int], composite: int = 0) -> bytes:
        process = self.processes[number]
        wants = {
            "waiting": need,
            "composite": composite,
            "scarcer": {NAME: 1},
            "accompanying": composite,
        }
        return store.encode(process.message(self.now, self.CALLS, self.WINDOW, **wants))

    @rule(number=process_number, need=need, composite=st.integers(0, 3), doubled=st.booleans())
    def sync(
        self, number: int, need: tuple[int, int, int], composite: int, *, doubled: bool
    ) -> None:
        """Let a process send a message and get the answer."""
        message = self._message(number, need, composite)
        answer = store.decode_answer(self.server.run(message))
        assert answer.read
        if doubled:
            assert not store.decode_answer(self.server.run(message)).read
        self.processes[number].take(answer, self.now, self.now)

    @rule(number=process_number, need=need)
    def answer_lost(self, number: int, need: tuple[int, int, int]) -> None:
        """Let the store read a message whose answer is lost."""
        self.server.run(self._message(number, need))

    @rule(number=process_number, need=need)
    def message_late(self, number: int, need: tuple[int, int, int]) -> None:
        """Let a message be delayed."""
        self.late.append(self._message(number, need))

    @precondition(lambda self: self.late)
    @rule()
    def arrives(self) -> None:
        """Let a delayed message arrive."""
        self.server.run(self.late.pop(0))

    @rule(number=process_number, count=st.integers(1, 3), soonest=st.booleans())
    def give(self, number: int, count: int, *, soonest: bool) -> None:
        """Let a process give tokens back with its next message."""
        process = self.processes[number]
        process.tokens.sort(reverse=not soonest)
        for _ in range(min(count, len(process.tokens))):
            process.given.append(process.tokens.pop(0))

    @rule(number=process_number, count=st.integers(1, 5))
    def use(self, number: int, count: int) -> None:
        """Let a process send requests with free tokens."""
        process = self.processes[number]
        if self.now >= process.ends_at:
            return
        free = [at for at in process.tokens if at <= self.now][:count]
        for at in free:
            process.tokens.remove(at)
            process.tokens.append(self.now + self.WINDOW)
            self.uses.append(self.now)

    @rule(number=process_number)
    def crash(self, number: int) -> None:
        """Replace a process by a new one."""
        name = self.processes[number].name
        self.processes[number] = Process(f"{name}'")

    @rule(seconds=st.sampled_from([0.001, 0.1, 0.3, 0.9, 1.1, 2.1, 4.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule(keep=st.booleans())
    def restart(self, *, keep: bool) -> None:
        """Restart the server, with its book or without it."""
        self.server.restart(keep=keep)

    @precondition(lambda self: any(process.known for process in self.processes))
    @rule(need=need)
    def flush(self, need: tuple[int, int, int]) -> None:
        """Lose the book; a process that knew it sends the first message."""
        self.server.book = None
        known = next(n for n, process in enumerate(self.processes) if process.known)
        self.sync(known, need, 0, doubled=False)

    @invariant()
    def no_window_has_too_many_uses(self) -> None:
        """Check that the first and the last of any N+1 uses are at least one window apart."""
        recent = self.uses[-self.CALLS - 1 :]
        if len(recent) > self.CALLS:
            assert recent[-1] - recent[0] >= self.WINDOW - 1e-9

    @invariant()
    def no_more_tokens_are_held_than_exist(self) -> None:
        """Count the tokens of the processes whose lease has not ended."""
        leased = [process for process in self.processes if self.now < process.ends_at]
        assert sum(len(process.tokens) for process in leased) <= self.CALLS


class SharingMany(Sharing):
    """The same with more tokens and a longer window."""

    CALLS, WINDOW = 12, 3.0


TestSharing = Sharing.TestCase
TestSharingMany = SharingMany.TestCase
TestSharing.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestSharingMany.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


class Book:
    """A server, and processes that send it messages."""

    def __init__(self, *, age: float = 1e6, keep_for_urgent: int = 0, empty: bool = False) -> None:
        self.now = 1000.0
        self.server = LuaServer(lambda: self.now, age=age, empty=empty)
        self.serials = Counter[str]()
        self.known: set[str] = set()
        self.keep_for_urgent = keep_for_urgent

    def sync(self, process: str, **want: object) -> Lent:
        """Send what a process holds and needs of a budget; return the answer."""
        return self.sync_all(process, want)[0]

    def sync_all(self, process: str, *wants: dict[str, object]) -> list[Lent]:
        """Send what a process holds and needs of several budgets; return the answers."""
        self.serials[process] += 1
        given: dict[str, object] = {
            "name": NAME,
            "calls": 5,
            "window": US,
            "taught": False,
            "claim": 0,
            "given": [],
            "used": 0,
            "in_flight": 0,
            "soonest": US,
            "waiting": (0, 0, 0),
        }
        message = Message(
            process,
            self.serials[process],
            2 * US,
            US // 4,
            process in self.known,
            False,
            self.keep_for_urgent,
            [Want(**{**given, **want}) for want in wants],  # type: ignore[arg-type]
        )
        self.known.add(process)
        return store.decode_answer(self.server.run(store.encode(message))).lents

    def recalls(self) -> dict[str, list[tuple[int, bool]]]:
        """Return the notices since the last call: tokens to give, and whether urgently."""
        found = {
            process: [(recall.give, recall.urgent) for recall in store.decode_notice(notice)]
            for process, notice in self.server.published
        }
        self.server.published.clear()
        return found


def test_a_lone_process_gets_the_tokens_it_needs_and_some_ahead() -> None:
    """It gets all tokens for a long queue, and half of those it does not use ahead of need."""
    book = Book()
    assert book.sync("a").held == 2
    assert book.sync("a", claim=2).held == 2
    assert book.sync("a", claim=2, used=2).held == 4
    lent = book.sync("a", claim=4, used=2, waiting=(0, 9, 0))
    assert (lent.held, lent.others) == (5, False)


def test_equal_demands_get_equal_shares() -> None:
    """The holder of all tokens is told to give some, and the waiting process to fetch them."""
    book = Book()
    assert book.sync("a", calls=6, waiting=(0, 6, 0)).held == 6
    assert book.sync("b", calls=6, waiting=(0, 6, 0)).held == 0
    assert book.recalls() == {"a": [(3, False)]}
    assert book.sync("a", calls=6, claim=3, given=[0, 0, 500], used=3, waiting=(0, 6, 0)).held == 3
    assert book.recalls() == {"b": [(0, False)]}
    lent = book.sync("b", calls=6, waiting=(0, 6, 0))
    assert (lent.held, lent.fresh, lent.fair) == (3, [0, 0, 500], 3)


def test_the_remainder_of_an_even_division_rotates() -> None:
    """With more processes than tokens, each has one in at least one of two rotations."""
    book = Book()
    processes = [f"p{number}" for number in range(8)]
    shares = Counter[str]()
    for _ in range(2):
        for _ in range(2):
            found = {name: book.sync(name, waiting=(0, 5, 0)).fair for name in processes}
        assert sum(found.values()) == 5
        assert max(found.values()) == 1
        shares.update(found)
        book.now += 4.0
    assert min(shares[name] for name in processes) == 1


def test_a_process_without_previous_need_gets_an_equal_part_first() -> None:
    """It is told to ask again for the rest, because others may be about to ask, too."""
    book = Book()
    book.sync("b", name="another")
    assert book.sync("a", waiting=(0, 9, 0)).held == 3
    assert book.recalls() == {"a": [(0, False)]}
    assert book.sync("a", claim=3, used=3, waiting=(0, 6, 0)).held == 5
    assert book.recalls() == {}
    book.sync("a", claim=2, given=[0, 0, 0])
    assert book.sync("a", claim=2, waiting=(0, 9, 0)).held == 3


def test_an_urgent_call_without_previous_need_gets_all_at_once() -> None:
    """Even though other processes may be about to ask."""
    book = Book()
    book.sync("b", name="another")
    assert book.sync("a", waiting=(5, 0, 0), pressing=5).held == 5


@pytest.mark.parametrize(("in_flight", "give"), [(4, 0), (3, 1)])
def test_a_process_keeps_the_tokens_that_its_urgent_calls_can_use(
    in_flight: int, give: int
) -> None:
    """It would ask for them again. It gives only the others, and not the soonest ones."""
    book = Book()
    book.sync("a", waiting=(5, 0, 0), pressing=5)
    for process in "bcd":
        book.sync(process, waiting=(0, 5, 0))
    lent = book.sync("a", claim=5, used=5, in_flight=in_flight, waiting=(1, 0, 0))
    assert (lent.held, lent.give) == (5, give)
    book.sync("e", waiting=(1, 0, 0), pressing=1)
    assert book.recalls() == ({"a": [(give, False)]} if give else {})


def test_a_process_gets_one_notice_between_two_messages() -> None:
    """Two other messages do not repeat the first notice."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    for _ in range(3):
        book.sync("b", waiting=(0, 5, 0))
    assert len(book.server.published) == 1


def test_an_urgent_call_gets_the_soonest_token_of_any_process() -> None:
    """Each holder is told to give one, even if routine calls wait there."""
    book = Book()
    book.sync("a", waiting=(0, 2, 0))
    book.sync("b", waiting=(0, 3, 0))
    book.recalls()
    book.sync("c", waiting=(1, 0, 0), pressing=1)
    assert book.recalls() == {"a": [(1, True)], "b": [(1, True)]}
    book.sync("a", claim=1, given=[300], used=1)
    book.sync("b", claim=2, given=[200], used=2)
    assert book.sync("c", waiting=(1, 0, 0)).fresh == [200]


def test_no_process_is_told_to_give_more_tokens_than_it_holds() -> None:
    """It would owe the rest, and give tokens that it gets later."""
    book = Book()
    book.sync("a", waiting=(0, 2, 0))
    book.sync("b", waiting=(0, 3, 0))
    book.recalls()
    book.sync("c", waiting=(3, 0, 0), pressing=3)
    assert book.recalls() == {"a": [(2, True)], "b": [(3, True)]}


def test_routine_calls_leave_the_tokens_kept_for_urgent_ones() -> None:
    """They stay at home for urgent calls of any process."""
    book = Book(keep_for_urgent=2)
    lent = book.sync("a", waiting=(0, 9, 0))
    assert (lent.held, lent.fair) == (3, 5)
    assert book.sync("b", waiting=(0, 9, 0)).held == 0
    assert book.recalls() == {"a": [(2, False)]}
    assert book.sync("c", waiting=(1, 0, 0)).fresh == [0]
    assert book.sync("c", claim=1, used=1, waiting=(1, 0, 0), pressing=1).fresh == [0]


def test_routine_calls_leave_the_soonest_tokens_to_urgent_ones() -> None:
    """As many as are kept for urgent calls."""
    book = Book(keep_for_urgent=1)
    book.sync("a", waiting=(5, 0, 0), pressing=5)
    book.sync("b", waiting=(0, 1, 0))
    book.sync("a", claim=3, given=[0, 900_000], used=3)
    assert book.sync("b", waiting=(0, 1, 0)).fresh == [900_000]


def test_calls_in_flight_count_with_the_urgent_calls_of_their_process() -> None:
    """Their tokens serve no waiting call; without urgent calls they have no priority."""
    book = Book()
    book.sync("b", waiting=(0, 2, 0))
    book.sync("b", claim=2, used=2, waiting=(0, 5, 0))
    calls = {"claim": 3, "used": 3, "in_flight": 3}
    book.sync("a", waiting=(0, 3, 0))
    assert book.sync("a", **calls, waiting=(2, 0, 0)).fair == 5
    assert book.sync("a", **calls, waiting=(0, 2, 0)).fair <= 3


def test_an_urgent_call_that_charges_a_scarcer_budget_counts_once() -> None:
    """Two such calls need two tokens."""
    book = Book()
    book.sync("b", waiting=(0, 5, 0))
    assert book.sync("a", waiting=(2, 0, 0), composite=2, pressing=2).fair == 2


def test_no_token_is_lent_ahead_of_need_while_another_process_lacks_one() -> None:
    """Though a third process holds as many tokens that it does not need."""
    book = Book()
    book.sync("c", name="another")
    book.sync("a", calls=8, waiting=(0, 3, 0))
    assert book.sync("a", calls=8, claim=3).held == 3
    assert book.sync("b", calls=8, waiting=(0, 6, 0)).held == 3
    assert book.sync("c", calls=8).held == 0


def test_calls_that_charge_a_scarcer_budget_go_before_routine_ones() -> None:
    """They get as many tokens as they can use."""
    book = Book()
    assert book.sync("a", calls=6, waiting=(0, 6, 0)).held == 6
    book.sync("b", calls=6, waiting=(0, 6, 0), composite=4)
    assert book.recalls() == {"a": [(5, False)]}


def wide(**want: object) -> dict[str, object]:
    """Return the wants for a budget, two tokens of it for each scarcer token."""
    limits = {"calls": 8, "window": 2 * US, "soonest": 2 * US}
    return {"name": "wide", **limits, "scarcer": {NAME: 2}, **want}


def test_tokens_accompany_those_of_a_scarcer_budget() -> None:
    """They go to the process that is lent the scarcer tokens, and to no other one before."""
    book = Book()
    hungry: dict[str, object] = {"waiting": (0, 8, 0)}
    lent = book.sync_all("a", hungry, wide(**hungry, composite=8))
    assert [budget.held for budget in lent] == [5, 8]
    book.sync_all("b", hungry, wide(**hungry, composite=2))
    book.sync_all("c", hungry, wide(**hungry, composite=2))
    book.sync_all(
        "a",
        {**hungry, "claim": 3, "used": 3, "given": [50, 50]},
        wide(**hungry, claim=4, used=4, given=[10, 20, 30, 40], composite=6, accompanying=4),
    )
    assert book.sync("d", **wide(waiting=(0, 8, 0))).held == 0
    scarce, found = book.sync_all("b", {"waiting": (0, 1, 0)}, wide(**hungry, composite=2))
    assert (scarce.fresh, found.fresh) == ([50], [10, 20])
    scarce, found = book.sync_all("c", {"waiting": (0, 1, 0)}, wide(**hungry, composite=2))
    assert (scarce.fresh, found.fresh) == ([50], [30, 40])


def test_accompanying_tokens_count_towards_the_tokens_lacked() -> None:
    """A process is lent no more tokens with them than without them."""
    book = Book()
    book.sync_all("a", {"waiting": (0, 5, 0)}, wide(waiting=(0, 8, 0), composite=8))
    book.sync_all(
        "a", {"claim": 4, "given": [9]}, wide(claim=2, given=[9] * 6, composite=2, accompanying=2)
    )
    lent = book.sync_all("b", {"waiting": (0, 1, 0)}, wide(waiting=(0, 3, 0), composite=2))
    assert [budget.held for budget in lent] == [1, 3]


@pytest.mark.parametrize("taken", [False, True])
def test_tokens_set_aside_are_released_when_no_call_needs_them(*, taken: bool) -> None:
    """When no call charges both budgets any more, or the scarcer tokens went elsewhere."""
    book = Book()
    book.sync_all("a", {"waiting": (0, 5, 0)}, wide(waiting=(0, 8, 0), composite=8))
    book.sync_all(
        "a", {"claim": 4, "given": [9]}, wide(claim=6, given=[9, 9], composite=2, accompanying=2)
    )
    assert book.sync("d", **wide(waiting=(0, 8, 0))).held == 0
    assert book.sync("c", **wide(waiting=(0, 8, 0), scarcer={})).held == 0
    assert book.sync("e", **wide(waiting=(1, 0, 0), pressing=1)).held == 1
    book.sync("e", **wide(given=[9]))
    if taken:
        assert book.sync("c", waiting=(0, 5, 0)).fresh == [9]
    book.sync_all("a", {"claim": 4}, wide(claim=6, used=6, composite=2 if taken else 0))
    assert book.sync("d", **wide(waiting=(0, 8, 0))).held == 2


def test_tokens_set_aside_are_not_offered_to_other_calls() -> None:
    """Their process is not told to fetch them; the holder is told to give others."""
    book = Book()
    book.sync_all("a", {"waiting": (0, 5, 0)}, wide(waiting=(0, 8, 0), composite=8))
    book.sync_all(
        "a", {"claim": 4, "given": [9]}, wide(claim=6, given=[9, 9], composite=2, accompanying=2)
    )
    book.recalls()
    assert book.sync("d", **wide(waiting=(0, 2, 0))).held == 0
    assert book.recalls() == {"a": [(3, False)]}


def test_a_process_with_an_urgent_call_is_told_of_a_token_kept_for_such_calls() -> None:
    """It is the only one at home, and is free as late as a token can be."""
    book = Book(keep_for_urgent=1)
    book.sync("a", waiting=(5, 0, 0), pressing=5)
    book.sync("b", waiting=(1, 0, 0), pressing=1)
    book.recalls()
    book.sync("a", claim=4, given=[999_999], used=4)
    assert book.recalls() == {"b": [(0, False)]}


def test_a_notice_can_concern_several_budgets() -> None:
    """A message can recall tokens of each from the same process."""
    book = Book()
    wants: list[dict[str, object]] = [
        {"name": name, "waiting": (0, 4, 0)} for name in ("one", "two")
    ]
    book.sync_all("a", *wants)
    book.sync_all("a", *({**want, "claim": 4, "waiting": (0, 0, 0)} for want in wants))
    book.sync_all("b", *wants)
    book.sync_all("b", *({**want, "claim": 3} for want in wants))
    assert len(book.recalls()["a"]) == 2


def test_background_calls_get_the_tokens_no_other_call_needs() -> None:
    """And no more than that."""
    book = Book()
    assert book.sync("a", waiting=(0, 3, 0)).held == 3
    assert book.sync("b", waiting=(0, 0, 5)).held == 2


def test_the_tokens_of_a_lost_lease_are_back_one_window_later() -> None:
    """They are back after the lease, the grace and the window."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.now += 2.3
    lent = book.sync("b", waiting=(0, 5, 0))
    assert (lent.held, lent.fresh) == (5, [950_000] * 5)


@pytest.mark.parametrize("taught", [False, True])
def test_the_first_stated_limit_counts_unless_a_reply_taught_another(*, taught: bool) -> None:
    """Tokens are added or dropped to match the limit."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    lent = book.sync("b", calls=8, window=2 * US, taught=taught, waiting=(0, 8, 0))
    assert (lent.calls, lent.window, lent.held) == ((8, 2 * US, 3) if taught else (5, US, 0))


def test_every_process_learns_of_a_hold() -> None:
    """The answers state how long it still lasts."""
    book = Book()
    book.sync("a", hold=700_000)
    book.now += 0.2
    assert book.sync("b").hold == 500_000


@pytest.mark.parametrize("age", [1.0, LEASE + GRACE + 0.9])
def test_a_new_server_lends_no_token_that_others_may_hold(age: float) -> None:
    """It waits until their leases have ended and their calls have left the window."""
    book = Book(age=age)
    assert book.sync("a", waiting=(0, 5, 0)).held == 0
    book.now += LEASE + GRACE + 0.95
    assert book.sync("a", waiting=(0, 5, 0)).held == 0
    book.now += 0.06
    assert book.sync("a", waiting=(0, 5, 0)).held == 5


def test_a_server_with_a_negative_uptime_counts_as_new() -> None:
    """Its clock was set back to before its start."""
    book = Book(age=-3600.0)
    assert book.sync("a", waiting=(0, 5, 0)).held == 0
    book.now += LEASE + GRACE + 1.0
    assert book.sync("a", waiting=(0, 5, 0)).held == 5


def test_an_empty_store_lends_nothing_before_other_processes_must_have_claimed() -> None:
    """Live processes may hold tokens if the store was flushed."""
    book = Book(empty=True)
    assert book.sync("a", waiting=(5, 0, 0), pressing=5).held == 0
    book.now += 0.6
    assert book.sync("b", claim=3, used=3).held == 3
    book.now += 0.59
    assert book.sync("a", waiting=(0, 5, 0)).held == 0
    book.now += 0.02
    assert book.sync("a", waiting=(0, 5, 0)).held == 2


def test_after_a_loss_a_process_keeps_the_tokens_it_claims() -> None:
    """Other processes get nothing before all must have claimed."""
    book = Book()
    book.sync("a", waiting=(0, 3, 0))
    book.server.restart(keep=False)
    assert book.sync("a", claim=3, used=3).held == 3
    assert book.sync("b", waiting=(0, 5, 0)).held == 0
    assert book.sync("a", claim=5, used=3).held == 5


def test_unknown_tokens_come_home_before_those_that_rest() -> None:
    """They are free as soon as no process can hold them, and are lent first."""
    book = Book()
    book.sync("a", waiting=(0, 3, 0))
    book.server.restart(keep=False)
    book.sync("a", claim=3, used=3)
    book.now += 1.6
    book.sync("a", claim=3, used=3)
    book.now += 1.6
    assert book.sync("a", claim=2, given=[900_000]).held == 2
    book.now += 0.1
    assert book.sync("b", waiting=(0, 2, 0)).fresh == [0, 0]


def test_a_restarted_server_lends_no_token_that_its_last_message_lent() -> None:
    """The book has missed that message. Tokens at home then are unknown, too."""
    book = Book()
    book.sync("a")
    book.sync("b", waiting=(0, 3, 0))
    book.server.restart(keep=True)
    assert book.sync("c", waiting=(0, 5, 0)).held == 0
    assert book.sync("b", claim=3, used=3).held == 3
    book.now += LEASE + GRACE + 1.1
    assert book.sync("c", waiting=(0, 5, 0)).held == 5


def test_the_first_message_of_a_known_process_proves_a_loss() -> None:
    """A process that has ended may have used tokens of other budgets just before."""
    book = Book()
    book.sync("a", name="another")
    book.server.book = None
    book.sync("a", name="another")
    book.now += 1.3
    assert book.sync("b", waiting=(0, 5, 0)).held == 0
    book.now += LEASE + GRACE + 1.1
    assert book.sync("b", waiting=(0, 5, 0)).held == 5


def test_a_process_whose_lease_has_ended_needs_nothing() -> None:
    """The others neither give it tokens nor keep them for its urgent call."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.sync("b", waiting=(1, 0, 0), pressing=1)
    book.now += 1.0
    assert book.sync("a", claim=5, used=5).others
    book.now += LEASE - 0.9
    assert not book.sync("a", claim=5, used=5).others
    assert book.sync("a", claim=0, given=[0] * 5).held == 2


def test_a_process_cannot_claim_tokens_that_others_hold() -> None:
    """Its lease has ended, and its tokens were lent to others."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.now += 4.0
    book.sync("b", waiting=(0, 5, 0))
    assert book.sync("a", claim=5).held == 0


def test_a_process_cannot_claim_tokens_that_rest_after_others_used_them() -> None:
    """No process holds them, but they were used less than a window ago."""
    book = Book(keep_for_urgent=5)
    book.sync("a", waiting=(5, 0, 0), pressing=5)
    book.now += 4.0
    assert book.sync("b", waiting=(5, 0, 0), pressing=5).held == 5
    assert book.sync("b", claim=0, given=[900_000] * 5).held == 0
    assert book.sync("a", claim=5).held == 0


def test_no_more_tokens_can_be_claimed_than_are_unknown() -> None:
    """One claim is older than the leases: its tokens were lent to another process since."""
    book = Book()
    book.sync("a", waiting=(0, 3, 0))
    book.server.book = None
    assert book.sync("a", claim=3, used=3).held == 3
    assert book.sync("b", claim=5).held == 2


def book_with_a_waiting_process() -> Book:
    """Let ``a`` hold all five tokens, and ``b`` wait for two."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.sync("b", waiting=(0, 2, 0))
    return book


def test_tokens_that_come_home_without_a_time_rest_longest() -> None:
    """They are free one window and the grace later: a call may leave as late as that."""
    book = book_with_a_waiting_process()
    book.sync("a", claim=3, used=3)
    assert book.sync("b", waiting=(0, 2, 0)).fresh == [1_250_000] * 2


def test_if_fewer_tokens_come_home_than_were_given_the_latest_do() -> None:
    """The book had lost the others before."""
    book = book_with_a_waiting_process()
    book.sync("a", claim=3, given=[900, 100, 300, 500], used=3)
    assert book.sync("b", waiting=(0, 2, 0)).fresh == [500, 900]


def test_the_soonest_tokens_at_home_are_lent_first() -> None:
    """Whenever they came home."""
    book = book_with_a_waiting_process()
    book.sync("a", claim=4, given=[900], used=4)
    book.sync("a", claim=3, given=[200], used=3)
    assert book.sync("b", waiting=(0, 1, 0)).fresh == [200]


def test_the_latest_tokens_at_home_are_dropped_when_the_limit_shrinks() -> None:
    """The others are still free."""
    book = Book(keep_for_urgent=5)
    book.sync("a", waiting=(1, 0, 0), pressing=1)
    book.sync("a", claim=0, given=[0, 900_000])
    lent = book.sync("b", calls=4, taught=True, waiting=(4, 0, 0), pressing=4)
    assert lent.fresh == [0] * 4


def test_if_all_were_cut_off_each_keeps_the_tokens_it_claims() -> None:
    """All leases have ended, and no other process has used the tokens since."""
    book = Book()
    book.sync("a", waiting=(0, 2, 0))
    book.sync("b", waiting=(0, 3, 0))
    book.now += 9.0
    assert book.sync("a", claim=2, used=2).held == 2
    assert book.sync("b", claim=3, used=3).held == 3
    assert book.sync("c", waiting=(1, 0, 0)).held == 0


@pytest.mark.parametrize("after", [0.3, 1.3])
def test_a_claim_proves_that_an_earlier_book_was_lost(after: float) -> None:
    """A new process began the present book without asking for this budget."""
    book = Book()
    book.sync("a", waiting=(0, 3, 0))
    book.server.book = None
    book.sync("b", name="another")
    book.now += after
    assert book.sync("a", claim=3, used=3).held == 3
    book.now += 1.3
    assert book.sync("b", waiting=(0, 5, 0)).held == 0


def test_tokens_are_dropped_when_the_limit_shrinks() -> None:
    """Tokens at home are dropped first."""
    book = Book()
    book.sync("a", calls=8, waiting=(0, 4, 0))
    assert book.sync("b", calls=5, taught=True, waiting=(0, 5, 0)).held == 1
    assert book.sync("c", calls=5, waiting=(2, 0, 0), pressing=2).held == 0


@pytest.mark.parametrize("rest", [300, 999_999])
def test_a_token_given_for_an_urgent_call_goes_to_no_other(rest: int) -> None:
    """Another process asks for it before the urgent call fetches it."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.sync("b", waiting=(1, 0, 0), pressing=1)
    book.sync("a", claim=4, given=[rest], used=4, waiting=(0, 5, 0))
    assert book.sync("d", waiting=(0, 5, 0)).held == 0
    assert book.sync("b", waiting=(1, 0, 0)).fresh == [rest]


def test_no_process_is_told_to_fetch_a_token_for_an_urgent_call_elsewhere() -> None:
    """Otherwise two processes that lack a token would wake each other without end."""
    book = Book()
    book.sync("d", calls=7, waiting=(0, 7, 0))
    book.sync("c", waiting=(1, 0, 0), pressing=1)
    book.sync("d", claim=3, given=[900_000] * 4, used=3)
    assert book.sync("c", waiting=(1, 0, 0)).fresh == [900_000] * 2
    for waiting in ((0, 1, 0), (0, 5, 0)):
        for process in ("a", "b"):
            book.sync(process, claim=waiting[1] // 5, used=waiting[1] // 5, waiting=waiting)
    book.sync("d", claim=2, given=[200], used=2)
    for process in ("a", "b", "a"):
        book.recalls()
        assert book.sync(process, claim=1, used=1, waiting=(0, 5, 0)).held == 1
        assert not {"a", "b"} & book.recalls().keys()
    book.sync("c", claim=1, used=1, given=[900_000], waiting=(1, 0, 0))
    assert book.recalls() == {"a": [(0, False)]}


def book_with_an_urgent_call() -> Book:
    """Let ``a`` hold four tokens of five, and ``c`` one, free in 0.8 s, for an urgent call."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.sync("c", waiting=(1, 0, 0), pressing=1)
    book.sync("a", claim=4, given=[800_000], used=4)
    book.sync("c", waiting=(1, 0, 0), soonest=800_000)
    book.recalls()
    return book


def test_a_process_with_an_urgent_call_is_told_of_a_sooner_token() -> None:
    """It already holds a token, but that one is free later."""
    book = book_with_an_urgent_call()
    book.sync("a", claim=3, given=[200], used=3)
    assert book.recalls() == {"c": [(0, False)]}
    swapped = book.sync("c", given=[800_000], waiting=(1, 0, 0), soonest=US)
    assert swapped.fresh == [200]


def test_a_token_that_is_hardly_sooner_is_not_worth_a_swap() -> None:
    """It ages on its way: two such tokens would be swapped without end."""
    book = book_with_an_urgent_call()
    book.sync("a", claim=3, given=[796_000], used=3)
    assert book.recalls() == {}
    book.sync("a", claim=2, given=[794_000], used=2)
    assert book.recalls() == {"c": [(0, False)]}


def test_no_token_is_sooner_than_the_end_of_a_hold() -> None:
    """All tokens that are free by then can be used at the same time."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.sync("c", waiting=(1, 0, 0), pressing=1)
    book.sync("a", claim=4, given=[800_000], used=4)
    assert book.sync("c", waiting=(1, 0, 0)).fresh == [800_000]
    for hold, recalls in ((900_000, {}), (0, {"c": [(0, False)]})):
        book.sync("a", claim=4, used=4, hold=hold)
        book.sync("c", claim=1, waiting=(1, 0, 0), soonest=800_000)
        book.recalls()
        book.sync("a", claim=3, given=[200], used=3)
        assert book.recalls() == recalls
        book.sync("a", claim=4, used=4)
        book.now += 0.9


def test_a_process_that_was_just_lent_a_token_is_not_told_to_give_one() -> None:
    """It holds more than its share, but it might give back the same token."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.sync("c", waiting=(2, 0, 0), pressing=2)
    book.sync("a", claim=3, given=[800_000] * 2, used=3)
    assert book.sync("c", waiting=(2, 0, 0)).held == 2
    for process in "bdef":
        book.sync(process, waiting=(0, 5, 0))
    book.sync("a", claim=2, given=[200], used=2, waiting=(0, 5, 0))
    lent = book.sync("c", claim=1, given=[800_000], used=1, waiting=(1, 0, 0))
    assert (lent.fresh, lent.give) == ([200], 0)
    assert book.sync("c", claim=2, used=2, waiting=(1, 0, 0), soonest=200).give == 1


def test_no_token_is_sooner_than_a_free_one() -> None:
    """A process whose token is free now has no use for another one at home."""
    book = Book(keep_for_urgent=1)
    book.sync("a", waiting=(0, 9, 0))
    for held in (1, 2):
        lent = book.sync("b", claim=held - 1, waiting=(held, 0, 0), soonest=0, pressing=1)
        assert lent.held == held
        book.sync("a", claim=4 - held, given=[0], used=4 - held, waiting=(0, 9, 0))
    book.now += 0.1
    book.recalls()
    assert book.sync("b", claim=1, given=[0], waiting=(1, 0, 0), soonest=0).fresh == []
    book.sync("a", claim=2, used=2, waiting=(0, 9, 0))
    assert "b" not in book.recalls()


def test_a_process_gives_half_of_its_idle_tokens_at_once() -> None:
    """It does not give them one by one."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.sync("a", claim=5)
    book.sync("b", waiting=(0, 1, 0))
    assert book.recalls() == {"a": [(3, False)]}


def test_an_urgent_call_that_finds_a_free_token_recalls_none() -> None:
    """The other process is only asked to refill the tokens kept for urgent calls."""
    book = Book(keep_for_urgent=1)
    book.sync("a", waiting=(0, 4, 0))
    assert book.sync("c", waiting=(1, 0, 0), pressing=1).fresh == [0]
    assert book.recalls() == {"a": [(1, False)]}


def test_an_urgent_call_that_only_finds_a_cooling_token_recalls_a_sooner_one() -> None:
    """Another process may hold one."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.sync("b", waiting=(0, 1, 0))
    book.sync("a", claim=4, given=[900_000], used=4)
    book.recalls()
    assert book.sync("c", waiting=(1, 0, 0), pressing=1).fresh == [900_000]
    assert book.recalls()["a"] == [(1, True)]


def test_a_clock_set_back_takes_no_token_away() -> None:
    """It makes no token free sooner, either."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.sync("a", claim=0, given=[900_000] * 5)
    book.now -= 10.0
    assert book.sync("b", waiting=(0, 5, 0)).fresh == [900_000] * 3


def test_the_book_s_time_continues_after_a_step_back() -> None:
    """Holds and leases end after the same time as without the step."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0), hold=700_000)
    book.now -= 3600.0
    assert book.sync("b").hold == 700_000
    book.now += 0.2
    assert book.sync("b").hold == 500_000
    book.now += LEASE + GRACE + 1.0
    lent = book.sync("b", waiting=(0, 5, 0))
    assert (lent.held, lent.hold) == (5, 0)


@pytest.mark.parametrize(("held", "waiting"), [(2, (0, 1, 0)), (0, (0, 0, 1)), (0, (1, 0, 0))])
def test_a_process_waits_if_its_calls_need_more_tokens_than_it_holds(
    held: int, waiting: tuple[int, int, int]
) -> None:
    """Used tokens serve no waiting call, and calls of each priority count."""
    book = Book()
    book.sync("a", waiting=(0, 5, 0))
    book.sync("b", waiting=(0, held, 0))
    claim = 5 - held
    book.sync("a", claim=claim, given=[0] * held, used=claim)
    assert book.sync("b", waiting=(0, held, 0)).held == held
    book.sync("b", claim=held, used=held)
    assert not book.sync("a", claim=claim, used=claim).others
    book.sync("b", claim=held, used=held, waiting=waiting)
    assert book.sync("a", claim=claim, used=claim).others


def test_a_waiting_process_without_a_share_counts_as_waiting() -> None:
    """With more processes than tokens, a holder without calls must pass its token on."""
    book = Book()
    assert book.sync("b", calls=1, waiting=(0, 1, 0)).held == 1
    assert book.sync("a", calls=1, waiting=(0, 1, 0)).held == 0
    assert book.sync("b", calls=1, claim=1, used=1).others
    book.sync("a", calls=1)
    assert not book.sync("b", calls=1, claim=1, used=1).others
