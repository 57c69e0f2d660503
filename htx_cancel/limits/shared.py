"""Budgets of one UID that several processes share, on one host or many.

Rules:

* Tokens are lent to processes on leases. A process grants what it holds by itself, as fast as
  without a store, and speaks to the store when it lacks tokens, has some to give, was told to give,
  or has to renew its lease.
* One message is under way at a time. One that was not answered may have been read or not: the next
  one tells again what was given back.
* The lease counts from when the message left that the store answered.
* When it has ended, and the last message was not answered, the store is away, and the process does
  as ``when_cut_off`` says. If the process itself stood still, it asks before it grants anything.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import ceil, inf
from secrets import token_hex
from types import TracebackType
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from htx_cancel import arguments, hooks
from htx_cancel.endpoints import Limit
from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.limits import store as wire
from htx_cancel.limits.budget import Budget
from htx_cancel.limits.leased import LeasedBudget, Link
from htx_cancel.limits.limiter import IN_FLIGHT, SHORTEST_TIMER, Budgets
from htx_cancel.limits.permit import BudgetEvent, BudgetState, End, Permit, Priority
from htx_cancel.limits.queue import Lane, Waiter
from htx_cancel.limits.round_trip import RoundTrips
from htx_cancel.limits.store import MICROSECONDS, Answer, Lent, Message, Store, Want

LEASE = 2.0  #: seconds
RENEWAL = 0.6  #: seconds between two messages, if nothing else asks for one
ANSWER_WITHIN = 0.5  #: seconds
AGAIN = 0.1  #: seconds after a message that failed
GRACE = 0.25  #: seconds by which a request may leave after its lease has ended


class Share(Struct, frozen=True):
    """While the store is away: this part of every limit, from above 0 to 1.

    The parts of all processes must add up to 1 at most. Then nothing is refused.
    """

    part: float

    def __post_init__(self) -> None:
        """Refuse what is no part."""
        if not 0 < arguments.seconds("part", self.part) <= 1:
            raise InvalidValueError(f"part must be above 0 and at most 1, got {self.part!r}")


class _FairShare:
    """The equal part of this process, by the number of processes last seen."""

    def __repr__(self) -> str:
        return "FAIR_SHARE"


class _Hold:
    """Nothing is sent."""

    def __repr__(self) -> str:
        return "HOLD"


FAIR_SHARE = _FairShare()  #: while the store is away: an equal part, by the processes last seen
HOLD = _Hold()  #: while the store is away: send nothing

WhenCutOff = Share | _FairShare | _Hold
Waiting = tuple[int, int, int]  #: calls that wait for a budget, by priority


def _microseconds(seconds: float) -> int:
    return max(ceil(seconds * MICROSECONDS), 0) if seconds > -inf else 0


class _Line:
    """What this process and the store have told one another of one budget."""

    def __init__(self, budget: LeasedBudget) -> None:
        self.budget = budget
        self.urgent_told = 0  #: urgent calls that the store knows to wait
        self.demand = 0  #: tokens that the store knows to be needed here
        self.given: list[float] = []  #: when each is free that the store has not confirmed, yet
        self.owed = 0  #: tokens that the store wants back
        self.recalled = 0  #: of these, since the last message left
        self.urgently = False  #: whether for an urgent call elsewhere
        self.others = False  #: whether others wait for more than they hold
        self.fetch = False  #: whether tokens came home that are needed here
        self.limit: Limit | None = None  #: the store's word
        self.hold_told = -inf

    def owe(self, count: int, *, urgent: bool) -> None:
        """Note that the store wants tokens back."""
        self.owed = max(self.owed, count)
        self.recalled = max(self.recalled, count)
        self.urgently = (self.urgently and self.owed > 0) or urgent

    @property
    def taught(self) -> bool:
        """Whether replies of the exchange have said what the store does not know."""
        return self.limit is not None and self.limit != self.budget.limit

    def needed(self, waiting: Waiting) -> int:
        """Count the tokens that are needed here."""
        return min(self.budget.used + sum(waiting), self.budget.calls)

    def is_due(self, waiting: Waiting, now: float) -> bool:
        """Say whether the store should hear of it now."""
        budget = self.budget
        budget.settle(now)
        return (
            self.fetch
            or self.taught
            or budget.held_until > max(now, self.hold_told)
            or (self.owed > 0 and budget.held > budget.in_flight)
            or (self.others and not any(waiting) and budget.idle > 0)
            or (waiting[0] > self.urgent_told and budget.room(now, urgent=True) <= 0)
            or (any(waiting) and self.needed(waiting) > max(budget.held, self.demand))
        )

    def give(self, waiting: Waiting, narrow: int, now: float) -> None:
        """Give back what is owed, what others lack and nobody here does, or what may be swapped."""
        budget, given = self.budget, list[float]()
        if self.owed:
            given = budget.give(self.owed, now, soonest=self.urgently, keep=narrow)
            self.owed -= len(given)
        elif self.fetch and waiting[0]:  # for sooner ones
            given = budget.give(min(waiting[0], budget.used - budget.in_flight), now)
        elif self.others and not any(waiting):
            given = budget.give(budget.idle, now)
        self.given += given
        self.fetch = False

    def want(self, waiting: Waiting, narrow: int, now: float) -> Want:
        """Say what is held and needed here."""
        self.give(waiting, narrow, now)
        self.recalled = 0
        budget, pressing = self.budget, max(waiting[0] - self.urgent_told, 0)
        self.urgent_told, self.demand = waiting[0], self.needed(waiting)
        self.hold_told = max(self.hold_told, budget.held_until)
        return Want(
            name=budget.name,
            calls=budget.calls,
            window=round(budget.seconds * MICROSECONDS),
            taught=self.taught,
            claim=budget.held,
            given=[_microseconds(at - now) for at in self.given],
            used=min(budget.used, budget.held),
            under_way=min(budget.in_flight, budget.held),
            soonest=_microseconds(min(budget.next_at(now) - now, budget.seconds)),
            waiting=waiting,
            narrow=narrow,
            pressing=pressing,
            hold=_microseconds(budget.held_until - now),
        )

    def take(self, lent: Lent, now: float) -> tuple[bool, bool]:
        """Take the store's answer; say whether tokens were lost, and whether the limit differs."""
        budget = self.budget
        fresh = [delay / MICROSECONDS for delay in lent.fresh]
        lost = lent.held - len(fresh) < budget.held
        limit = Limit(lent.calls, lent.window / MICROSECONDS)
        differs = limit != budget.limit
        if differs:
            budget.obey(limit)
        self.limit, self.given, self.others = limit, [], lent.others
        budget.fair = lent.fair
        budget.hold(lent.held, fresh, now)
        if lent.hold:
            budget.held_until = max(budget.held_until, now + lent.hold / MICROSECONDS)
            self.hold_told = budget.held_until
        if not self.urgently or not self.owed:
            self.owed, self.urgently = max(lent.give, self.recalled), False
        return lost, differs


class SharedBudgets(Budgets):
    """Budgets of one UID, shared by all processes that use the same store and account.

    An async context manager: it joins the others when it is entered, and gives back what it holds
    at the end. Everything that takes ``budgets`` takes it.

    Args:
        store: what keeps the book, such as a ``RedisStore``; it is closed at the end.
        limits: as of ``Budgets``. What the store knows counts if it differs.
        keep_for_urgent: tokens of every budget that only urgent calls may use, in all processes.
        when_cut_off: what to do while the store is away: ``FAIR_SHARE``, the equal part by the
            number of processes last seen; ``HOLD``, nothing; or a ``Share``. With ``FAIR_SHARE``
            requests may be refused if others can reach the store, and are sent again.
        max_in_flight: as of ``Budgets``.
        charge_pools: as of ``Budgets``.
        on_event: as of ``Budgets``; hears of the store, too.
        round_trips: as of ``Budgets``.

    Raises:
        InvalidTypeError, InvalidValueError: for arguments that make no sense, and for a use before
            it was entered.
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
        self._kept = keep_for_urgent and arguments.whole("keep_for_urgent", keep_for_urgent)
        self._when_cut_off = when_cut_off
        self._lines: dict[str, _Line] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._serial = 0
        self._known = False  # whether a store has answered
        self._failed = False  # whether the last message was not answered
        self._away = False  # and an event has told so
        self._synced_at = -inf
        self._timer_of_lease: asyncio.TimerHandle | None = None

    def _ledger(self, name: str, limit: Limit) -> Budget:
        self._leased[name] = LeasedBudget(name, limit, self._round_trips, self._link)
        return self._leased[name]

    # joining and leaving

    async def __aenter__(self) -> Self:
        await self._sync()
        if self._failed:
            self._cut()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep()), loop.create_task(self._listen())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=ANSWER_WITHIN)
        self._stop_timer()
        for line in self._lines.values():
            line.given += line.budget.give(line.budget.held, asyncio.get_running_loop().time())
        await self._sync(bye=True)
        for line in self._lines.values():
            line.budget.hold(0, [], asyncio.get_running_loop().time())
        self._lines.clear()
        self._link.state, self._link.ends_at = "cut_off", -inf
        await self._store.close()

    def check_loop(self) -> None:
        """Raise before it is entered, and ``WrongLoopError`` in another event loop."""
        if not self._tasks:
            raise InvalidValueError("SharedBudgets must be entered with 'async with' before use")
        super().check_loop()

    # what the queue tells

    def _take(self, lane: Lane, count: int, now: float) -> list[Permit]:
        permits = super()._take(lane, count, now)
        for permit in permits:
            permit.valid_until = self._link.ends_at
        return permits

    def _drop(self, waiter: Waiter) -> None:
        super()._drop(waiter)
        if waiter.urgent:
            for budget in waiter.lane.budgets:
                if (line := self._lines.get(budget.name)) is not None:
                    line.urgent_told = max(line.urgent_told - waiter.wanted, 0)

    def _arm(self, now: float) -> None:
        super()._arm(now)
        if self._waiting:
            self._news.set()

    def _on_end(self, permit: Permit, end: End) -> None:
        super()._on_end(permit, end)
        lines = self._lines.values()
        if end == "refused" or any(it.owed or it.others or it.taught for it in lines):
            self._news.set()

    def _in_use(self) -> list[_Line]:
        """List the budgets that anybody here has asked for."""
        for lane in self._lanes.values():
            for budget in lane.budgets:
                if budget.name not in self._lines:
                    self._lines[budget.name] = _Line(self._leased[budget.name])
        return list(self._lines.values())

    def _queue(self, budget: Budget) -> Waiting:
        """Count the calls that wait for a budget, by priority; no more than it has tokens."""
        lanes = [lane for lane in self._lanes.values() if budget in lane.budgets]
        urgent, routine, background = (
            min(sum(lane.queued(priority) for lane in lanes), budget.calls) for priority in Priority
        )
        return urgent, routine, background

    def _narrow(self, budget: Budget) -> int:
        """Count the tokens that calls need here which charge a scarcer budget, too.

        As many as that lets through in one window of this one.
        """
        total = 0
        for lane in self._lanes.values():
            scarcer = [it for it in lane.budgets if budget in lane.budgets and _scarcer(it, budget)]
            if scarcer and (queued := len(lane.heap) - lane.dead):
                through = [ceil(budget.seconds / it.seconds) * max(it.tokens, 1) for it in scarcer]
                total += min(queued + scarcer[0].in_flight, *through)
        return min(total, budget.calls)

    # talking to the store

    async def _keep(self) -> None:
        """Speak to the store whenever there is a reason to."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            until = self._synced_at + (AGAIN if self._failed else RENEWAL)
            if loop.time() >= until or self._reason(loop.time()):
                try:
                    await self._sync()
                except Exception as error:  # noqa: BLE001 - ours, or an answer that makes no sense
                    hooks.report("an answer of the store could not be taken", error)
                    self._failed = True
                continue
            look_at = until if self._failed else min([until, *map(self._gives_at, self._in_use())])
            with suppress(TimeoutError):
                async with asyncio.timeout_at(max(look_at, loop.time() + SHORTEST_TIMER)):
                    await self._news.wait()

    def _reason(self, now: float) -> bool:
        """Say whether the store should hear of anything now."""
        return not self._failed and any(
            line.is_due(self._queue(line.budget), now) for line in self._in_use()
        )

    def _gives_at(self, line: _Line) -> float:
        """Say when a token has rested that others lack, and nobody here."""
        waits = not line.others or any(self._queue(line.budget))
        return inf if waits else line.budget.next_at(asyncio.get_running_loop().time())

    async def _sync(self, *, bye: bool = False) -> None:
        """Send one message, and take what the store answers."""
        self._lose()
        now = self._synced_at = asyncio.get_running_loop().time()
        self._serial += 1
        lines = self._in_use()
        message = Message(
            process=self.process,
            serial=self._serial,
            lease=round(LEASE * MICROSECONDS),
            grace=round(GRACE * MICROSECONDS),
            known=self._known,
            bye=bye,
            kept=self._kept,
            wants=[
                line.want(self._queue(line.budget), self._narrow(line.budget), now)
                for line in lines
            ],
        )
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                answer = wire.decode_answer(await self._store.sync(wire.encode(message)))
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - a foreign client's
            _leave_if_cancelled()
            stood_still = asyncio.get_running_loop().time() >= now + 2 * ANSWER_WITHIN
            self._failed = not (stood_still and self._known)  # else it says nothing of the store
            return
        self._failed = not answer.read
        if answer.read and not bye:
            self._answered(answer, now)

    def _answered(self, answer: Answer, sent_at: float) -> None:
        """Take an answer to a message that was sent then."""
        now = asyncio.get_running_loop().time()
        was, self._known = self._link.state, True
        for lent in answer.lents:
            lost, differs = self._lines[lent.name].take(lent, now)
            if lost:
                self._tell(BudgetEvent("lease_lost", (lent.name,)))
            if differs:
                self._tell(BudgetEvent("other_limit", (lent.name,)))
        self._link.state, self._link.processes = "linked", answer.processes
        self._link.ends_at = sent_at + LEASE
        if was != "linked":
            self._live_on(None)
        if self._away:
            self._away = False
            self._tell(BudgetEvent("store_back", ()))
        self._set_timer(self._link.ends_at, self._lose)
        if self._waiting:
            self._dispatch(now)

    async def _listen(self) -> None:
        """Hear what the store tells unasked, for ever."""
        while True:
            try:
                async for notice in self._store.notices(self.process):
                    for recall in wire.decode_notice(notice):
                        self._recall(recall.name, recall.give, urgent=recall.urgent)
            except (Exception, asyncio.CancelledError):  # noqa: BLE001 - a foreign client's
                _leave_if_cancelled()
            await asyncio.sleep(AGAIN)

    def _recall(self, name: str, give: int, *, urgent: bool) -> None:
        if (line := self._lines.get(name)) is not None:
            line.fetch = line.fetch or give == 0
            line.owe(give, urgent=urgent)
            self._news.set()

    # without the store

    def _set_timer(self, when: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer_of_lease = asyncio.get_running_loop().call_at(when, then)

    def _stop_timer(self) -> None:
        if self._timer_of_lease is not None:
            self._timer_of_lease.cancel()

    def _lose(self) -> None:
        """Do without a store that is away, if the lease has ended."""
        ended = asyncio.get_running_loop().time() >= self._link.ends_at
        if self._link.state == "linked" and ended and self._failed:
            self._cut()

    def _cut(self) -> None:
        """Live as ``when_cut_off`` says."""
        loop = asyncio.get_running_loop()
        self._link.state = "cut_off"
        if self._when_cut_off is HOLD:
            for line in self._in_use():
                line.budget.hold(0, [], loop.time())
        else:
            self._link.state, self._link.ends_at = "own_share", inf
            self._live_on(self._part, held_only=self._known)
            longest = max(budget.seconds for budget in self._budgets.values())
            self._set_timer(loop.time() + LEASE + GRACE + longest, self._grow)
        self._away = True
        self._tell(BudgetEvent("store_lost", ()))
        self._dispatch(loop.time())

    def _grow(self) -> None:
        """Nobody can hold anything any more: live on the whole share."""
        self._live_on(self._part)
        self._dispatch(asyncio.get_running_loop().time())

    @property
    def _part(self) -> float:
        if isinstance(self._when_cut_off, Share):
            return self._when_cut_off.part
        return 1 / self._link.processes

    def _live_on(self, part: float | None, *, held_only: bool = False) -> None:
        for budget in self._leased.values():
            budget.live_on(part, held_only=held_only)

    def _state(self, budget: Budget, now: float) -> BudgetState:
        leased = self._leased[budget.name]
        return replace(
            super()._state(budget, now),
            held=leased.held,
            fair=leased.fair,
            processes=self._link.processes,
            store=self._link.state,
        )


def _leave_if_cancelled() -> None:
    """End the task if it was told to, whatever a foreign client makes of that."""
    if hooks.cancelled():
        raise asyncio.CancelledError


def _scarcer(one: Budget, other: Budget) -> bool:
    """Say whether a budget lets fewer calls through than another."""
    return one.calls / one.seconds < other.calls / other.seconds
