"""A local HTX for tests and measurements.

It answers the calls that cancel and query orders, with HTX's signatures, rate limits, codes and
reply shapes, which were read from HTX's pages independently of the client's table. ``Exchange`` is
pure: it takes a request and a time, and returns a reply. ``InProcessTransport`` and
``SandboxServer`` connect clients to an exchange, a ``FaultPlan`` injects faults, and a ``Book``
holds the true state of every ``Order``.
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
