"""A local HTX: a request and a time in, a reply out; it reads no clock and opens no socket.

The order of its checks is a choice: path, method, signature, rate windows, parameters. Only a
call that is signed well charges a window; one with wrong parameters charges it too.
"""

import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from htx_cancel.sandbox.access import Access
from htx_cancel.sandbox.book import Book, Order
from htx_cancel.sandbox.parameters import Wanted, asked, read
from htx_cancel.sandbox.rules import (
    INTERFACES,
    PRODUCTS,
    Interface,
    Limits,
    Rules,
)
from htx_cancel.sandbox.windows import WindowRule, WindowState, milliseconds
from htx_cancel.sandbox.words import DENIALS, NOT_FOUND, Refused, contract_refusal, refusal, text

__all__ = ["Book", "Call", "Exchange", "HttpRequest", "HttpResponse", "Order"]


class HttpRequest(Struct, frozen=True):
    """A request as it came in: ``target`` is the raw path and query, ``host`` the Host header."""

    method: str
    host: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<HttpRequest {self.method} {self.host}{self.target.partition('?')[0]}>"


class HttpResponse(Struct, frozen=True):
    """A reply as it goes out, its body already in the encoding that its headers name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Call(Struct, frozen=True):
    """One call in the log.

    ``outcome`` is ``ok`` (carried out, whatever became of each order), ``refused`` (nothing to
    cancel, or the one order named was not), ``rate``, ``auth`` or ``invalid``; ``code`` is the
    code of the whole reply, 200 if that is a success.
    """

    now: float
    path: str
    ids: tuple[str, ...]
    outcome: str
    code: int


class Exchange:
    """One account of HTX with its book of orders.

    ``calls`` counts the calls of each path, ``refused`` those that a rate limit refused.
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
    ) -> None:
        self.book = Book()
        self.log: list[Call] = []
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._access = Access(access_key, secret_key)
        self._rules = Rules(
            window=window, charge_pools=charge_pools, count_refused=count_refused, limits=limits
        )
        self._gzip = gzip
        self._keep_log = keep_log

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one request that arrives at ``now``, in epoch seconds."""
        path = request.target.partition("?")[0]
        interface = INTERFACES.get(path)
        if interface is None:
            return _astray(404, "Not Found", path, now)
        if request.method != "POST":
            return _astray(405, "Method Not Allowed", path, now)
        self.calls[path] += 1
        window = None
        try:
            self._check_access(interface, request, now)
            window = self._rules.admit(path, now)
            data = self._carry_out(interface, request.body, window)
        except Refused as refused:
            self._note(now, request, path, refused.outcome, int(refused.code))
            content = _failure(interface, refused, now)
        else:
            self._note(now, request, path, "ok", 200)
            content = _success(interface, data, now)
        return self._reply(request, content, window)

    def _check_access(self, interface: Interface, request: HttpRequest, now: float) -> None:
        denial = self._access.denial(request.method, request.host, request.target, now)
        if denial is not None:
            raise Refused(*DENIALS[interface.envelope][denial], outcome="auth")

    def _carry_out(
        self, interface: Interface, body: bytes, window: WindowState | None
    ) -> dict[str, Any]:
        if window is not None and not window.admitted:
            self.refused[interface.path] += 1
            raise refusal(interface, 1032, outcome="rate")
        wanted = read(interface, body)
        if not self.book.lists(PRODUCTS[interface.kind], wanted.contract_code):
            raise contract_refusal(interface, given=True)
        if interface.max_ids == 0:
            return self._cancel_all(interface, wanted)
        if interface.max_ids == 1:
            return self._cancel_one(interface, wanted)
        return self._cancel_list(interface, wanted)

    def _cancel_list(self, interface: Interface, wanted: Wanted) -> dict[str, Any]:
        orders = [(given_id, self._find(interface, wanted, given_id)) for given_id in wanted.ids]
        return self._cancel(interface, wanted, orders)

    def _cancel_all(self, interface: Interface, wanted: Wanted) -> dict[str, Any]:
        orders: list[tuple[str, Order | None]] = [
            (order.order_id, order)
            for order in self.book.open(interface.kind, wanted.contract_code)
            if all(getattr(order, name) == word for name, word in wanted.chosen.items())
        ]
        if not orders:
            raise refusal(interface, 1051, outcome="refused")
        return self._cancel(interface, wanted, orders)

    def _cancel_one(self, interface: Interface, wanted: Wanted) -> dict[str, Any]:
        order = self._find(interface, wanted, wanted.ids[0])
        code = self.book.cancel(order)
        if order is None or code is not None:
            words = (wanted.contract_code, "API")
            raise refusal(interface, code or NOT_FOUND, *words, outcome="refused")
        return {"order_id": order.order_id, "client_order_id": order.client_order_id or ""}

    def _find(self, interface: Interface, wanted: Wanted, given_id: str) -> Order | None:
        return self.book.find(
            interface.kind, wanted.contract_code, given_id, by_client_id=wanted.by_client_id
        )

    def _cancel(
        self, interface: Interface, wanted: Wanted, orders: Sequence[tuple[str, Order | None]]
    ) -> dict[str, Any]:
        """Cancel orders one by one; each is named by the id with which it was asked for."""
        codes = [(given_id, self.book.cancel(order)) for given_id, order in orders]
        errors = [
            {
                "order_id": given_id,
                "err_code": code,
                "err_msg": text(interface.envelope, code, wanted.contract_code, "API"),
            }
            for given_id, code in codes
            if code is not None
        ]
        successes = ",".join(given_id for given_id, code in codes if code is None)
        return {"errors": errors, "successes": successes}

    def _note(self, now: float, request: HttpRequest, path: str, outcome: str, code: int) -> None:
        if self._keep_log:
            self.log.append(Call(now, path, asked(request.body), outcome, code))

    def _reply(
        self, request: HttpRequest, content: dict[str, Any], window: WindowState | None
    ) -> HttpResponse:
        headers = {"Content-Type": "text/plain;charset=UTF-8"}
        if window is not None:
            headers |= _rate_headers(window)
        body = msgspec.json.encode(content)
        if self._gzip and "gzip" in _header(request, "accept-encoding"):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1, mtime=0)
        return HttpResponse(200, headers, body)


def _success(interface: Interface, data: dict[str, Any], now: float) -> dict[str, Any]:
    ts = milliseconds(now)
    if interface.envelope == "v5":
        return {"code": 200, "message": "Success", "data": data, "ts": ts}
    return {"status": "ok", "data": data, "ts": ts}


def _failure(interface: Interface, refused: Refused, now: float) -> dict[str, Any]:
    ts = milliseconds(now)
    if interface.envelope == "v5":
        return {"code": refused.code, "message": refused.text, "data": None, "ts": ts}
    return {"status": "error", "err_code": refused.code, "err_msg": refused.text, "ts": ts}


def _rate_headers(window: WindowState) -> dict[str, str]:
    return {
        "ratelimit-limit": str(window.limit),
        "ratelimit-interval": str(window.interval_ms),
        "ratelimit-remaining": str(window.remaining),
        "ratelimit-reset": str(window.reset_ms),
    }


def _header(request: HttpRequest, name: str) -> str:
    return next((value for key, value in request.headers.items() if key.lower() == name), "")


def _astray(status: int, error: str, path: str, now: float) -> HttpResponse:
    """Answer a request that reaches no interface, as the web framework in front of them does."""
    stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    content = {"timestamp": stamp, "status": status, "error": error, "path": path}
    return HttpResponse(status, {"Content-Type": "application/json"}, msgspec.json.encode(content))
