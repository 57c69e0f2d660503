"""A local HTX: a request and a time in, a reply out; it reads no clock and opens no socket.

The order of its checks is a choice: path, method, signature, rate windows, parameters. Only a
call that is signed well charges a window; one with wrong parameters charges it too.
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
from htx_cancel.sandbox.parameters import asked, read
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
    """One signed call in the log.

    ``outcome`` is ``ok`` (carried out, whatever became of each order), ``refused`` (nothing to
    cancel or to find, or the one order named was not), ``rate``, ``auth``, ``invalid`` or
    ``scripted``; ``code`` is the code of the whole reply, 200 if that is a success.
    """

    now: float
    path: str
    ids: tuple[str, ...]
    outcome: str
    code: int


class Script(Struct, frozen=True):
    """How a call that would be let in is refused; ``executed`` if it is carried out all the same.

    The rate headers of a scripted 1032 are those of the call's true window.
    """

    code: int
    executed: bool = False


class Exchange:
    """One account of HTX with its book of orders.

    ``calls`` counts the calls of each path, ``refused`` those that a rate limit refused. An
    accepted cancel takes effect ``cancel_after`` seconds later; ``lost_races`` and
    ``partial_fills`` are the shares of them before which the order was filled, wholly or in part,
    drawn by ``random``. ``clock_offset`` is how many seconds the exchange's clock is ahead; it may
    be set at any time, and so may ``settling``, the contracts that are in settlement. ``withdrawn``
    are the paths that it has no more: they are answered as unknown ones, with 404. ``interfaces``
    are its calls by path, where some are to differ from the published ones. Its lists show what was
    open ``list_lag`` seconds ago. Its ``countdowns`` take times to be of ``countdown_unit``.
    """

    def __init__(
        self,
        *,
        access_key: str = "sandbox-access-key",
        secret_key: str = "sandbox-secret-key",  # noqa: S107 - opens nothing but a sandbox
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
        """Answer one request that arrives at ``now``, in epoch seconds, as scripted if it is."""
        self.advance(now)
        told = now + self.clock_offset
        path = request.path
        interface = self._routes.get(path)
        if interface is None and path != TIMESTAMP and path not in CATALOGUES:
            return _astray(404, "Not Found", path, told)
        if request.method != ("GET" if interface is None else interface.method):
            return _astray(405, "Method Not Allowed", path, told)
        self.calls[path] += 1
        if interface is None:
            content = {"status": "ok", "ts": milliseconds(told)}
            if path in CATALOGUES:
                product = CATALOGUES[path]
                content["data"] = [contract(product, it) for it in self.book.contracts(product)]
            return self._reply(request, content, None)
        return self._answer(interface, request, now, script)

    def advance(self, now: float) -> None:
        """Let everything happen that is due: accepted cancels, and countdowns that end."""
        self.countdowns.advance(self.book, now)
        self.book.advance(now)

    def _answer(
        self, interface: Interface, request: HttpRequest, now: float, script: Script | None
    ) -> HttpResponse:
        told = now + self.clock_offset
        window = None
        try:
            self._check_access(interface, request, told)
            window = self._rules.admit(interface.path, now)
            self._check_window(interface, window)
            data = self._carry_out(interface, request, now, script)
        except Refused as refused:
            self._note(now, request, refused.outcome, int(refused.code))
            content = _failure(interface, refused, told)
        else:
            self._note(now, request, "ok", 200)
            content = _success(interface, data, told)
        return self._reply(request, content, window)

    def _check_access(self, interface: Interface, request: HttpRequest, told: float) -> None:
        denial = self._access.denial(request.method, request.host, request.target, told)
        if denial is not None:
            raise Refused(*DENIALS[interface.envelope][denial], outcome="auth")

    def _check_window(self, interface: Interface, window: WindowState | None) -> None:
        if window is not None and not window.admitted:
            self.refused[interface.path] += 1
            raise refusal(interface, 1032, outcome="rate")

    def _carry_out(
        self, interface: Interface, request: HttpRequest, now: float, script: Script | None
    ) -> object:
        if script is None:
            return self._act(interface, request, now)
        if script.executed:
            with suppress(Refused):
                self._act(interface, request, now)
        raise refusal(interface, script.code, outcome="scripted")

    def _act(self, interface: Interface, request: HttpRequest, now: float) -> object:
        if interface.counts_down:
            return self.countdowns.take(interface, request, now, self.clock_offset)
        wanted = read(interface, request)
        if not self.book.lists(PRODUCTS[interface.kind], wanted.contract_code):
            raise contract_refusal(interface, given=True)
        if interface.reads:
            return answer(self.book, interface, wanted)
        if wanted.contract_code in self.settling:
            raise refusal(interface, SETTLING, outcome="refused")
        return cancel(self.book, interface, wanted, now)

    def _note(self, now: float, request: HttpRequest, outcome: str, code: int) -> None:
        if self._keep_log:
            self.log.append(Call(now, request.path, asked(request), outcome, code))

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


def _success(interface: Interface, data: object, now: float) -> dict[str, Any]:
    ts = milliseconds(now)
    if interface.envelope == "v5":
        return _in_v5(200, "Success", data, ts)
    if interface.counts_down:
        return {"code": 200, "msg": "success", "data": data, "ts": ts}
    return {"status": "ok", "data": data, "ts": ts}


def _failure(interface: Interface, refused: Refused, now: float) -> dict[str, Any]:
    ts = milliseconds(now)
    if interface.envelope == "v5":
        return _in_v5(refused.code, refused.text, None, ts)
    return {"status": "error", "err_code": refused.code, "err_msg": refused.text, "ts": ts}


def _in_v5(code: int | str, message: str, data: object, ts: int) -> dict[str, Any]:
    return {
        "code": code,
        "message": message,
        "data": data,
        "args": None,
        "ts": ts,
        "unknownException": False,
    }


def _rate_headers(window: WindowState, ahead_ms: int) -> dict[str, str]:
    return {
        "ratelimit-limit": str(window.limit),
        "ratelimit-interval": str(window.interval_ms),
        "ratelimit-remaining": str(window.remaining),
        "ratelimit-reset": str(window.reset_ms + ahead_ms),
    }


def _astray(status: int, error: str, path: str, now: float) -> HttpResponse:
    """Answer a request that reaches no interface, as the web framework in front of them does."""
    stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    content = {"timestamp": stamp, "status": status, "error": error, "path": path}
    return HttpResponse(status, {"Content-Type": "application/json"}, msgspec.json.encode(content))
