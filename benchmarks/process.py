"""Fresh processes: a peer's, which does a task, and a server's, which answers until it is let go.

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


def soon(seconds: float = _IMPORTS) -> float:
    """Return a time on the machine's one clock at which processes can start together."""
    return time.monotonic() + seconds


async def until(at: float) -> None:
    """Wait for that time, inside any process."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))


class _Child:
    """A process while its context lasts: it is given a task at its start, and may be asked more."""

    def __init__(self, module: str, task: dict[str, Any]) -> None:
        self._module = module
        self._task = task
        self._process: Process

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, stdin=PIPE, stdout=PIPE, limit=_LONGEST_LINE
        )
        await self._tell(json.dumps(self._task))
        return self

    async def _tell(self, line: str) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()

    async def result(self) -> Any:
        """Read the next line that it writes."""
        stdout = self._process.stdout
        line = b"" if stdout is None else await stdout.readline()
        if not line:
            code = await self._process.wait()
            name = self._task.get("peer", self._task.get("kind"))
            raise FailedError(f"{self._module} for {name} ended with code {code} and no result")
        return json.loads(line)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 0 if error else 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Worker(_Child):
    """A peer's process; see ``benchmarks.inside``."""

    def __init__(self, task: dict[str, Any]) -> None:
        super().__init__("benchmarks.inside", task)

    async def turn(self, ask: Any) -> Any:
        """Let it measure once."""
        await self._tell(json.dumps(ask))
        return await self.result()


async def fresh(task: dict[str, Any]) -> Any:
    """Do a task in a fresh process; see ``benchmarks.inside``."""
    async with Worker(task) as worker:
        return await worker.result()


class Server(_Child):
    """A server in another process; ``said`` is what it told at its start.

    ``kind`` is a function of ``benchmarks.serve``.
    """

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__("benchmarks.serve", {"kind": kind, **settings})
        self.said: Any = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.said = await self.result()
        return self

    async def ask(self) -> Any:
        """Ask for a report."""
        await self._tell("report")
        return await self.result()
