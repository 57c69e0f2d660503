"""Stop well when asked to: let what is in flight land, send nothing more."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from htx_cancel import CancelClient, EverythingReport

_STOPPING = "Stopping: nothing more is sent. Ctrl-C again gives up the requests in flight."


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
        self._loop = asyncio.get_running_loop()
        self._closing: list[asyncio.Task[None]] = []

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals meanwhile."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._close, number)

    def _close(self, number: int) -> None:
        if self.number:
            closing = self._client.aclose(drain=0.0)
        else:
            self._console.print(_STOPPING, soft_wrap=True)
            if self._work is not None:
                self._work.cancel()
            closing = self._client.aclose()
        self.number = self.number or number
        self._closing.append(self._loop.create_task(closing))

    async def finished(self) -> None:
        """Wait until the client is closed, if it is to be."""
        await asyncio.gather(*self._closing)
