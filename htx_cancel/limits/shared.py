"""Budgets of one UID that several processes share, on one host or many.

Rules:

* Tokens are lent to processes on leases. A process grants what it holds by itself, as fast as
  without a store, and speaks to the store when it lacks tokens, has some to give, was told to give,
  or has to renew its lease.
* One message is under way at a time. One that was not answered may have been read or not, and
  tokens may have been lent. What it gave back is not told again: the store takes what is missing
  to be free a window later, whichever tokens these are.
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
from htx_cancel.limits.loan import Loan, Needs
from htx_cancel.limits.permit import BudgetEvent, BudgetState, End, Permit, Priority
from htx_cancel.limits.queue import Lane, Rank, Waiter, reserved_for_earlier
from htx_cancel.limits.round_trip import RoundTrips
from htx_cancel.limits.store import MICROSECONDS, Answer, Message, Store, Want

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
LAST: Rank = (int(Priority.BACKGROUND), inf)  #: a place in the queue behind all others


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
        self._loans: dict[str, Loan] = {}
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
        for loan in self._loans.values():
            loan.given += loan.budget.give(loan.budget.held, asyncio.get_running_loop().time())
        await self._sync(bye=True)
        for loan in self._loans.values():
            loan.budget.hold(0, [], asyncio.get_running_loop().time())
        self._loans.clear()
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
                if (loan := self._loans.get(budget.name)) is not None:
                    loan.urgent_told = max(loan.urgent_told - waiter.wanted, 0)

    def _arm(self, now: float) -> None:
        super()._arm(now)
        if self._waiting:
            self._news.set()

    def _on_end(self, permit: Permit, end: End) -> None:
        super()._on_end(permit, end)
        loans = self._loans.values()
        if end == "refused" or any(it.owed or it.others or it.taught for it in loans):
            self._news.set()

    def _in_use(self) -> list[Loan]:
        """List the budgets that anybody here has asked for."""
        for lane in self._lanes.values():
            for budget in lane.budgets:
                if budget.name not in self._loans:
                    self._loans[budget.name] = Loan(self._leased[budget.name])
        return list(self._loans.values())

    def _needs(self, budget: Budget, now: float) -> Needs:
        """Count what calls here need of a budget."""
        lanes = [lane for lane in self._lanes.values() if budget in lane.budgets]
        urgent, routine, background = (
            min(sum(lane.queued(priority) for lane in lanes), budget.calls) for priority in Priority
        )
        narrow = {lane: found for lane in lanes if (found := _scarcer(lane, budget))}
        queued = [lane for lane in narrow if lane.head() is not None]
        return Needs(
            (urgent, routine, background),
            min(sum(_most(lane, budget, narrow[lane]) for lane in queued), budget.calls),
            reserved_for_earlier(budget, LAST, queued, now) if queued else 0,
            {it.name: _ratio(budget, it) for found in narrow.values() for it in found},
        )

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
            loan.is_due(self._needs(loan.budget, now), now) for loan in self._in_use()
        )

    def _gives_at(self, loan: Loan) -> float:
        """Say when a token has rested that others lack, and nobody here."""
        now = asyncio.get_running_loop().time()
        waits = not loan.others or any(self._needs(loan.budget, now).waiting)
        return inf if waits else loan.budget.next_at(now)

    def _wants(self, now: float) -> list[Want]:
        """Say what is held and needed of each budget, the scarcest first."""
        wants = []
        for loan in sorted(self._in_use(), key=lambda it: _rate(it.budget)):
            needs = self._needs(loan.budget, now)
            along = sum(n * self._loans[name].given_now for name, n in needs.scarcer.items())
            wants.append(loan.want(needs, along, now))
        return wants

    async def _sync(self, *, bye: bool = False) -> None:
        """Send one message, and take what the store answers."""
        self._lose()
        now = self._synced_at = asyncio.get_running_loop().time()
        self._serial += 1
        message = Message(
            process=self.process,
            serial=self._serial,
            lease=round(LEASE * MICROSECONDS),
            grace=round(GRACE * MICROSECONDS),
            known=self._known,
            bye=bye,
            kept=self._kept,
            wants=self._wants(now),
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
            lost, differs = self._loans[lent.name].take(lent, now)
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
        if (loan := self._loans.get(name)) is not None:
            loan.fetch = loan.fetch or give == 0
            loan.owe(give, urgent=urgent)
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
        if isinstance(self._when_cut_off, _Hold):
            for loan in self._in_use():
                loan.budget.hold(0, [], loop.time())
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


def _rate(budget: Budget) -> float:
    return budget.calls / budget.seconds


def _scarcer(lane: Lane, budget: Budget) -> list[Budget]:
    """List the budgets of a lane that let fewer calls through than another."""
    return [it for it in lane.budgets if _rate(it) < _rate(budget)]


def _ratio(budget: Budget, scarcer: Budget) -> int:
    """Count how often a token of a scarcer budget can be used in one window of another."""
    return ceil(budget.seconds / scarcer.seconds)


def _most(lane: Lane, budget: Budget, scarcer: list[Budget]) -> int:
    """Count the calls of a lane that can use a budget in one window, those under way among them."""
    through = [_ratio(budget, it) * max(it.tokens, 1) for it in scarcer]
    queued = sum(lane.queued(priority) for priority in Priority)
    return min(queued + scarcer[0].in_flight, *through)
