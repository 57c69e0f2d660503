"""Virtual time: an event loop whose clock jumps to the next timer when nothing is ready.

The clock also moves one nanosecond a turn: without that, a limiter that waits for a rounding
residue would spin for ever at one instant.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
TICK = 1e-9

#: How every virtual loop makes its tasks; ``None`` is asyncio's own way.
task_factory: Callable[..., asyncio.Task[Any]] | None = None


class _JumpingSelector(selectors.DefaultSelector):
    """Answer a wait at once, by moving the loop's clock over it."""

    def __init__(self, oversleep: float) -> None:
        super().__init__()
        self.now = 0.0
        self._oversleep = oversleep

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is set")
        self.now += max(timeout * (1 + self._oversleep), TICK)
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual seconds, starting at zero.

    It may ``oversleep`` by a share of each timeout, as ``epoll`` does.
    """

    def __init__(self, oversleep: float = 0.0) -> None:
        self._jumping = _JumpingSelector(oversleep)
        super().__init__(self._jumping)
        self.failures: list[Mapping[str, Any]] = []
        self.set_task_factory(task_factory)
        self.set_exception_handler(lambda _loop, context: self.failures.append(context))

    def time(self) -> float:
        """Return the virtual time."""
        return self._jumping.now

    def stall(self, seconds: float) -> None:
        """Let time pass in which the loop runs nothing, as a slow callback would."""
        self._jumping.now += seconds


def now() -> float:
    """Read the running loop's clock."""
    return asyncio.get_running_loop().time()


def run(main: Coroutine[Any, Any, T], *, oversleep: float = 0.0) -> T:
    """Run a coroutine on virtual time; an exception nobody handled in it fails the test."""
    loop = VirtualLoop(oversleep)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(main)
    assert not loop.failures, loop.failures
    return result
