"""``DeadManSwitch``: the exchange's countdowns, kept from ending as long as this process lives.

Rules:

* A countdown is believed to end as early as it can: so long after its last confirmed renewal was
  sent as was asked for, or as the exchange's reply says if that is less. A renewal without an
  answer changes nothing; an arming without one may have armed it.
* It is renewed every quarter of its length, and once a second while that fails.
* A reply that names another time than was asked for has not armed it. One that names a thousand
  times as long shows that the exchange counts in seconds: it is sent again at once in these.
* An exception, or the end of the task, leaves it armed.
"""

import asyncio
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from math import inf
from types import TracebackType
from typing import Self

from msgspec import Struct

from htx_cancel import hooks
from htx_cancel.attempt import CallContext, Sender
from htx_cancel.batch import Batch
from htx_cancel.endpoints import COUNTDOWNS, Countdown
from htx_cancel.errors import NotArmedError
from htx_cancel.limits.permit import Priority
from htx_cancel.retry import RETRY, RetryAction
from htx_cancel.status import STATUS, CancelStatus, Finding
from htx_cancel.wire import countdown
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.countdown import OFF, CountdownReply
from htx_cancel.wire.envelope import AttemptResult

SHORTEST = 5.0  #: seconds of a countdown, by the exchange's pages
QUARTERS = 4  #: renewals in the length of a countdown
TOLERANCE = 1.0  #: seconds by which a reply may name another time than was asked for
EARLY = 0.001  #: seconds by which a timer of an event loop may come too soon
AGAIN = 1.0  #: seconds between two renewals that fail
DISARM_WITHIN = 5.0  #: seconds that a clean exit may take

MILLISECONDS = 0.001  #: the unit of the exchange's pages
SECONDS = 1.0  #: the unit of an exchange that misreads these
WRONG_TYPE = 1067  #: the code of a field of another type than the exchange wants

_NOT_ASKED = Finding(Meaning.NOT_SENT, None, "it could not be sent in time")


class AlertKind(StrEnum):
    """What is wrong with a countdown."""

    LATE = "late"
    """No renewal was confirmed for half of its length; and again for three quarters."""
    EXPIRED = "expired"
    """It may have ended: the exchange may have cancelled the orders. It is renewed all the same."""
    FAILED = "failed"
    """A renewal failed, or its reply does not say that it counts as long as was asked."""
    WRONG_UNIT = "wrong_unit"
    """The exchange counted seconds instead of milliseconds; it is sent in seconds from now on."""
    NOT_DISARMED = "not_disarmed"
    """A clean exit could not disarm it, and ``remaining`` seconds later it may end."""
    STOPPED = "stopped"
    """The client was closed: it is not renewed any more, and may end."""


class Alert(Struct, frozen=True):
    """One thing that is wrong with one product's countdown.

    Args:
        product: the product, such as ``usdt_m``.
        kind: what is wrong.
        message: the same for people, with the exchange's code and words where it gave any.
        remaining: seconds until the countdown can end, as far as it is confirmed.
    """

    product: str
    kind: AlertKind
    message: str
    remaining: float


OnAlert = Callable[[Alert], object]


class CountdownBatch(Batch):
    """One request that arms, renews or disarms a countdown."""

    def __init__(self, one: "ProductCountdown", seconds: float) -> None:
        super().__init__(one.row.path)
        self.reply = CountdownReply(_NOT_ASKED)
        self.sent_at = 0.0  #: loop time of the last attempt
        self.unit = one.unit
        self.uncertain = False  #: whether an attempt may have armed it, though no reply says so
        self._one = one
        self._seconds = seconds

    def begin(self, now: float) -> None:
        """Begin an attempt."""
        super().begin(now)
        self.sent_at = now

    def body(self) -> bytes:
        """Return its body."""
        return countdown.encode(self._seconds, unit=self.unit, as_text=self._one.as_text)

    def read(self, status: int, body: bytes) -> AttemptResult:
        """Read a reply."""
        return countdown.decode(status, body, self._one.row)

    def take(self, answer: AttemptResult) -> RetryAction:
        """Take what an attempt said; the other type of ``on_off`` is tried once."""
        self.reply = answer if isinstance(answer, CountdownReply) else CountdownReply(answer.whole)
        self.uncertain |= STATUS[answer.whole.meaning][0] is CancelStatus.UNKNOWN
        if answer.whole.code == WRONG_TYPE and not self._one.settled:
            self._one.settled, self._one.as_text = True, not self._one.as_text
            return RetryAction.WAIT_FOR_BUDGET
        return self._one_of({RETRY[answer.whole.meaning]} - {RetryAction.STOP}, answer)


class ProductCountdown:
    """The countdown of one product, and what is known of it."""

    def __init__(self, product: str, seconds: float, sender: Sender, tell: OnAlert) -> None:
        self.product = product
        self.row: Countdown = COUNTDOWNS[product]
        self.as_text = self.row.as_text
        self.settled = False  #: whether no other type of ``on_off`` is to be tried
        self.unit = MILLISECONDS
        self.ends_at = inf  #: loop time at which it can end, as far as that is confirmed
        self._seconds = seconds
        self._sender = sender
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._told = ""  # the last failure that was told of, since it was renewed
        self._call: CallContext | None = None
        self._batch: CountdownBatch | None = None  # under way
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def quarter(self) -> float:
        """Seconds between two renewals."""
        return self._seconds / QUARTERS

    @property
    def remaining(self) -> float:
        """Seconds until it can end."""
        return max(self.ends_at - self._loop.time(), 0.0)

    def alert(self, kind: AlertKind, message: str) -> None:
        """Tell what is wrong."""
        self._tell(Alert(self.product, kind, message, self.remaining))

    async def arm(self) -> str:
        """Arm or renew it; return why it is not armed as it was asked to, ``""`` if it is."""
        batch = await self._arm_once()
        if _names(batch, 1000 * self._seconds, 1000 * TOLERANCE) and self.unit == MILLISECONDS:
            self.unit = SECONDS
            words = f"it counted {batch.reply.seconds:g} s: the exchange counts in seconds"
            self.alert(AlertKind.WRONG_UNIT, words)
            batch = await self._arm_once()
        if not _names(batch, self._seconds, TOLERANCE):
            return self._why(batch.reply, self._seconds)
        self.ends_at = batch.sent_at + min(batch.reply.seconds, self._seconds)
        self._told = ""
        self._watch_over(batch.sent_at + 2 * self.quarter)
        return ""

    async def _arm_once(self) -> CountdownBatch:
        """Send it; believe that it ends sooner if that may have made it so."""
        batch = await self._send(self._seconds, within=self.quarter)
        ends = [self.ends_at]
        if batch.reply.whole.meaning is Meaning.ACCEPTED:
            ends.append(batch.sent_at + (batch.reply.seconds or SHORTEST))
        if batch.uncertain:
            ends.append(batch.began + self._seconds)
        self.ends_at = min(ends)
        if self._watch is not None and self.ends_at < ends[0]:
            self._watch_over(self.ends_at)
        return batch

    def keep(self) -> None:
        """Begin to renew it."""
        self._task = self._loop.create_task(self._keep())

    async def _keep(self) -> None:
        """Renew it until it is stopped, whatever fails."""
        while not self._stopped:
            renewed_at = self.ends_at - self._seconds
            await asyncio.sleep(renewed_at + self.quarter - self._loop.time())
            while not self._stopped and (why := await self._renew()):
                self._tell_once(why)
                await asyncio.sleep(AGAIN)

    async def _renew(self) -> str:
        """Renew it; a failure of our own is one as well."""
        try:
            return await self.arm()
        except Exception as error:  # noqa: BLE001 - a bug of ours may not end the renewals
            hooks.report("a countdown could not be renewed", error)
            return f"{type(error).__name__} was raised"

    async def disarm(self) -> str:
        """Disarm it; return why that is not certain, ``""`` if it is.

        A renewal that is under way may land before, so that it cannot come after the disarming.
        """
        began = self._loop.time()
        self._stopped = True
        if self._call is not None:
            self._call.stopped = "it is to be disarmed"
        if self._task is not None and self._batch is not None and self._batch.in_flight:
            await asyncio.wait({self._task}, timeout=DISARM_WITHIN / 2)
        self.stop()
        batch = await self._send(OFF, within=began + DISARM_WITHIN - self._loop.time())
        if batch.reply.whole.meaning is Meaning.ACCEPTED and not batch.reply.seconds:
            self.ends_at = inf
            return ""
        return self._why(batch.reply, OFF)

    def stop(self) -> bool:
        """Renew it no longer, and do not watch over it; say whether it was renewed before."""
        self._stopped = True
        if self._watch is not None:
            self._watch.cancel()
        return self._task is not None and self._task.cancel()

    async def ended(self) -> None:
        """Wait until nothing is renewed any more."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=DISARM_WITHIN)

    async def _send(self, seconds: float, *, within: float) -> CountdownBatch:
        """Send one request of it; try it again until ``within`` seconds are over."""
        deadline = self._loop.time() + within
        self._call = call = self._sender.call_context((self.row.pool,), Priority.URGENT, deadline)
        batch = CountdownBatch(self, seconds)
        permit = await self._sender.permit(call)
        if permit is not None:
            self._batch = batch
            await self._sender.run(batch, permit, call)
        return batch

    def _why(self, reply: CountdownReply, asked: float) -> str:
        """Say why a reply did not do what was asked."""
        whole = reply.whole
        if whole.meaning is Meaning.ACCEPTED:
            counts = f"counts {reply.seconds:g} s" if reply.seconds else "does not say how long"
            return f"the exchange {counts}, asked for {asked:g} s"
        return " ".join(filter(None, [str(whole.code or ""), whole.message]))

    def _tell_once(self, failure: str) -> None:
        """Alert of a failure, unless it is the same as the last time."""
        if self._told != failure and not self._stopped:
            self._told = failure
            self.alert(AlertKind.FAILED, failure)

    def _watch_over(self, when: float) -> None:
        """Alert at a time if it was not renewed by then."""
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_at(when, self._late, when)

    def _late(self, when: float) -> None:
        if self.remaining <= EARLY:
            self.alert(AlertKind.EXPIRED, "the exchange may have cancelled the orders")
            return
        ago = self._seconds - self.remaining
        self.alert(AlertKind.LATE, f"the last confirmed renewal was {ago:.3g} s ago")
        self._watch_over(min(when + self.quarter, self.ends_at))


class DeadManSwitch:
    """Keeps the exchange's countdowns from ending; made by ``CancelClient.dead_man_switch``.

    An async context manager. Entering it raises ``NotArmedError`` unless every countdown was
    confirmed within a quarter of its length; those that were are disarmed again then.
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
        rows = {COUNTDOWNS[product].path: product for product in reversed(list(products))}
        self._products = sorted(rows.values(), key=list(COUNTDOWNS).index)
        self._seconds = seconds
        self._sender = sender
        self._on_alert = on_alert
        self._check_open = check_open
        self._all: list[ProductCountdown] = []
        self._closed = ""  # why, once it is

    def __repr__(self) -> str:
        return f"<DeadManSwitch of {', '.join(self._products)}: {self.remaining:.1f} s remaining>"

    @property
    def remaining(self) -> float:
        """Seconds until the first of its countdowns can end, as far as it is confirmed.

        0 if one may have ended, and ``inf`` while none is armed.
        """
        return min((one.remaining for one in self._all), default=inf)

    @property
    def countdowns(self) -> dict[str, float]:
        """The same for each product."""
        return {one.product: one.remaining for one in self._all}

    async def __aenter__(self) -> Self:
        self._check_open()
        make = partial(
            ProductCountdown, seconds=self._seconds, sender=self._sender, tell=self._alert
        )
        self._all = list(map(make, self._products))
        try:
            await self._arm()
        except BaseException:
            self._stop()
            raise
        for one in self._all:
            one.keep()
        return self

    async def _arm(self) -> None:
        """Arm all, or disarm those that are armed and raise."""
        why = await asyncio.gather(*(one.arm() for one in self._all))
        if self._closed:
            why = [self._closed] * len(self._all)
        if any(why):
            await self._disarm()
            failed = zip(self._products, why, strict=True)
            words = "; ".join(f"{product}: {each}" for product, each in failed if each)
            raise NotArmedError(f"not armed: {words}")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self._disarm()
        finally:
            self._stop()
            for one in self._all:
                await one.ended()

    def _stop(self) -> None:
        """Renew nothing any more."""
        for one in self._all:
            one.stop()

    def close(self, why: str) -> None:
        """Renew nothing any more; the countdowns stay armed."""
        self._closed = why
        for one in self._all:
            if one.stop():
                one.alert(AlertKind.STOPPED, why)

    async def _disarm(self) -> None:
        """Disarm all; alert of those of which it is not certain."""
        why = [self._closed] * len(self._all)
        if not self._closed:
            why = await asyncio.gather(*(one.disarm() for one in self._all))
        for one, words in zip(self._all, why, strict=True):
            if words and one.remaining < inf:
                one.alert(AlertKind.NOT_DISARMED, words)

    def _alert(self, alert: Alert) -> None:
        """Tell the hook, or the loop's exception handler where there is none."""
        if self._on_alert is not None:
            hooks.call("on_alert", self._on_alert, alert)
            return
        words = f"dead-man switch of {alert.product}: {alert.kind}: {alert.message}"
        asyncio.get_running_loop().call_exception_handler({"message": words})


def _names(batch: CountdownBatch, seconds: float, tolerance: float) -> bool:
    """Say whether a reply confirms a countdown of about so many seconds."""
    accepted = batch.reply.whole.meaning is Meaning.ACCEPTED
    return accepted and abs(batch.reply.seconds - seconds) <= tolerance
