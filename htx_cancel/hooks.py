"""Call a function of the user's: whatever it raises is reported, and stops nothing of ours."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

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
