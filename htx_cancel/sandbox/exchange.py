"""A local HTX that takes a request and a time, and returns a reply. It has no clock or socket.

The checks come in an order that we chose: path, method, signature, rate limits, parameters. Only a
call with a valid signature charges a budget; a call with wrong parameters charges it, too.
"""

import gzip
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from htx_cancel.sandbox.access import Access
from htx_cancel.sandbox.book import Book
from htx_cancel.sandbox.cancels import cancel
from htx_cancel.sandbox.catalogue import contract
from htx_cancel.sandbox.countdown import Countdowns, Unit
from htx_cancel.sandbox.lifecycle import Lifecycle, Order
from htx_cancel.sandbox.messages import HttpRequest, HttpResponse
from htx_cancel.sandbox.parameters import ids_in, read
from htx_cancel.sandbox.queries import answer
from htx_cancel.sandbox.rules import (
    CATALOGUES,
    PRODUCTS,
    ROUTES,
    TIMESTAMP,
    Interface,
    Limits,
    Rules,
)
from htx_cancel.sandbox.texts import DENIALS, SETTLING, Refused, contract_refusal, refusal
from htx_cancel.sandbox.windows import WindowRule, WindowState, milliseconds

__all__ = ["Book", "Call", "Exchange", "HttpRequest", "HttpResponse", "Order", "Script"]


class Call(Struct, frozen=True):
    """One call in the log.

    ``outcome`` is ``ok`` (executed, whatever became of each order), ``refused`` (there was nothing
    to cancel or to find, or the only order was refused), ``rate``, ``auth``, ``invalid`` or
    ``scripted``. ``code`` is the code of the whole reply, 200 for a success.
    """

    now: float
    path: str
    ids: tuple[str, ...]
    outcome: str
    code: int


class Script(Struct, frozen=True):
    """Refuses an admitted call with ``code``, after executing the call if ``executed`` is set.

    The rate headers of a scripted 1032 describe the call's true window.
    """

    code: int
    executed: bool = False


class Exchange:
    """One account of HTX with its book of orders.

    An accepted cancel takes effect ``cancel_after`` seconds later. ``lost_races`` and
    ``partial_fills`` are the shares of accepted cancels whose order is filled first, wholly or in
    part; ``random`` draws them. ``withdrawn`` paths are answered with 404, as unknown paths are.
    ``interfaces`` replaces the published calls. Lists show what was open ``list_lag`` seconds ago.
    Countdowns read times in ``countdown_unit``.

    ``calls`` counts the calls of each path, ``refused`` the calls that a rate limit refused.
    ``clock_offset`` is how many seconds the exchange's clock is ahead, and ``settling`` holds the
    contracts in settlement; both may be changed at any time.
    """

    def __init__(
        self,
        *,
        access_key: str = "sandbox-access-key",
        secret_key: str = "sandbox-secret-key",  # noqa: S107 - valid only on a sandbox
        window: WindowRule = "first",
        charge_pools: bool = False,
        count_refused: bool = False,
        limits: Limits = True,
        gzip: bool = True,
        keep_log: bool = True,
        cancel_after: float = 0.0,
        lost_races: float = 0.0,
        partial_fills: float = 0.0,
        random: Callable[[], float] | None = None,
        clock_offset: float = 0.0,
        withdrawn: Collection[str] = (),
        interfaces: Mapping[str, Interface] = ROUTES,
        list_lag: float = 0.0,
        countdown_unit: Unit = "ms",
    ) -> None:
        self.book = Book(Lifecycle(cancel_after, lost_races, partial_fills, random), list_lag)
        self.countdowns = Countdowns(countdown_unit)
        self.clock_offset = clock_offset
        self.settling: set[str] = set()
        self.log: list[Call] = []
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._access = Access(access_key, secret_key)
        self._rules = Rules(
            window=window, charge_pools=charge_pools, count_refused=count_refused, limits=limits
        )
        self._routes = {path: row for path, row in interfaces.items() if path not in withdrawn}
        self._gzip = gzip
        self._keep_log = keep_log

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        """Answer a request that arrives at ``now``, in epoch seconds."""
        self.advance(now)
        clock = now + self.clock_offset
        path = request.path
        interface = self._routes.get(path)
        if interface is None and path != TIMESTAMP and path not in CATALOGUES:
            return _framework_error(404, "Not Found", path, clock)
        if request.method != ("GET" if interface is None else interface.method):
            return _framework_error(405, "Method Not Allowed", path, clock)
        self.calls[path] += 1
        if interface is None:
            return self._reply(request, self._public_content(path, clock), None)
        return self._answer(interface, request, now, script)

    def advance(self, now: float) -> None:
        """Apply the accepted cancels that are due, and the countdowns that have ended."""
        self.countdowns.advance(self.book, now)
        self.book.advance(now)

    def _public_content(self, path: str, clock: float) -> dict[str, Any]:
        content = {"status": "ok", "ts": milliseconds(clock)}
        if path in CATALOGUES:
            product = CATALOGUES[path]
            content["data"] = [
                contract(product, code) for code in sorted(self.book.contracts(product))
            ]
        return content

    def _answer(
        self, interface: Interface, request: HttpRequest, now: float, script: Script | None
    ) -> HttpResponse:
        clock = now + self.clock_offset
        window = None
        try:
            self._check_access(interface, request, clock)
            window = self._rules.admit(interface.path, now)
            self._check_window(interface, window)
            data = self._follow_script(interface, request, now, script)
        except Refused as refused:
            self._log_call(now, request, refused.outcome, int(refused.code))
            content = _envelope(interface, refused.code, refused.text, None, clock)
        else:
            self._log_call(now, request, "ok", 200)
            content = _envelope(interface, 200, "Success", data, clock)
        return self._reply(request, content, window)

    def _check_access(self, interface: Interface, request: HttpRequest, clock: float) -> None:
        denial = self._access.denial(request.method, request.host, request.target, clock)
        if denial is not None:
            raise Refused(*DENIALS[interface.envelope][denial], outcome="auth")

    def _check_window(self, interface: Interface, window: WindowState | None) -> None:
        if window is not None and not window.admitted:
            self.refused[interface.path] += 1
            raise refusal(interface, 1032, outcome="rate")

    def _follow_script(
        self, interface: Interface, request: HttpRequest, now: float, script: Script | None
    ) -> object:
        if script is None:
            return self._execute(interface, request, now)
        if script.executed:
            with suppress(Refused):
                self._execute(interface, request, now)
        raise refusal(interface, script.code, outcome="scripted")

    def _execute(self, interface: Interface, request: HttpRequest, now: float) -> object:
        if interface.counts_down:
            return self.countdowns.execute(interface, request, now, self.clock_offset)
        parameters = read(interface, request)
        if not self.book.knows_contract(PRODUCTS[interface.kind], parameters.contract_code):
            raise contract_refusal(interface, given=True)
        if interface.reads:
            return answer(self.book, interface, parameters)
        if parameters.contract_code in self.settling:
            raise refusal(interface, SETTLING, outcome="refused")
        return cancel(self.book, interface, parameters, now)

    def _log_call(self, now: float, request: HttpRequest, outcome: str, code: int) -> None:
        if self._keep_log:
            self.log.append(Call(now, request.path, ids_in(request), outcome, code))

    def _reply(
        self, request: HttpRequest, content: dict[str, Any], window: WindowState | None
    ) -> HttpResponse:
        headers = {"Content-Type": "text/plain;charset=UTF-8"}
        if window is not None:
            headers |= _rate_headers(window, milliseconds(self.clock_offset))
        body = msgspec.json.encode(content)
        if self._gzip and "gzip" in request.header("accept-encoding"):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1, mtime=0)
        return HttpResponse(200, headers, body)


def _envelope(
    interface: Interface, code: int | str, message: str, data: object, clock: float
) -> dict[str, Any]:
    ts = milliseconds(clock)
    if interface.envelope == "v5":
        common = {"code": code, "message": message, "data": data, "args": None, "ts": ts}
        return common | {"unknownException": False}
    if code != 200:
        return {"status": "error", "err_code": code, "err_msg": message, "ts": ts}
    if interface.counts_down:
        return {"code": 200, "msg": "success", "data": data, "ts": ts}
    return {"status": "ok", "data": data, "ts": ts}


def _rate_headers(window: WindowState, ahead_ms: int) -> dict[str, str]:
    return {
        "ratelimit-limit": str(window.limit),
        "ratelimit-interval": str(window.interval_ms),
        "ratelimit-remaining": str(window.remaining),
        "ratelimit-reset": str(window.reset_ms + ahead_ms),
    }


def _framework_error(status: int, error: str, path: str, clock: float) -> HttpResponse:
    """Return the error of HTX's web framework for a request that matches no call."""
    stamp = datetime.fromtimestamp(clock, UTC).isoformat(timespec="milliseconds")
    content = {"timestamp": stamp, "status": status, "error": error, "path": path}
    return HttpResponse(status, {"Content-Type": "application/json"}, msgspec.json.encode(content))
