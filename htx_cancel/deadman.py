"""``DeadManSwitch``: renew the exchange's countdowns as long as this process lives.

Rules:

* ``remaining`` assumes the earliest possible end of a countdown. A confirmed renewal counts from
  when it was sent, for the seconds asked for, or for those in the reply if they are fewer.
  A renewal without a reply changes nothing; an arming without one may have armed the countdown.
* A countdown is renewed every quarter of its length, and every second while renewals fail.
* A reply with another time than asked for does not confirm. A reply with a thousand times the time
  asked for shows that the exchange counts in seconds: the request is repeated at once in seconds.
* An exception, or the end of the task, leaves the countdowns armed.
"""

import asyncio
from collections.abc import Callable, Iterable
from enum import StrEnum
from math import inf
from typing import Self

from msgspec import Struct

from htx_cancel import hooks
from htx_cancel.attempt import CallContext, Sender
from htx_cancel.batch import Batch
from htx_cancel.endpoints import COUNTDOWNS
from htx_cancel.errors import NotArmedError
from htx_cancel.limits.permit import Priority
from htx_cancel.retry import RETRY, RetryAction
from htx_cancel.status import STATUS, CancelStatus, Finding
from htx_cancel.wire import countdown
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.countdown import OFF, CountdownReply
from htx_cancel.wire.envelope import AttemptResult

SHORTEST = 5.0  #: the shortest countdown, in seconds, that the exchange's pages allow
RENEWALS = 4  #: renewals within the length of a countdown
TOLERANCE = 1.0  #: seconds by which a confirming reply may differ from the time asked for
TIMER_ERROR = 0.001  #: seconds by which an event loop's timer may fire too early
RETRY_AFTER = 1.0  #: seconds between renewals that fail
DISARM_WITHIN = 5.0  #: seconds that a clean exit may take

MILLISECONDS = 0.001  #: the unit of the exchange's pages, in seconds
SECONDS = 1.0  #: the unit of an exchange that misreads its own pages, in seconds
WRONG_TYPE = 1067  #: the exchange's code for a field of a wrong type

_NOT_SENT = Finding(Meaning.NOT_SENT, None, "the request could not be sent in time")


class AlertKind(StrEnum):
    """What is wrong with a countdown."""

    LATE = "late"
    """No renewal was confirmed for half of the countdown's length; again at three quarters."""
    EXPIRED = "expired"
    """The countdown may have ended, and the orders may be cancelled. Renewals go on."""
    FAILED = "failed"
    """A renewal failed, or its reply does not confirm the time asked for."""
    WRONG_UNIT = "wrong_unit"
    """The exchange counted seconds instead of milliseconds. From now on it is sent seconds."""
    NOT_DISARMED = "not_disarmed"
    """A clean exit could not disarm the countdown, which may end in ``remaining`` seconds."""
    STOPPED = "stopped"
    """The client was closed. The countdown is not renewed any more and may end."""


class Alert(Struct, frozen=True):
    """A problem with the countdown of one product.

    Args:
        product: for example ``usdt_m``.
        kind: what is wrong.
        message: a description, with the exchange's code and message if it gave any.
        remaining: seconds until the countdown can end; 0 if it may have ended, ``inf`` if it is not
            armed.
    """

    product: str
    kind: AlertKind
    message: str
    remaining: float


OnAlert = Callable[[Alert], object]


class _CountdownBatch(Batch):
    """One request that arms, renews or disarms a countdown."""

    def __init__(self, product_countdown: "_Countdown", seconds: float) -> None:
        super().__init__(product_countdown.row.path)
        self.reply = CountdownReply(_NOT_SENT)
        self.first_sent_at = inf  #: loop time of the first attempt
        self.sent_at = 0.0  #: loop time of the last attempt
        self.uncertain = False  #: whether an attempt may have armed it without a reply
        self._countdown = product_countdown
        self._seconds = seconds

    def begin(self, now: float) -> None:
        super().begin(now)
        self.first_sent_at = min(self.first_sent_at, now)
        self.sent_at = now

    def body(self) -> bytes:
        unit, as_text = self._countdown.unit, self._countdown.as_text
        return countdown.encode(self._seconds, unit=unit, as_text=as_text)

    def read(self, status: int, body: bytes) -> AttemptResult:
        return countdown.decode(status, body, self._countdown.row)

    def record(self, answer: AttemptResult) -> RetryAction:
        """Record the result of an attempt; if ``on_off`` has the wrong type, try the other once."""
        self.reply = answer if isinstance(answer, CountdownReply) else CountdownReply(answer.whole)
        self.uncertain |= STATUS[answer.whole.meaning][0] is CancelStatus.UNKNOWN
        if answer.whole.code == WRONG_TYPE and self._countdown.switch_type():
            return RetryAction.WAIT_FOR_BUDGET
        return self._next_action({RETRY[answer.whole.meaning]}, answer)

    @property
    def accepted(self) -> bool:
        return self.reply.whole.meaning is Meaning.ACCEPTED

    def confirms(self, seconds: float, tolerance: float = TOLERANCE) -> bool:
        """Return whether the reply confirms a countdown of ``seconds``, within a tolerance."""
        return self.accepted and abs(self.reply.seconds - seconds) <= tolerance

    def failure(self) -> str:
        """Return why the reply does not confirm what was asked for."""
        whole = self.reply.whole
        if self.accepted:
            seconds = self.reply.seconds
            counts = f"counts {seconds:g} s" if seconds else "does not say how long"
            return f"the exchange {counts}, asked for {self._seconds:g} s"
        return " ".join(filter(None, [str(whole.code or ""), whole.message]))


class _Countdown:
    """The countdown of one product: what is known of it, and the task that renews it."""

    def __init__(
        self, product: str, seconds: float, sender: Sender, on_alert: Callable[[Alert], None]
    ) -> None:
        self.product = product
        self.row = COUNTDOWNS[product]
        self.as_text = self.row.as_text  #: whether ``on_off`` is sent as a string
        self.unit = MILLISECONDS
        self.ends_at = inf  #: earliest loop time at which the countdown can end
        self._type_switched = False
        self._seconds = seconds
        self._renew_every = seconds / RENEWALS
        self._sender = sender
        self._on_alert = on_alert
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None  # alerts if no renewal comes before
        self._last_failure = ""  # the last one with an alert, since the last success
        self._call: CallContext | None = None
        self._batch: _CountdownBatch | None = None  # the last request
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def remaining(self) -> float:
        return max(self.ends_at - self._loop.time(), 0.0)

    def alert(self, kind: AlertKind, message: str) -> None:
        self._on_alert(Alert(self.product, kind, message, self.remaining))

    def switch_type(self) -> bool:
        """Change the type of ``on_off``; return ``False`` if it was changed before."""
        if self._type_switched:
            return False
        self._type_switched, self.as_text = True, not self.as_text
        return True

    async def arm(self) -> str:
        """Arm or renew the countdown; return the reason if that is not confirmed, else ``""``."""
        batch = await self._send_arming()
        if self.unit == MILLISECONDS and batch.confirms(1000 * self._seconds, 1000 * TOLERANCE):
            self.unit = SECONDS
            reply = f"the reply named {batch.reply.seconds:g} s: the exchange counts in seconds"
            self.alert(AlertKind.WRONG_UNIT, reply)
            batch = await self._send_arming()
        if not batch.confirms(self._seconds):
            return batch.failure()
        self.ends_at = batch.sent_at + min(batch.reply.seconds, self._seconds)
        self._last_failure = ""
        self._check_at(batch.sent_at + 2 * self._renew_every)
        return ""

    async def _send_arming(self) -> _CountdownBatch:
        """Send the arming; note an earlier end if the request may have caused one."""
        batch = await self._send(self._seconds, within=self._renew_every)
        ends_at = self.ends_at
        if batch.accepted:
            ends_at = min(ends_at, batch.sent_at + (batch.reply.seconds or SHORTEST))
        if batch.uncertain:
            ends_at = min(ends_at, batch.first_sent_at + self._seconds)
        if ends_at < self.ends_at:
            self.ends_at = ends_at
            self._check_at(ends_at)
        return batch

    def start(self) -> None:
        """Start the task that renews the countdown."""
        self._task = self._loop.create_task(self._keep_renewing())

    async def _keep_renewing(self) -> None:
        """Renew the countdown until ``stop``, whatever fails."""
        while not self._stopped:
            renewed_at = self.ends_at - self._seconds
            await asyncio.sleep(renewed_at + self._renew_every - self._loop.time())
            while failure := await self._renew():
                if self._stopped:
                    return
                if failure != self._last_failure:
                    self._last_failure = failure
                    self.alert(AlertKind.FAILED, failure)
                await asyncio.sleep(RETRY_AFTER)

    async def _renew(self) -> str:
        """Renew the countdown; return the reason if that failed, for an exception as well."""
        try:
            return await self.arm()
        except Exception as error:  # noqa: BLE001 - a bug must not end the renewals
            hooks.report("a countdown could not be renewed", error)
            return f"the renewal raised {type(error).__name__}"

    async def disarm(self) -> str:
        """Disarm the countdown; return the reason if that is not confirmed, else ``""``.

        It waits first for a renewal in flight, which could otherwise arrive after the disarming.
        """
        began = self._loop.time()
        self._stopped = True
        if self._call is not None:
            self._call.stopped = "the countdown is being disarmed"
        if self._task is not None and self._batch is not None and self._batch.in_flight:
            await asyncio.wait({self._task}, timeout=DISARM_WITHIN / 2)
        self.stop()
        batch = await self._send(OFF, within=began + DISARM_WITHIN - self._loop.time())
        if not batch.confirms(OFF, 0.0):
            return batch.failure()
        self.ends_at = inf
        return ""

    def stop(self) -> bool:
        """Stop renewals and their alerts; return whether the countdown was renewed until now."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        return self._task is not None and self._task.cancel()

    async def wait_stopped(self) -> None:
        """Wait until the task that renews the countdown has ended."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=DISARM_WITHIN)

    async def _send(self, seconds: float, *, within: float) -> _CountdownBatch:
        """Send one request, with retries until ``within`` seconds have passed."""
        deadline = self._loop.time() + within
        self._call = call = self._sender.call_context((self.row.pool,), Priority.URGENT, deadline)
        batch = _CountdownBatch(self, seconds)
        permit = await self._sender.permit(call)
        if permit is not None:
            self._batch = batch
            await self._sender.run(batch, permit, call)
        return batch

    def _check_at(self, when: float) -> None:
        """Raise an alert at loop time ``when``, unless a renewal is confirmed before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._check, when)

    def _check(self, when: float) -> None:
        if self.remaining <= TIMER_ERROR:
            self.alert(AlertKind.EXPIRED, "the exchange may have cancelled the orders")
            return
        ago = self._seconds - self.remaining
        self.alert(AlertKind.LATE, f"the last confirmed renewal was {ago:.3g} s ago")
        self._check_at(min(when + self._renew_every, self.ends_at))


class DeadManSwitch:
    """An async context manager that renews the exchange's countdowns while it is held.

    ``CancelClient.dead_man_switch`` makes it and describes it.

    Raises:
        NotArmedError: on entering, unless every countdown is confirmed within a quarter of its
            length; the confirmed ones are disarmed then.
        ClientClosedError: on entering, after the client's ``aclose``.
    """

    def __init__(
        self,
        sender: Sender,
        products: Iterable[str],
        seconds: float,
        on_alert: OnAlert | None,
        *,
        check_open: Callable[[], None],
    ) -> None:
        by_path: dict[str, str] = {}  # products with a common countdown count once
        for product in products:
            by_path.setdefault(COUNTDOWNS[product].path, product)
        self._products = sorted(by_path.values(), key=list(COUNTDOWNS).index)
        self._seconds = seconds
        self._sender = sender
        self._on_alert = on_alert
        self._check_open = check_open
        self._countdowns: list[_Countdown] = []
        self._closed = ""  # the reason, once the client is closed

    def __repr__(self) -> str:
        return f"<DeadManSwitch of {', '.join(self._products)}: {self.remaining:.1f} s remaining>"

    @property
    def remaining(self) -> float:
        """Seconds until the first countdown can end.

        0 if one may have ended, ``inf`` while none is armed.
        """
        return min(self.countdowns.values(), default=inf)

    @property
    def countdowns(self) -> dict[str, float]:
        """Seconds until the countdown of each product can end."""
        return {countdown.product: countdown.remaining for countdown in self._countdowns}

    async def __aenter__(self) -> Self:
        self._check_open()
        self._countdowns = [
            _Countdown(product, self._seconds, self._sender, self._alert)
            for product in self._products
        ]
        try:
            await self._arm()
        except BaseException:
            self._stop()
            raise
        for each in self._countdowns:
            each.start()
        return self

    async def _arm(self) -> None:
        """Arm all countdowns; if that fails, disarm them and raise."""
        failures = await asyncio.gather(*(each.arm() for each in self._countdowns))
        if self._closed:
            failures = [self._closed] * len(self._countdowns)
        if any(failures):
            await self._disarm()
            failed = zip(self._products, failures, strict=True)
            reasons = "; ".join(f"{product}: {failure}" for product, failure in failed if failure)
            raise NotArmedError(f"not armed: {reasons}")

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if error is None:
                await self._disarm()
        finally:
            self._stop()
            for each in self._countdowns:
                await each.wait_stopped()

    def _stop(self) -> None:
        for each in self._countdowns:
            each.stop()

    def close(self, reason: str) -> None:
        """Stop all renewals and raise an alert for each; the countdowns stay armed."""
        self._closed = reason
        for each in self._countdowns:
            if each.stop():
                each.alert(AlertKind.STOPPED, reason)

    async def _disarm(self) -> None:
        """Disarm all countdowns; raise an alert for each one that may still be armed."""
        failures = [self._closed] * len(self._countdowns)
        if not self._closed:
            failures = await asyncio.gather(*(each.disarm() for each in self._countdowns))
        for each, failure in zip(self._countdowns, failures, strict=True):
            if failure and each.remaining < inf:
                each.alert(AlertKind.NOT_DISARMED, failure)

    def _alert(self, alert: Alert) -> None:
        """Call ``on_alert``, or the event loop's exception handler if there is none."""
        if self._on_alert is not None:
            hooks.call("on_alert", self._on_alert, alert)
            return
        message = f"dead-man switch of {alert.product}: {alert.kind}: {alert.message}"
        asyncio.get_running_loop().call_exception_handler({"message": message})
