"""The command line, over the public API only.

::

    files ─▶ input_file ─▶ groups ─▶ run ─▶ results ─▶ output
                                      └─▶ progress, summary
    scope ─▶ listing ─▶ everything
         └─▶ guard

``commands`` defines the commands. ``shell`` is what they share, ``sharing`` opens the client, with
budgets shared through a store, and ``stop`` handles signals. ``demo`` cancels ``demo_orders`` on a
sandbox.
"""

from htx_cancel.cli.commands import main
from htx_cancel.cli.shell import app

__all__ = ["app", "main"]
