"""Faults that happen to a request on its way to the exchange, or to its reply.

The book shows whether the exchange executed a request, whatever the client sees. Both
``InProcessTransport`` and ``SandboxServer`` take a ``FaultPlan``; each implements what a fault does
to the connection.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct, structs

from htx_cancel.sandbox.exchange import Exchange, Script
from htx_cancel.sandbox.messages import HttpRequest, HttpResponse

#: How the reply is delivered: whole; not at all, until the client gives up; with a reset; cut, with
#: the connection closed after half of the body; slowly in pieces; or the connection is refused.
Delivery = Literal["whole", "hang", "reset", "cut", "drip", "refused"]


class Fault(Struct, frozen=True):
    """What happens to one request.

    ``executed`` is whether the exchange executes the request; ``seconds`` delay the whole reply.
    The reply is the exchange's own, a refusal with ``code``, or ``reply``. Before the request,
    ``clock`` sets the exchange's clock this many seconds wrong, or right if it is wrong already.
    """

    name: str
    executed: bool = True
    delivery: Delivery = "whole"
    seconds: float = 0.0
    code: int | None = None
    reply: HttpResponse | None = None
    clock: float = 0.0

    def lasting(self, seconds: float) -> "Fault":
        """Return the same fault with another duration."""
        return structs.replace(self, seconds=seconds)


def _page(status: int, words: str) -> HttpResponse:
    body = f"<html><head><title>{words}</title></head><body><h1>{words}</h1></body></html>"
    return HttpResponse(status, {"Content-Type": "text/html"}, body.encode())


def _plain(status: int, body: bytes) -> HttpResponse:
    return HttpResponse(status, {"Content-Type": "text/plain;charset=UTF-8"}, body)


#: Every fault by its name.
FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("late", seconds=30.0),
        Fault("slow", delivery="drip", seconds=1.0),
        Fault("lost_before", executed=False, delivery="hang"),
        Fault("lost_after", delivery="hang"),
        Fault("reset_before", executed=False, delivery="reset"),
        Fault("reset_after", delivery="reset"),
        Fault("cut", delivery="cut"),
        Fault("refused_connection", executed=False, delivery="refused"),
        Fault("html", executed=False, reply=_page(403, "403 Forbidden")),
        Fault("html_after", reply=_page(502, "502 Bad Gateway")),
        Fault("empty", reply=_plain(200, b"")),
        Fault("wrong_json", reply=_plain(200, b'{"success":true,"result":[]}')),
        Fault("http_429", executed=False, reply=_plain(429, b"too many requests")),
        Fault("http_5xx", executed=False, reply=_plain(503, b"Service Unavailable")),
        Fault("busy", executed=False, code=1004),
        Fault("rate", executed=False, code=1032),
        Fault("settling", executed=False, code=1056),
        Fault("system_error", code=1000),
        Fault("wrong_clock", clock=600.0),
    )
}

NO_FAULT = Fault("none")

#: The faults of successive requests; ``None`` for a request without a fault.
Faults = Sequence[str | Fault | None]


class FaultPlan:
    """Decides which fault happens to a request.

    ``script`` has, for an order id or a path, the faults of the successive requests that name it.
    A request that names several takes the next fault of each, and the first of these happens, in
    the order of its ids, its path last. If there is none, a random one of ``kinds`` happens with
    the probability ``share``. ``injected`` counts the faults that happened.
    """

    def __init__(
        self,
        script: Mapping[str, Faults] | None = None,
        *,
        share: float = 0.0,
        seed: int = 0,
        kinds: Sequence[str] = tuple(FAULTS),
    ) -> None:
        self.injected: Counter[str] = Counter()
        self._script = {
            key: iter([_fault(fault) for fault in faults]) for key, faults in (script or {}).items()
        }
        self._share = share
        self._kinds = [FAULTS[name] for name in kinds]
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def next(self, ids: Sequence[str], path: str) -> Fault | None:
        """Return the fault of the next request; ``None`` if it has none."""
        due = [next(self._script[key], None) for key in (*ids, path) if key in self._script]
        fault = next(filter(None, due), None) or self._draw()
        if fault is not None:
            self.injected[fault.name] += 1
        return fault

    def _draw(self) -> Fault | None:
        if self._random.random() >= self._share:
            return None
        return self._random.choice(self._kinds)


def _fault(given: str | Fault | None) -> Fault | None:
    return FAULTS[given] if isinstance(given, str) else given


def respond(
    exchange: Exchange, request: HttpRequest, now: float, fault: Fault
) -> HttpResponse | None:
    """Apply a fault to the exchange; return the reply that it sends, ``None`` if it sends none."""
    if fault.clock:
        exchange.clock_offset = 0.0 if exchange.clock_offset else fault.clock
    if fault.code is not None:
        return exchange.handle(request, now, Script(fault.code, executed=fault.executed))
    own = exchange.handle(request, now) if fault.executed else None
    return fault.reply or own
