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


class Server:
    """A server in another process, while its context lasts; ``said`` is what it told at its start.

    ``kind`` is a function of ``benchmarks.serve``.
    """

    def __init__(self, kind: str, **settings: Any) -> None:
        self._task = {"kind": kind, **settings}
        self._process: Process
        self.said: Any = None

    async def __aenter__(self) -> Self:
        self._process = await _start("benchmarks.serve", self._task)
        self.said = await _line(self._process, "benchmarks.serve")
        return self

    async def ask(self) -> Any:
        """Ask for a report."""
        await _write(self._process, "report")
        return await _line(self._process, "benchmarks.serve")

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
