"""Fresh processes: a peer's, which does one task, and a server's, which answers until it is let go.

What is given and what comes back is one line of JSON each.
"""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from types import TracebackType
from typing import Any, Self

_LONGEST_LINE = 1 << 28
_IMPORTS = 5.0  #: seconds for some processes to import side by side


class FailedError(Exception):
    """A process did not do its task."""


async def _start(module: str, task: Any) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=PIPE, stdout=PIPE, limit=_LONGEST_LINE
    )
    await _write(process, json.dumps(task))
    return process


async def _write(process: Process, line: str) -> None:
    if process.stdin is not None:
        process.stdin.write(line.encode() + b"\n")
        await process.stdin.drain()


async def _line(process: Process, module: str) -> Any:
    line = b"" if process.stdout is None else await process.stdout.readline()
    if not line:
        raise FailedError(f"{module} ended with code {await process.wait()} and no result")
    return json.loads(line)


def soon(seconds: float = _IMPORTS) -> float:
    """Return a time on the machine's one clock at which processes can start together."""
    return time.monotonic() + seconds


async def until(at: float) -> None:
    """Wait for that time, inside any process."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))


async def fresh(task: dict[str, Any]) -> Any:
    """Do a task in a fresh process; see ``benchmarks.inside``."""
    module = "benchmarks.inside"
    process = await _start(module, task)
    try:
        result = await _line(process, f"{module} for {task['peer']}")
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return result


class _Staying:
    """A process that stays while its context lasts."""

    def __init__(self, module: str, task: dict[str, Any]) -> None:
        self._module = module
        self._task = task
        self._process: Process

    async def __aenter__(self) -> Self:
        self._process = await _start(self._module, self._task)
        return self

    async def _ask(self, line: str) -> Any:
        await _write(self._process, line)
        return await _line(self._process, self._module)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Worker(_Staying):
    """A peer's process that measures when it is its turn; see ``benchmarks.inside``."""

    def __init__(self, task: dict[str, Any]) -> None:
        super().__init__("benchmarks.inside", task)

    async def turn(self, ask: Any) -> Any:
        """Let it measure once."""
        return await self._ask(json.dumps(ask))


class Server(_Staying):
    """A server in another process; ``said`` is what it told at its start.

    ``kind`` is a function of ``benchmarks.serve``.
    """

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__("benchmarks.serve", {"kind": kind, **settings})
        self.said: Any = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.said = await _line(self._process, self._module)
        return self

    async def ask(self) -> Any:
        """Ask for a report."""
        return await self._ask("report")
