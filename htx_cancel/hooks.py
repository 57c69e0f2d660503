"""Keep exceptions in user callbacks and in our own tasks from stopping anything else."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def call(name: str, function: Callable[[T], object], argument: T) -> None:
    """Call a user's function; report what it raises, ``CancelledError`` included."""
    try:
        function(argument)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's function
        report(f"{name} raised", error)


def report(message: str, error: BaseException) -> None:
    """Pass an exception to the event loop's exception handler."""
    context = {"message": message, "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)


def this_task() -> "asyncio.Task[Any]":
    """Return the running task."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker: callers run in a task
    return task


def cancelled() -> bool:
    """Return whether the running task was cancelled: a ``CancelledError`` alone may be a bug."""
    return this_task().cancelling() > 0


def failure(task: "asyncio.Task[None]") -> BaseException | None:
    """Return the exception that ended a task; ``None`` if it returned or was cancelled."""
    if not task.cancelled():
        return task.exception()
    return None if task.cancelling() else asyncio.CancelledError()
