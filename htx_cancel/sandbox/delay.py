"""The way to the exchange and back: how long each message is on it."""

import asyncio
import random


class Delay:
    """A one-way delay in seconds, and a uniform extra of up to ``jitter`` for every message."""

    def __init__(self, delay: float, jitter: float, seed: int) -> None:
        self._delay = delay
        self._jitter = jitter
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    async def travel(self) -> None:
        """Wait until a message that leaves now has arrived; yield once if that is at once."""
        await asyncio.sleep(self._delay + self._jitter * self._random.random())
