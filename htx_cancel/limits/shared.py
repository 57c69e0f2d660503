"""Budgets of one UID that several processes share, on one host or many.

Rules:

* Tokens are lent to processes on leases. A process grants the tokens that it holds by itself, as
  fast as without a store. It sends the store a message when it lacks tokens, can give some, was
  asked to give, or has to renew its lease.
* One message is in flight at a time. If a message is not answered, the store may have read it or
  not, and may have lent tokens. Tokens that it gave back are not reported again: the store treats
  any that it misses as free one window later.
* A lease counts from the departure of the message that the store answered.
* When the lease has ended and the last message was not answered, the store is unavailable, and the
  process does what ``when_cut_off`` says. A process that stalled asks the store before it grants.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from math import ceil, inf
from secrets import token_hex
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from htx_cancel import arguments, hooks
from htx_cancel.endpoints import Limit
from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.limits.budget import Budget
from htx_cancel.limits.leased import LeasedBudget, Link
from htx_cancel.limits.limiter import IN_FLIGHT, SHORTEST_TIMER, Budgets
from htx_cancel.limits.loan import Loan, Needs
from htx_cancel.limits.permit import BudgetEvent, BudgetState, End, Permit, Priority
from htx_cancel.limits.queue import LAST, Lane, Waiter, reserved_for_earlier
from htx_cancel.limits.round_trip import RoundTrips
from htx_cancel.limits.store import (
    MICROSECONDS,
    Answer,
    Message,
    Store,
    Want,
    decode_answer,
    decode_notice,
    encode,
)

LEASE = 2.0  #: seconds
RENEWAL = 0.6  #: seconds between two messages, if there is no other reason for one
ANSWER_WITHIN = 0.5  #: seconds
RETRY_AFTER = 0.1  #: seconds after a message that failed
GRACE = 0.25  #: seconds after the end of its lease in which a request may still leave


class Share(Struct, frozen=True):
    """While the store is unavailable, use this part of every limit: above 0 and at most 1.

    Nothing is refused if the parts of all processes add up to 1 at most.

    Raises:
        InvalidTypeError, InvalidValueError: if ``part`` is no such number.
    """

    part: float

    def __post_init__(self) -> None:
        if not 0 < arguments.seconds("part", self.part) <= 1:
            raise InvalidValueError(f"part must be above 0 and at most 1, got {self.part!r}")


class _Policy(Enum):
    """What a process does while the store is unavailable."""

    FAIR_SHARE = "an equal part, by the number of processes last seen"
    HOLD = "send nothing"

    def __repr__(self) -> str:
        return self.name


FAIR_SHARE = _Policy.FAIR_SHARE  #: while the store is unavailable, use an equal part of every limit
HOLD = _Policy.HOLD  #: while the store is unavailable, send nothing

WhenCutOff = Share | _Policy


class SharedBudgets(Budgets):
    """Budgets of one UID, shared by all processes that use the same store and account.

    An async context manager: entering it joins the other processes, leaving it gives back all
    tokens and closes the store. Use it wherever a ``budgets`` argument is accepted.

    Args:
        store: keeps the book, for example a ``RedisStore``.
        limits: as for ``Budgets``. If the store knows another limit, the store's counts.
        keep_for_urgent: tokens of every budget that only urgent calls may use, in all processes.
        when_cut_off: what to do while the store is unavailable: ``FAIR_SHARE``, use an equal part,
            by the number of processes last seen; ``HOLD``, send nothing; or a ``Share``. With
            ``FAIR_SHARE`` requests may be refused if other processes can reach the store; refused
            requests are sent again.
        max_in_flight, charge_pools, round_trips: as for ``Budgets``.
        on_event: as for ``Budgets``; also receives the events about the store.

    Raises:
        InvalidTypeError, InvalidValueError: for an invalid argument, and for use before it is
            entered.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: Mapping[str, Limit] | None = None,
        keep_for_urgent: int = 0,
        when_cut_off: WhenCutOff = FAIR_SHARE,
        max_in_flight: int = IN_FLIGHT,
        charge_pools: bool = False,
        on_event: Callable[[BudgetEvent], object] | None = None,
        round_trips: RoundTrips | None = None,
    ) -> None:
        if not isinstance(when_cut_off, WhenCutOff):
            raise InvalidTypeError(
                f"when_cut_off must be FAIR_SHARE, HOLD or a Share, got {when_cut_off!r}"
            )
        self._link = Link()
        self._leased: dict[str, LeasedBudget] = {}
        super().__init__(
            limits,
            max_in_flight=max_in_flight,
            charge_pools=charge_pools,
            on_event=on_event,
            round_trips=round_trips,
        )
        self.process = token_hex(8)  #: the name of this process in the book
        self._store = store
        self._keep_for_urgent = arguments.count("keep_for_urgent", keep_for_urgent, zero=True)
        self._when_cut_off = when_cut_off
        self._loans: dict[str, Loan] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._serial = 0
        self._known = False  # whether a store has ever answered
        self._failed = False  # whether the last message was not answered
        self._told_lost = False  # whether the last event about the store was ``store_lost``
        self._synced_at = -inf
        self._lease_timer: asyncio.TimerHandle | None = None

    def _make_budget(self, name: str, limit: Limit) -> Budget:
        self._leased[name] = LeasedBudget(name, limit, self._round_trips, self._link)
        return self._leased[name]

    # joining and leaving

    async def __aenter__(self) -> Self:
        await self._sync()
        if self._failed:
            self._cut_off()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._sync_when_due()), loop.create_task(self._listen())]
        return self

    async def __aexit__(self, *error: object) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait(tasks, timeout=ANSWER_WITHIN)
            self._stop_lease_timer()
            self._count_needs(loop.time())
            for loan in self._loans.values():
                loan.recall(loan.budget.held, urgent=True)
            await self._sync(bye=True)
        finally:
            self._drop_tokens(loop.time())
            self._loans.clear()
            self._link.state, self._link.ends_at = "cut_off", -inf
            await self._store.close()

    def check_loop(self) -> None:
        """Raise before it is entered, and ``WrongLoopError`` in another event loop."""
        if not self._tasks:
            raise InvalidValueError("SharedBudgets must be entered with 'async with' before use")
        super().check_loop()

    # hooks of the queue

    def _take(self, lane: Lane, count: int, now: float) -> list[Permit]:
        permits = super()._take(lane, count, now)
        for permit in permits:
            permit.valid_until = self._link.ends_at
        return permits

    def _drop(self, waiter: Waiter) -> None:
        super()._drop(waiter)
        if waiter.urgent:
            for budget in waiter.lane.budgets:
                if (loan := self._loans.get(budget.name)) is not None:
                    loan.urgent_told = max(loan.urgent_told - waiter.wanted, 0)

    def _arm(self, now: float) -> None:
        super()._arm(now)
        if self._waiting:
            self._changed.set()

    def _on_end(self, permit: Permit, end: End) -> None:
        super()._on_end(permit, end)
        loans = self._loans.values()
        if end == "refused" or any(loan.owed or loan.others_wait or loan.taught for loan in loans):
            self._changed.set()

    def _count_needs(self, now: float) -> None:
        """Count what calls need of each budget that any call of this process has used."""
        for lane in self._lanes.values():
            for budget in lane.budgets:
                if budget.name not in self._loans:
                    self._loans[budget.name] = Loan(self._leased[budget.name])
        for loan in self._loans.values():
            loan.needs = self._needs(loan.budget, now)

    def _needs(self, budget: Budget, now: float) -> Needs:
        lanes = [lane for lane in self._lanes.values() if budget in lane.budgets]
        urgent, routine, background = (
            min(sum(lane.queued(priority) for lane in lanes), budget.calls) for priority in Priority
        )
        composite = {lane: scarcer for lane in lanes if (scarcer := _scarcer(lane, budget))}
        queued = [lane for lane in composite if lane.head() is not None]
        usable = sum(_count_usable(lane, budget, composite[lane]) for lane in queued)
        return Needs(
            (urgent, routine, background),
            composite=min(usable, budget.calls),
            keep=reserved_for_earlier(budget, LAST, queued, now) if queued else 0,
            scarcer={
                other.name: _ratio(budget, other)
                for scarcer in composite.values()
                for other in scarcer
            },
        )

    # messages to and from the store

    async def _sync_when_due(self) -> None:
        """Send the store a message whenever there is a reason to."""
        loop = asyncio.get_running_loop()
        while not hooks.cancelled():
            self._changed.clear()
            self._check_lease()
            now = loop.time()
            self._count_needs(now)
            loans = self._loans.values()
            until = self._synced_at + (RETRY_AFTER if self._failed else RENEWAL)
            if now >= until or (not self._failed and any(loan.is_due(now) for loan in loans)):
                await self._sync()
                continue
            if not self._failed:
                until = min([until, *(loan.due_at(now) for loan in loans)])
            with suppress(TimeoutError):
                async with asyncio.timeout_at(max(until, loop.time() + SHORTEST_TIMER)):
                    await self._changed.wait()

    def _wants(self, now: float) -> list[Want]:
        """Return what to tell the store of each budget, the scarcest first."""
        wants = []
        for loan in sorted(self._loans.values(), key=lambda loan: _rate(loan.budget)):
            if loan.needs.scarcer:  # smaller if tokens of scarcer budgets were just given
                loan.needs = self._needs(loan.budget, now)
            scarcer = loan.needs.scarcer.items()
            accompanying = sum(ratio * self._loans[name].given for name, ratio in scarcer)
            wants.append(loan.want(accompanying, now))
        return wants

    async def _sync(self, *, bye: bool = False) -> None:
        """Send one message, and take the answer. A store with an invalid answer is unavailable."""
        try:
            await self._send_message(bye=bye)
        except Exception as error:  # noqa: BLE001 - an invalid answer, or our own bug
            hooks.report("the answer of the shared budgets' store is invalid", error)
            self._failed = True

    async def _send_message(self, *, bye: bool) -> None:
        now = self._synced_at = asyncio.get_running_loop().time()
        self._serial += 1
        message = Message(
            process=self.process,
            serial=self._serial,
            lease=round(LEASE * MICROSECONDS),
            grace=round(GRACE * MICROSECONDS),
            known=self._known,
            bye=bye,
            keep_for_urgent=self._keep_for_urgent,
            wants=self._wants(now),
        )
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                packed = await self._store.sync(encode(message))
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - of a foreign client
            _raise_if_cancelled()
            # If this process stalled, the timeout says nothing about the store.
            stalled = asyncio.get_running_loop().time() >= now + 2 * ANSWER_WITHIN
            self._failed = not (stalled and self._known)
            return
        answer = decode_answer(packed)
        self._failed = not answer.read
        if answer.read and not bye:
            self._take_answer(answer, now)

    def _take_answer(self, answer: Answer, sent_at: float) -> None:
        now = asyncio.get_running_loop().time()
        self._known = True
        for lent in answer.lents:
            lost, differs = self._loans[lent.name].take(lent, now)
            if lost:
                self._emit(BudgetEvent("lease_lost", (lent.name,)))
            if differs:
                self._emit(BudgetEvent("other_limit", (lent.name,)))
        if self._link.state != "linked":
            for budget in self._leased.values():
                budget.use_share(None)
        self._link.state, self._link.processes = "linked", answer.processes
        self._link.ends_at = sent_at + LEASE
        if self._told_lost:
            self._told_lost = False
            self._emit(BudgetEvent("store_back", ()))
        self._set_lease_timer(self._link.ends_at, self._check_lease)
        if self._waiting:
            self._dispatch(now)

    async def _listen(self) -> None:
        """Take the store's notices, for ever."""
        while True:
            try:
                async for notice in self._store.notices(self.process):
                    for recall in decode_notice(notice):
                        if recall.name in self._loans:
                            loan = self._loans[recall.name]
                            loan.recall(recall.give, urgent=recall.urgent)
                    self._changed.set()
            except (Exception, asyncio.CancelledError):  # noqa: BLE001, S110 - of a foreign client
                pass
            _raise_if_cancelled()
            await asyncio.sleep(RETRY_AFTER)

    # without the store

    def _set_lease_timer(self, when: float, callback: Callable[[], None]) -> None:
        self._stop_lease_timer()
        self._lease_timer = asyncio.get_running_loop().call_at(when, callback)

    def _stop_lease_timer(self) -> None:
        if self._lease_timer is not None:
            self._lease_timer.cancel()

    def _check_lease(self) -> None:
        """Go on without the store if the lease has ended and the last message failed."""
        ended = asyncio.get_running_loop().time() >= self._link.ends_at
        if self._link.state == "linked" and ended and self._failed:
            self._cut_off()

    def _cut_off(self) -> None:
        """Do what ``when_cut_off`` says."""
        now = asyncio.get_running_loop().time()
        if self._when_cut_off is HOLD:
            self._link.state = "cut_off"
            self._drop_tokens(now)
        else:
            self._link.state, self._link.ends_at = "own_share", inf
            self._use_own_share(held_only=self._known)
            longest = max(budget.seconds for budget in self._leased.values())
            # By then the leases of all other processes have ended.
            self._set_lease_timer(now + LEASE + GRACE + longest, self._use_own_share)
        self._told_lost = True
        self._emit(BudgetEvent("store_lost", ()))

    def _drop_tokens(self, now: float) -> None:
        for loan in self._loans.values():
            loan.budget.hold(0, [], now)

    def _use_own_share(self, *, held_only: bool = False) -> None:
        policy = self._when_cut_off
        part = policy.part if isinstance(policy, Share) else 1 / self._link.processes
        for budget in self._leased.values():
            budget.use_share(part, held_only=held_only)
        self._dispatch(asyncio.get_running_loop().time())

    def _state(self, budget: Budget, now: float) -> BudgetState:
        leased = self._leased[budget.name]
        return replace(
            super()._state(budget, now),
            held=leased.held,
            fair=leased.fair,
            processes=self._link.processes,
            store=self._link.state,
        )


def _raise_if_cancelled() -> None:
    """End the task if it was cancelled, even if a foreign client swallowed the cancellation."""
    if hooks.cancelled():
        raise asyncio.CancelledError


def _rate(budget: Budget) -> float:
    return budget.calls / budget.seconds


def _scarcer(lane: Lane, budget: Budget) -> list[Budget]:
    """List the budgets of a lane that allow fewer calls per second than another."""
    return [other for other in lane.budgets if _rate(other) < _rate(budget)]


def _ratio(budget: Budget, scarcer: Budget) -> int:
    """Return how often a token of a scarcer budget can be used in one window of another."""
    return ceil(budget.seconds / scarcer.seconds)


def _count_usable(lane: Lane, budget: Budget, scarcer: list[Budget]) -> int:
    """Count the calls of a lane, in flight or queued, that can use a budget in one window."""
    allowed = [_ratio(budget, other) * max(other.tokens, 1) for other in scarcer]
    queued = sum(lane.queued(priority) for priority in Priority)
    return min(queued + scarcer[0].in_flight, *allowed)
