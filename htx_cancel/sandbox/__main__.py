"""The sandbox's command line: ``python -m htx_cancel.sandbox``."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import get_args

from htx_cancel.sandbox.exchange import Exchange
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.seeding import add_from_csv, add_seeded
from htx_cancel.sandbox.server import SandboxServer
from htx_cancel.sandbox.windows import WindowRule

_ACCESS_KEY = "sandbox-access-key"
_SECRET_KEY = "sandbox-secret-key"  # noqa: S105 - valid only on a sandbox

_WELCOME = """\
Sandbox exchange at {url} with {orders} orders. Stop it with Ctrl-C.

In another terminal:
  export HTX_ACCESS_KEY={access_key}
  export HTX_SECRET_KEY={secret_key}
  htx-cancel run examples/orders.csv --base-url {url}
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m htx_cancel.sandbox",
        description="Serve a local HTX exchange with open orders to cancel, for tests.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8090, help="port; 0 for any free port (default: %(default)s)")
    add("--orders", type=int, default=0, metavar="N", help="add N random orders of each kind")
    add("--orders-file", type=Path, metavar="FILE", help="add the orders in a CSV file")
    add(
        "--window",
        choices=get_args(WindowRule),
        default="first",
        help="how requests count against a rate limit: in fixed windows that start with the first "
        "request, in fixed windows aligned to the clock (epoch), or in a sliding window "
        "(default: %(default)s)",
    )
    add("--delay", type=float, default=0.0, metavar="MS", help="network delay, each way")
    add("--jitter", type=float, default=0.0, metavar="MS", help="largest extra delay, each way")
    add(
        "--cancel-after",
        type=float,
        default=0.0,
        metavar="MS",
        help="time until an accepted cancel takes effect",
    )
    add(
        "--faults",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of requests with a random fault, from 0 to 1",
    )
    add("--seed", type=int, default=0, help="seed of the random jitter and faults")
    add("--no-limits", action="store_true", help="enforce no rate limits")
    return parser


def _exchange(options: argparse.Namespace) -> Exchange:
    exchange = Exchange(
        access_key=_ACCESS_KEY,
        secret_key=_SECRET_KEY,
        window=options.window,
        limits=not options.no_limits,
        keep_log=False,
        cancel_after=options.cancel_after / 1000,
    )
    if options.orders_file is not None:
        with options.orders_file.open(encoding="utf-8-sig", newline="") as lines:
            add_from_csv(exchange.book, lines)
    add_seeded(exchange.book, options.orders)
    return exchange


def _server(exchange: Exchange, options: argparse.Namespace) -> SandboxServer:
    return SandboxServer(
        exchange,
        host=options.host,
        port=options.port,
        delay=options.delay / 1000,
        jitter=options.jitter / 1000,
        seed=options.seed,
        faults=FaultPlan(share=options.faults, seed=options.seed),
    )


async def _serve(exchange: Exchange, options: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    server = _server(exchange, options)
    async with server:
        sys.stdout.write(
            _WELCOME.format(
                url=server.base_url,
                orders=len(exchange.book),
                access_key=_ACCESS_KEY,
                secret_key=_SECRET_KEY,
            )
        )
        sys.stdout.flush()
        await stop.wait()


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(_exchange(options), options))
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
