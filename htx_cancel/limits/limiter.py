"""Grant each request its tokens as soon as the rate limits allow, and learn from the replies.

Rules of the queue:

* A request takes one token of every budget that it names, and a place in flight, or nothing. A
  waiting request holds nothing.
* The order is priority, then ticket, then arrival. Lanes do not block each other, but if two lanes
  share a budget, the later one leaves the tokens that the earlier one can spend.
* Urgent requests may use the tokens reserved for other users of the UID.
* A hold is a deadline that is never shortened. The event loop's clock is the only clock.
* One timer serves all waiters. However a waiter ends, its place and its tokens are freed.
* Budgets belong to the event loop that used them first.

``budget`` knows when tokens are free, and ``queue`` knows which waiter is next.

A token is not an ``AsyncLimiter(1, window)`` (of aiolimiter) renewed at its reply, because that
cannot tell when it will be free, be given back, or be taken together with another one; and taking
and returning two of them costs 1.7 times all of this module (measured).
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count as counter
from math import inf

from htx_cancel import arguments, hooks
from htx_cancel.endpoints import BUDGETS, Limit
from htx_cancel.errors import InvalidTypeError, InvalidValueError, TooLateError, WrongLoopError
from htx_cancel.limits.budget import MARGIN, Budget
from htx_cancel.limits.headers import RateLimitHeaders
from htx_cancel.limits.permit import BudgetEvent, BudgetState, End, Permit, Priority
from htx_cancel.limits.queue import LAST, Forecast, Lane, Rank, Waiter, reserved_for_earlier
from htx_cancel.limits.round_trip import RoundTrips

SHORTEST_TIMER = 0.001  #: seconds; tokens that are free within this time are granted together
ROUNDING = 1e-6  #: seconds by which a timer is late, so that its token is certainly free
IN_FLIGHT = 128  #: default of ``max_in_flight``; 123 requests use up all budgets of cancels
LONG = 0.2  #: seconds; a longer timer is set in two steps, see ``_arm``


class Budgets:
    """All budgets of one UID, and the queue for their tokens.

    Clients of the same UID in one event loop may share one ``Budgets``.

    Args:
        limits: limits that replace the published ones, by budget name; the names are those of
            ``htx_cancel.endpoints.BUDGETS``.
        max_in_flight: the most requests in flight at once, over all users of these budgets.
        charge_pools: whether requests with a budget of their own also charge their product's pool.
        on_event: a plain function that is called with every wait, refusal and limit learned.
        round_trips: another estimate of the shortest round trip, for tests.

    Raises:
        InvalidTypeError, InvalidValueError: for invalid arguments.
    """

    def __init__(
        self,
        limits: Mapping[str, Limit] | None = None,
        *,
        max_in_flight: int = IN_FLIGHT,
        charge_pools: bool = False,
        on_event: Callable[[BudgetEvent], object] | None = None,
        round_trips: RoundTrips | None = None,
    ) -> None:
        limits = {} if limits is None else limits
        _check(limits)
        arguments.callback("on_event", on_event)
        self.max_in_flight = arguments.count("max_in_flight", max_in_flight)
        self.charge_pools = charge_pools
        self._round_trips = round_trips or RoundTrips()
        self._budgets = {
            name: self._make_budget(name, limit) for name, limit in {**BUDGETS, **limits}.items()
        }
        self._lanes: dict[tuple[str, ...], Lane] = {}
        self._in_flight = 0
        self._on_event = on_event
        self._tickets = counter(1)
        self._waiting = 0
        self._deadlines: list[tuple[float, int, Waiter]] = []  # a heap
        self._reserved_rank = LAST  # no later rank is served, see ``_grant``
        self._timer: asyncio.Handle | None = None
        self._timer_at = inf
        self._timer_floor = 0.0  # the floor of the round trip when the timer was set
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        taken = [
            f"{budget.name} {budget.granted - budget.returned}/{budget.calls}"
            for budget in self._budgets.values()
            if budget.granted > budget.returned
        ]
        about = f"in_flight={self._in_flight} waiting={self._waiting}"
        return f"<Budgets {about} taken=[{', '.join(taken)}]>"

    def _make_budget(self, name: str, limit: Limit) -> Budget:
        return Budget(name, limit, self._round_trips)

    # acquiring permits

    def ticket(self) -> int:
        """Take the next place in the order of arrival."""
        return next(self._tickets)

    def check_loop(self) -> None:
        """Raise ``WrongLoopError`` in another event loop than that of the first use."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise WrongLoopError(
                "Budgets must be used in one event loop, got a second one: make new ones there"
            )

    @asynccontextmanager
    async def permit(
        self, *names: str, priority: Priority = Priority.ROUTINE, timeout: float | None = None
    ) -> AsyncIterator[Permit]:
        """Share the budgets with a request of your own, such as a placement.

        ``async with client.budgets.permit("usdt_m_trade", timeout=1.0):`` waits for one token of
        each named budget (the names are those of ``htx_cancel.endpoints.BUDGETS``). At the end of
        the block the request counts as answered, or as unanswered if the block raised. To be more
        exact, call a method of the permit in the block: ``replied(headers, epoch)``,
        ``refused()``, ``no_reply()`` or ``unsent()``.

        Raises ``TooLateError`` as soon as no token can be had within ``timeout`` seconds.
        """
        deadline = inf
        if timeout is not None:
            deadline = asyncio.get_running_loop().time() + arguments.seconds("timeout", timeout)
        permit = await self.acquire(names, priority=priority, deadline=deadline)
        permit.sent("", None)
        try:
            yield permit
        except BaseException:
            permit.no_reply()
            raise
        permit.replied()

    async def acquire(
        self,
        names: tuple[str, ...],
        *,
        priority: Priority = Priority.ROUTINE,
        ticket: int | None = None,
        deadline: float = inf,
    ) -> Permit:
        """Wait for one token of each named budget, and take them; see ``acquire_some``."""
        return (
            await self.acquire_some(names, 1, priority=priority, ticket=ticket, deadline=deadline)
        )[0]

    async def acquire_some(
        self,
        names: tuple[str, ...],
        most: int,
        *,
        priority: Priority = Priority.ROUTINE,
        ticket: int | None = None,
        deadline: float = inf,
    ) -> list[Permit]:
        """Wait until a request may be sent; return a permit for each that may, up to ``most``.

        Each permit takes one token of each named budget. A caller that got fewer than ``most``
        keeps its place if it calls this again, with its ticket, before it awaits anything else.
        ``deadline`` is loop time; ``TooLateError`` is raised as soon as it cannot be met.
        """
        self.check_loop()
        loop = asyncio.get_running_loop()
        now, lane = loop.time(), self._lane(names)
        if deadline < now:
            raise TooLateError(self._predict(lane, 1, (priority, inf), now))
        if not self._waiting and self._reserved_rank is LAST:
            room = lane.room(now, urgent=priority is Priority.URGENT)
            if permits := self._take(lane, min(most, room), now):
                return permits
        rank = (int(priority), next(self._tickets) if ticket is None else ticket)
        waiter = Waiter(lane, rank, most, deadline, loop.create_future())
        self._enqueue(waiter, now)
        return await self._granted(waiter)

    def _enqueue(self, waiter: Waiter, now: float) -> None:
        """Add a waiter and grant what can be granted; raise ``TooLateError`` if hopeless."""
        arrival = next(self._tickets)
        waiter.lane.push(waiter, arrival)
        self._waiting += 1
        self._dispatch(now)
        if waiter.future.done() or (waiter.deadline == inf and self._on_event is None):
            return
        wait = self._predict(waiter.lane, 1, waiter.rank, now)
        if waiter.deadline < inf:
            if now + wait > waiter.deadline:
                self._drop(waiter)
                self._dispatch(now)  # others get the tokens that were reserved for it
                raise TooLateError(wait)
            heapq.heappush(self._deadlines, (waiter.deadline, arrival, waiter))
            self._arm(now)
        self._emit(BudgetEvent("wait", waiter.lane.names, wait))

    async def _granted(self, waiter: Waiter) -> list[Permit]:
        """Wait for the permits. If the caller is cancelled, free its place and its tokens."""
        try:
            return await waiter.future
        except BaseException:
            if waiter.waiting:
                self._drop(waiter)
                self._dispatch(asyncio.get_running_loop().time())
            elif not waiter.future.cancelled() and waiter.future.exception() is None:
                for permit in waiter.future.result():
                    permit.unsent()
            raise

    def _take(self, lane: Lane, count: int, now: float) -> list[Permit]:
        permits = []
        for _ in range(min(count, self.max_in_flight - self._in_flight)):
            self._in_flight += 1
            permits.append(Permit(lane.budgets, now, next(self._tickets), self._on_end))
            for budget in lane.budgets:
                budget.take(now)
        return permits

    def _lane(self, names: tuple[str, ...]) -> Lane:
        try:
            return self._lanes[names]
        except (KeyError, TypeError):  # a first use, another order of names, or invalid names
            return self._open_lane(names)

    def _open_lane(self, names: tuple[str, ...]) -> Lane:
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise InvalidTypeError(
                f"names must be a tuple of budget names, got {names!r}"
            ) from None
        if not names or not set(names) <= set(self._budgets):
            raise InvalidValueError(
                f"names must be some of {sorted(self._budgets)}, got {names!r}"
            ) from None
        key = tuple(sorted(set(names)))
        lane = Lane(key, tuple(self._budgets[name] for name in key))
        return self._lanes.setdefault(key, lane)

    def _drop(self, waiter: Waiter) -> None:
        waiter.lane.drop(waiter)
        self._waiting -= 1

    # the queue

    def _dispatch(self, now: float) -> None:
        """Grant what can be granted, in order, and set the timer for the rest."""
        while self._next_deadline() < now:
            self._fail(self._deadlines[0][2], now)
        stuck: list[Lane] = []
        while self._in_flight < self.max_in_flight:
            waiter = self._first(stuck)
            if waiter is None or waiter.rank > self._reserved_rank:
                break
            if waiter.future.done():  # cancelled, and its task has not run since
                self._drop(waiter)
            elif (room := self._room(waiter, stuck, now)) > 0:
                self._grant(waiter, room, now)
            else:
                stuck.append(waiter.lane)
        self._arm(now)

    def _first(self, stuck: list[Lane]) -> Waiter | None:
        heads = [
            lane.heap[0]
            for lane in self._lanes.values()
            if lane.heap and lane not in stuck and lane.head() is not None
        ]
        return min(heads)[3] if heads else None

    def _room(self, waiter: Waiter, stuck: list[Lane], now: float) -> int:
        """Count the requests that a waiter may send now, behind the waiters of stuck lanes."""
        room = waiter.lane.room(now, urgent=waiter.urgent)
        if room > 0 and stuck:
            for budget in waiter.lane.budgets:
                reserved = reserved_for_earlier(budget, waiter.rank, stuck, now)
                room = min(room, budget.room(now, urgent=waiter.urgent) - reserved)
        return room

    def _grant(self, waiter: Waiter, room: int, now: float) -> None:
        """Give a waiter its permits.

        A caller that got fewer than it wanted runs next, and may ask again at once. Until then no
        later waiter and no newcomer is served.
        """
        self._drop(waiter)
        permits = self._take(waiter.lane, min(room, waiter.wanted), now)
        waiter.future.set_result(permits)
        if len(permits) < waiter.wanted:
            self._reserved_rank = waiter.rank
            asyncio.get_running_loop().call_soon(self._release_reservation, waiter.rank)

    def _release_reservation(self, rank: Rank) -> None:
        if self._reserved_rank is rank:
            self._reserved_rank = LAST
            if self._waiting:
                self._dispatch(asyncio.get_running_loop().time())

    def _fail(self, waiter: Waiter, now: float) -> None:
        """Remove a waiter that cannot meet its deadline."""
        self._drop(waiter)
        if not waiter.future.done():
            free_at = max(now, waiter.lane.next_at(now, urgent=waiter.urgent))
            waiter.future.set_exception(TooLateError(free_at - now))

    # the timer

    def _arm(self, now: float) -> None:
        """Set the one timer for the next token or deadline of any waiter.

        On Linux ``epoll`` may sleep too long by a thousandth of its timeout: 3 ms of a window of
        3 s. So a long timer is set a hundredth of its length early, and then set again.
        """
        self._timer_floor = self._round_trips.floor
        at = max(self._next_at(now) + ROUNDING, now + SHORTEST_TIMER)
        if at == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, at
        if at < inf:
            early = (at - now) / 100 if at - now > LONG else 0.0
            self._timer = asyncio.get_running_loop().call_at(at - early, self._wake)

    def _next_at(self, now: float) -> float:
        at = self._next_deadline()
        if self._waiting and self._in_flight < self.max_in_flight:
            for lane in self._lanes.values():
                head = lane.head()
                if head is not None:
                    at = min(at, lane.next_at(now, urgent=head.urgent))
        return at

    def _next_deadline(self) -> float:
        while self._deadlines and not self._deadlines[0][2].waiting:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else inf

    def _wake(self) -> None:
        self._timer, self._timer_at = None, inf
        self._dispatch(asyncio.get_running_loop().time())

    # the end of a request

    def _on_end(self, permit: Permit, end: End) -> None:
        now = asyncio.get_running_loop().time()
        if end == "refused":
            self._hold(permit, now)
            return
        was_full = self._in_flight == self.max_in_flight
        self._in_flight -= 1
        if end == "replied":
            may_grant = self._on_reply(permit, now) or was_full
        else:
            may_grant = True
            for budget in permit.budgets:
                if end == "unsent":
                    budget.unsent(permit.granted)
                else:
                    budget.gave_up(permit.granted, now)
        if may_grant and self._waiting:
            self._dispatch(now)

    def _on_reply(self, permit: Permit, now: float) -> bool:
        """Take a reply; return whether a waiter may be served before the timer fires."""
        permit.replied_at = now
        if permit.left_at is not None:
            self._round_trips.learn(permit.host, now - permit.left_at, now)
        may_grant = self._round_trips.floor > self._timer_floor + MARGIN / 4
        for budget in permit.budgets:
            may_grant = may_grant or not budget.cooling or budget.on_trial
            budget.replied(permit.granted, now)
        if permit.headers is not None:
            self._learn(permit, permit.headers, now)
        return may_grant

    def _learn(self, permit: Permit, headers: RateLimitHeaders, now: float) -> None:
        """Adopt the limit that the headers state, and charge what others used."""
        budget = self._described(permit, headers.limit)
        if budget is None or not budget.plausible(headers.limit):
            return
        permit.described = budget
        if budget.adopt(headers.limit, permit.serial):
            self._emit(BudgetEvent("learned", (budget.name,)))
        if headers.remaining is not None:
            mark = permit.marks[permit.budgets.index(budget)]
            budget.charge(headers.limit.calls - headers.remaining, mark, permit.granted, now)

    def _described(self, permit: Permit, limit: Limit) -> Budget | None:
        """Return the one budget of a permit that headers with this limit describe.

        It is the budget with the same limit, or else the one with the same interval. If the permit
        has only one budget, any other limit describes that one too, unless another budget of the
        UID has this limit.
        """
        found = [budget for budget in permit.budgets if budget.limit == limit] or [
            budget for budget in permit.budgets if budget.seconds == limit.seconds
        ]
        if not found and all(budget.limit != limit for budget in self._budgets.values()):
            found = list(permit.budgets)
        return found[0] if len(found) == 1 else None

    def _hold(self, permit: Permit, now: float) -> None:
        """Hold the exceeded budgets, and fail the waiters whose deadline is before the end."""
        budgets, reset = self._exceeded(permit)
        held_before = min(budget.held_until for budget in budgets)
        for budget in budgets:
            budget.refuse(permit.granted, permit.replied_at, reset, now)
        until = max(budget.held_until for budget in budgets)
        self._emit(BudgetEvent("refused", tuple(budget.name for budget in budgets), until - now))
        for _, _, waiter in self._deadlines if held_before <= now else ():  # once for each hold
            free_at = max(budget.held_until for budget in waiter.lane.budgets)
            if waiter.waiting and waiter.deadline < free_at:
                self._fail(waiter, now)
        self._dispatch(now)  # others get the tokens that were reserved for the failed waiters

    def _exceeded(self, permit: Permit) -> tuple[tuple[Budget, ...], float | None]:
        """Return the budgets that a refusal points to, and the reset if the headers state it."""
        if permit.headers is None or permit.described is None:
            return permit.budgets, None
        others = tuple(budget for budget in permit.budgets if budget is not permit.described)
        if permit.headers.remaining and others:
            return others, None
        return (permit.described,), permit.headers.reset

    def _emit(self, event: BudgetEvent) -> None:
        if self._on_event is not None:
            hooks.call("on_event", self._on_event, event)

    @property
    def round_trip(self) -> float:
        """The mean round trip to the host that replied last, in seconds; 0 before any reply."""
        return self._round_trips.mean

    def learn_round_trip(self, host: str, seconds: float, *, sequential: bool = False) -> None:
        """Learn the round trip of a request that charges no budget and was answered just now.

        ``sequential`` is whether no other request that charges no budget was in flight.
        """
        sequential = sequential and self._in_flight == 0
        self._round_trips.learn(
            host, seconds, asyncio.get_running_loop().time(), sequential=sequential
        )

    # prediction

    def wait(
        self, names: tuple[str, ...], *, count: int = 1, priority: Priority = Priority.ROUTINE
    ) -> float:
        """Predict the seconds until the count-th request from now can be sent, behind the queue."""
        now = asyncio.get_running_loop().time()
        return self._predict(self._lane(names), count, (priority, inf), now)

    def fits(
        self, names: tuple[str, ...], *, deadline: float, priority: Priority = Priority.ROUTINE
    ) -> int:
        """Predict how many requests can be sent by ``deadline`` (loop time), behind the queue."""
        now = asyncio.get_running_loop().time()
        lane = self._lane(names)
        return Forecast(self._lanes.values(), (priority, inf), now).fits(lane, deadline)

    def _predict(self, lane: Lane, count: int, rank: Rank, now: float) -> float:
        at = Forecast(self._lanes.values(), rank, now).leaves(lane, count)
        trips = (self._in_flight + count - 1) // self.max_in_flight
        return max(at - now, trips * self._round_trips.mean)

    def snapshot(self) -> tuple[BudgetState, ...]:
        """Return the state of every budget; nothing is changed by it."""
        now = asyncio.get_running_loop().time()
        return tuple(self._state(budget, now) for budget in self._budgets.values())

    def _state(self, budget: Budget, now: float) -> BudgetState:
        lanes = [lane for lane in self._lanes.values() if budget in lane.budgets]
        alone = Lane((budget.name,), (budget,))
        return BudgetState(
            name=budget.name,
            calls=budget.calls,
            seconds=budget.seconds,
            free=max(0, budget.room(now)),
            in_flight=budget.in_flight,
            cooling=len(budget.cooling) + len(budget.unanswered),
            foreign=len(budget.foreign),
            reserve=budget.reserve,
            waiting=sum(len(lane.heap) - lane.dead for lane in lanes),
            held_for=max(0.0, budget.held_until - now),
            held=budget.tokens,
            fair=budget.tokens,
            next_in=self._predict(alone, 1, LAST, now),
        )


def _check(limits: object) -> None:
    if not isinstance(limits, Mapping) or not all(
        isinstance(limit, Limit) for limit in limits.values()
    ):
        raise InvalidTypeError(f"limits must be a mapping of names to Limit, got {limits!r}")
    if not set(limits) <= set(BUDGETS):
        unknown = sorted(set(limits) - set(BUDGETS), key=str)
        raise InvalidValueError(f"limits must name some of {sorted(BUDGETS)}, got {unknown}")
