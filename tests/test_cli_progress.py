"""Test the progress of a run: bars in a terminal, and lines elsewhere."""

import asyncio
import io
import re

import pytest
from rich.console import Console
from virtualtime import VirtualLoop

from htx_cancel import CancelStatus
from htx_cancel.cli import demo_orders, progress
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
    """Make a console that writes to a string."""
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
    """Each endpoint has a bar with counts and the minimum time."""
    console = screen()

    async def draw() -> None:
        loads = workloads(job.group for job in demo_orders.fill(Book(), 0, 0.02))
        with ProgressView(console, loads, live=True) as view:
            view.count("coin_m_swap.cancel_all_trailing_orders", [ACCEPTED] * 9)

    asyncio.run(draw())
    text = drawn(console)
    assert "coin_m_swap orders" in text
    assert "9/9" in text
    assert "min 0 s" in text


@pytest.mark.parametrize("width", [80, 160])
def test_unsent_and_unknown_ids_are_no_progress(width: int) -> None:
    """Unsent and unknown ids are counted apart, and the line fits the terminal."""
    statuses = [ACCEPTED] * 90 + [UNSENT] * 807 + [UNKNOWN] * 3
    line = last_bar(screen(width=width), ORDERS, *statuses)
    assert "90/900 807 unsent, 3 unknown" in line
    assert "900/900" not in line
    assert "min 8 s" in line
    assert len(line) <= width - 2


def test_a_cancel_all_grows_with_the_ids_in_its_reply() -> None:
    """The number of its ids is not known before the reply."""
    loads = workloads([Group(coin_m_swap.ALL_TRAILING_ORDERS, "BTC-USD", "")])
    assert "0/1 1 unsent" in last_bar(screen(), loads, UNSENT)
    assert "7/7" in last_bar(screen(), loads, *[ACCEPTED] * 7)


def test_the_clock_of_an_endpoint_stops_when_all_its_ids_are_known() -> None:
    """Unsent ids stop the clock too, although they are no progress."""
    console = screen()

    async def draw() -> None:
        with ProgressView(console, ORDERS, live=True) as view:
            view.count(LONGEST, [UNSENT] * 900)
            await asyncio.sleep(0.2)

    asyncio.run(draw())
    assert "0.0 s, min" in drawn(console).split("\n")[-2].split("\r")[-1]


def plain(seconds: float) -> list[str]:
    """Return the lines of a run that gets one answer and then waits, on virtual time."""
    console = screen(terminal=False)

    async def wait() -> None:
        with ProgressView(console, ORDERS, live=False) as view:
            view.count(LONGEST, [ACCEPTED] * 90 + [UNSENT])
            await asyncio.sleep(seconds)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(wait())
    return drawn(console).splitlines()


def test_a_line_is_written_every_five_seconds_and_at_the_end() -> None:
    """Lines are printed on time, even if no result arrives."""
    assert progress.LINE_INTERVAL == 5.0
    words = "s elapsed, minimum 8 s: 90 of 900 ids answered, 1 unsent"
    assert plain(12.0) == [f"5 {words}", f"10 {words}", f"12 {words}"]


def test_a_short_run_has_one_line() -> None:
    """Only the last line is printed."""
    assert plain(0.0) == ["0 s elapsed, minimum 8 s: 90 of 900 ids answered, 1 unsent"]


@pytest.mark.parametrize(
    ("console", "expected"),
    [(screen(), True), (screen(term="dumb"), False), (screen(terminal=False), False)],
)
def test_bars_need_a_terminal_that_moves_its_cursor(console: Console, expected: bool) -> None:
    """Other consoles get lines."""
    assert can_draw(console) is expected
