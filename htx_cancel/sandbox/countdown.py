"""The countdowns at whose end the exchange cancels the orders of a product.

Rules, where the pages are silent:

* ``on_off`` is a whole number in v1 and a text in v5, else 1067. ``time_out`` is a whole number, or
  a text of digits, of at least 5000, else 1067; 5000 if it is missing.
* A countdown that ended is armed no more. Only plain orders go, and only those of its product.
"""

from collections.abc import Mapping
from typing import Any, Literal

from htx_cancel.sandbox.book import Book
from htx_cancel.sandbox.messages import HttpRequest
from htx_cancel.sandbox.parameters import fields_of
from htx_cancel.sandbox.rules import COUNTDOWNS, Interface
from htx_cancel.sandbox.texts import refusal
from htx_cancel.sandbox.windows import milliseconds

#: What the exchange takes ``time_out`` for: ``s`` is that of one that misreads its own pages.
Unit = Literal["ms", "s"]

_LEAST = 5000
_SECONDS: Mapping[Unit, float] = {"ms": 0.001, "s": 1.0}


class Countdowns:
    """The countdowns of an account, by path; ``unit`` may be set at any time."""

    def __init__(self, unit: Unit = "ms") -> None:
        self.unit = unit
        self.ends: dict[str, float] = {}  #: when each that is armed ends, in epoch seconds

    def take(
        self, interface: Interface, request: HttpRequest, now: float, ahead: float
    ) -> dict[str, Any]:
        """Arm or disarm one; return what is told, by a clock that is ``ahead``."""
        fields = fields_of(interface, request)
        kind = str if interface.envelope == "v5" else int
        given = fields.get("on_off")
        if type(given) is not kind or str(given) not in ("0", "1"):
            raise refusal(interface, 1067, "on_off")
        time_out = str(fields.get("time_out") or _LEAST)
        least = _LEAST * 0.001 / _SECONDS[self.unit]
        if not time_out.isdigit() or int(time_out) < least:
            raise refusal(interface, 1067, "time_out")
        seconds = int(time_out) * _SECONDS[self.unit] if int(given) else 0.0
        self.ends.pop(interface.path, None)
        if seconds:
            self.ends[interface.path] = now + seconds
        told = {
            "current_time": milliseconds(now + ahead),
            "trigger_time": milliseconds(now + ahead + seconds) if seconds else 0,
        }
        return {name: str(it) if kind is str else it for name, it in told.items()}

    def advance(self, book: Book, now: float) -> None:
        """Let those end that are due, in their order, and the orders go that they are about."""
        for path, ends_at in sorted(self.ends.items(), key=lambda each: each[1]):
            if ends_at <= now:
                del self.ends[path]
                book.sweep(COUNTDOWNS[path].counts_down, ends_at)
