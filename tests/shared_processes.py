"""Real processes that share budgets: workers, an exchange, a store, and ways to it that fail.

Each process is asked over a pipe; what it can be asked are the methods of ``Judge`` and ``Worker``.
The exchange's clock is ``time.time()``, which all processes of one host share.
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
#: What is canceled here, the budget that it charges, and the orders in one call.
KINDS: dict[Kind, tuple[str, int]] = {"v5": (POOL, 1), "linear_trigger": (FIVE, 20)}
PATIENCE = 30.0  #: seconds after which a process is taken to hang

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["htx_cancel.sandbox", "redis.asyncio"])  # these take longest


class GoneError(Exception):
    """The process that was asked has ended."""


class Peer:
    """A process that serves what ``make`` makes, and answers what it is asked."""

    def __init__(
        self, make: Callable[..., AbstractAsyncContextManager[object]], *given: object
    ) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, make, given), daemon=True)
        self._process.start()
        theirs.close()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count()
        self.alive = True
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._hear)

    async def ask(self, what: str, *given: object) -> Any:
        """Call a method there; raise ``GoneError`` if the process ends before it answers."""
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
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def close(self) -> None:
        """Let it end by itself, and see that it does."""
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
    """Answer until the other end of the pipe is closed."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    tasks = set[asyncio.Task[None]]()

    async def answer(number: int, what: str, args: tuple[object, ...]) -> None:
        error, found = "", None
        try:
            found = await getattr(it, what)(*args)
        except Exception as trouble:  # noqa: BLE001 - it is raised at the other end
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

    async with make(*given) as it:
        loop.add_reader(pipe.fileno(), hear)
        await over.wait()
        for task in tasks:
            task.cancel()


class Judge:
    """An exchange that tells the truth, in a process of its own."""

    def __init__(self, exchange: Exchange, server: SandboxServer) -> None:
        self._exchange = exchange
        self._server = server
        self._told = 0

    async def base_url(self) -> str:
        """Say where it listens."""
        return self._server.base_url

    async def place(self, kind: Kind, number: int) -> list[str]:
        """Put orders into the book; return their ids."""
        return add(self._exchange, kind, number)

    async def truth(self, ids: list[str]) -> list[tuple[bool, str]]:
        """Say of each order whether a cancel of it was taken, and its state."""
        orders = [self._exchange.book[order_id] for order_id in ids]
        return [(order.instructed, order.state) for order in orders]

    async def arrivals(self) -> list[tuple[str, float, bool]]:
        """List the calls since the last time: the budget, when it arrived, whether refused."""
        fresh = self._exchange.log[self._told :]
        self._told += len(fresh)
        return [(_budget(it.path), it.now, it.outcome == "rate") for it in fresh]


def _budget(path: str) -> str:
    row = ROUTES[path]
    return row.pool.name if row.own is None else path


@asynccontextmanager
async def judge(
    window: WindowRule, limits: dict[str, Limit], delay: float, jitter: float
) -> AsyncIterator[Judge]:
    """Serve an exchange."""
    numbers = {name: (it.calls, it.seconds) for name, it in limits.items()}
    exchange = Exchange(window=window, limits=numbers)
    async with SandboxServer(exchange, delay=delay, jitter=jitter, seed=1) as server:
        yield Judge(exchange, server)


class Told(Struct, array_like=True, frozen=True):
    """An event of a worker's budgets."""

    kind: str
    names: tuple[str, ...]
    at: float  #: epoch seconds
    state: str  #: of its store


class Worker:
    """A client with shared budgets, in a process of its own."""

    def __init__(self) -> None:
        self._told: list[Told] = []

    def begin(self, client: CancelClient, budgets: SharedBudgets) -> None:
        """Work with these."""
        self._client = client
        self._budgets = budgets

    def hear(self, event: BudgetEvent) -> None:
        """Note an event that is no wait."""
        if event.kind != "wait":
            known = hasattr(self, "_budgets")
            state = self._budgets.snapshot()[0].store if known else ""
            self._told.append(Told(event.kind, event.names, time.time(), state))

    async def name(self) -> str:
        """Say how the book names it."""
        return self._budgets.process

    async def cancel(self, kind: Kind, ids: list[str], urgent: bool) -> list[tuple[str, str]]:
        """Cancel orders; return each one's status."""
        priority = Priority.URGENT if urgent else Priority.ROUTINE
        outcome = await cancel(self._client, kind, ids, priority=priority)
        return [(it.order_id, it.status.value) for it in outcome]

    async def events(self) -> list[Told]:
        """List what was told that is no wait."""
        return self._told

    async def state(self) -> str:
        """Say how it stands with the store."""
        (state,) = {it.store for it in self._budgets.snapshot()}
        return state

    async def held(self, name: str) -> int:
        """Say how many tokens of a budget it may use."""
        return {it.name: it for it in self._budgets.snapshot()}[name].held

    async def busy(self) -> int:
        """Count its calls that wait or are under way."""
        return sum(it.waiting + it.in_flight for it in self._budgets.snapshot())


@asynccontextmanager
async def worker(
    base_url: str, store_url: str, limits: dict[str, Limit], when_cut_off: WhenCutOff
) -> AsyncIterator[Worker]:
    """Join the others, with a client."""
    found, store = Worker(), RedisStore(store_url, account="tests")
    async with (
        SharedBudgets(
            store, limits=limits, when_cut_off=when_cut_off, on_event=found.hear
        ) as budgets,
        CancelClient(credentials(), base_url=base_url, budgets=budgets) as client,
    ):
        found.begin(client, budgets)
        yield found


class Way:
    """A way to the store that can be cut: a Unix socket that carries to another one.

    A cut one carries nothing, as a network does; what was written meanwhile arrives late. A closed
    one resets every connection. ``delay`` is seconds, each way.
    """

    def __init__(self, path: Path, to: Path) -> None:
        self.url = f"unix://{path}"
        self.delay = 0.0
        self._path = path
        self._to = to
        self._closed = False
        self._clear = asyncio.Event()
        self._clear.set()
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
        """Carry nothing."""
        self._clear.clear()

    def close(self) -> None:
        """Reset all connections, and whatever is tried anew."""
        self._closed = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Carry again."""
        self._closed = False
        self._clear.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._writers.add(writer)
        try:
            await self._clear.wait()
            if self._closed:
                return
            there, to_store = await asyncio.open_unix_connection(self._to)
            ends.append(to_store)
            self._writers.add(to_store)
            await asyncio.gather(self._pump(reader, to_store), self._pump(there, writer))
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
            await self._clear.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


class Member(Struct):
    """A worker, and its way to the store."""

    peer: Peer
    way: Way


def contradiction(status: str, instructed: bool, state: str) -> str:
    """Say how a status contradicts the book; ``""`` if it does not."""
    if status == CancelStatus.ACCEPTED and not (instructed and state == "canceled"):
        return "accepted, and not canceled"
    if status in (CancelStatus.UNSENT, CancelStatus.REJECTED) and instructed:
        return f"{status}, and canceled"
    if status in (CancelStatus.CLOSED, CancelStatus.NOT_FOUND) and state == "open":
        return f"{status}, and open"
    return ""


class World:
    """An exchange, a store, workers on both, and what was said of each order."""

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
        self.said: dict[str, str] = {}
        self.abandoned = 0  #: orders whose worker was killed
        self.wrong: Counter[str] = Counter()
        self._folder = folder
        self._window = window
        self._when_cut_off = when_cut_off
        self._arrivals: list[tuple[str, float, bool]] = []
        self._stack = AsyncExitStack()
        self._peers: list[Peer] = []

    async def __aenter__(self) -> Self:
        self.exchange = Peer(judge, self._window, self.limits, 0.004, 0.003)
        self._stack.push_async_callback(self.exchange.close)
        self._base_url = await self.exchange.ask("base_url")
        self.book = await self._stack.enter_async_context(_reader(self.store))
        return self

    async def __aexit__(self, *trouble: object) -> None:
        await asyncio.gather(*(peer.close() for peer in self._peers))
        await self._stack.aclose()

    async def join(self) -> Member:
        """Let a worker join."""
        path = self._folder / f"way-{len(self._peers)}"
        way = await self._stack.enter_async_context(Way(path, self.store.socket))
        peer = Peer(worker, self._base_url, way.url, self.limits, self._when_cut_off)
        self._peers.append(peer)
        member = Member(peer, way)
        self.members.append(member)
        return member

    async def pull(self, member: Member, kind: Kind, calls: int, *, urgent: bool = False) -> None:
        """Place orders, let a worker cancel them, and note what it says."""
        ids = await self.exchange.ask("place", kind, calls * KINDS[kind][1])
        try:
            said = await member.peer.ask("cancel", kind, ids, urgent)
        except GoneError:
            self.abandoned += len(ids)
            return
        self.wrong["ids that are not those given"] += [it for it, _ in said] != ids
        self.said.update(said)

    @asynccontextmanager
    async def flooded(
        self, members: Iterable[Member], kinds: Iterable[Kind] = KINDS
    ) -> AsyncIterator[None]:
        """Let each of them have more to cancel than it can, until the end of the block."""
        over = asyncio.Event()

        async def flood(member: Member, kind: Kind) -> None:
            while member.peer.alive and not over.is_set():
                calls = max(self.limits[KINDS[kind][0]].calls // 4, 2)
                await self.pull(member, kind, calls)

        kinds = list(kinds)
        floods = [flood(member, kind) for member in members for kind in kinds for _ in range(2)]
        async with beside(*floods):
            yield
            over.set()

    async def arrivals(self, name: str = POOL) -> list[float]:
        """List when calls of a budget arrived, refused ones too."""
        self._arrivals += await self.exchange.ask("arrivals")
        return [at for budget, at, _ in self._arrivals if budget == name]

    async def refused(self) -> Counter[str]:
        """Count what the exchange refused, by budget."""
        self._arrivals += await self.exchange.ask("arrivals")
        return Counter(budget for budget, _, refused in self._arrivals if refused)

    async def contradictions(self) -> Counter[str]:
        """Hold every status against the book; count what contradicts it."""
        wrong = self.wrong.copy()
        truths = await self.exchange.ask("truth", list(self.said))
        for status, truth in zip(self.said.values(), truths, strict=True):
            wrong[contradiction(status, *truth)] += 1
        del wrong[""]
        return +wrong

    async def too_many(self) -> list[tuple[str, float]]:
        """List the calls that were one too many in some window, wherever it begins.

        Where there is none, no rule refuses any.
        """
        found = []
        for name, limit in self.limits.items():
            times = await self.arrivals(name)
            for first, last in zip(times, times[limit.calls :], strict=False):
                if last - first < limit.seconds:
                    found.append((name, last))
        return found

    async def check_limits(self) -> None:
        """Check that nothing was refused, and would not have been under any rule."""
        assert await self.refused() == Counter()
        assert await self.too_many() == []

    async def holdings(self) -> dict[str, Holdings]:
        """Read who holds what."""
        book = await self.book.book()
        return {} if book is None else {it.name: it for it in holdings(book)}

    async def events(self, member: Member) -> list[str]:
        """List what a worker was told that is no wait."""
        return [told.kind for told in await member.peer.ask("events")]


@asynccontextmanager
async def _reader(store: StoreServer) -> AsyncIterator[RedisStore]:
    reader = RedisStore(store.url, account="tests")
    yield reader
    await reader.close()


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Do some work beside the block, and wait for its end after it."""
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
        while not await condition():  # noqa: ASYNC110 - it is another process's
            await asyncio.sleep(0.05)
    return time.time()
