"""Run real processes that share budgets: workers, an exchange, a store, and proxies to the store.

Tests call the methods of ``ServedExchange`` and ``Worker`` in their processes over a pipe. The
exchange's clock is ``time.time()``, which all processes of one host share.
"""

import asyncio
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from clients import add, cancel, credentials
from msgspec import Struct
from servers import StoreServer

from htx_cancel import (
    BudgetEvent,
    CancelClient,
    CancelStatus,
    Holdings,
    Limit,
    Priority,
    RedisStore,
    SharedBudgets,
    holdings,
)
from htx_cancel.limits.shared import WhenCutOff
from htx_cancel.sandbox import Exchange, SandboxServer
from htx_cancel.sandbox.rules import ROUTES, Kind
from htx_cancel.sandbox.windows import WindowRule

POOL, FIVE = "usdt_m_trade", "/linear-swap-api/v1/swap_trigger_cancel"
#: The kinds of orders; for each, the budget that a cancel charges, and the orders in one call.
KINDS: dict[Kind, tuple[str, int]] = {"v5": (POOL, 1), "linear_trigger": (FIVE, 20)}
PATIENCE = 30.0  #: seconds after which a process counts as hung

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["htx_cancel.sandbox", "redis.asyncio"])  # the slowest imports


class GoneError(Exception):
    """The process that was called has ended."""


class Peer:
    """A process that runs the object that ``make`` yields; ``ask`` calls its methods."""

    def __init__(
        self, make: Callable[..., AbstractAsyncContextManager[object]], *given: object
    ) -> None:
        self._pipe, other_end = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(other_end, make, given), daemon=True)
        self._process.start()
        other_end.close()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count()
        self.alive = True
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._hear)

    async def ask(self, what: str, *given: object) -> Any:
        """Call a method in the process; raise ``GoneError`` if the process ends first."""
        if not self.alive:
            raise GoneError
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._pipe.send((number, what, given))
        except OSError:
            self._leave()
        return await answer

    def _hear(self) -> None:
        try:
            number, error, answer = self._pipe.recv()
        except (EOFError, OSError):
            self._leave()
            return
        future = self._asked.pop(number)
        if future.done():
            return
        if error:
            future.set_exception(AssertionError(error))
        else:
            future.set_result(answer)

    def _leave(self) -> None:
        if self.alive:
            self.alive = False
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._pipe.close()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(GoneError())
        self._asked.clear()

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def close(self) -> None:
        """Let the process end by itself, and check that it does."""
        self._leave()
        await asyncio.to_thread(self._process.join, PATIENCE)
        hangs = self._process.is_alive()
        if hangs:
            self._process.kill()
            await asyncio.to_thread(self._process.join)
        self._process.close()
        assert not hangs


def _serve(
    pipe: Connection,
    make: Callable[..., AbstractAsyncContextManager[object]],
    given: tuple[object, ...],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_answer(pipe, make, given))


async def _answer(
    pipe: Connection,
    make: Callable[..., AbstractAsyncContextManager[object]],
    given: tuple[object, ...],
) -> None:
    """Answer calls until the other end of the pipe is closed."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    tasks = set[asyncio.Task[None]]()

    async def answer(number: int, what: str, args: tuple[object, ...]) -> None:
        error, found = "", None
        try:
            found = await getattr(served, what)(*args)
        except Exception as trouble:  # noqa: BLE001 - raised at the other end
            error = repr(trouble)
        with suppress(OSError):
            pipe.send((number, error, found))

    def hear() -> None:
        try:
            task = loop.create_task(answer(*pipe.recv()))
        except (EOFError, OSError):
            loop.remove_reader(pipe.fileno())
            over.set()
            return
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async with make(*given) as served:
        loop.add_reader(pipe.fileno(), hear)
        await over.wait()
        for task in tasks:
            task.cancel()


class ServedExchange:
    """An exchange in a process of its own, which can be asked for the true state of its orders."""

    def __init__(self, exchange: Exchange, server: SandboxServer) -> None:
        self._exchange = exchange
        self._server = server
        self._events = 0

    async def base_url(self) -> str:
        """Return the URL at which the exchange listens."""
        return self._server.base_url

    async def place(self, kind: Kind, number: int) -> list[str]:
        """Put orders into the exchange's book; return their ids."""
        return add(self._exchange, kind, number)

    async def truth(self, ids: list[str]) -> list[tuple[bool, str]]:
        """Return for each order whether a cancel was accepted, and its state."""
        orders = [self._exchange.book[order_id] for order_id in ids]
        return [(order.instructed, order.state) for order in orders]

    async def arrivals(self) -> list[tuple[str, float, bool]]:
        """Return the requests since the last call: budget, time of arrival, whether refused."""
        fresh = self._exchange.log[self._events :]
        self._events += len(fresh)
        return [(_budget(entry.path), entry.now, entry.outcome == "rate") for entry in fresh]


def _budget(path: str) -> str:
    row = ROUTES[path]
    return row.pool.name if row.own is None else path


@asynccontextmanager
async def served_exchange(
    window: WindowRule, limits: dict[str, Limit], delay: float, jitter: float
) -> AsyncIterator[ServedExchange]:
    """Serve an exchange until the end of the block."""
    numbers = {name: (limit.calls, limit.seconds) for name, limit in limits.items()}
    exchange = Exchange(window=window, limits=numbers)
    async with SandboxServer(exchange, delay=delay, jitter=jitter, seed=1) as server:
        yield ServedExchange(exchange, server)


class WorkerEvent(Struct, array_like=True, frozen=True):
    """An event of a worker's budgets."""

    kind: str
    names: tuple[str, ...]
    at: float  #: epoch seconds
    state: str  #: of the worker's store


class Worker:
    """A client with shared budgets, in a process of its own."""

    def __init__(self) -> None:
        self._events: list[WorkerEvent] = []

    def begin(self, client: CancelClient, budgets: SharedBudgets) -> None:
        """Set the client and the budgets to work with."""
        self._client = client
        self._budgets = budgets

    def note_event(self, event: BudgetEvent) -> None:
        """Note an event, except waits."""
        if event.kind != "wait":
            known = hasattr(self, "_budgets")
            state = self._budgets.snapshot()[0].store if known else ""
            self._events.append(WorkerEvent(event.kind, event.names, time.time(), state))

    async def name(self) -> str:
        """Return the name of this process in the book."""
        return self._budgets.process

    async def cancel(self, kind: Kind, ids: list[str], urgent: bool) -> list[tuple[str, str]]:
        """Cancel orders; return the id and status of each."""
        priority = Priority.URGENT if urgent else Priority.ROUTINE
        outcome = await cancel(self._client, kind, ids, priority=priority)
        return [(result.order_id, result.status.value) for result in outcome]

    async def events(self) -> list[WorkerEvent]:
        """Return the events so far, except waits."""
        return self._events

    async def state(self) -> str:
        """Return the state of the link to the store."""
        (state,) = {budget.store for budget in self._budgets.snapshot()}
        return state

    async def held(self, name: str) -> int:
        """Return how many tokens of a budget this process holds."""
        return {budget.name: budget.held for budget in self._budgets.snapshot()}[name]


@asynccontextmanager
async def worker(
    base_url: str, store_url: str, limits: dict[str, Limit], when_cut_off: WhenCutOff
) -> AsyncIterator[Worker]:
    """Join the other processes, with a client."""
    found, store = Worker(), RedisStore(store_url, account="tests")
    async with (
        SharedBudgets(
            store, limits=limits, when_cut_off=when_cut_off, on_event=found.note_event
        ) as budgets,
        CancelClient(credentials(), base_url=base_url, budgets=budgets) as client,
    ):
        found.begin(client, budgets)
        yield found


class Proxy:
    """A proxy between Unix sockets, through which one process reaches the store.

    While it is cut, data is delayed, as in a network. While it is closed, connections are reset.
    ``delay`` is seconds, each way.
    """

    def __init__(self, path: Path, to: Path) -> None:
        self.url = f"unix://{path}"
        self.delay = 0.0
        self._path = path
        self._to = to
        self._closed = False
        self._passes = asyncio.Event()
        self._passes.set()
        self._writers = set[asyncio.StreamWriter]()
        self._tasks = set[asyncio.Task[None]]()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        return self

    async def __aexit__(self, *trouble: object) -> None:
        self._server.close()
        self.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Delay all data until ``mend``."""
        self._passes.clear()

    def close(self) -> None:
        """Reset all connections, and new ones until ``mend``."""
        self._closed = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Pass data again."""
        self._closed = False
        self._passes.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._writers.add(writer)
        try:
            await self._passes.wait()
            if self._closed:
                return
            from_store, to_store = await asyncio.open_unix_connection(self._to)
            ends.append(to_store)
            self._writers.add(to_store)
            await asyncio.gather(self._pump(reader, to_store), self._pump(from_store, writer))
        except OSError:
            pass
        finally:
            for end in ends:
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._passes.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


class Member(Struct):
    """A worker, and its proxy to the store."""

    peer: Peer
    proxy: Proxy


def contradiction(status: str, instructed: bool, state: str) -> str:
    """Return how a status contradicts the exchange's book; ``""`` if it does not."""
    if status == CancelStatus.ACCEPTED and not (instructed and state == "canceled"):
        return "accepted, and not canceled"
    if status in (CancelStatus.UNSENT, CancelStatus.REJECTED) and instructed:
        return f"{status}, and canceled"
    if status in (CancelStatus.CLOSED, CancelStatus.NOT_FOUND) and state == "open":
        return f"{status}, and open"
    return ""


class World:
    """An exchange, a store, workers that use both, and the status of each order."""

    def __init__(
        self,
        folder: Path,
        store: StoreServer,
        limits: dict[str, Limit],
        *,
        window: WindowRule = "first",
        when_cut_off: WhenCutOff,
    ) -> None:
        self.store = store
        self.limits = limits
        self.members: list[Member] = []
        self.statuses: dict[str, str] = {}
        self.abandoned = 0  #: orders whose worker was killed
        self.contradictory: Counter[str] = Counter()
        self._folder = folder
        self._window = window
        self._when_cut_off = when_cut_off
        self._arrivals: list[tuple[str, float, bool]] = []
        self._stack = AsyncExitStack()
        self._peers: list[Peer] = []

    async def __aenter__(self) -> Self:
        self.exchange = Peer(served_exchange, self._window, self.limits, 0.004, 0.003)
        self._stack.push_async_callback(self.exchange.close)
        self._base_url = await self.exchange.ask("base_url")
        self.book = await self._stack.enter_async_context(_reader(self.store))
        return self

    async def __aexit__(self, *trouble: object) -> None:
        await asyncio.gather(*(peer.close() for peer in self._peers))
        await self._stack.aclose()

    async def join(self) -> Member:
        """Start a worker, and let it join."""
        path = self._folder / f"proxy-{len(self._peers)}"
        proxy = await self._stack.enter_async_context(Proxy(path, self.store.socket))
        peer = Peer(worker, self._base_url, proxy.url, self.limits, self._when_cut_off)
        self._peers.append(peer)
        member = Member(peer, proxy)
        self.members.append(member)
        return member

    async def cancel_new(
        self, member: Member, kind: Kind, calls: int, *, urgent: bool = False
    ) -> None:
        """Place orders, let a worker cancel them, and note their statuses."""
        ids = await self.exchange.ask("place", kind, calls * KINDS[kind][1])
        try:
            statuses = await member.peer.ask("cancel", kind, ids, urgent)
        except GoneError:
            self.abandoned += len(ids)
            return
        self.contradictory["other ids than those given"] += [
            order_id for order_id, _ in statuses
        ] != ids
        self.statuses.update(statuses)

    @asynccontextmanager
    async def flooded(
        self, members: Iterable[Member], kinds: Iterable[Kind] = KINDS
    ) -> AsyncIterator[None]:
        """Give each member more orders than it can cancel, until the end of the block."""
        over = asyncio.Event()

        async def flood(member: Member, kind: Kind) -> None:
            while member.peer.alive and not over.is_set():
                calls = max(self.limits[KINDS[kind][0]].calls // 4, 2)
                await self.cancel_new(member, kind, calls)

        kinds = list(kinds)
        floods = [flood(member, kind) for member in members for kind in kinds for _ in range(2)]
        async with in_background(*floods):
            yield
            over.set()

    async def arrivals(self, name: str = POOL) -> list[float]:
        """Return when requests of a budget arrived, including refused ones."""
        self._arrivals += await self.exchange.ask("arrivals")
        return [at for budget, at, _ in self._arrivals if budget == name]

    async def refused(self) -> Counter[str]:
        """Count the requests that the exchange refused, by budget."""
        self._arrivals += await self.exchange.ask("arrivals")
        return Counter(budget for budget, _, refused in self._arrivals if refused)

    async def contradictions(self) -> Counter[str]:
        """Compare every status with the exchange's book; count the contradictions."""
        contradictory = self.contradictory.copy()
        truths = await self.exchange.ask("truth", list(self.statuses))
        for status, truth in zip(self.statuses.values(), truths, strict=True):
            contradictory[contradiction(status, *truth)] += 1
        del contradictory[""]
        return +contradictory

    async def too_many(self) -> list[tuple[str, float]]:
        """Return the requests that were one too many in some window, whenever it begins.

        If there is none, no rule of an exchange refuses any.
        """
        found = []
        for name, limit in self.limits.items():
            times = await self.arrivals(name)
            for first, last in zip(times, times[limit.calls :], strict=False):
                if last - first < limit.seconds:
                    found.append((name, last))
        return found

    async def check_limits(self) -> None:
        """Check that no request was refused, nor would have been under another rule."""
        assert await self.refused() == Counter()
        assert await self.too_many() == []

    async def holdings(self) -> dict[str, Holdings]:
        """Return the holdings in the store's book, by budget."""
        book = await self.book.book()
        return {} if book is None else {budget.name: budget for budget in holdings(book)}

    async def events(self, member: Member) -> list[str]:
        """Return the kinds of a worker's events, except waits."""
        return [event.kind for event in await member.peer.ask("events")]


@asynccontextmanager
async def _reader(store: StoreServer) -> AsyncIterator[RedisStore]:
    reader = RedisStore(store.url, account="tests")
    yield reader
    await reader.close()


@asynccontextmanager
async def in_background(*work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run work during the block; wait for its end after the block."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def until(
    condition: Callable[[], Coroutine[Any, Any, bool]], *, within: float = PATIENCE
) -> float:
    """Wait for a condition; return when it was met, in epoch seconds."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - another process meets it
            await asyncio.sleep(0.05)
    return time.time()
