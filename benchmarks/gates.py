"""The limiters compared, each as a gate: wait for leave to call, and hear what became of it."""

# ruff: noqa: PLC0415 - each limiter is imported in a process of its own

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol


class Gate(Protocol):
    """What the comparison needs of a limiter; only ours makes use of ``after``."""

    async def before(self) -> Any:
        """Wait for leave to call."""

    def after(self, leave: Any, admitted: bool) -> None:
        """Hear of the reply."""


class _Deaf:
    """A limiter that is told nothing of replies."""

    def after(self, leave: Any, admitted: bool) -> None:
        """Do nothing."""


class Ours:
    """``Budgets``, over one budget of the same size."""

    def __init__(self, calls: int, seconds: float) -> None:
        from htx_cancel import Budgets, Limit

        limits = {"usdt_m_trade": Limit(calls, seconds)}
        self._budgets = Budgets(limits, max_in_flight=100_000)

    async def before(self) -> Any:
        """Acquire; the call leaves now."""
        permit = await self._budgets.acquire(("usdt_m_trade",))
        permit.left_at = asyncio.get_running_loop().time()
        return permit

    def after(self, leave: Any, admitted: bool) -> None:
        """Tell of the reply."""
        leave.replied()
        if not admitted:
            leave.refused()


class AiolimiterNominal(_Deaf):
    """``AsyncLimiter(N, W)``."""

    def __init__(self, calls: int, seconds: float) -> None:
        from aiolimiter import AsyncLimiter

        self.before = AsyncLimiter(calls, seconds).acquire


class AiolimiterPaced(_Deaf):
    """``AsyncLimiter(1, W / N)``."""

    def __init__(self, calls: int, seconds: float) -> None:
        from aiolimiter import AsyncLimiter

        self.before = AsyncLimiter(1, seconds / calls).acquire


class _Ccxt(_Deaf):
    def __init__(self, config: dict[str, Any]) -> None:
        from ccxt.async_support.base.throttler import (  # type: ignore[import-untyped]
            Throttler,
        )

        self._throttle = Throttler(config, asyncio.get_running_loop())

    async def before(self) -> Any:
        """Wait for the throttle."""
        return await self._throttle(1)


class CcxtBucket(_Ccxt):
    """ccxt's leaky bucket, as its exchanges are set up."""

    def __init__(self, calls: int, seconds: float) -> None:
        super().__init__({"refillRate": calls / seconds / 1000})


class CcxtWindow(_Ccxt):
    """ccxt's rolling window."""

    def __init__(self, calls: int, seconds: float) -> None:
        window = {"windowSize": seconds * 1000, "rateLimit": seconds * 1000 / calls}
        super().__init__({"algorithm": "rollingWindow", **window})


class AfterHummingbot(_Deaf):
    """After what hummingbot's throttler does: a log per window, 5 % longer, polled every 0.1 s."""

    def __init__(self, calls: int, seconds: float) -> None:
        self._calls = calls
        self._window = seconds * 1.05
        self._log: deque[float] = deque()

    async def before(self) -> None:
        """Look, and look again."""
        while True:
            now = time.monotonic()
            while self._log and self._log[0] <= now - self._window:
                self._log.popleft()
            if len(self._log) < self._calls:
                self._log.append(now)
                return
            await asyncio.sleep(0.1)


class PyrateLimiter(_Deaf):
    """pyrate-limiter, blocking, in memory."""

    def __init__(self, calls: int, seconds: float) -> None:
        from pyrate_limiter import Limiter, Rate

        self._limiter = Limiter(Rate(calls, int(seconds * 1000)))

    async def before(self) -> Any:
        """Wait for a place."""
        return await self._limiter.try_acquire_async("calls", blocking=True)


class _Throttled(_Deaf):
    def __init__(self, using: str, calls: int, seconds: float) -> None:
        from datetime import timedelta

        from throttled.asyncio import MemoryStore, Throttled, per_duration

        quota = per_duration(timedelta(seconds=seconds), limit=calls, burst=calls)
        self._throttled = Throttled(
            key="calls", using=using, quota=quota, timeout=600, store=MemoryStore()
        )

    async def before(self) -> Any:
        """Wait for leave."""
        return await self._throttled.limit()


class ThrottledGcra(_Throttled):
    """throttled-py's GCRA."""

    def __init__(self, calls: int, seconds: float) -> None:
        super().__init__("gcra", calls, seconds)


class ThrottledBucket(_Throttled):
    """throttled-py's token bucket."""

    def __init__(self, calls: int, seconds: float) -> None:
        super().__init__("token_bucket", calls, seconds)


class Limits(_Deaf):
    """limits' moving window, waited for as its documentation has it: hit, else sleep and again."""

    def __init__(self, calls: int, seconds: float) -> None:
        from limits import RateLimitItemPerSecond
        from limits.aio.storage import MemoryStorage
        from limits.aio.strategies import MovingWindowRateLimiter

        self._item = RateLimitItemPerSecond(calls, max(1, round(seconds)))
        self._window = MovingWindowRateLimiter(MemoryStorage())

    async def before(self) -> None:
        """Hit until it counts."""
        while not await self._window.hit(self._item, "calls"):
            stats = await self._window.get_window_stats(self._item, "calls")
            await asyncio.sleep(max(0.001, stats.reset_time - time.time()))


GATES: dict[str, tuple[str, Callable[[int, float], Gate]]] = {
    "ours": ("htx_cancel Budgets", Ours),
    "aiolimiter": ("aiolimiter (N, W)", AiolimiterNominal),
    "aiolimiter_paced": ("aiolimiter (1, W/N)", AiolimiterPaced),
    "ccxt_bucket": ("ccxt leaky bucket", CcxtBucket),
    "ccxt_window": ("ccxt rolling window", CcxtWindow),
    "hummingbot": ("after hummingbot's", AfterHummingbot),
    "pyrate": ("pyrate-limiter", PyrateLimiter),
    "throttled_gcra": ("throttled-py GCRA", ThrottledGcra),
    "throttled_bucket": ("throttled-py token bucket", ThrottledBucket),
    "limits": ("limits, moving window", Limits),
}
