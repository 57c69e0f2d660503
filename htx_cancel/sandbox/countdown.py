"""The countdowns: when one ends, the exchange cancels the plain orders of its product.

Rules that we chose where the pages say nothing:

* ``on_off`` is an integer in v1 and a text in v5, else 1067. ``time_out`` is an integer, or a text
  of digits, of at least 5000, else 1067; 5000 if it is missing.
* A countdown that has ended is no longer armed. It cancels only plain orders of its product.
"""

from collections.abc import Mapping
from typing import Any, Literal

from htx_cancel.sandbox.book import Book
from htx_cancel.sandbox.messages import HttpRequest
from htx_cancel.sandbox.parameters import fields_of
from htx_cancel.sandbox.rules import COUNTDOWNS, Interface
from htx_cancel.sandbox.texts import refusal
from htx_cancel.sandbox.windows import milliseconds

#: The unit of ``time_out``. The pages say ``ms``; ``s`` is an exchange that does not follow them.
Unit = Literal["ms", "s"]

_MIN_MS = 5000
_SECONDS: Mapping[Unit, float] = {"ms": 0.001, "s": 1.0}


class Countdowns:
    """The countdowns of an account, by path; ``unit`` may be set at any time."""

    def __init__(self, unit: Unit = "ms") -> None:
        self.unit = unit
        self.ends: dict[str, float] = {}  #: when each armed countdown ends, in epoch seconds

    def execute(
        self, interface: Interface, request: HttpRequest, now: float, clock_offset: float
    ) -> dict[str, Any]:
        """Arm or disarm a countdown; return the reply's data, or raise ``Refused``."""
        fields = fields_of(interface, request)
        number = str if interface.envelope == "v5" else int  # the type of numbers
        on_off = fields.get("on_off")
        if type(on_off) is not number or str(on_off) not in ("0", "1"):
            raise refusal(interface, 1067, "on_off")
        time_out = str(fields.get("time_out") or _MIN_MS)
        if not time_out.isdigit() or int(time_out) < _MIN_MS * 0.001 / _SECONDS[self.unit]:
            raise refusal(interface, 1067, "time_out")
        seconds = int(time_out) * _SECONDS[self.unit] if int(on_off) else 0.0
        self.ends.pop(interface.path, None)
        if seconds:
            self.ends[interface.path] = now + seconds
        clock = now + clock_offset
        ends_at = milliseconds(clock + seconds) if seconds else 0
        return {"current_time": number(milliseconds(clock)), "trigger_time": number(ends_at)}

    def advance(self, book: Book, now: float) -> None:
        """End the countdowns that are due, and cancel their orders."""
        for path, ends_at in list(self.ends.items()):
            if ends_at <= now:
                del self.ends[path]
                book.cancel_open(COUNTDOWNS[path].counts_down, ends_at)
