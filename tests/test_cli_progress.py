"""What is shown while a run is under way: bars in a terminal, and lines elsewhere."""

import asyncio
import io
import random
import re

import pytest
from rich.console import Console
from virtualtime import VirtualLoop

from htx_cancel import CancelStatus
from htx_cancel.cli import demo, progress
from htx_cancel.cli.groups import Group, Workload, workloads
from htx_cancel.cli.progress import ProgressView, can_draw
from htx_cancel.endpoints import coin_m_swap, usdt_m_v1_isolated
from htx_cancel.sandbox import Book

ORDERS = workloads(
    [Group(usdt_m_v1_isolated.TRIGGER_ORDERS, "BTC-USDT", ids=tuple(map(str, range(1, 901))))]
)
LONGEST = usdt_m_v1_isolated.TRIGGER_ORDERS.name
ACCEPTED, UNKNOWN, UNSENT = CancelStatus.ACCEPTED, CancelStatus.UNKNOWN, CancelStatus.UNSENT


def screen(*, terminal: bool = True, width: int = 80, term: str = "xterm") -> Console:
    """Make a console that keeps what is drawn."""
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=width,
        highlight=False,
        _environ={"TERM": term},
    )


def drawn(console: Console) -> str:
    """Return what was drawn, without control codes."""
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())


def last_bar(console: Console, loads: dict[str, Workload], *statuses: CancelStatus) -> str:
    """Draw a run with these statuses; return the last line."""

    async def draw() -> None:
        with ProgressView(console, loads, live=True) as view:
            view.count(next(iter(loads)), statuses)

    asyncio.run(draw())
    return drawn(console).split("\n")[-2].split("\r")[-1]


def test_bars_are_drawn_in_a_terminal() -> None:
    """A terminal sees a bar for each endpoint, with counts and the least time."""
    console = screen()

    async def draw() -> None:
        loads = workloads(it.group for it in demo.fill(Book(), random.Random(0), 0.02))
        with ProgressView(console, loads, live=True) as view:
            view.count("coin_m_swap.cancel_all_trailing_orders", [ACCEPTED] * 9)

    asyncio.run(draw())
    text = drawn(console)
    assert "coin_m_swap orders" in text
    assert "9/9" in text
    assert "least 0 s" in text


@pytest.mark.parametrize("width", [80, 160])
def test_ids_that_are_unsent_or_unknown_are_no_progress(width: int) -> None:
    """They stand apart, and the line fits the terminal."""
    statuses = [ACCEPTED] * 90 + [UNSENT] * 807 + [UNKNOWN] * 3
    line = last_bar(screen(width=width), ORDERS, *statuses)
    assert "90/900 807 unsent, 3 unknown" in line
    assert "900/900" not in line
    assert "least 8 s" in line
    assert len(line) <= width - 2


def test_a_call_without_ids_grows_with_the_ids_it_lists() -> None:
    """Nobody knows before how many there are."""
    loads = workloads([Group(coin_m_swap.ALL_TRAILING_ORDERS, "BTC-USD", "")])
    assert "0/1 1 unsent" in last_bar(screen(), loads, UNSENT)
    assert "7/7" in last_bar(screen(), loads, *[ACCEPTED] * 7)


def test_the_clock_of_an_endpoint_stops_when_all_its_ids_are_known() -> None:
    """Even though an id that is unsent is no progress."""
    console = screen()

    async def draw() -> None:
        with ProgressView(console, ORDERS, live=True) as view:
            view.count(LONGEST, [UNSENT] * 900)
            await asyncio.sleep(0.2)

    asyncio.run(draw())
    assert "0.0 s, least" in drawn(console).split("\n")[-2]


def plain(seconds: float) -> list[str]:
    """Return the lines of a run that gets an answer at once and then waits, on virtual time."""
    console = screen(terminal=False)

    async def wait() -> None:
        with ProgressView(console, ORDERS, live=False) as view:
            view.count(LONGEST, [ACCEPTED] * 90 + [UNSENT])
            await asyncio.sleep(seconds)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(wait())
    return drawn(console).splitlines()


def test_a_line_is_written_every_five_seconds_and_at_the_end() -> None:
    """Lines come on time, even while nothing becomes known."""
    assert progress.PLAIN_EVERY == 5.0
    words = "s, least 8 s: 90 of 900 ids answered, 1 unsent"
    assert plain(12.0) == [f"5 {words}", f"10 {words}", f"12 {words}"]


def test_a_short_run_has_one_line() -> None:
    """The last one."""
    assert plain(0.0) == ["0 s, least 8 s: 90 of 900 ids answered, 1 unsent"]


@pytest.mark.parametrize(
    ("console", "expected"),
    [(screen(), True), (screen(term="dumb"), False), (screen(terminal=False), False)],
)
def test_bars_need_a_terminal_that_moves_its_cursor(console: Console, expected: bool) -> None:
    """Elsewhere lines are written."""
    assert can_draw(console) is expected
