"""The event loops that tests marked ``loops`` run on: asyncio, uvloop, asyncio with eager tasks."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

if sys.platform != "win32":
    import uvloop


def _step_at_once(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """Do what ``asyncio.eager_task_factory`` does, before Python 3.12 has it."""
    task = asyncio.Task(coro, loop=loop, **options)
    if not loop.is_running():
        return task
    step = loop._ready.pop()  # type: ignore[attr-defined]
    creator = asyncio.current_task(loop)
    if creator is not None:
        asyncio.tasks._leave_task(loop, creator)
    try:
        step._run()
    finally:
        if creator is not None:
            asyncio.tasks._enter_task(loop, creator)
    return task


#: Runs the first step of a task inside ``create_task``.
eager_tasks: Callable[..., asyncio.Task[Any]] = getattr(
    asyncio, "eager_task_factory", _step_at_once
)


def task_factory(loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """Return what makes the tasks of a loop, for a factory that wraps it."""
    return loop.get_task_factory() or (lambda loop, coro, **_: asyncio.Task(coro, loop=loop))


def new_eager_loop() -> asyncio.AbstractEventLoop:
    """Return an asyncio loop whose tasks are eager."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(eager_tasks)
    return loop


FACTORIES: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "eager": new_eager_loop,
}
if sys.platform != "win32":
    FACTORIES = {**FACTORIES, "uvloop": uvloop.new_event_loop}
