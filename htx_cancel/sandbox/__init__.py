"""A local HTX to test and to measure against.

It answers the cancel interfaces, and those that tell what became of orders, with their
signatures, limits, codes and reply shapes, read from HTX's pages a second time and independently
of the client. ``Exchange`` is pure (a request and a time in, a reply out); ``InProcessTransport``
and ``SandboxServer`` are the two ways to it; a ``FaultPlan`` makes trouble on them; ``Book`` knows
the truth about every ``Order``.
"""

from htx_cancel.sandbox.exchange import Book, Exchange, Order
from htx_cancel.sandbox.faults import FAULTS, Fault, FaultPlan
from htx_cancel.sandbox.inprocess import InProcessTransport
from htx_cancel.sandbox.server import SandboxServer

__all__ = [
    "FAULTS",
    "Book",
    "Exchange",
    "Fault",
    "FaultPlan",
    "InProcessTransport",
    "Order",
    "SandboxServer",
]
