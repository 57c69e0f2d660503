"""``CancelClient``: the public methods."""

import asyncio
import ssl
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Self, Unpack

from htx_cancel import arguments, deadman, endpoints, everything, listing
from htx_cancel.attempt import Sender
from htx_cancel.calls import CLOSED, CallRunner, free_in_slices
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
    """Cancels any number of orders on HTX derivatives and returns one status per id.

    Use it as an async context manager, or call ``aclose`` at the end. The products are attributes,
    such as ``coin_m_swap``. Ids are ``str`` or ``int``, in any iterable but a string; the first of
    two equal ids counts. Every method that sends requests has these options:

    * ``timeout``: seconds for the whole call, or ``None`` for no limit. When they have passed, the
      call returns what it knows and sends nothing more. Orders that cannot be sent in time are
      ``UNSENT`` at once. Checking the ids counts, but is not cut short, because a bad id must raise
      and every good id must come back: it takes 1 to 4 us per id, in slices between which the event
      loop runs.
    * ``on_batch``, of calls that cancel: a plain function, called with a tuple of ``OrderResult``
      each time the results of a batch become known, in any order of batches.
    * ``priority``: a ``Priority``. Urgent calls take the next token; routine and background calls
      wait for them.

    If the awaiting task is cancelled, nothing more is sent; requests in flight still finish, and
    ``on_batch`` receives their results.

    Every method raises ``InvalidTypeError`` or ``InvalidValueError`` for arguments that cannot be
    sent, before anything is sent; ``ClientClosedError`` after ``aclose``; ``WrongLoopError`` in a
    second event loop; and nothing else of its own.

    Args:
        credentials: the account's keys.
        base_url: an ``https`` URL, or ``http`` to a loopback address; or several URLs of the same
            exchange, in order of preference. If one host fails, the next attempt uses another.
        signing_host: the host name to sign, if it is not that of ``base_url`` (colocation).
        limits: rate limits by budget name (see ``htx_cancel.endpoints.BUDGETS``), for accounts
            whose limits differ from the published ones.
        budgets: a ``Budgets`` shared with other clients of the same UID in the same event loop,
            instead of ``limits``.
        request_timeout: seconds for one attempt of one request.
        max_in_flight: the maximum number of requests in flight; ``budgets`` bring their own.
        retry: how often and how long a batch is retried.
        max_reply_bytes: the maximum length of a reply in bytes; a longer one is not read.
        ssl_context: for a private certificate authority. Without it, TLS is verified as usual.
        transport: sends the requests instead of aiohttp, for example ``InProcessTransport``.
        wall_clock: returns the seconds since the epoch, for the timestamps of signatures.

    Raises:
        InvalidTypeError, InvalidValueError: if an argument has a wrong type or value.
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
                max_reply_bytes=arguments.count("max_reply_bytes", max_reply_bytes),
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

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def warm_up(self, connections: int = 4, *, timeout: float | None = None) -> int:
        """Open connections to every host before they are needed; return how many answered.

        Each connection carries one public request that changes nothing and charges no trade budget.
        Ten more requests per host follow one after another, from which the budgets learn the round
        trip. Idle connections stay open for a minute.

        Args:
            connections: the number per host.
            timeout: seconds after which it returns how many answered; nothing is left running.

        Raises:
            InvalidTypeError, InvalidValueError, ClientClosedError, WrongLoopError: as every method.
        """
        self._calls.check_open()
        connections = arguments.count("connections", connections)
        if timeout is not None:
            timeout = arguments.seconds("timeout", timeout)
        return await self._sender.prober.warm_up(connections, timeout=timeout)

    async def aclose(self, *, drain: float = 5.0) -> None:
        """Send nothing more, wait up to ``drain`` seconds for requests in flight, and close.

        Running calls return what they know: orders that were not sent are ``UNSENT``, orders whose
        request had no reply in time are ``UNKNOWN``. A running ``confirm`` or list returns at once.
        A dead-man switch is not renewed any more and stays armed.

        Raises:
            InvalidTypeError, InvalidValueError: if ``drain`` is not 0 or more seconds.
        """
        drain = arguments.seconds("drain", drain, zero=True)
        self._calls.closed = True
        for switch in self._switches:
            switch.close(CLOSED)
        for confirmation in self._confirmations:
            confirmation.stop()
        for job in self._calls.jobs:
            job.stop(CLOSED)
        for task in self._calls.lists:
            task.cancel()
        cancels = {task for job in self._calls.jobs for task in job.tasks}
        queries = {each.task for each in self._confirmations if each.task is not None}
        if tasks := cancels | queries | self._calls.lists:
            await asyncio.wait(tasks, timeout=drain)
        if cancels:
            for job in self._calls.jobs:
                job.abort()
            await asyncio.wait(cancels)
        await self._sender.close()

    async def confirm(
        self,
        *outcomes: Outcome,
        timeout: float = 10.0,
        priority: Priority = Priority.ROUTINE,
        on_batch: OnBatch | None = None,
    ) -> Outcome:
        """Ask the exchange for the states of the accepted and the unknown orders of outcomes.

        It asks with growing pauses until every state is final, until ``timeout``, or until
        ``aclose``, and returns one new outcome: the outcomes merged as by ``Outcome.merge``, with
        the ``state`` of each order. The status ``UNKNOWN`` becomes ``CLOSED``, ``NOT_FOUND``, or
        ``OPEN`` if the order is open and no cancel is in progress; other statuses stay. A result
        stays as it was if no query says anything about its order.

        ``NOT_FOUND`` by client order id may be a live order, and its message says so: HTX looks
        these ids up for 8 hours only, and in multi-asset mode not after the order ended.

        The queries charge the read budgets. A query of plain orders has 50 ids; in v5 it has one,
        and is repeated for isolated margin if cross margin has no such order. For trigger, TP/SL,
        trailing and algo orders there are only the lists of open orders.

        https://www.htx.com/en-us/opend/newApiPages/?id=5d51a400-77b6-11ed-9966-0242ac110003
        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-196a8401f83
        https://www.htx.com/en-us/opend/newApiPages/?id=5d51c0a2-77b6-11ed-9966-0242ac110003
        https://www.htx.com/en-us/opend/newApiPages/?id=8cb873a8-77b5-11ed-9966-0242ac110003

        Args:
            outcomes: one or more, of any calls.
            timeout: seconds for the whole call.
            priority: the priority of its requests in the queue of the read budgets.
            on_batch: a plain function, called with a tuple of results, all of one of the calls, as
                their states become final, and at the end with the changed results whose states are
                not final. Each changed result is in one tuple, once.

        Raises:
            InvalidTypeError: if an argument has a wrong type.
            InvalidValueError: if there is no outcome, or one made without a ``source``.
            ClientClosedError, WrongLoopError: as every method.
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
            return free_in_slices(await confirmation.run())
        finally:
            self._confirmations.discard(confirmation)

    async def cancel(
        self, orders: Iterable[OpenOrder | OrderRef], **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel orders of any products, kinds and contracts, all at the same time.

        Each result has a ``source``, which names the product, the kind and the contract. The
        methods of the products name the pages of the calls.

        Args:
            orders: from a list, such as ``client.usdt_m.open_orders()``, or made by hand; mixed in
                any way. The outcome has their order.
            **options: ``timeout`` in seconds, ``priority`` and ``on_batch``; see ``CancelClient``.

        Raises:
            InvalidTypeError: if an item is not an ``OpenOrder`` or ``OrderRef``.
            ClientClosedError, WrongLoopError: as every method.
        """
        return await self._calls.mixed(orders, options)

    async def cancel_everything(
        self,
        *,
        products: Iterable[str] = endpoints.PRODUCTS,
        kinds: Iterable[str] = endpoints.KINDS,
        contracts: Iterable[str] | None = None,
        timeout: float = 30.0,
        on_progress: everything.OnProgress | None = None,
    ) -> EverythingReport:
        """Cancel all open orders of the account, and prove that none is open any more.

        It sends the exchange's cancel-all calls, at ``URGENT`` priority, lists the orders, cancels
        the listed orders by their ids, and lists again, until two listings of every kind of every
        product were empty, or until ``timeout``. Stop placing orders first: orders placed meanwhile
        are cancelled too, and counted as ``appeared``.

        The default kinds are plain and trigger orders. **Take-profit, stop-loss and trailing orders
        protect positions**: they are cancelled only if ``kinds`` names ``tpsl_orders`` and
        ``trailing_orders``. While they are open, each of them may fire and become a plain order.

        The methods of the products name the pages of the calls.

        Args:
            products: any of ``coin_m_swap``, ``coin_m_futures``, ``usdt_m`` (the default),
                ``usdt_m_v1_isolated`` and ``usdt_m_v1_cross``.
            kinds: any of ``orders``, ``trigger_orders`` (the default), ``tpsl_orders`` and
                ``trailing_orders``.
            contracts: only these contracts, or coins of ``coin_m_futures``; ``None`` means all.
            timeout: seconds for the whole call.
            on_progress: a plain function, called with an ``EverythingReport`` after each listing of
                a product.

        Raises:
            InvalidTypeError, InvalidValueError, ClientClosedError, WrongLoopError: as every method.
        """
        chosen_kinds = arguments.several("kinds", kinds, endpoints.ALL_KINDS)
        chosen_products = arguments.several("products", products, endpoints.ALL_PRODUCTS)
        by_product = everything.by_product(contracts, chosen_products)
        arguments.callback("on_progress", on_progress)
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
        """Let the exchange cancel the open plain orders if this process dies.

        ``async with client.dead_man_switch() as switch:`` arms the exchange's countdown of each
        product and renews it every quarter of ``seconds``, at ``URGENT`` priority, out of the
        product's trade budget. When a countdown ends, the exchange cancels all open plain orders of
        the product, whoever placed them. ``switch.remaining`` is the time until then in seconds.

        * It covers plain orders. **It is not known whether it covers trigger, TP/SL and trailing
          orders, or products that are not named**: the pages do not say.
        * A clean exit disarms the countdowns, within 5 seconds. An exception leaves them armed, and
          the exchange cancels the orders.
        * The account has one countdown per product: a second switch, in this process or another,
          renews and disarms the same countdowns.
        * ``remaining`` is cautious: a renewal counts only if confirmed, and from when it was sent.

        https://www.htx.com/en-us/opend/newApiPages/?id=10000072-77b7-11ed-9966-0242ac110003
        https://www.htx.com/en-us/opend/newApiPages/?id=10000068-77b7-11ed-9966-0242ac110003

        Args:
            products: any of ``coin_m_swap``, ``coin_m_futures``, ``usdt_m`` (the default),
                ``usdt_m_v1_isolated`` and ``usdt_m_v1_cross``; the last two share one countdown.
            seconds: the length of the countdowns, 5 or more. The exchange advises against short
                ones.
            on_alert: a plain function, called with an ``Alert`` if a renewal is late or refused, or
                a countdown may have ended. Without it, the event loop's exception handler is
                called.

        Raises:
            InvalidTypeError, InvalidValueError, ClientClosedError, WrongLoopError: as every method.
            NotArmedError: on entering, if a countdown could not be armed.
        """
        self._calls.check_open()
        chosen_products = arguments.several("products", products, endpoints.ALL_PRODUCTS)
        seconds = arguments.seconds("seconds", seconds)
        if seconds < deadman.SHORTEST:
            raise InvalidValueError(
                f"seconds must be at least {deadman.SHORTEST:g}, got {seconds!r}"
            )
        arguments.callback("on_alert", on_alert)
        switch = DeadManSwitch(
            self._sender, chosen_products, seconds, on_alert, check_open=self._calls.check_open
        )
        self._switches.add(switch)
        return switch


def _hosts(
    credentials: Credentials, base_url: str | Sequence[str], signing_host: str | None
) -> list[Host]:
    urls = [base_url] if isinstance(base_url, str) else list(base_url)
    if not urls:
        raise InvalidValueError("base_url must be one URL or more, got none")
    hosts = []
    for url in urls:
        origin, host = signing.origin(url)
        host = host if signing_host is None else signing.host(signing_host)
        hosts.append(Host(origin, Signer(credentials, host)))
    return hosts
