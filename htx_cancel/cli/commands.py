"""Define the commands, the global options, and ``main``."""

import asyncio
import sys
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, cast

import typer

from htx_cancel.cli import files
from htx_cancel.cli.demo import demo as run_demo
from htx_cancel.cli.everything import cancel_everything
from htx_cancel.cli.groups import Group
from htx_cancel.cli.guard import hold
from htx_cancel.cli.input_file import group_of_ids, read
from htx_cancel.cli.listing import list_all, show_missing, show_orders
from htx_cancel.cli.output import opened
from htx_cancel.cli.progress import can_draw
from htx_cancel.cli.results import settled, unsettled
from htx_cancel.cli.run import run_groups, show_plan
from htx_cancel.cli.scope import choices, read_scope
from htx_cancel.cli.sharing import Account, StoreUrl, choose
from htx_cancel.cli.shell import (
    app,
    check_flag,
    check_timeout,
    command,
    complain,
    console,
    credentials,
)
from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS, KINDS, PRODUCTS

BaseUrl = Annotated[str, typer.Option(help="The address of the exchange.")]
Timeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Stop after this time; ids not sent by then stay unsent."),
]
Results = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|-",
        help="Append each result as a JSON line as soon as it is known; - is standard output.",
    ),
]
Products = Annotated[
    str,
    typer.Option(
        metavar="A,B",
        help="Some of coin_m_swap, coin_m_futures, usdt_m, usdt_m_v1_isolated and usdt_m_v1_cross.",
    ),
]
Kinds = Annotated[
    str,
    typer.Option(
        metavar="A,B", help="Some of orders, trigger_orders, tpsl_orders and trailing_orders."
    ),
]
Contracts = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Only these contracts, or coins of coin_m_futures."),
]
WholeTimeout = Annotated[
    float, typer.Option(metavar="SECONDS", help="The time limit for the whole command.")
]

HTX = "https://api.hbdm.com"
_PRODUCTS, _KINDS, _ALL_KINDS = map(",".join, (PRODUCTS, KINDS, ALL_KINDS))

#: The error that typer raises for a wrong command or option; typer has no public name for it.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])


class Window(StrEnum):
    """How the sandbox counts requests against a rate limit."""

    FIRST = "first"
    EPOCH = "epoch"
    SLIDE = "slide"


def _show_version(asked: object) -> None:
    if asked is True:
        typer.echo(f"htx-cancel {version('htx-cancel')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[  # noqa: ARG001 - its callback uses it
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    store: StoreUrl = None,
    account: Account = None,
) -> None:
    """Cancel orders on HTX derivatives in bulk."""
    choose(store, account)


@command()
def demo(
    seed: Annotated[int, typer.Option(help="The same seed makes the same orders.")] = 0,
    window: Annotated[
        Window, typer.Option(help="How the sandbox counts requests against a rate limit.")
    ] = Window.FIRST,
    scale: Annotated[
        float, typer.Option(min=0.001, max=100.0, help="Multiply the number of orders by this.")
    ] = 1.0,
) -> int:
    """Cancel thousands of orders on a sandbox exchange and check every status; cancel everything.

    The demo needs no keys and no network: the exchange listens on this machine's loopback address.
    The exit code is 0 if every status agrees with the exchange's book and the book is proved empty
    at the end, and 1 if not.
    """
    return asyncio.run(run_demo(console(), seed=seed, window=window.value, scale=scale))


@command()
def run(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="CSV or JSON lines; - is standard input.")
    ],
    *,
    base_url: BaseUrl = HTX,
    timeout: Timeout = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")
    ] = False,
    output: Results = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Skip the ids that an earlier run's results settle."),
    ] = None,
) -> int:
    """Cancel the orders that a file names.

    A row has an endpoint, a contract_code, and an order_id or a client_order_id. Instead of the
    endpoint it may have product and kind, as htx-cancel list writes them. A row of an endpoint that
    cancels all orders, such as coin_m_swap.cancel_all_orders, has no id. It may have the filters
    that the endpoint takes: direction, offset, contract_type, or side and position_side of usdt_m.
    Other columns are ignored. Every row is checked before anything is sent. The keys are read from
    the environment variables HTX_ACCESS_KEY and HTX_SECRET_KEY.

    Endpoints have the names of the client's methods, such as coin_m_swap.cancel_orders. The error
    for an unknown endpoint lists all of them.

    Exit codes:

    * 0: every id is settled (accepted, closed or not found), and at least one was found
    * 1: some ids are not settled (rejected, unknown or unsent), none was found, or results could
      not be written within 5 seconds of the end
    * 2: the input is bad; nothing was sent
    * 130, 143: stopped by Ctrl-C or SIGTERM, after the requests in flight had ended
    """
    check_flag("--dry-run", dry_run)
    files.check_different(file, output, resume)
    with files.naming(file):
        groups = read(files.content(file))
    if resume is not None:
        with files.naming(str(resume)), resume.open("rb") as lines:
            groups = unsettled(groups, settled(lines))
    check_timeout(timeout)
    if dry_run:
        show_plan(groups, console())
        return 0
    return _run(groups, base_url, timeout, output)


@command()
def cancel(
    product: Annotated[str, typer.Argument(metavar="PRODUCT", help="Such as coin_m_swap.")],
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Such as orders.")],
    contract_code: Annotated[str, typer.Argument(metavar="CONTRACT", help="Such as BTC-USD.")],
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Order ids.")],
    *,
    client_ids: Annotated[
        bool, typer.Option("--client-ids", help="The ids are client order ids.")
    ] = False,
    base_url: BaseUrl = HTX,
    timeout: Timeout = None,
    output: Results = None,
) -> int:
    """Cancel orders by their ids.

    KIND is orders, trigger_orders, tpsl_orders or trailing_orders; for usdt_m it is orders or
    algo_orders. The error for an unknown PRODUCT or KIND lists all of them. The report, the keys
    and the exit codes are the same as of htx-cancel run.
    """
    check_flag("--client-ids", client_ids)
    field = "client_order_id" if client_ids else "order_id"
    group = group_of_ids(product, kind, contract_code, field, ids)
    check_timeout(timeout)
    return _run([group], base_url, timeout, output)


@command("list")
def list_orders(
    *,
    products: Products = _PRODUCTS,
    kinds: Kinds = _ALL_KINDS,
    contracts: Contracts = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|-",
            help="Write JSON lines that the run command reads, and replace the content of FILE; - "
            "is standard output.",
        ),
    ] = None,
    base_url: BaseUrl = HTX,
    timeout: WholeTimeout = 30.0,
) -> int:
    """List the open orders.

    The keys are read from the environment variables HTX_ACCESS_KEY and HTX_SECRET_KEY.

    Exit codes:

    * 0: the list is complete
    * 1: something could not be listed (named on standard error), or the list could not be written
    * 2: the input is bad; nothing was sent
    """
    scope = read_scope(products, kinds, contracts)
    check_timeout(timeout)
    keys, err = credentials(), console(stderr=True)
    with opened(output, replace=True) as file:
        found = asyncio.run(list_all(scope, keys, base_url, timeout, err))
        file.write(found)
    if output is None:
        show_orders(found, console())
    number = len(found)
    err.print(f"{number:,} {'order' if number == 1 else 'orders'} open.", soft_wrap=True)
    show_missing(found, err)
    if file.error:
        complain(f"the list could not be written to {output}: {file.error}")
    return int(bool(found.missing or file.error))


@command()
def everything(
    *,
    products: Products = _PRODUCTS,
    kinds: Kinds = _KINDS,
    contracts: Contracts = None,
    timeout: WholeTimeout = 30.0,
    yes: Annotated[
        bool, typer.Option("--yes", help="Cancel at once: do not list first, and do not ask.")
    ] = False,
    base_url: BaseUrl = HTX,
) -> int:
    """Cancel all open orders, whoever placed them, and prove that none is open.

    The command lists the open orders, and asks you to type the word cancel. Stop placing orders
    before you run it.

    Take-profit, stop-loss and trailing orders protect positions. They are left alone unless --kinds
    names tpsl_orders and trailing_orders. The keys are read from the environment variables
    HTX_ACCESS_KEY and HTX_SECRET_KEY.

    Exit codes:

    * 0: it is proved that no order of the chosen products, kinds and contracts is open
    * 1: orders may be open (the report names them), or the word was not typed
    * 2: the input is bad, or there is no terminal to ask in; nothing was sent
    * 130, 143: stopped by Ctrl-C or SIGTERM, after the requests in flight had ended
    """
    check_flag("--yes", yes)
    scope = read_scope(products, kinds, contracts)
    check_timeout(timeout)
    keys, err = credentials(), console(stderr=True)
    return asyncio.run(cancel_everything(scope, keys, base_url, timeout, err, ask=not yes))


@command()
def guard(
    *,
    seconds: Annotated[
        float, typer.Option(help="The countdown: the exchange cancels if nothing renews it.")
    ] = 30.0,
    products: Products = _PRODUCTS,
    base_url: BaseUrl = HTX,
) -> int:
    """Hold the dead-man switch until Ctrl-C: if this process dies, the exchange cancels orders.

    The command renews the exchange's countdown of each product, and prints an alert if a renewal
    goes wrong. When a countdown ends, the exchange cancels the open plain orders of its product,
    whoever placed them. Trigger, take-profit, stop-loss and trailing orders are not known to be
    covered. Ctrl-C and SIGTERM disarm the switch; a killed process leaves it armed. The keys are
    read from the environment variables HTX_ACCESS_KEY and HTX_SECRET_KEY.

    Exit codes:

    * 0: Ctrl-C or SIGTERM stopped the command, and the switch is disarmed
    * 1: the switch could not be armed, or may still be armed
    * 2: the input is bad; nothing was sent
    """
    names = choices("--products", products, ALL_PRODUCTS)
    return asyncio.run(hold(names, seconds, credentials(), base_url, console(stderr=True)))


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="htx-cancel", standalone_mode=False)
    except _UsageError as error:
        complain(error.format_message())
        return 2
    return int(code or 0)


def _run(groups: list[Group], base_url: str, timeout: float | None, output: Path | None) -> int:
    """Cancel the groups; return the exit code."""
    err = console(stderr=True)
    if not groups:
        err.print("There is nothing to cancel.")
        return 0
    keys = credentials()
    with opened(output) as file:
        # Bars and results would overwrite each other in one terminal.
        live = can_draw(err) and not (str(output) == "-" and sys.stdout.isatty())
        work = run_groups(groups, keys, file, err, base_url=base_url, timeout=timeout, live=live)
        code = asyncio.run(work)
    if not file.error:
        return code
    complain(f"results could not be written to {output}: {file.error}")
    return code or 1
