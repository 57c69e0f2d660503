"""Run one task inside a fresh process: a line of JSON in, a line of JSON out.

The task names a function (``"growth:measure"``), a peer, a loop (``asyncio`` or ``uvloop``) and
whatever the function asks for. Where it names a class (``"cost:Turns"``), each further line in is
given to its ``turn``, whose result is a line out.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, TextIO

from benchmarks.peers import Peer, Setting


async def open_peer(name: str, setting: dict[str, Any]) -> Peer:
    """Make a peer by its name."""
    module = import_module(f"benchmarks.peers.{name}")
    peer: Peer = await module.open_peer(Setting(**setting))
    return peer


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "uvloop":
        import uvloop  # noqa: PLC0415 - only where it is asked for

        return uvloop.new_event_loop
    return None


async def _turns(turns: Any, out: TextIO) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        _write(out, await turns.turn(json.loads(line)))
    await turns.close()


def _write(out: TextIO, result: Any) -> None:
    out.write(json.dumps(result) + "\n")
    out.flush()


def main() -> None:
    """Do the task."""
    task = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w")  # what a library prints goes elsewhere
    os.dup2(2, 1)
    module, _, function = task["do"].partition(":")
    work = getattr(import_module(f"benchmarks.{module}"), function)
    with asyncio.Runner(loop_factory=_loop_factory(task.get("loop", "asyncio"))) as runner:
        if isinstance(work, type):
            runner.run(_turns(work(task), out))
        else:
            _write(out, runner.run(work(task)))


if __name__ == "__main__":
    main()
