"""The command line: ``htx-cancel demo`` and ``htx-cancel run``, over the public API only.

::

    files ─▶ input_file ─▶ groups ─▶ run, demo ─▶ results ─▶ output
                                         └─▶ progress, summary, tables

``commands`` is what a user types; ``files`` opens what is named, ``input_file`` reads orders,
``groups`` is what one call cancels, ``results`` are lines of JSON, which ``output`` writes;
``progress`` shows a run, ``summary`` and ``tables`` say how it ended.
"""

from htx_cancel.cli import account  # noqa: F401 - its commands are the app's
from htx_cancel.cli.commands import main
from htx_cancel.cli.shell import app

__all__ = ["app", "main"]
