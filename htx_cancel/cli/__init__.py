"""The command line: ``htx-cancel demo`` and ``htx-cancel run``, over the public API only.

::

    orders ─▶ groups ─▶ run, demo ─▶ results, board

``commands`` is what a user types; ``orders`` reads files, ``groups`` is what one call cancels,
``results`` writes and resumes, ``board`` draws.
"""

from htx_cancel.cli.commands import app

__all__ = ["app"]
