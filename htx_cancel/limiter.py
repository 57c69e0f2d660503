"""Wait until the exchange will take one more call; learn from its replies.

Rules of the queue:

* A call takes a token of every budget it names, and a place in flight, or nothing. A waiting call
  holds nothing.
* The order is priority, then turn, then arrival. All waiters for the same budgets form a *lane*.
  A lane that waits does not stop a lane that needs none of its missing tokens; but in a budget that
  both need, room is kept for what the earlier lane can still use.
* A hold is a deadline, never shortened. The event loop is the only clock.
* One timer serves all waiters.

How tokens come and go is the ledger's business: ``budget.py``.
"""

import asyncio
import heapq
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from itertools import count as counter
from math import inf
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from htx_cancel.budget import MARGIN, Budget, Paths, by, when
from htx_cancel.endpoints import BUDGETS, Limit
from htx_cancel.errors import InvalidTypeError, InvalidValueError, TooLateError

SHORTEST_TIMER = 0.001  #: seconds; tokens that come back closer together leave together


class Priority(IntEnum):
    """Who goes first."""

    URGENT = 0
    ROUTINE = 1
    BACKGROUND = 2


class BudgetState(Struct, frozen=True):
    """One budget at one moment."""

    name: str
    calls: int
    seconds: float
    free: int  #: calls that could leave now
    in_flight: int
    resting: int  #: tokens whose reply came less than a window ago
    foreign: int  #: tokens that others of the UID are known to have used
    reserve: int  #: calls a window left to others
    waiting: int  #: waiters that need this budget
    held_for: float  #: seconds for which a refusal still holds it
    next_in: float  #: predicted seconds until the next call can leave, queue included


class BudgetEvent(Struct, frozen=True):
    """Something an operator may want to see: a wait, a refusal, a limit learned."""

    kind: Literal["wait", "refused", "learned"]
    names: tuple[str, ...]  #: the budgets meant
    wait: float = 0.0  #: predicted seconds


class Limiter(Protocol):
    """What the client needs of a limiter; ``Budgets`` tells the meaning."""

    def turn(self) -> int: ...

    async def acquire(
        self,
        names: tuple[str, ...],
        *,
        priority: Priority = Priority.ROUTINE,
        turn: int | None = None,
        backlog: int = 1,
        deadline: float | None = None,
        host: str = "",
    ) -> "Permit": ...

    def fits(
        self, names: tuple[str, ...], *, deadline: float, priority: Priority = Priority.ROUTINE
    ) -> int: ...

    def wait(
        self, names: tuple[str, ...], *, count: int = 1, priority: Priority = Priority.ROUTINE
    ) -> float: ...


class _Told(NamedTuple):
    """What the rate-limit headers of one reply say."""

    limit: Limit
    remaining: int | None
    reset: float | None  #: seconds from now


class _Waiter:
    __slots__ = ("backlog", "deadline", "future", "host", "lane", "place", "waiting")

    def __init__(
        self,
        lane: "_Lane",
        place: tuple[int, int],
        backlog: int,
        deadline: float | None,
        host: str,
        future: "asyncio.Future[Permit]",
    ) -> None:
        self.lane = lane
        self.place = place
        self.backlog = backlog
        self.deadline = deadline
        self.host = host
        self.future = future
        self.waiting = True


class _Lane:
    """The waiters for one set of budgets."""

    __slots__ = ("budgets", "dead", "heap", "names", "newest", "queued")

    def __init__(self, names: tuple[str, ...], budgets: tuple[Budget, ...]) -> None:
        self.names = names
        self.budgets = budgets
        self.heap: list[tuple[int, int, int, _Waiter]] = []
        self.queued = [0] * len(Priority)  # backlog by priority
        self.newest = 0
        self.dead = 0

    def push(self, waiter: _Waiter, seq: int) -> None:
        heapq.heappush(self.heap, (*waiter.place, seq, waiter))
        self.queued[waiter.place[0]] += waiter.backlog
        self.newest = max(self.newest, waiter.place[1])

    def drop(self, waiter: _Waiter) -> None:
        """Take a waiter out; its place in the heap is cleared when half of the heap is such."""
        waiter.waiting = False
        self.queued[waiter.place[0]] -= waiter.backlog
        self.dead += 1
        if self.dead > len(self.heap) // 2:
            self.heap = [entry for entry in self.heap if entry[3].waiting]
            heapq.heapify(self.heap)
            self.dead = 0

    def head(self) -> _Waiter | None:
        while self.heap and not self.heap[0][3].waiting:
            heapq.heappop(self.heap)
            self.dead -= 1
        return self.heap[0][3] if self.heap else None

    def ahead(self, place: tuple[int, float]) -> int:
        """Count the calls queued before a place."""
        if place[1] >= self.newest:
            return sum(self.queued[: place[0] + 1])
        total, stack = 0, [0]
        while stack:
            at = stack.pop()
            if at < len(self.heap) and self.heap[at][:2] < place:
                total += self.heap[at][3].backlog if self.heap[at][3].waiting else 0
                stack += (2 * at + 1, 2 * at + 2)
        return total

    def room(self, now: float) -> bool:
        return all(budget.room(now) > 0 for budget in self.budgets)

    def next_at(self, now: float) -> float:
        """Say when this lane may get a token at the earliest, if replies are not waited for."""
        short = [budget.next_at(now) for budget in self.budgets if budget.room(now) <= 0]
        return max(short) if short else min(budget.next_at(now) for budget in self.budgets)


class Permit:
    """Leave to send one call now. Say once what became of it; what is said later is ignored."""

    __slots__ = ("_budgets", "_done", "_marks", "_owner", "_told", "granted", "host", "serial")

    def __init__(
        self,
        owner: "Budgets",
        budgets: tuple[Budget, ...],
        host: str,
        granted: float,
        serial: int,
    ) -> None:
        self._owner = owner
        self._budgets = budgets
        self._done = False
        self._told: _Told | None = None
        self._marks = [budget.returned for budget in budgets]
        self.host = host
        self.granted = granted  #: loop time
        self.serial = serial

    @property
    def names(self) -> tuple[str, ...]:
        """The budgets it charges."""
        return tuple(budget.name for budget in self._budgets)

    def replied(self, headers: Mapping[str, str] | None = None, epoch: float | None = None) -> None:
        """Say that the reply arrived now; its headers teach.

        ``epoch`` is the wall clock in seconds, only to turn the absolute ``ratelimit-reset``
        into a delay.
        """
        if not self._done:
            self._done = True
            self._owner._replied(self, headers, epoch)

    def refused(self) -> None:
        """Say, after ``replied``, that the reply was a refusal for too many calls."""
        self._owner._refused(self)

    def no_reply(self) -> None:
        """Say that the caller gave up now; the call may have arrived."""
        if not self._done:
            self._done = True
            self._owner._no_reply(self)

    def unsent(self) -> None:
        """Say that the call never left: its tokens are free again."""
        if not self._done:
            self._done = True
            self._owner._unsent(self)


class Budgets:
    """All budgets of one UID, and the queue before them.

    Clients of the same UID in one event loop may share one. ``limits`` overrides the table's rows
    by name; ``on_event`` hears of every wait, refusal and limit learned.
    """

    def __init__(
        self,
        limits: Mapping[str, Limit] | None = None,
        *,
        max_in_flight: int = 100,
        on_event: Callable[[BudgetEvent], object] | None = None,
    ) -> None:
        if isinstance(max_in_flight, bool) or not isinstance(max_in_flight, int):
            raise InvalidTypeError(f"max_in_flight is a whole number, not {max_in_flight!r}")
        if max_in_flight < 1:
            raise InvalidValueError(f"max_in_flight is at least 1, not {max_in_flight!r}")
        if on_event is not None and not callable(on_event):
            raise InvalidTypeError(f"on_event is a function, not {on_event!r}")
        self._paths = Paths()
        rows = {**BUDGETS, **_checked(limits)}
        self._budgets = {name: Budget(name, row, self._paths) for name, row in rows.items()}
        self._lanes: dict[tuple[str, ...], _Lane] = {}
        self._known: dict[tuple[str, ...], _Lane] = {}  # by names as given, in any order
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._on_event = on_event
        self._waiting = 0
        self._turns = counter(1)
        self._serials = counter(1)
        self._deadlines: list[tuple[float, int, _Waiter]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._armed_credit = 0.0
        self._reserved: tuple[int, int] | None = None  # the place whose next call is awaited
        self._again: asyncio.Handle | None = None

    def __repr__(self) -> str:
        taken = ", ".join(
            f"{budget.name} {budget.taken()}/{budget.calls}"
            for budget in self._budgets.values()
            if budget.taken()
        )
        return f"<Budgets in_flight={self._in_flight} waiting={self._waiting} taken: {taken or 0}>"

    # -- the way in

    def turn(self) -> int:
        """Take the next place in the order of arrival."""
        return next(self._turns)

    async def acquire(
        self,
        names: tuple[str, ...],
        *,
        priority: Priority = Priority.ROUTINE,
        turn: int | None = None,
        backlog: int = 1,
        deadline: float | None = None,
        host: str = "",
    ) -> Permit:
        """Wait for one token of each named budget, and take them.

        ``backlog`` is how many calls this turn still has, this one included. A caller with more to
        come keeps its place if it asks again before it awaits anything else. ``deadline`` is
        loop time; ``TooLateError`` comes as soon as it cannot be kept.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        lane = self._known.get(names) or self._lane(names)
        if deadline is not None and deadline < now:
            raise TooLateError(self._wait(lane, 1, (priority, inf), now))
        if (
            not self._waiting
            and self._again is None
            and self._in_flight < self._max_in_flight
            and lane.room(now)
        ):
            return self._take(lane, now, host)
        place = (int(priority), self.turn() if turn is None else turn)
        waiter = _Waiter(lane, place, backlog, deadline, host, loop.create_future())
        self._enqueue(waiter, now)
        if waiter.future.done():
            return waiter.future.result()
        return await self._granted(waiter)

    def _enqueue(self, waiter: _Waiter, now: float) -> None:
        seq = self.turn()
        waiter.lane.push(waiter, seq)
        self._waiting += 1
        self._dispatch(now)
        if waiter.future.done() or (waiter.deadline is None and self._on_event is None):
            return
        wait = self._wait(waiter.lane, 1, waiter.place, now)
        if waiter.deadline is not None:
            if now + wait > waiter.deadline:
                self._drop(waiter)
                raise TooLateError(wait)
            heapq.heappush(self._deadlines, (waiter.deadline, seq, waiter))
            self._arm(now)
        self._tell(BudgetEvent("wait", waiter.lane.names, wait))

    async def _granted(self, waiter: _Waiter) -> Permit:
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.waiting:
                self._drop(waiter)
                self._dispatch(asyncio.get_running_loop().time())
            elif not waiter.future.cancelled() and waiter.future.exception() is None:
                waiter.future.result().unsent()
            raise

    def _take(self, lane: _Lane, now: float, host: str) -> Permit:
        self._in_flight += 1
        permit = Permit(self, lane.budgets, host, now, next(self._serials))
        for budget in lane.budgets:
            budget.take()
        return permit

    def _lane(self, names: tuple[str, ...]) -> _Lane:
        """Find or open the lane of these budgets."""
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise InvalidTypeError(f"names is a tuple of budget names, not {names!r}")
        unknown = sorted(set(names) - set(self._budgets))
        if unknown or not names:
            raise InvalidValueError(f"no budget {unknown}; there are {sorted(self._budgets)}")
        key = tuple(sorted(set(names)))
        if key not in self._lanes:
            self._lanes[key] = _Lane(key, tuple(self._budgets[name] for name in key))
        self._known[names] = self._lanes[key]
        return self._lanes[key]

    def _drop(self, waiter: _Waiter) -> None:
        waiter.lane.drop(waiter)
        self._waiting -= 1

    # -- the queue

    def _dispatch(self, now: float) -> None:
        """Grant what can be granted, in order, and set the timer for the rest."""
        stuck: list[_Lane] = []
        while self._in_flight < self._max_in_flight:
            waiter = self._front(stuck, now)
            if waiter is None or (self._reserved is not None and waiter.place > self._reserved):
                break
            if self._may_leave(waiter, stuck, now):
                self._grant(waiter, now)
            else:
                stuck.append(waiter.lane)
        self._arm(now)

    def _front(self, stuck: list[_Lane], now: float) -> _Waiter | None:
        """Find the first waiter of all lanes that are not stuck."""
        first: _Lane | None = None
        for lane in self._lanes.values():
            if lane not in stuck and self._head(lane, now) is not None:
                if first is None or lane.heap[0] < first.heap[0]:
                    first = lane
        return None if first is None else first.heap[0][3]

    def _head(self, lane: _Lane, now: float) -> _Waiter | None:
        """Find a lane's first waiter that is still there and in time."""
        while (waiter := lane.head()) is not None:
            if waiter.future.done():
                self._drop(waiter)
            elif waiter.deadline is not None and waiter.deadline < now:
                self._fail(waiter, now)
            else:
                return waiter
        return None

    def _may_leave(self, waiter: _Waiter, stuck: list[_Lane], now: float) -> bool:
        for budget in waiter.lane.budgets:
            room = budget.room(now)
            if room <= 0 or (stuck and room <= self._kept(budget, waiter, stuck, now)):
                return False
        return True

    def _kept(self, budget: Budget, waiter: _Waiter, stuck: list[_Lane], now: float) -> int:
        """Count the tokens that earlier lanes will need before others have come back.

        What is spent now is back in one window; until then they live on what is free now and on
        what comes back in time.
        """
        until = now + budget.seconds
        needs = sorted(
            at
            for lane in stuck
            if budget in lane.budgets
            for at in _needs(lane, budget, lane.ahead(waiter.place), now, until)
        )
        back = budget.slots(now)[max(0, budget.room(now)) :]
        return max((k - by(back, inf, at) for k, at in enumerate(needs, 1)), default=0)

    def _grant(self, waiter: _Waiter, now: float) -> None:
        self._drop(waiter)
        waiter.future.set_result(self._take(waiter.lane, now, waiter.host))
        if waiter.backlog > 1:
            self._await_next(waiter)

    def _await_next(self, waiter: _Waiter) -> None:
        """Let nobody pass a turn that has more calls, until its caller could ask again."""
        if self._again is not None:
            self._again.cancel()
        self._reserved = waiter.place
        self._again = asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        self._again = self._reserved = None
        self._dispatch(asyncio.get_running_loop().time())

    def _fail(self, waiter: _Waiter, now: float) -> None:
        self._drop(waiter)
        if not waiter.future.done():
            waiter.future.set_exception(TooLateError(max(0.0, waiter.lane.next_at(now) - now)))

    # -- the timer

    def _arm(self, now: float) -> None:
        """Set the one timer for the next token or deadline that a waiter waits for."""
        at = self._next_at(now)
        if self._timer is not None:
            if self._timer.when() == at:
                return
            self._timer.cancel()
            self._timer = None
        if at < inf:
            self._timer = asyncio.get_running_loop().call_at(at, self._wake)
        self._armed_credit = self._paths.credit

    def _next_at(self, now: float) -> float:
        at = inf
        if self._waiting and self._in_flight < self._max_in_flight:
            at = min(lane.next_at(now) for lane in self._lanes.values() if lane.head())
        while self._deadlines and not self._deadlines[0][2].waiting:
            heapq.heappop(self._deadlines)
        if self._deadlines:
            at = min(at, self._deadlines[0][0])
        return max(at + 1e-6, now + SHORTEST_TIMER)

    def _wake(self) -> None:
        now = asyncio.get_running_loop().time()
        self._timer = None
        self._dispatch(now)
        while self._deadlines and self._deadlines[0][0] < now:
            waiter = heapq.heappop(self._deadlines)[2]
            if waiter.waiting:
                self._fail(waiter, now)
        self._arm(now)

    # -- the way back

    def _replied(
        self, permit: Permit, headers: Mapping[str, str] | None, epoch: float | None
    ) -> None:
        now = asyncio.get_running_loop().time()
        self._paths.learn(permit.host, now - permit.granted)
        for budget in permit._budgets:
            budget.rest(now)
        self._landed()
        if headers is not None:
            permit._told = _read(headers, epoch)
            if permit._told is not None:
                self._learn(permit, permit._told, now)
        if self._waiting:
            self._after_reply(now)

    def _landed(self) -> None:
        self._in_flight -= 1

    def _after_reply(self, now: float) -> None:
        """Look at the queue again, unless the timer that is set will do."""
        full = self._in_flight == self._max_in_flight - 1
        if full or self._timer is None or self._paths.credit > self._armed_credit + MARGIN / 4:
            self._dispatch(now)

    def _no_reply(self, permit: Permit) -> None:
        now = asyncio.get_running_loop().time()
        for budget in permit._budgets:
            budget.rest_silent(now)
        self._landed()
        self._dispatch(now)

    def _unsent(self, permit: Permit) -> None:
        for budget in permit._budgets:
            budget.give_back()
        self._landed()
        self._dispatch(asyncio.get_running_loop().time())

    def _learn(self, permit: Permit, told: _Told, now: float) -> None:
        """Adopt the limit that the headers state, and charge what others used."""
        budget = self._described(permit, told.limit)
        if budget is None:
            permit._told = None
            return
        if budget.adopt(told.limit, permit.serial):
            self._tell(BudgetEvent("learned", (budget.name,)))
        if told.remaining is not None:
            mark = permit._marks[permit._budgets.index(budget)]
            fresh = budget.charge(told.limit.calls - told.remaining, mark, now)
            if fresh:
                budget.leave_room(len(budget.foreign), now)

    def _described(self, permit: Permit, limit: Limit) -> Budget | None:
        """Find the one budget of a permit that headers with this limit describe.

        The same pair decides, else the same interval. A lone budget may be told both, unless the
        pair is that of another budget here.
        """
        own = permit._budgets
        same = [b for b in own if (b.calls, b.seconds) == (limit.calls, limit.seconds)]
        close = same or [b for b in own if b.seconds == limit.seconds]
        if close:
            return close[0] if len(close) == 1 else None
        others = ((b.calls, b.seconds) for b in self._budgets.values())
        return own[0] if len(own) == 1 and (limit.calls, limit.seconds) not in others else None

    def _refused(self, permit: Permit) -> None:
        """Hold the budget that was exceeded, and believe that others use it."""
        now = asyncio.get_running_loop().time()
        meant, pause = permit._budgets, None
        if permit._told is not None:
            meant, pause = self._meant(permit, permit._told)
        for budget in meant:
            until = budget.seconds if pause is None else min(pause, budget.seconds)
            budget.hold(now + until + MARGIN)
            budget.leave_room(budget.reserve + 1, now)
        names = tuple(budget.name for budget in meant)
        self._tell(BudgetEvent("refused", names, max(b.held_until for b in meant) - now))
        self._give_up_hopeless(now)
        self._arm(now)

    def _meant(self, permit: Permit, told: _Told) -> tuple[tuple[Budget, ...], float | None]:
        """Say which budgets a refusal points to, and for how long if the headers tell."""
        described = self._described(permit, told.limit)
        others = tuple(b for b in permit._budgets if b is not described)
        if described is None or (told.remaining and others):
            return others, None
        return (described,), told.reset

    def _give_up_hopeless(self, now: float) -> None:
        """Fail the waiters whose deadline comes before their budgets open again."""
        opens = {lane.names: lane.next_at(now) for lane in self._lanes.values()}
        for _, _, waiter in self._deadlines:
            if waiter.waiting and waiter.deadline is not None:
                if opens[waiter.lane.names] > waiter.deadline and not waiter.lane.room(now):
                    self._fail(waiter, now)

    def _tell(self, event: BudgetEvent) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception as error:  # noqa: BLE001 - a hook of the caller's breaks nothing here
            asyncio.get_running_loop().call_exception_handler(
                {"message": "on_event failed", "exception": error}
            )

    # -- prediction

    def wait(
        self, names: tuple[str, ...], *, count: int = 1, priority: Priority = Priority.ROUTINE
    ) -> float:
        """Predict the seconds until the count-th call from now could leave."""
        now = asyncio.get_running_loop().time()
        lane = self._known.get(names) or self._lane(names)
        return self._wait(lane, count, (priority, inf), now)

    def fits(
        self, names: tuple[str, ...], *, deadline: float, priority: Priority = Priority.ROUTINE
    ) -> int:
        """Predict how many calls could leave up to the deadline, behind what is queued."""
        now = asyncio.get_running_loop().time()
        lane = self._known.get(names) or self._lane(names)
        view = _View(now)
        queued = {other.names: other.ahead((priority, inf)) for other in self._lanes.values()}
        return max(
            0,
            min(
                view.by(budget, deadline) - self._ahead(budget, view, queued, deadline)
                for budget in lane.budgets
            ),
        )

    def _wait(self, lane: _Lane, count: int, place: tuple[int, float], now: float) -> float:
        view = _View(now)
        queued = {other.names: other.ahead(place) for other in self._lanes.values()}
        at, before = 0.0, -1.0
        while at > before:
            before = at
            at = max(
                view.when(budget, count + self._ahead(budget, view, queued, before))
                for budget in lane.budgets
            )
        turns = (self._in_flight + count - 1) // self._max_in_flight
        return max(at - now, turns * self._paths.mean)

    def _ahead(
        self, budget: Budget, view: "_View", queued: dict[tuple[str, ...], int], until: float
    ) -> int:
        """Predict how many of the calls queued before take a token of this budget by then."""
        return sum(
            min(queued[lane.names], *(view.by(each, until) for each in lane.budgets))
            for lane in self._lanes.values()
            if queued[lane.names] and budget in lane.budgets
        )

    def snapshot(self) -> tuple[BudgetState, ...]:
        """Show every budget as it is now."""
        now = asyncio.get_running_loop().time()
        return tuple(self._state(budget, now) for budget in self._budgets.values())

    def _state(self, budget: Budget, now: float) -> BudgetState:
        return BudgetState(
            name=budget.name,
            calls=budget.calls,
            seconds=budget.seconds,
            free=max(0, budget.room(now)),
            in_flight=budget.busy,
            resting=len(budget.resting) + len(budget.silent),
            foreign=len(budget.foreign),
            reserve=budget.reserve,
            waiting=sum(
                len(lane.heap) - lane.dead
                for lane in self._lanes.values()
                if budget in lane.budgets
            ),
            held_for=max(0.0, budget.held_until - now),
            next_in=self._wait(self._lane((budget.name,)), 1, (Priority.BACKGROUND, inf), now),
        )


class _View:
    """The budgets' predictions at one moment, each made once."""

    __slots__ = ("_now", "_slots")

    def __init__(self, now: float) -> None:
        self._now = now
        self._slots: dict[str, list[float]] = {}

    def _of(self, budget: Budget) -> list[float]:
        if budget.name not in self._slots:
            self._slots[budget.name] = budget.slots(self._now)
        return self._slots[budget.name]

    def when(self, budget: Budget, count: int) -> float:
        return when(self._of(budget), budget.period, count)

    def by(self, budget: Budget, until: float) -> int:
        return by(self._of(budget), budget.period, until)


def _needs(lane: _Lane, shared: Budget, backlog: int, now: float, until: float) -> Iterator[float]:
    """Predict when a lane could use a token of the shared budget, were there always one."""
    view = _View(now)
    others = [budget for budget in lane.budgets if budget is not shared]
    for k in range(1, backlog + 1):
        at = max((view.when(budget, k) for budget in others), default=now)
        if at > until:
            return
        yield at


def _checked(limits: Mapping[str, Limit] | None) -> dict[str, Limit]:
    """Refuse overrides that are none."""
    if limits is None:
        return {}
    if not isinstance(limits, Mapping):
        raise InvalidTypeError(f"limits is a mapping of names to Limit, not {limits!r}")
    for name, limit in limits.items():
        if not isinstance(name, str) or not isinstance(limit, Limit):
            raise InvalidTypeError(f"limits maps a name to a Limit, not {name!r} to {limit!r}")
    unknown = sorted(set(limits) - set(BUDGETS))
    if unknown:
        raise InvalidValueError(f"no budget {unknown}; there are {sorted(BUDGETS)}")
    return dict(limits)


def _read(headers: Mapping[str, str], epoch: float | None) -> _Told | None:
    """Read the rate-limit headers; nonsense is as good as none."""
    found = {key.lower(): headers[key] for key in headers}
    limit = _whole(found.get("ratelimit-limit"), 1, 100_000)
    interval = _whole(found.get("ratelimit-interval"), 100, 600_000)
    if limit is None or interval is None:
        return None
    seconds = interval / 1000
    reset = _whole(found.get("ratelimit-reset"), 0, 10**15)
    delay = None
    if reset is not None and epoch is not None:
        delay = min(max(reset / 1000 - epoch, 0.0), seconds)
    return _Told(Limit(limit, seconds), _whole(found.get("ratelimit-remaining"), 0, limit), delay)


def _whole(text: str | None, least: int, most: int) -> int | None:
    """Read a whole number within bounds, or nothing."""
    try:
        number = int(text or "")
    except (TypeError, ValueError):
        return None
    return number if least <= number <= most else None
