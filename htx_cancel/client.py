"""``CancelClient``: the coroutine methods over one private path."""

import asyncio
import ssl
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self, Unpack

from htx_cancel import arguments, deadman, endpoints, everything, listing
from htx_cancel.attempt import Sender
from htx_cancel.calls import CLOSED, CallRunner
from htx_cancel.confirm import Confirmation
from htx_cancel.deadman import DeadManSwitch, OnAlert
from htx_cancel.endpoints import Limit
from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.everything import Everything, EverythingReport
from htx_cancel.hosts import Host
from htx_cancel.limits.limiter import IN_FLIGHT, Budgets
from htx_cancel.limits.permit import Priority
from htx_cancel.options import CallOptions, OnBatch
from htx_cancel.orders import OpenOrder, OrderRef
from htx_cancel.outcome import Outcome
from htx_cancel.products import (
    CoinMFutures,
    CoinMSwap,
    UsdtM,
    UsdtMV1Cross,
    UsdtMV1Isolated,
)
from htx_cancel.retry import RetryPolicy
from htx_cancel.wire import signing
from htx_cancel.wire.signing import Credentials, Signer
from htx_cancel.wire.transport import AiohttpTransport, Transport


class CancelClient:
    """Cancels orders on HTX derivatives: any number of ids, one awaited call, one status each.

    Use it as an async context manager, or call ``aclose`` when done. Every method

    * raises ``InvalidTypeError`` or ``InvalidValueError`` for arguments that cannot be sent,
      before anything is sent, ``ClientClosedError`` after ``aclose``, and ``WrongLoopError`` in a
      second event loop; it raises nothing else of its own;
    * takes ``timeout``, seconds for the whole call: when it is over the call returns with what it
      knows, nothing is sent any more, and what cannot leave in time is ``UNSENT`` at once. Looking
      at the ids counts, but is not cut short, since a bad id must raise and every good one must
      come back: it takes 1 to 4 us an id, in slices that let the event loop turn;
    * takes ``on_batch``, a plain function called with a tuple of ``OrderResult`` each time the
      results of a batch become known, in any order of batches;
    * takes ``priority``: urgent calls take the next token, routine and background ones wait;
    * leaves what is in flight to land, and ``on_batch`` to tell, when the awaiting task is
      cancelled; nothing more is sent then.

    Args:
        credentials: the account's keys.
        base_url: ``https`` anywhere; ``http`` only to a loopback address. Several, in order of
            preference, are hosts of the same exchange: when one fails, the next attempt goes to
            another.
        signing_host: the host to sign where it is not the one of ``base_url`` (colocation).
        limits: budgets by name, for accounts with other limits than the published ones; the names
            are those of ``htx_cancel.endpoints.BUDGETS``.
        budgets: a ``Budgets`` shared with other clients of the same UID in the same event loop.
        request_timeout: seconds for one attempt of one request.
        max_in_flight: the most requests under way at once.
        retry: how often and how long a batch is tried.
        max_reply_bytes: the longest reply that is read.
        ssl_context: for private certificate authorities; TLS is verified without one, too.
        transport: another way to move requests than aiohttp, such as the in-process sandbox.
        wall_clock: the clock that stamps signatures, in seconds since the epoch.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        base_url: str | Sequence[str] = "https://api.hbdm.com",
        signing_host: str | None = None,
        limits: Mapping[str, Limit] | None = None,
        budgets: Budgets | None = None,
        request_timeout: float = 5.0,
        max_in_flight: int = IN_FLIGHT,
        retry: RetryPolicy | None = None,
        max_reply_bytes: int = 1 << 20,
        ssl_context: ssl.SSLContext | None = None,
        transport: Transport | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(credentials, Credentials):
            kind = type(credentials).__name__  # never the value, which may be a key
            raise InvalidTypeError(f"credentials must be Credentials, got {kind}")
        if budgets is not None and limits is not None:
            raise InvalidValueError("either limits or budgets must be given, got both")
        self.budgets = budgets or Budgets(limits, max_in_flight=max_in_flight)
        self._sender = Sender(
            transport
            or AiohttpTransport(
                max_connections=self.budgets.max_in_flight,
                max_reply_bytes=arguments.whole("max_reply_bytes", max_reply_bytes),
                ssl_context=ssl_context,
            ),
            _hosts(credentials, base_url, signing_host),
            self.budgets,
            retry or RetryPolicy(),
            request_timeout=arguments.seconds("request_timeout", request_timeout),
            wall_clock=wall_clock,
        )
        self._calls = CallRunner(self._sender)
        self._confirmations: set[Confirmation] = set()
        self._switches: weakref.WeakSet[DeadManSwitch] = weakref.WeakSet()
        self.coin_m_swap = CoinMSwap(self._calls)  #: coin-M perpetual swaps
        self.coin_m_futures = CoinMFutures(self._calls)  #: coin-M delivery futures
        self.usdt_m = UsdtM(self._calls)  #: USDT-M contracts, v5
        self.usdt_m_v1_isolated = UsdtMV1Isolated(self._calls)  #: USDT-M, v1, isolated margin
        self.usdt_m_v1_cross = UsdtMV1Cross(self._calls)  #: USDT-M, v1, cross margin

    def __repr__(self) -> str:
        state = "closed" if self._calls.closed else f"{len(self._calls.jobs)} calls under way"
        origins = ", ".join(host.origin for host in self._sender.hosts.all)
        return f"<CancelClient for {origins}: {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def warm_up(self, connections: int = 4, *, timeout: float | None = None) -> int:
        """Open ``connections`` to every host ahead of need; return how many answered.

        Each carries one public call that changes nothing and counts against no trade budget, and
        ten more follow one after another; the budgets learn from them how far the exchange is.
        Idle connections are kept for a minute. After ``timeout`` seconds it returns how many had
        answered by then, and leaves nothing running.

        Raises:
            InvalidTypeError, InvalidValueError: for arguments that make no sense.
            ClientClosedError: after ``aclose``.
        """
        self._calls.check_open()
        connections = arguments.whole("connections", connections)
        if timeout is not None:
            timeout = arguments.seconds("timeout", timeout)
        return await self._sender.prober.warm_up(connections, timeout=timeout)

    async def aclose(self, *, drain: float = 5.0) -> None:
        """Send nothing more, let what is in flight land for up to ``drain`` seconds, and close.

        Calls under way return what they know: what had not left is ``UNSENT``, and what had not
        been answered when the time was over is ``UNKNOWN``. A ``confirm`` or list under way
        returns at once with what it knows. A dead-man switch is renewed no more, and stays armed.
        """
        self._calls.closed = True
        for switch in self._switches:
            switch.close(CLOSED)
        for confirmation in self._confirmations:
            confirmation.stop()
        for job in self._calls.jobs:
            job.stop(CLOSED)
        for task in self._calls.lists:
            task.cancel()
        asking = {each.task for each in self._confirmations if each.task is not None}
        calling = {task for job in self._calls.jobs for task in job.tasks}
        if ending := asking | calling | self._calls.lists:
            await asyncio.wait(ending, timeout=drain)
        if calling:
            for job in self._calls.jobs:
                job.abort(CLOSED)
            await asyncio.wait(calling)
        await self._sender.close()

    async def confirm(
        self,
        *outcomes: Outcome,
        timeout: float = 10.0,
        priority: Priority = Priority.ROUTINE,
        on_batch: OnBatch | None = None,
    ) -> Outcome:
        """Ask the exchange what became of the accepted and the unknown orders of outcomes.

        Returns one new outcome, of all of them merged as by ``Outcome.merge``, whose results carry
        the order's ``state``. It asks with growing pauses until every state is final, or for
        ``timeout`` seconds, or until ``aclose``. What the exchange said of a cancel stands; an
        ``UNKNOWN`` one becomes ``CLOSED``, ``NOT_FOUND`` or, where the order is open and no cancel
        under way, ``OPEN``. What no query told stays as it was.

        ``NOT_FOUND`` of an order asked for by client order id may be a live order, and its message
        says so: HTX looks these up for 8 hours only, and in multi-asset mode not after the order
        ended.

        Plain orders are asked for 50 ids a request, those of v5 one a request (and once more in
        isolated margin mode where cross has none), out of the read budgets; of trigger, TP/SL,
        trailing and algo orders only the lists of open ones can be had.

        https://www.htx.com/en-us/opend/newApiPages/?id=5d51a400-77b6-11ed-9966-0242ac110003
        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-196a8401f83
        https://www.htx.com/en-us/opend/newApiPages/?id=5d51c0a2-77b6-11ed-9966-0242ac110003
        https://www.htx.com/en-us/opend/newApiPages/?id=8cb873a8-77b5-11ed-9966-0242ac110003

        Args:
            outcomes: one or more, of any calls.
            timeout: seconds for all of it.
            priority: who goes first where the read budgets are short.
            on_batch: a plain function, called with a tuple of results, all of one of the calls, as
                their states become final, and at the end with those that changed and are not
                final: each result that changed is in one tuple, once.

        Raises:
            InvalidTypeError: for an argument of the wrong type.
            InvalidValueError: if there is no outcome, or one that was made by hand without a
                ``source``.
            ClientClosedError: after ``aclose``.
        """
        options = self._calls.options(
            priority=priority, timeout=arguments.seconds("timeout", timeout), on_batch=on_batch
        )
        merged = Outcome.merge(*outcomes)
        for part in merged.parts:
            if part.source.endpoint not in endpoints.QUERIES:
                raise InvalidValueError(f"each outcome must be of a cancel call, got {part.source}")
        confirmation = Confirmation(
            merged,
            self._sender,
            priority=options.priority,
            deadline=options.deadline,
            on_batch=options.on_batch,
        )
        self._confirmations.add(confirmation)
        try:
            return await confirmation.run()
        finally:
            self._confirmations.discard(confirmation)

    async def cancel(
        self, orders: Iterable[OpenOrder | OrderRef], **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel any orders of any products, kinds and contracts, all at once.

        ``orders`` are those of a list, such as ``client.usdt_m.open_orders()``, or references made
        by hand, in any mixture. Each result has a ``source``, which names product, kind and
        contract, and ``outcome`` is in the order given. Ids are sent as by the methods of the
        products, and these say which pages describe the calls.

        Raises:
            InvalidTypeError: for what is no ``OpenOrder`` or ``OrderRef``.
            ClientClosedError: after ``aclose``.
        """
        return await self._calls.any_orders(orders, options)

    async def cancel_everything(
        self,
        *,
        products: Iterable[str] = endpoints.PRODUCTS,
        kinds: Iterable[str] = endpoints.KINDS,
        contracts: Iterable[str] | None = None,
        timeout: float = 30.0,
        on_progress: everything.OnProgress | None = None,
    ) -> EverythingReport:
        """Cancel all that is open, whoever placed it, and prove that nothing is open any more.

        It cancels by the exchange's cancel-all calls, at ``URGENT`` priority, then lists, cancels
        what is left by its ids, and lists again, until every kind of every product was listed as
        empty twice, or the time is over. Stop placing orders before: what is placed meanwhile is
        cancelled as well, and counted as ``appeared``.

        By default these are plain and trigger orders. **Take-profit, stop-loss and trailing orders
        protect positions**: they are cancelled only if ``kinds`` names ``tpsl_orders`` and
        ``trailing_orders``. While they are open, one that fires becomes a plain order.

        The methods of the products say which pages describe the calls.

        Args:
            products: some of ``coin_m_swap``, ``coin_m_futures`` and ``usdt_m``, which are the
                default, ``usdt_m_v1_isolated`` and ``usdt_m_v1_cross``.
            kinds: some of ``orders`` and ``trigger_orders``, which are the default,
                ``tpsl_orders`` and ``trailing_orders``.
            contracts: only these contracts, or coins of ``coin_m_futures``; ``None`` means all.
            timeout: seconds for all of it.
            on_progress: a plain function, called with an ``EverythingReport`` each time a product
                was listed.

        Raises:
            InvalidTypeError, InvalidValueError: for arguments that make no sense.
            ClientClosedError: after ``aclose``.
        """
        chosen_kinds = arguments.some("kinds", kinds, endpoints.ALL_KINDS)
        chosen_products = arguments.some("products", products, endpoints.ALL_PRODUCTS)
        by_product = everything.by_product(contracts, chosen_products)
        arguments.hook("on_progress", on_progress)
        options = self._calls.options(timeout=arguments.seconds("timeout", timeout))
        return await Everything(
            self,
            by_product,
            chosen_kinds,
            all_contracts=partial(listing.contracts, self._sender, options.deadline),
            deadline=options.deadline,
            on_progress=on_progress,
        ).run()

    def dead_man_switch(
        self,
        *,
        products: Iterable[str] = endpoints.PRODUCTS,
        seconds: float = 30.0,
        on_alert: OnAlert | None = None,
    ) -> DeadManSwitch:
        """Let the exchange cancel the plain orders of these products if this process dies.

        ``async with client.dead_man_switch() as switch:`` arms the exchange's countdown of each
        product and renews it every quarter of ``seconds``, at ``URGENT`` priority, out of the
        product's trade budget. When a countdown ends, the exchange cancels all open plain orders
        of its product, whoever placed them. ``switch.remaining`` says how near that is.

        * It covers plain orders. **Trigger, TP/SL and trailing orders, and the products that are
          not named, are not established to be covered.** The pages do not say so either way.
        * A clean exit disarms, in at most 5 seconds. An exception leaves it armed: the orders go.
        * The countdown is one for the account and product: a second switch, in this process or
          another, renews and disarms the same one.
        * ``remaining`` is cautious: a renewal counts only if it was confirmed, from when it left.

        https://www.htx.com/en-us/opend/newApiPages/?id=10000072-77b7-11ed-9966-0242ac110003
        https://www.htx.com/en-us/opend/newApiPages/?id=10000068-77b7-11ed-9966-0242ac110003

        Args:
            products: some of ``coin_m_swap``, ``coin_m_futures`` and ``usdt_m``, which are the
                default, ``usdt_m_v1_isolated`` and ``usdt_m_v1_cross``, which have one together.
            seconds: the length of the countdowns, 5 or more. The exchange advises against short
                ones.
            on_alert: a plain function, called with an ``Alert`` when something is wrong: a renewal
                is late or refused, or a countdown may have ended. Without one, the event loop's
                exception handler is told.

        Raises:
            InvalidTypeError, InvalidValueError: for arguments that make no sense.
            ClientClosedError: after ``aclose``.
            NotArmedError: when it is entered, if a countdown could not be armed.
        """
        self._calls.check_open()
        names = arguments.some("products", products, tuple(endpoints.COUNTDOWNS))
        seconds = arguments.seconds("seconds", seconds)
        if seconds < deadman.SHORTEST:
            least = f"{deadman.SHORTEST:g}"
            raise InvalidValueError(f"seconds must be at least {least}, got {seconds!r}")
        arguments.hook("on_alert", on_alert)
        switch = DeadManSwitch(
            self._sender, names, seconds, on_alert, check_open=self._calls.check_open
        )
        self._switches.add(switch)
        return switch


def _hosts(
    credentials: Credentials, base_url: str | Sequence[str], signing_host: str | None
) -> list[Host]:
    urls = [base_url] if isinstance(base_url, str) else list(base_url)
    if not urls:
        raise InvalidValueError("base_url must be a URL or several, got none")
    hosts = []
    for url in urls:
        origin, host = signing.origin(url)
        host = host if signing_host is None else signing.host(signing_host)
        hosts.append(Host(origin, Signer(credentials, host)))
    return hosts
