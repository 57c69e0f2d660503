"""What is not ours, or went wrong in ours, and must stop nothing: a user's functions, and tasks."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def call(name: str, function: Callable[[T], object], argument: T) -> None:
    """Call it; an exception, ``CancelledError`` too, goes to the loop's exception handler."""
    try:
        function(argument)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's function
        report(f"{name} raised", error)


def report(what: str, error: BaseException) -> None:
    """Tell the event loop's exception handler about an exception that was turned into a value."""
    context = {"message": what, "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)


def this_task() -> "asyncio.Task[Any]":
    """Return the running task."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker: only tasks ask
    return task


def cancelled() -> bool:
    """Say whether the running task was told to end: anything may raise ``CancelledError``."""
    return this_task().cancelling() > 0


def failure(task: "asyncio.Task[None]") -> BaseException | None:
    """Return what ended a task; ``None`` if it came to its end, or was told to end."""
    if not task.cancelled():
        return task.exception()
    return None if task.cancelling() else asyncio.CancelledError()
