"""The limiter: waiting, deadlines, cancellation, events and arguments, on virtual time."""

import asyncio
from math import inf
from typing import Any

import pytest
from limiter_model import KnownWay
from limits_helpers import STEP, A, B, U, spend, state, take, turns
from virtualtime import VirtualLoop, now, run

from htx_cancel.endpoints import BUDGETS, Limit
from htx_cancel.errors import InvalidTypeError, InvalidValueError, TooLateError, WrongLoopError
from htx_cancel.limits.budget import MARGIN
from htx_cancel.limits.limiter import Budgets
from htx_cancel.limits.permit import BudgetEvent, Priority


def test_one_timer_serves_all_waiters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred callers wait in two lanes, half with a deadline, and the loop has one timer."""
    timers: list[asyncio.TimerHandle] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        call_at = loop.call_at

        def set_timer(*args: Any, **given: Any) -> asyncio.TimerHandle:
            timers.append(call_at(*args, **given))
            return timers[-1]

        monkeypatch.setattr(loop, "call_at", set_timer)
        budgets = Budgets()
        for name in (A, B):
            await spend(budgets, 5, name)
            await asyncio.sleep(0.1)
        waiters = []
        for place in range(50):
            for deadline in (inf, 30.0 - place / 10):
                names = (A if place % 2 else B,)
                waiters.append(asyncio.create_task(budgets.acquire(names, deadline=deadline)))
                await asyncio.sleep(0.001)
        assert sum(state(budgets, name).waiting for name in (A, B)) == 100
        assert sum(each.when() > now() and not each.cancelled() for each in timers) == 1
        for each in waiters:
            each.cancel()

    run(main())


def test_budgets_belong_to_the_loop_that_used_them_first() -> None:
    """In another loop they would wait for ever, so that is an error at once."""
    budgets = Budgets()
    run(take(budgets, 1))
    with pytest.raises(WrongLoopError, match="one event loop"):
        run(take(budgets, 1))


def test_requests_are_sent_at_once_while_tokens_are_free() -> None:
    """As many as the limit allows, without a turn of the loop."""

    async def main() -> None:
        budgets = Budgets()
        began = now()
        await take(budgets, 5)
        assert now() == began
        assert state(budgets).free == 0

    run(main())


def test_a_token_given_back_goes_to_a_waiter() -> None:
    """In the same turn of the event loop."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        permit = await budgets.acquire((A,))
        waiting = asyncio.ensure_future(budgets.acquire((A,)))
        await turns()
        assert not waiting.done()
        permit.unsent()
        await waiting

    run(main())


def test_a_loop_that_oversleeps_long_timers_costs_little() -> None:
    """A timer may be late by a thousandth of its length, but a token is not."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 60)})
        await spend(budgets, 1)
        await budgets.acquire((A,))
        assert now() == pytest.approx(60 + MARGIN, abs=STEP)

    run(main(), oversleep=0.001)


def test_a_request_takes_a_token_of_all_its_budgets_or_none() -> None:
    """A request that waits for one budget takes no token of the other, and delays none there."""

    async def main() -> None:
        budgets = Budgets()
        await spend(budgets, 5, A, U)
        narrow = asyncio.create_task(budgets.acquire((A, U)))
        await turns()
        assert (state(budgets, A).waiting, state(budgets, U).waiting) == (1, 1)
        assert (state(budgets, U).free, state(budgets, U).in_flight) == (67, 0)
        began = now()
        await take(budgets, 5, B)
        await take(budgets, 66, U)
        assert now() - began < 1e-6
        await narrow
        assert now() < 1.01

    run(main())


def test_requests_in_flight_are_limited() -> None:
    """A place in flight is free at the reply, not a window later."""

    async def main() -> None:
        budgets = Budgets(max_in_flight=2)
        first, second = await take(budgets, 2, U)
        waiters = [asyncio.create_task(budgets.acquire((U,))) for _ in range(2)]
        await asyncio.sleep(10)
        assert not waiters[0].done()
        assert budgets.wait((U,)) == 0.0
        first.replied()
        await waiters[0]
        assert not waiters[1].done()
        second.replied()
        await waiters[1]
        assert now() < 10.001
        assert budgets.wait((U,), count=3) == pytest.approx(20.0, abs=0.01)
        waiters[1].result().replied()
        assert budgets.wait((U,)) == 0.0

    run(main())


def test_every_reply_frees_a_place_in_flight() -> None:
    """Even while tokens cool, and without a new floor of the round trip."""

    async def main() -> None:
        budgets = Budgets(max_in_flight=1, round_trips=KnownWay(0.0))
        await spend(budgets, 1, U)
        (permit,) = await take(budgets, 1, U)
        waiter = asyncio.create_task(budgets.acquire((U,)))
        await turns()
        permit.replied()
        await turns()
        assert waiter.done()

    run(main())


# deadlines


def test_a_deadline_before_the_predicted_token_fails_at_once() -> None:
    """The error states the predicted wait, and no waiter remains."""

    async def main() -> None:
        budgets = Budgets()
        await spend(budgets, 5)
        with pytest.raises(TooLateError) as caught:
            await budgets.acquire((A,), deadline=now() + 0.5)
        assert caught.value.wait == pytest.approx(1 + MARGIN, abs=0.001)
        with pytest.raises(TooLateError):
            await budgets.acquire((A,), deadline=now() - 0.1)
        assert state(budgets).waiting == 0
        await budgets.acquire((A,), deadline=now() + 1.1)

    run(main())


def test_a_caller_past_its_deadline_gets_no_free_token() -> None:
    """But a caller whose deadline is now gets one."""

    async def main() -> None:
        budgets = Budgets()
        with pytest.raises(TooLateError):
            await budgets.acquire((A,), deadline=now() - 0.1)
        assert state(budgets).free == 5
        await budgets.acquire((A,), deadline=now())

    run(main())


@pytest.mark.parametrize("beside_another", [True, False])
def test_a_deadline_that_passes_while_waiting_fails_then(*, beside_another: bool) -> None:
    """The reply that would free a token arrives too late."""

    async def main() -> None:
        budgets = Budgets({A: Limit(2, 1.0)})
        await take(budgets, 2)
        waiter = asyncio.create_task(budgets.acquire((A,), deadline=1.5))
        if beside_another:
            other = asyncio.create_task(budgets.acquire((A,), deadline=1.5))
            await turns()
            other.cancel()
        with pytest.raises(TooLateError):
            await waiter
        assert 1.5 <= now() <= 1.5 + STEP
        assert state(budgets).waiting == 0

    run(main())


def test_a_deadline_that_a_refusal_makes_hopeless_fails_with_it() -> None:
    """No caller waits for a hold that ends after its deadline."""

    async def main() -> None:
        budgets = Budgets({A: Limit(3, 10.0)})
        permits = await take(budgets, 3)
        permits.pop().replied()
        await asyncio.sleep(9)
        soon, late = (
            asyncio.create_task(budgets.acquire((A,), deadline=at)) for at in (11.0, 25.0)
        )
        await turns()
        permits[0].replied()
        permits[0].refused()
        with pytest.raises(TooLateError) as caught:
            await soon
        assert caught.value.wait == pytest.approx(10 + MARGIN)
        assert now() < 9.001
        await late
        assert now() > 19

    run(main())


def test_a_waiter_past_its_deadline_gets_no_token() -> None:
    """A later waiter that is in time gets the token."""

    async def main() -> None:
        budgets = Budgets({A: Limit(2, 1.0)})
        permit, _ = await take(budgets, 2)
        late = [asyncio.create_task(budgets.acquire((A,), deadline=at)) for at in (1.1, 1.11)]
        good = asyncio.create_task(budgets.acquire((A,)))
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.stall(0.2)  # the timers of their deadlines cannot run
        permit.unsent()
        await good
        for each in late:
            with pytest.raises(TooLateError):
                await each

    run(main())


@pytest.mark.parametrize("refused_at", [0.1, 0.6])
@pytest.mark.parametrize("same_turn", [True, False])
def test_cancelled_waiters_with_deadlines_are_not_counted_twice(
    refused_at: float, *, same_turn: bool
) -> None:
    """Neither when a refusal checks the deadlines nor when they pass."""

    async def main() -> None:
        budgets = Budgets({A: Limit(4, 1.0)})
        (permit, *_) = await take(budgets, 4)
        taker, first, gone, last = (
            asyncio.create_task(budgets.acquire((A,), deadline=at))
            for at in (inf, 1.5, 1.5 + 1e-9, 1.5 + 2e-9)
        )
        await turns()
        await asyncio.sleep(refused_at)
        gone.cancel()
        if not same_turn:
            await turns()
        permit.replied()
        permit.refused()
        await taker
        for each in (first, last):
            with pytest.raises(TooLateError):
                await each
        assert repr(budgets) == f"<Budgets in_flight=4 waiting=0 taken=[{A} 4/4]>"

    run(main())


def test_a_refusal_fails_waiters_of_a_budget_although_another_was_held() -> None:
    """An earlier refusal held one of the two budgets; the deadline is before the end of both."""

    async def main() -> None:
        budgets = Budgets({U: Limit(1, 3.0)})
        first, second = *await take(budgets, 1, A), *await take(budgets, 1, A, U)
        waiter = asyncio.create_task(budgets.acquire((U,), deadline=4.0))
        await asyncio.sleep(2)
        for permit in (first, second):
            permit.replied()
            permit.refused()
        with pytest.raises(TooLateError):
            await waiter
        assert now() < 2.001

    run(main())


def test_a_refusal_fails_no_waiter_of_another_budget() -> None:
    """Its hold does not delay that waiter."""

    async def main() -> None:
        budgets = Budgets({B: Limit(1, 1.0)})
        await spend(budgets, 1, B)
        waiter = asyncio.create_task(budgets.acquire((B,), deadline=1.5))
        await turns()
        (permit,) = await take(budgets, 1, U)
        permit.replied()
        permit.refused()
        await waiter

    run(main())


def test_a_refusal_that_fails_a_waiter_frees_the_tokens_reserved_for_it() -> None:
    """A later waiter of another lane gets them at once."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0), U: Limit(1, 3.0)})
        (permit,) = await take(budgets, 1, A)
        narrow = asyncio.create_task(budgets.acquire((A, U), deadline=1.5))
        wide = asyncio.create_task(budgets.acquire((U,)))
        await asyncio.sleep(0.9)
        assert not wide.done()
        permit.replied()
        permit.refused()
        await turns()
        assert wide.done()
        with pytest.raises(TooLateError):
            await narrow

    run(main())


def test_a_caller_that_fails_at_once_delays_no_waiter() -> None:
    """It reserves no token, although it has the higher priority and the timer is late."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0), U: Limit(1, 3.0)})
        await spend(budgets, 1, U)
        wide = asyncio.create_task(budgets.acquire((U,)))
        await asyncio.sleep(2.9)
        await take(budgets, 1, A)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.stall(0.2)  # the timer of the waiter cannot run
        with pytest.raises(TooLateError):
            await budgets.acquire((A, U), priority=Priority.URGENT, deadline=now() + 0.1)
        await turns()
        assert wide.done()

    run(main())


class Deadline(float):
    """A deadline that counts how often it is compared."""

    comparisons = 0

    def __lt__(self, other: float) -> bool:
        Deadline.comparisons += 1
        return super().__lt__(other)


def test_one_hold_checks_the_deadlines_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refusal of a burst checks the next deadline, and only the first one checks all."""

    async def main() -> None:
        budgets = Budgets()
        permits = await take(budgets, 5)
        waiters = [
            asyncio.create_task(budgets.acquire((A,), deadline=Deadline(100 + place)))
            for place in range(3)
        ]
        await turns()
        for permit in permits:
            permit.replied()
        monkeypatch.setattr(Deadline, "comparisons", 0)
        for permit in permits:
            permit.refused()
        assert Deadline.comparisons == len(waiters) + len(permits)
        assert state(budgets).waiting == len(waiters)
        for each in waiters:
            each.cancel()

    run(main())


# cancellation


def test_a_waiter_that_is_cancelled_takes_no_token() -> None:
    """The next waiter gets the token."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        (permit,) = await take(budgets, 1)
        first, second = (asyncio.create_task(budgets.acquire((A,))) for _ in range(2))
        await turns()
        first.cancel()
        permit.unsent()
        await second
        assert now() < 0.001
        assert first.cancelled()

    run(main())


def test_a_waiter_cancelled_in_the_turn_of_its_grant_passes_the_token_on() -> None:
    """The token was granted, but its caller never ran."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        (permit,) = await take(budgets, 1)
        first, second = (asyncio.create_task(budgets.acquire((A,))) for _ in range(2))
        await turns()
        permit.unsent()
        first.cancel()
        await second
        assert now() < 0.001
        assert first.cancelled()
        assert state(budgets).in_flight == 1

    run(main())


def test_a_waiter_cancelled_in_the_turn_of_its_failure_is_cancelled() -> None:
    """The failure does not hide the cancellation."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        (permit,) = await take(budgets, 1)
        waiter = asyncio.create_task(budgets.acquire((A,), deadline=1.5))
        await asyncio.sleep(0.9)
        permit.replied()
        permit.refused()
        waiter.cancel()
        await asyncio.wait([waiter])
        assert waiter.cancelled()

    run(main())


def test_a_cancelled_waiter_frees_the_tokens_reserved_for_it() -> None:
    """A later waiter of another lane gets them at once."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0), U: Limit(1, 3.0)})
        await take(budgets, 1, A)
        narrow = asyncio.create_task(budgets.acquire((A, U)))
        wide = asyncio.create_task(budgets.acquire((U,)))
        await turns()
        assert not wide.done()
        narrow.cancel()
        await turns()
        assert wide.done()

    run(main())


def test_many_cancelled_waiters_leave_nothing_behind() -> None:
    """The counts are those of the callers that still wait."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)})
        await take(budgets, 1)
        waiters = [asyncio.create_task(budgets.acquire((A,))) for _ in range(100)]
        await turns()
        for last, left in ((40, 61), (99, 2)):
            for each in waiters[1:last]:
                each.cancel()
            await turns()
            assert state(budgets).waiting == left
        waiters[0].cancel()
        await turns()
        assert state(budgets).waiting == 1
        waiters[-1].cancel()

    run(main())


# events and arguments


def test_every_wait_is_an_event() -> None:
    """The event states the predicted wait; a request that need not wait causes none."""

    async def main() -> None:
        events: list[BudgetEvent] = []
        budgets = Budgets({A: Limit(1, 1.0)}, on_event=events.append)
        await spend(budgets, 1)
        assert not events
        await budgets.acquire((A,))
        assert [(event.kind, event.names) for event in events] == [("wait", (A,))]
        assert events[0].wait == pytest.approx(1 + MARGIN, abs=0.001)

    run(main())


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_a_hook_that_fails_breaks_nothing(error: type[BaseException]) -> None:
    """The exception goes to the loop's exception handler."""
    loop = VirtualLoop()

    def hook(event: BudgetEvent) -> None:
        raise error(event.kind)

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)}, on_event=hook)
        await spend(budgets, 1)
        await budgets.acquire((A,))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    assert [str(failure["exception"]) for failure in loop.failures] == ["wait"]


def test_a_snapshot_shows_every_budget() -> None:
    """The repr shows the budgets in use."""

    async def main() -> None:
        budgets = Budgets()
        first, second, _ = await take(budgets, 3)
        first.replied()
        second.no_reply()
        shown = state(budgets)
        assert (shown.free, shown.in_flight, shown.cooling, shown.next_in) == (2, 1, 2, 0.0)
        assert [each.name for each in budgets.snapshot()] == list(BUDGETS)
        assert repr(budgets) == f"<Budgets in_flight=1 waiting=0 taken=[{A} 3/5]>"
        assert budgets.ticket() < budgets.ticket()

    run(main())


def test_a_snapshot_predicts_the_next_request_behind_all_waiters() -> None:
    """Even behind a background request."""

    async def main() -> None:
        budgets = Budgets({A: Limit(1, 1.0)}, round_trips=KnownWay(0.0))
        await spend(budgets, 1)
        waiter = asyncio.create_task(budgets.acquire((A,), priority=Priority.BACKGROUND))
        await turns()
        assert state(budgets).next_in == pytest.approx(2 * (1 + MARGIN))
        waiter.cancel()

    run(main())


def test_a_snapshot_changes_nothing() -> None:
    """An unused budget is full, and the snapshot adds no lane to the queue."""

    async def main() -> None:
        budgets = Budgets()
        for shown in budgets.snapshot():
            assert (shown.free, shown.next_in) == (shown.calls, 0.0)
            assert (shown.in_flight, shown.cooling, shown.waiting) == (0, 0, 0)
        assert not budgets._lanes
        await take(budgets, 3)
        budgets.snapshot()
        assert list(budgets._lanes) == [(A,)]

    run(main())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"limits": {"spot": Limit(1, 1.0)}}, InvalidValueError),
        ({"limits": [A]}, InvalidTypeError),
        ({"limits": []}, InvalidTypeError),
        ({"limits": {A: 5}}, InvalidTypeError),
        ({"max_in_flight": 0}, InvalidValueError),
        ({"max_in_flight": True}, InvalidTypeError),
        ({"max_in_flight": 1.5}, InvalidTypeError),
        ({"on_event": "print"}, InvalidTypeError),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    """Invalid arguments raise an error."""
    with pytest.raises(error):
        Budgets(**arguments)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ((), InvalidValueError),
        (("spot",), InvalidValueError),
        (A, InvalidTypeError),
        ((1,), InvalidTypeError),
    ],
)
def test_wrong_names_are_refused(names: Any, error: type[Exception]) -> None:
    """A budget must be in the table."""

    async def main() -> None:
        with pytest.raises(error):
            await Budgets().acquire(names)

    run(main())
