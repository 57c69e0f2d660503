"""Network latency."""

import asyncio
import random


class Delay:
    """A one-way delay in seconds, plus a uniform extra of up to ``jitter`` for each message."""

    def __init__(self, delay: float, jitter: float, seed: int) -> None:
        self._delay = delay
        self._jitter = jitter
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    async def travel(self) -> None:
        """Wait for one message's delay; yields to the event loop even if it is 0."""
        await asyncio.sleep(self._delay + self._jitter * self._random.random())
