"""Wait until the exchange will take one more call; learn from its replies.

Rules of the queue:

* A call takes a token of every budget it names, and a place in flight, or nothing. A waiting call
  holds nothing.
* The order is priority, then ticket, then arrival. Lanes do not block each other; but where two
  share a budget, the later one leaves enough tokens for what the earlier one can spend.
* Urgent calls may use what is reserved for others of the UID.
* A hold is a deadline, never shortened. The event loop is the only clock.
* One timer serves all waiters. Whatever ends a waiter, its place and its token are not lost.
* Budgets belong to the event loop in which they were used first.

How tokens come and go is the business of ``budget``; who is next, of ``queue``.

Why the budgets are not made of aiolimiter: a token could be an ``AsyncLimiter(1, window)``, renewed
at its reply. But it cannot say when it will be free, be given back, or be taken together with
another budget's; and measured, taking and returning two that way costs 1.7 times all of this.
(aiolimiter spreads the attempts to reconnect: there a leaky bucket is right.)
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
from htx_cancel.limits.queue import Forecast, Lane, Rank, Waiter, reserved_for_earlier
from htx_cancel.limits.round_trip import RoundTrips

SHORTEST_TIMER = 0.001  #: seconds; tokens that come back closer together leave together
ROUNDING = 1e-6  #: seconds by which a timer is set late, so that its token is surely back
IN_FLIGHT = 128  #: by default; 123 calls fill all budgets of cancels at once
LONG = 0.2  #: seconds; what is awaited longer is awaited in two steps, see ``_arm``


class Budgets:
    """All budgets of one UID, and the queue before them.

    Clients of the same UID in one event loop may share one.

    Args:
        limits: budgets by name, where they are not the published ones; the names are those of
            ``htx_cancel.endpoints.BUDGETS``.
        max_in_flight: the most requests under way at once, of all that share these budgets.
        charge_pools: whether requests with a budget of their own also charge their product's pool.
        on_event: a plain function that hears of every wait, refusal and limit learned.
        round_trips: another estimate of the shortest round trip, for tests.

    Raises:
        InvalidTypeError, InvalidValueError: for arguments that make no sense.
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
        arguments.hook("on_event", on_event)
        self.max_in_flight = arguments.whole("max_in_flight", max_in_flight)
        self.charge_pools = charge_pools
        self._round_trips = round_trips or RoundTrips()
        self._budgets = {
            name: self._ledger(name, limit) for name, limit in {**BUDGETS, **limits}.items()
        }
        self._lanes: dict[tuple[str, ...], Lane] = {}
        self._in_flight = 0
        self._on_event = on_event
        self._tickets = counter(1)
        self._waiting = 0
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._reserved_rank: Rank | None = None  # who may ask again before others are served
        self._timer: asyncio.Handle | None = None
        self._timer_at = inf
        self._timer_floor = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        taken = [
            f"{budget.name} {budget.granted - budget.returned}/{budget.calls}"
            for budget in self._budgets.values()
            if budget.granted > budget.returned
        ]
        about = f"in_flight={self._in_flight} waiting={self._waiting}"
        return f"<Budgets {about} taken=[{', '.join(taken)}]>"

    def _ledger(self, name: str, limit: Limit) -> Budget:
        return Budget(name, limit, self._round_trips)

    # the way in

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
        each named budget (the names are those of ``htx_cancel.endpoints.BUDGETS``) and, at the end
        of the block, takes its request for answered, or for unanswered if the block raised. Say it
        more exactly with the permit: ``replied(headers, epoch)``, ``refused()``, ``no_reply()`` or
        ``unsent()``.

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
        """Wait until a request may leave; return permits for all that may now, up to ``most``.

        Each takes one token of each named budget. A caller that got fewer keeps its place if it
        asks again, with its ticket, before it awaits anything else. ``deadline`` is loop time;
        ``TooLateError`` is raised as soon as it cannot be kept.
        """
        self.check_loop()
        loop = asyncio.get_running_loop()
        now, lane = loop.time(), self._lane(names)
        if deadline < now:
            raise TooLateError(self._predict(lane, 1, (priority, inf), now))
        if not self._waiting and (self._reserved_rank is None or self._reserved_rank[1] == ticket):
            room = lane.room(now, urgent=priority is Priority.URGENT)
            if permits := self._take(lane, min(most, room), now):
                return permits
        rank = (int(priority), next(self._tickets) if ticket is None else ticket)
        waiter = Waiter(lane, rank, most, deadline, loop.create_future())
        self._enqueue(waiter, now)
        return await self._granted(waiter)

    def _enqueue(self, waiter: Waiter, now: float) -> None:
        seq = next(self._tickets)
        waiter.lane.push(waiter, seq)
        self._waiting += 1
        self._dispatch(now)
        if waiter.future.done() or (waiter.deadline == inf and self._on_event is None):
            return
        wait = self._predict(waiter.lane, 1, waiter.rank, now)
        if waiter.deadline < inf:
            if now + wait > waiter.deadline:
                self._drop(waiter)
                raise TooLateError(wait)
            heapq.heappush(self._deadlines, (waiter.deadline, seq, waiter))
            self._arm(now)
        self._tell(BudgetEvent("wait", waiter.lane.names, wait))

    async def _granted(self, waiter: Waiter) -> list[Permit]:
        """Wait; a caller that goes away, for whatever reason, leaves nothing behind."""
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
        """Take permits, as far as there are places in flight."""
        permits = []
        for _ in range(min(count, self.max_in_flight - self._in_flight)):
            self._in_flight += 1
            permits.append(Permit(lane.budgets, now, next(self._tickets), self._on_end))
            for budget in lane.budgets:
                budget.take(now)
        return permits

    def _lane(self, names: tuple[str, ...]) -> Lane:
        """Find or open the lane of these budgets."""
        try:
            return self._lanes[names]
        except (KeyError, TypeError):  # a first use, another order of names, or no tuple
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
            if waiter is None or (
                self._reserved_rank is not None and waiter.rank > self._reserved_rank
            ):
                break
            if waiter.future.done():  # it was cancelled, and its task has not run since
                self._drop(waiter)
            elif (room := self._room(waiter, stuck, now)) > 0:
                self._grant(waiter, room, now)
            else:
                stuck.append(waiter.lane)
        self._arm(now)

    def _first(self, stuck: list[Lane]) -> Waiter | None:
        """Find the first waiter of the lanes that are not stuck."""
        heads = [
            lane.heap[0]
            for lane in self._lanes.values()
            if lane.heap and lane not in stuck and lane.head() is not None
        ]
        return min(heads)[3] if heads else None

    def _room(self, waiter: Waiter, stuck: list[Lane], now: float) -> int:
        """Count the requests of a waiter that may leave now; ``stuck`` go before it."""
        room = waiter.lane.room(now, urgent=waiter.urgent)
        for budget in waiter.lane.budgets if room > 0 and stuck else ():
            reserved = reserved_for_earlier(budget, waiter.rank, stuck, now)
            room = min(room, budget.room(now, urgent=waiter.urgent) - reserved)
        return room

    def _grant(self, waiter: Waiter, room: int, now: float) -> None:
        self._drop(waiter)
        permits = self._take(waiter.lane, min(room, waiter.wanted), now)
        waiter.future.set_result(permits)
        if len(permits) < waiter.wanted:  # its caller runs next, and may ask again at once
            self._reserved_rank = waiter.rank
            asyncio.get_running_loop().call_soon(self._release_reservation, waiter.rank)

    def _release_reservation(self, rank: Rank) -> None:
        if self._reserved_rank is rank:
            self._reserved_rank = None
            if self._waiting:
                self._dispatch(asyncio.get_running_loop().time())

    def _fail(self, waiter: Waiter, now: float) -> None:
        """Take out a waiter that is too late, or whose caller was cancelled."""
        self._drop(waiter)
        if not waiter.future.done():
            opens = max(now, waiter.lane.next_at(now, urgent=waiter.urgent))
            waiter.future.set_exception(TooLateError(opens - now))

    # the timer

    def _arm(self, now: float) -> None:
        """Set the one timer for the next token or deadline that somebody waits for.

        Linux lets ``epoll`` oversleep by a thousandth of its timeout: 3 ms of a window of 3 s. So
        a long wait is cut short by a hundredth, and what is left is awaited anew.
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

    # the way back

    def _on_end(self, permit: Permit, end: End) -> None:
        now = asyncio.get_running_loop().time()
        if end == "refused":
            self._hold(permit, now)
            return
        full = self._in_flight == self.max_in_flight
        self._in_flight -= 1
        if end == "replied":
            look = self._on_reply(permit, now) or full
        else:
            look = True
            for budget in permit.budgets:
                if end == "unsent":
                    budget.unsent(permit.granted)
                else:
                    budget.gave_up(permit.granted, now)
        if look and self._waiting:
            self._dispatch(now)

    def _on_reply(self, permit: Permit, now: float) -> bool:
        """Put the tokens to rest; say whether the queue may move sooner than the timer says."""
        permit.replied_at = now
        if permit.left_at is not None:
            self._round_trips.learn(permit.host, now - permit.left_at, now)
        look = self._round_trips.floor > self._timer_floor + MARGIN / 4
        for budget in permit.budgets:
            look = look or not budget.cooling or budget.on_trial
            budget.replied(permit.granted, now)
        if permit.told is not None:
            self._learn(permit, permit.told, now)
        return look

    def _learn(self, permit: Permit, told: RateLimitHeaders, now: float) -> None:
        """Adopt the limit that the headers state, and charge what others used."""
        budget = self._find(permit, told.limit)
        if budget is None or not budget.plausible(told.limit):
            return
        permit.described = budget
        if budget.adopt(told.limit, permit.serial):
            self._tell(BudgetEvent("learned", (budget.name,)))
        if told.remaining is not None:
            mark = permit.marks[permit.budgets.index(budget)]
            budget.charge(told.limit.calls - told.remaining, mark, permit.granted, now)

    def _find(self, permit: Permit, limit: Limit) -> Budget | None:
        """Find the one budget of a permit that headers with this limit describe.

        The same pair decides, else the same interval. A lone budget may be told both, unless the
        pair is that of another budget here.
        """
        if len(permit.budgets) == 1 and permit.budgets[0].limit == limit:
            return permit.budgets[0]  # nearly always
        same = [each for each in permit.budgets if each.limit == limit]
        close = same or [each for each in permit.budgets if each.seconds == limit.seconds]
        if not close and all(each.limit != limit for each in self._budgets.values()):
            close = list(permit.budgets)
        return close[0] if len(close) == 1 else None

    def _hold(self, permit: Permit, now: float) -> None:
        """Hold the budget that was exceeded."""
        meant, reset = self._exceeded(permit)
        before = max(budget.held_until for budget in meant)
        for budget in meant:
            budget.refuse(permit.granted, permit.replied_at, reset, now)
        until = max(budget.held_until for budget in meant)
        self._tell(BudgetEvent("refused", tuple(budget.name for budget in meant), until - now))
        for _, _, waiter in self._deadlines if before <= now else ():  # once for each hold
            if waiter.waiting:
                opens = max(budget.held_until for budget in waiter.lane.budgets)
                if opens > waiter.deadline:
                    self._fail(waiter, now)
        self._arm(now)

    def _exceeded(self, permit: Permit) -> tuple[tuple[Budget, ...], float | None]:
        """Say which budgets a refusal points to, and for how long where the headers tell."""
        if permit.told is None or permit.described is None:
            return permit.budgets, None
        others = tuple(each for each in permit.budgets if each is not permit.described)
        if permit.told.remaining and others:
            return others, None
        return (permit.described,), permit.told.reset

    def _tell(self, event: BudgetEvent) -> None:
        if self._on_event is not None:
            hooks.call("on_event", self._on_event, event)

    @property
    def round_trip(self) -> float:
        """The mean round trip to the host heard last, in seconds; 0 if there was none yet."""
        return self._round_trips.mean

    def learn_round_trip(self, host: str, seconds: float, *, probe: bool = False) -> None:
        """Learn how long a request that charges no budget took to a host and back, until now.

        It is a ``probe`` if no other such request was under way.
        """
        probe = probe and self._in_flight == 0
        self._round_trips.learn(host, seconds, asyncio.get_running_loop().time(), probe=probe)

    # prediction

    def wait(
        self, names: tuple[str, ...], *, count: int = 1, priority: Priority = Priority.ROUTINE
    ) -> float:
        """Predict the seconds until the count-th call from now could leave, behind the queue."""
        now = asyncio.get_running_loop().time()
        return self._predict(self._lane(names), count, (priority, inf), now)

    def fits(
        self, names: tuple[str, ...], *, deadline: float, priority: Priority = Priority.ROUTINE
    ) -> int:
        """Predict how many calls could leave up to ``deadline`` (loop time), behind the queue."""
        now = asyncio.get_running_loop().time()
        lane = self._lane(names)
        return Forecast(self._lanes.values(), (priority, inf), now).fits(lane, deadline)

    def _predict(self, lane: Lane, count: int, rank: Rank, now: float) -> float:
        at = Forecast(self._lanes.values(), rank, now).leaves(lane, count)
        trips = (self._in_flight + count - 1) // self.max_in_flight
        return max(at - now, trips * self._round_trips.mean)

    def snapshot(self) -> tuple[BudgetState, ...]:
        """Show every budget as it is now: a look, which opens no lane that was not used."""
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
            next_in=self._predict(alone, 1, (max(Priority), inf), now),
        )


def _check(limits: object) -> None:
    if not isinstance(limits, Mapping) or not all(
        isinstance(limit, Limit) for limit in limits.values()
    ):
        raise InvalidTypeError(f"limits must be a mapping of names to Limit, got {limits!r}")
    if not set(limits) <= set(BUDGETS):
        unknown = sorted(set(limits) - set(BUDGETS), key=str)
        raise InvalidValueError(f"limits must name some of {sorted(BUDGETS)}, got {unknown}")
