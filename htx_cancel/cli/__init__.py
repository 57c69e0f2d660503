"""The command line, over the public API only.

::

    files ─▶ input_file ─▶ groups ─▶ run, demo ─▶ results ─▶ output
                                         └─▶ progress, summary, tables
    scope ─▶ listing ─▶ everything, drill ─▶ panic
         └─▶ guard

``commands`` and ``account`` are what a user types: the former name orders, the latter are about all
that is open; ``shell`` is what they share. ``files`` opens what is named, ``input_file`` reads
orders, ``groups`` is what one call cancels, ``results`` are lines of JSON, which ``output`` writes;
``progress`` shows a run, ``summary`` and ``tables`` say how it ended. ``scope`` is some products,
kinds and contracts, ``listing`` lists them, ``everything`` cancels them, ``panic`` shows how far
that is, and ``drill`` is the demo's end. ``guard`` holds the dead-man switch, and ``stop`` heeds
signals.
"""

from htx_cancel.cli import account  # noqa: F401 - its commands are the app's
from htx_cancel.cli.commands import main
from htx_cancel.cli.shell import app

__all__ = ["app", "main"]
