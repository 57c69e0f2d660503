"""``CancelClient``: the coroutine methods over one private path."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self, overload

from htx_cancel import codec, endpoints, plan, signing
from htx_cancel.call import Call, Job, Road, Terms
from htx_cancel.confirm import Confirmation
from htx_cancel.endpoints import Endpoint, Limit
from htx_cancel.errors import (
    ClientClosedError,
    InvalidTypeError,
    InvalidValueError,
    WrongLoopError,
)
from htx_cancel.hosts import Host
from htx_cancel.limiter import IN_FLIGHT, Budgets
from htx_cancel.outcome import CancelAllOutcome, OrderResult, Outcome, refusal
from htx_cancel.pages import Pages
from htx_cancel.permit import Priority
from htx_cancel.retry import ALL, RetryPolicy
from htx_cancel.sender import Sender
from htx_cancel.signing import Credentials, Signer
from htx_cancel.transport import AiohttpTransport, Transport


class IdCollection(Protocol):
    """A list, tuple, set, dict view or the like of ids; a lone string is none."""

    def __contains__(self, item: object, /) -> bool:
        """Say whether an id is in it; of a string only strings can be asked."""

    def __iter__(self) -> Iterator[str | int]:
        """Go through the ids."""


Ids = IdCollection | Iterator[str | int]

#: A plain function: nobody would await an async one.
OnBatch = Callable[[tuple[OrderResult, ...]], None]

CLOSED = "the client was closed"


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
            preference, are doors to the same exchange: when one fails, the next try takes another.
        signing_host: the host to sign where it is not the one of ``base_url`` (colocation).
        limits: budgets by name, for accounts with other limits than the published ones; the names
            are those of ``htx_cancel.endpoints.BUDGETS``.
        charge_pools: whether calls with a budget of their own also charge their product's pool.
        budgets: a ``Budgets`` shared with other clients of the same UID in the same event loop.
        request_timeout: seconds for one try of one request.
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
        charge_pools: bool = False,
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
        in_flight = plan.whole("max_in_flight", max_in_flight)
        self._budgets = budgets or Budgets(limits, max_in_flight=in_flight)
        sender = Sender(
            transport
            or AiohttpTransport(
                max_connections=self._budgets.max_in_flight,
                max_reply_bytes=plan.whole("max_reply_bytes", max_reply_bytes),
                ssl_context=ssl_context,
            ),
            _hosts(credentials, base_url, signing_host),
            self._budgets,
            request_timeout=plan.seconds("request_timeout", request_timeout),
            wall_clock=wall_clock,
        )
        policy = retry or RetryPolicy()
        self._road = Road(sender, self._budgets, policy, charge_pools)
        self._calls: set[Call] = set()
        self._confirmations: set[Confirmation] = set()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None  # that of the first call

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._calls)} calls under way"
        origins = ", ".join(host.origin for host in self._road.sender.hosts.all)
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

    @property
    def budgets(self) -> Budgets:
        """The budgets of this client: what is free, in flight and waiting, and when."""
        return self._budgets

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
        self._check_open()
        connections = plan.whole("connections", connections)
        if timeout is not None:
            timeout = plan.seconds("timeout", timeout)
        return await self._road.sender.warm_up(connections, timeout=timeout)

    async def aclose(self, *, drain: float = 5.0) -> None:
        """Send nothing more, let what is in flight land for up to ``drain`` seconds, and close.

        Calls under way return what they know: what had not left is ``UNSENT``, and what had not
        been answered when the time was over is ``UNKNOWN``. A ``confirm`` under way returns at
        once with what it knows.
        """
        self._closed = True
        for confirmation in self._confirmations:
            confirmation.stop()
        for call in self._calls:
            call.stop(CLOSED)
        asking = {each.task for each in self._confirmations if each.task is not None}
        calling = {task for call in self._calls for task in call.tasks}
        if asking or calling:
            await asyncio.wait(asking | calling, timeout=drain)
        if calling:
            for call in self._calls:
                call.abort(CLOSED)
            await asyncio.wait(calling)
        await self._road.sender.close()

    @overload
    async def cancel_swap_orders(
        self,
        contract_code: str,
        order_ids: Ids,
        *,
        client_order_ids: None = None,
        priority: Priority = Priority.ROUTINE,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Outcome: ...

    @overload
    async def cancel_swap_orders(
        self,
        contract_code: str,
        order_ids: None = None,
        *,
        client_order_ids: Ids,
        priority: Priority = Priority.ROUTINE,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Outcome: ...

    async def cancel_swap_orders(
        self,
        contract_code: str,
        order_ids: Ids | None = None,
        *,
        client_order_ids: Ids | None = None,
        priority: Priority = Priority.ROUTINE,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Outcome:
        """Cancel coin-M swap orders, by order ids or by client order ids; 10 a request.

        By client order id, ``NOT_FOUND`` may be a live order: HTX looks these up for 8 hours only,
        and in multi-asset mode not after the order ended.

        https://www.htx.com/en-us/opend/newApiPages/?id=5d51a18b-77b6-11ed-9966-0242ac110003
        """
        terms = _terms(priority, timeout, on_batch)
        ids = plan.one_kind(order_ids, client_order_ids)
        return await self._cancel(endpoints.SWAP_CANCEL, contract_code, ids, terms)

    async def cancel_swap_trailing_orders(
        self,
        contract_code: str,
        order_ids: Ids,
        *,
        priority: Priority = Priority.ROUTINE,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Outcome:
        """Cancel coin-M swap trailing orders by order ids; 10 a request.

        https://www.htx.com/en-us/opend/newApiPages/?id=5d51be6e-77b6-11ed-9966-0242ac110003
        """
        terms = _terms(priority, timeout, on_batch)
        ids = plan.one_kind(order_ids, None)
        return await self._cancel(endpoints.SWAP_TRACK_CANCEL, contract_code, ids, terms)

    async def cancel_all_swap_trailing_orders(
        self,
        contract_code: str,
        *,
        direction: Literal["buy", "sell"] | None = None,
        offset: Literal["open", "close"] | None = None,
        priority: Priority = Priority.ROUTINE,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> CancelAllOutcome:
        """Cancel every coin-M swap trailing order of a contract, in one request.

        ``direction`` is ``"buy"`` or ``"sell"``, ``offset`` is ``"open"`` or ``"close"``; ``None``
        means both. The outcome holds the ids that the reply lists and, in ``call``, the fate of
        the request itself.

        https://www.htx.com/en-us/opend/newApiPages/?id=5d51bfd0-77b6-11ed-9966-0242ac110003
        """
        terms = _terms(priority, timeout, on_batch)
        filters = {
            "direction": plan.choice("direction", direction, ("buy", "sell")),
            "offset": plan.choice("offset", offset, ("open", "close")),
        }
        self._check_open()
        body = codec.encode_all(plan.contract_code(contract_code), filters)
        batches: Pages[str] = Pages()
        batches.append((ALL,))
        job = Job(endpoints.SWAP_TRACK_CANCELALL, contract_code, batches, body=body)
        call = await self._run(job, terms)
        return call.tally.outcome_of_all(
            job.source, call.whole, error=refusal(call.error), retry_in=call.retry_in()
        )

    async def cancel_linear_trigger_orders(
        self,
        contract_code: str,
        order_ids: Ids,
        *,
        priority: Priority = Priority.ROUTINE,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Outcome:
        """Cancel USDT-M isolated-margin trigger orders by order ids; 20 a request.

        The exchange moves USDT-M accounts to v5; one that was moved is refused here.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb86f61-77b5-11ed-9966-0242ac110003
        """
        terms = _terms(priority, timeout, on_batch)
        ids = plan.one_kind(order_ids, None)
        return await self._cancel(endpoints.LINEAR_SWAP_TRIGGER_CANCEL, contract_code, ids, terms)

    @overload
    async def cancel_v5_orders(
        self,
        contract_code: str,
        order_ids: Ids,
        *,
        client_order_ids: None = None,
        priority: Priority = Priority.ROUTINE,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Outcome: ...

    @overload
    async def cancel_v5_orders(
        self,
        contract_code: str,
        order_ids: None = None,
        *,
        client_order_ids: Ids,
        priority: Priority = Priority.ROUTINE,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Outcome: ...

    async def cancel_v5_orders(
        self,
        contract_code: str,
        order_ids: Ids | None = None,
        *,
        client_order_ids: Ids | None = None,
        priority: Priority = Priority.ROUTINE,
        timeout: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> Outcome:
        """Cancel v5 orders, by order ids or by client order ids; one a request.

        By client order id, ``NOT_FOUND`` may be a live order: HTX looks these up for 8 hours only,
        and in multi-asset mode not after the order ended.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-1958947efe6
        """
        terms = _terms(priority, timeout, on_batch)
        ids = plan.one_kind(order_ids, client_order_ids)
        return await self._cancel(endpoints.V5_CANCEL_ORDER, contract_code, ids, terms)

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

        Coin-M swap orders are asked for 50 ids a request, v5 orders one a request (and once more
        in isolated margin mode where cross has none), out of the read budgets; of trailing and
        trigger orders only the lists of open ones can be had.

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
        self._check_open()
        terms = _terms(priority, None, on_batch)
        deadline = asyncio.get_running_loop().time() + plan.seconds("timeout", timeout)
        merged = Outcome.merge(*outcomes)
        for part in merged.parts:
            if part.source.endpoint not in endpoints.QUERIES:
                raise InvalidValueError(f"each outcome must be of a cancel call, got {part.source}")
        confirmation = Confirmation(
            merged, self._road, priority=terms.priority, deadline=deadline, on_batch=terms.on_batch
        )
        self._confirmations.add(confirmation)
        try:
            return await confirmation.run()
        finally:
            self._confirmations.discard(confirmation)

    async def _cancel(
        self,
        endpoint: Endpoint,
        contract_code: str,
        ids: tuple[str, Iterable[str | int]],
        terms: Terms,
    ) -> Outcome:
        """Look at every id, then send."""
        self._check_open()
        plan.contract_code(contract_code)
        field, given = ids
        batches = await _batches(field, given, endpoint.batch_size)
        job = Job(endpoint, contract_code, batches, field)
        call = await self._run(job, terms)
        error, retry_in = refusal(call.error), call.retry_in()
        return call.tally.outcome(job.source, error=error, retry_in=retry_in)

    async def _run(self, job: Job, terms: Terms) -> Call:
        """Run a call to its end; what is in flight lands even if the caller goes away."""
        call = Call(job, terms, self._road, self._calls)
        if not job.batches:
            return call
        if self._closed:
            call.stop(CLOSED)
        call.start()
        try:
            await call.done
        except asyncio.CancelledError:
            call.stop("the awaiting task was cancelled")
            raise
        return call

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosedError("this client was closed; make a new one")
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise WrongLoopError("CancelClient must be used in one event loop, got a second one")
        self._loop = loop
        self._budgets.check_loop()


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


async def _batches(field: str, ids: Iterable[str | int], size: int) -> Pages[str]:
    """Check and cut ids; let the event loop turn now and then."""
    batches: Pages[str] = Pages()
    seen, freed = plan.Seen(), 0
    for batch in plan.batches(ids, field, size, seen):
        if batch:
            batches.append(batch)
        else:
            await asyncio.sleep(0)
    while seen.parts:
        freed += len(seen.parts.popitem()[1])
        if freed >= plan.BREATH:
            freed = 0
            await asyncio.sleep(0)
    return batches


def _terms(priority: Priority, timeout: float | None, on_batch: OnBatch | None) -> Terms:
    deadline = None
    if timeout is not None:
        deadline = asyncio.get_running_loop().time() + plan.seconds("timeout", timeout)
    plan.hook("on_batch", on_batch)
    if not isinstance(priority, Priority):
        raise InvalidTypeError(f"priority must be a Priority, got {priority!r}")
    return Terms(priority, deadline, on_batch)
