"""Cancel the orders of a file, and stop well when asked to."""

import asyncio
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from msgspec import Struct
from rich.console import Console

from htx_cancel import (
    CallResult,
    CancelAllOutcome,
    CancelClient,
    CancelStatus,
    ClientClosedError,
    Credentials,
    OrderResult,
)
from htx_cancel.cli.board import Board, budget, grid, statuses
from htx_cancel.cli.groups import SETTLED, Group, Load, load
from htx_cancel.cli.results import Results

_STOPPING = "Stopping: no more is sent, what is in flight lands. Again gives that up too."


class Terms(Struct, frozen=True):
    """On what terms to run."""

    base_url: str
    timeout: float | None
    live: bool


class Stop:
    """SIGINT or SIGTERM closes the client; the next one gives up what is in flight as well."""

    def __init__(self, client: CancelClient, console: Console) -> None:
        self.number = 0
        self._client = client
        self._console = console
        self._loop = asyncio.get_running_loop()
        self._closing: list[asyncio.Task[None]] = []

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Listen to the signals meanwhile."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._close, number)

    def _close(self, number: int) -> None:
        if self.number:
            closing = self._client.aclose(drain=0.0)
        else:
            self._console.print(_STOPPING, soft_wrap=True)
            closing = self._client.aclose()
        self.number = self.number or number
        self._closing.append(self._loop.create_task(closing))

    async def landed(self) -> None:
        """Wait until the client is closed, if it is to be."""
        await asyncio.gather(*self._closing)


async def run(
    groups: Sequence[Group],
    credentials: Credentials,
    terms: Terms,
    results: Results,
    console: Console,
) -> int:
    """Cancel all groups at once; return the exit code."""
    board = Board(console, load(groups), live=terms.live)
    async with CancelClient(credentials, base_url=terms.base_url) as client:
        stop = Stop(client, console)
        with stop.heeded(), board:
            await asyncio.gather(
                *(_cancel(group, client, terms, results, board) for group in groups)
            )
            await stop.landed()
    console.print(statuses(board.scores.values(), title="What became of the orders"))
    if stop.number:
        return 128 + stop.number
    return int(not set().union(*(score.counts for score in board.scores.values())) <= SETTLED)


async def _cancel(
    group: Group, client: CancelClient, terms: Terms, results: Results, board: Board
) -> None:
    """Cancel one group; write and count its results as they come."""

    def known(found: Sequence[OrderResult | CallResult]) -> None:
        results.write(group, found)
        board.count(group.endpoint.name, [result.status for result in found])

    try:
        outcome = await group.cancel(
            client,
            timeout=terms.timeout,
            on_batch=known if group.field else None,
        )
    except ClientClosedError as error:
        known(_unsent(group, str(error)))
        return
    if isinstance(outcome, CancelAllOutcome):
        results.write(group, [outcome.call, *outcome])
        board.count(group.endpoint.name, _of_all(outcome))


def _unsent(group: Group, why: str) -> list[OrderResult | CallResult]:
    if not group.field:
        return [CallResult(CancelStatus.UNSENT, message=why)]
    return [OrderResult(key, CancelStatus.UNSENT, message=why) for key in group.ids]


def _of_all(outcome: CancelAllOutcome) -> list[CancelStatus]:
    """Return what counts: the ids listed, and the call itself where they do not say it."""
    listed = [result.status for result in outcome]
    said = listed and outcome.call.status in SETTLED
    return listed if said else [*listed, outcome.call.status]


def show_plan(groups: Sequence[Group], console: Console) -> int:
    """Tabulate what would be sent; return the exit code."""
    table = grid("endpoint", "orders", "ids", "calls", "budget", "least", title="Nothing is sent")
    table.columns[1].justify = "left"
    for group in groups:
        one = load([group])[group.endpoint.name]
        ids = f"{len(group.ids):,}" if group.field else "all"
        table.add_row(
            group.endpoint.name, _named(group), ids, f"{one.calls:,}", budget(one), _seconds(one)
        )
    console.print(table)
    console.print(_at_least(load(groups)), soft_wrap=True)
    return 0


def _named(group: Group) -> str:
    words = [group.contract_code, group.direction, group.offset]
    if group.field == "client_order_id":
        words.append("client ids")
    return " ".join(word for word in words if word)


def _seconds(one: Load) -> str:
    return f"{one.least:g} s"


def _at_least(loads: Mapping[str, Load]) -> str:
    calls = sum(one.calls for one in loads.values())
    seconds = max((one.least for one in loads.values()), default=0.0)
    return f"{calls:,} calls in all; the limits allow them in {seconds:g} s at the least."
