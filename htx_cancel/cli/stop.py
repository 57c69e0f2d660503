"""Stop a command on a signal: let the requests in flight end, and send no more."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from htx_cancel import CancelClient

_STOPPING = (
    "Stopping: no more requests are sent. Press Ctrl-C again to give up the requests in flight."
)


@contextmanager
def signals(handle: Callable[[int], object]) -> Iterator[None]:
    """Call a function in the event loop for each SIGINT and SIGTERM in the ``with`` block."""
    loop = asyncio.get_running_loop()

    def handler(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(handle, number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class Stop:
    """Closes the client at the first signal; at the next one gives up the requests in flight."""

    def __init__(self, client: CancelClient, console: Console) -> None:
        self.number = 0  #: of the first signal
        self._client = client
        self._console = console
        self._closing: list[asyncio.Task[None]] = []

    def handle(self, number: int) -> None:
        """Close the client because of a signal."""
        if self.number:
            closing = self._client.aclose(drain=0.0)
        else:
            self.number = number
            self._console.print(_STOPPING, soft_wrap=True)
            closing = self._client.aclose()
        self._closing.append(asyncio.ensure_future(closing))

    async def finished(self) -> None:
        """Wait until the client is closed, if a signal came."""
        await asyncio.gather(*self._closing)
