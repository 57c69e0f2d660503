"""A call settles whatever fails at any await, and whenever its caller or client goes away."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

import pytest
import virtualtime
from clients import EPOCH, add, cancel, credentials, in_process, nothing_is_left_later
from virtualtime import VirtualLoop, run

from htx_cancel import (
    BudgetEvent,
    Budgets,
    CancelClient,
    CancelStatus,
    OrderResult,
    Outcome,
    RetryPolicy,
)
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.rules import Kind
from htx_cancel.wire.transport import Reply, Request

pytestmark = pytest.mark.loops

BATCHES = 12
URLS = ["https://one.example", "https://two.example"]
Error = Callable[[], BaseException]
ERRORS: list[Error] = [
    partial(RuntimeError, "sabotage"),
    partial(asyncio.CancelledError, "from inside"),
]
ACCEPTED, CLOSED, UNSENT = CancelStatus.ACCEPTED, CancelStatus.CLOSED, CancelStatus.UNSENT


class Sabotage:
    """Fails once: at the n-th event that is counted."""

    def __init__(self, at: int, error: Error) -> None:
        self.left = at
        self.error = error

    def strikes(self) -> bool:
        """Count one event; return whether it is the one that fails."""
        self.left -= 1
        return self.left == 0

    def count(self) -> None:
        """Count one event, and fail if it is the n-th."""
        if self.strikes():
            raise self.error()


class Struck(Coroutine[Any, Any, Any]):
    """A coroutine of the client that gets an exception at one of its awaits."""

    def __init__(self, work: Coroutine[Any, Any, Any], sabotage: Sabotage) -> None:
        self._work = work
        self._sabotage = sabotage

    def send(self, value: Any) -> Any:
        """Continue, or throw where the coroutine waits or before it has begun."""
        if self._sabotage.strikes():
            return self._work.throw(self._sabotage.error())
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        """Pass on an exception of the event loop."""
        return self._work.throw(*error)

    def close(self) -> None:
        """Close the coroutine."""
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError


def make_task(loop: Any, work: Any, **given: Any) -> "asyncio.Task[Any]":
    """Return a task, plain or eager as in this run of the test."""
    make = virtualtime.task_factory
    return asyncio.Task(work, loop=loop, **given) if make is None else make(loop, work, **given)


def strike_awaits(loop: VirtualLoop, sabotage: Sabotage) -> None:
    """Count the steps of every task that the client starts."""

    def factory(loop: Any, work: Any, **given: Any) -> "asyncio.Task[Any]":
        ours = getattr(work, "__qualname__", "").startswith(("Job.", "Sender.", "Confirmation."))
        return make_task(loop, Struck(work, sabotage) if ours else work, **given)

    loop.set_task_factory(factory)


def strike_starts(loop: VirtualLoop, sabotage: Sabotage) -> None:
    """Count the tasks that the client starts."""

    def factory(loop: Any, work: Any, **given: Any) -> "asyncio.Task[Any]":
        if getattr(work, "__qualname__", "").startswith("Job."):
            sabotage.count()
        return make_task(loop, work, **given)

    loop.set_task_factory(factory)


class Transport:
    """Two hosts of one exchange, both down at first; sending may be sabotaged."""

    def __init__(self, exchange: Exchange, faults: FaultPlan, sabotage: Sabotage | None) -> None:
        self._inner = InProcessTransport(exchange, delay=0.02, epoch=EPOCH, faults=faults)
        self._sabotage = sabotage

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send a request."""
        now = asyncio.get_running_loop().time()
        self._inner.down = set(URLS) if now < 0.7 else {URLS[0]} if now < 1.5 else set()
        reply = await self._inner.send(request, timeout=timeout)
        if self._sabotage is not None:
            self._sabotage.count()
        return reply

    async def close(self) -> None:
        """Do nothing."""


class Run:
    """One call under sabotage, and its results."""

    def __init__(self, target: str, at: int, error: Error) -> None:
        self.sabotage = Sabotage(at, error)
        self.target = target
        self.loop = VirtualLoop()
        self.received: list[OrderResult] = []
        self.exchange = Exchange()
        self.ids = add(self.exchange, "swap_trailing", BATCHES * 10)

    def struck(self, target: str) -> Sabotage | None:
        """Return the sabotage if it is for this target."""
        return self.sabotage if self.target == target else None

    def clock(self) -> float:
        """Return the wall clock, or fail."""
        if clock := self.struck("clock"):
            clock.count()
        return EPOCH + self.loop.time()

    def on_event(self, _event: BudgetEvent) -> None:
        """Receive an event, or fail."""
        if hook := self.struck("on_event"):
            hook.count()

    def on_batch(self, results: tuple[OrderResult, ...]) -> None:
        """Record the results of a batch, and perhaps fail."""
        self.received.extend(results)
        if hook := self.struck("on_batch"):
            hook.count()

    async def main(self) -> Outcome:
        """Cancel through faults of every kind, and check that nothing is left behind."""
        plan = FaultPlan(
            {self.ids[5]: ["busy"], self.ids[25]: ["lost_after"], self.ids[35]: ["rate"]}
        )
        budgets = Budgets(on_event=self.on_event)
        transport = Transport(self.exchange, plan, self.struck("transport"))
        async with CancelClient(
            credentials(),
            base_url=URLS,
            transport=transport,
            budgets=budgets,
            wall_clock=self.clock,
            request_timeout=0.5,
            retry=RetryPolicy(max_elapsed=20.0),
        ) as client:
            if self.target == "awaits":
                strike_awaits(self.loop, self.sabotage)
            if self.target == "starts":
                strike_starts(self.loop, self.sabotage)
            outcome = await asyncio.wait_for(
                cancel(client, "swap_trailing", self.ids, on_batch=self.on_batch), 60
            )
            self.loop.set_task_factory(virtualtime.task_factory)
            await asyncio.sleep(5.0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            for budget in budgets.snapshot():
                assert (budget.in_flight, budget.waiting) == (0, 0), budget
        return outcome

    def go(self) -> bool:
        """Run and check the call; return whether the sabotage happened."""
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            outcome = runner.run(self.main())
        assert [result.order_id for result in outcome] == self.ids
        assert sorted(result.order_id for result in self.received) == sorted(self.ids)
        for result in outcome:
            order = self.exchange.book[result.order_id]
            if result.status is CancelStatus.ACCEPTED:
                assert order.instructed
            if result.status is CancelStatus.UNSENT:
                assert not order.instructed
            if result.status in (CancelStatus.CLOSED, CancelStatus.NOT_FOUND):
                assert order.state != "open"
        struck = self.sabotage.left <= 0
        assert len(self.loop.failures) == struck, self.loop.failures
        return struck


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    "target", ["awaits", "starts", "clock", "transport", "on_batch", "on_event"]
)
def test_a_call_settles_whatever_fails_inside(target: str, error: Error) -> None:
    """Each id has one true result, nothing leaks, and the exception is reported once."""
    at = 1
    while Run(target, at, error).go():
        at += 1
    assert at > 2


# callers and clients that go away


def check(results: dict[str, OrderResult], exchange: Exchange, ids: list[str]) -> None:
    """Check that every id has a result that the book does not contradict."""
    assert set(results) == set(ids)
    for key, result in results.items():
        order = exchange.book[key]
        if result.status is ACCEPTED:
            assert order.instructed
        if result.status in (UNSENT, CancelStatus.OPEN):
            assert not order.instructed
        if result.status in (CLOSED, CancelStatus.NOT_FOUND):
            assert order.state != "open"


def stages() -> list[tuple[str, float, int]]:
    """List when to cancel: after turns of the loop at the start, then after seconds."""
    turns = [("turns", 0.0, count) for count in range(25)]
    return turns + [("clock", 0.01 * step, 0) for step in range(1, 60)]


@pytest.mark.parametrize("kind", ["swap_trailing", "v5"])
def test_a_caller_may_be_cancelled_at_any_await(kind: Kind) -> None:
    """Whenever the caller is cancelled, all tokens return and every id is passed on once."""

    async def main(seconds: float, turns: int) -> None:
        exchange = Exchange()
        ids = add(exchange, kind, 130)
        told: dict[str, OrderResult] = {}
        batches: list[tuple[OrderResult, ...]] = []

        def on_batch(results: tuple[OrderResult, ...]) -> None:
            batches.append(results)
            told.update((result.order_id, result) for result in results)

        plan = FaultPlan({key: ["lost_after", "busy"] for key in ids[::7]})
        async with in_process(exchange, delay=0.05, request_timeout=0.2, faults=plan) as client:
            call = asyncio.create_task(cancel(client, kind, ids, on_batch=on_batch))
            for _ in range(turns):
                await asyncio.sleep(0)
            if seconds:
                await asyncio.sleep(seconds)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await nothing_is_left_later(client)
        assert sum(map(len, batches)) == len(told)
        if told:  # otherwise it was cancelled before its ids were checked
            check(told, exchange, ids)
        assert told or not exchange.calls

    for _, seconds, turns in stages():
        run(main(seconds, turns))


def test_a_client_may_be_closed_at_any_await() -> None:
    """The call returns every id with a true status."""

    async def main(seconds: float, turns: int) -> None:
        exchange = Exchange()
        ids = add(exchange, "swap_trailing", 130)
        plan = FaultPlan({key: ["lost_after", "busy"] for key in ids[::7]})
        client = in_process(exchange, delay=0.05, request_timeout=0.2, faults=plan)
        call = asyncio.create_task(cancel(client, "swap_trailing", ids))
        await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        if seconds:
            await asyncio.sleep(seconds)
        await client.aclose(drain=0.05)
        check({result.order_id: result for result in await call}, exchange, ids)
        await nothing_is_left_later(client)

    for _, seconds, turns in stages():
        run(main(seconds, turns))
