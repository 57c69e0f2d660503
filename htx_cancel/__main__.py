"""``python -m htx_cancel``: start the command line, or print which packages it needs."""

import os
import signal
import sys
from importlib.util import find_spec

_MISSING = "htx-cancel: the command line needs typer and rich: pip install 'htx-cancel[cli]'\n"


def main() -> None:
    """Run ``htx-cancel``; Ctrl-C while it is being imported exits at once, without a traceback."""
    handles_ctrl_c = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handles_ctrl_c:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    if find_spec("typer") is None or find_spec("rich") is None:
        sys.stderr.write(_MISSING)
        raise SystemExit(2)
    from htx_cancel.cli import main as run  # noqa: PLC0415 - needs the extra

    try:
        if handles_ctrl_c:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run()
    except KeyboardInterrupt:
        code = 130
    raise SystemExit(code)


if __name__ == "__main__":
    main()
