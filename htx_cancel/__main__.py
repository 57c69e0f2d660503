"""Start the command line, or say what to install for it: ``python -m htx_cancel``."""

import sys
from importlib.util import find_spec

_MISSING = "The command line needs typer and rich: pip install 'htx-cancel[cli]'\n"


def main() -> None:
    """Run ``htx-cancel``."""
    if find_spec("typer") is None or find_spec("rich") is None:
        sys.stderr.write(_MISSING)
        raise SystemExit(2)
    from htx_cancel.cli import app  # noqa: PLC0415 - needs the extra

    app(prog_name="htx-cancel")


if __name__ == "__main__":
    main()
