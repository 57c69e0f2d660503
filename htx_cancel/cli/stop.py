"""Stop well when asked to: let what is in flight land, send nothing more."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from rich.console import Console

from htx_cancel import CancelClient, EverythingReport

_STOPPING = "Stopping: nothing more is sent. Ctrl-C again gives up the requests in flight."


@contextmanager
def signals(act: Callable[[int], object]) -> Iterator[None]:
    """Call a function in the event loop with each SIGINT or SIGTERM that comes meanwhile."""
    loop = asyncio.get_running_loop()

    def heard(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act, number)

    before = {each: signal.signal(each, heard) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stop:
    """SIGINT or SIGTERM closes the client; the next one gives up what is in flight as well.

    ``work``, if there is one, is cancelled first: a task that would go on with a closed client.
    """

    def __init__(
        self,
        client: CancelClient,
        console: Console,
        work: "asyncio.Task[EverythingReport] | None" = None,
    ) -> None:
        self.number = 0
        self._client = client
        self._console = console
        self._work = work
        self._closing: list[asyncio.Task[None]] = []

    def handled(self) -> AbstractContextManager[None]:
        """Handle the signals meanwhile."""
        return signals(self._close)

    def _close(self, number: int) -> None:
        if self.number:
            closing = self._client.aclose(drain=0.0)
        else:
            self._console.print(_STOPPING, soft_wrap=True)
            if self._work is not None:
                self._work.cancel()
            closing = self._client.aclose()
        self.number = self.number or number
        self._closing.append(asyncio.ensure_future(closing))

    async def finished(self) -> None:
        """Wait until the client is closed, if it is to be."""
        await asyncio.gather(*self._closing)
