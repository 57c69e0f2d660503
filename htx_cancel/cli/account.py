"""The commands about all that is open: what they take, and the codes with which they exit."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from htx_cancel import arguments
from htx_cancel.cli.everything import Options, cancel_everything
from htx_cancel.cli.guard import hold
from htx_cancel.cli.listing import counted, list_all, show_missing, show_orders
from htx_cancel.cli.output import opened
from htx_cancel.cli.scope import scope, some
from htx_cancel.cli.shell import (
    HTX,
    BaseUrl,
    app,
    check_flag,
    complain,
    console,
    credentials,
    ended,
)
from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS, KINDS, PRODUCTS

Products = Annotated[
    str,
    typer.Option(
        metavar="A,B",
        help="Some of coin_m_swap, coin_m_futures, usdt_m, usdt_m_v1_isolated and usdt_m_v1_cross.",
    ),
]
Seconds = Annotated[float, typer.Option(help="Until the exchange cancels if nobody renews.")]
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
WholeTime = Annotated[float, typer.Option(metavar="SECONDS", help="For all of it.")]

_PRODUCTS, _KINDS, _ALL_KINDS = map(",".join, (PRODUCTS, KINDS, ALL_KINDS))


@app.command("list")
def list_orders(
    *,
    products: Products = _PRODUCTS,
    kinds: Kinds = _ALL_KINDS,
    contracts: Contracts = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|-",
            help="Write JSON lines, which run takes, and replace what FILE has; - is standard "
            "output.",
        ),
    ] = None,
    base_url: BaseUrl = HTX,
    timeout: WholeTime = 30.0,
) -> None:
    """List what is open.

    The keys are those of the environment variables HTX_ACCESS_KEY and HTX_SECRET_KEY.

    Exit codes:

    * 0: the list is complete
    * 1: something could not be listed, which standard error names, or could not be written
    * 2: the input is bad; nothing was sent
    """

    def work() -> int:
        about = scope(products, kinds, contracts)
        span = arguments.seconds("timeout", timeout)
        keys, err = credentials(), console(stderr=True)
        with opened(output, replace=True) as file:
            found = asyncio.run(list_all(about, keys, base_url, span, err))
            file.put(found.orders)
        if output is None:
            show_orders(found.orders, console())
        err.print(f"{counted(len(found.orders), 'order')} open.", soft_wrap=True)
        show_missing(found, err)
        if file.error:
            complain(f"the list could not be written to {output}: {file.error}")
        return int(bool(found.missing or file.error))

    raise ended(work)


@app.command()
def everything(
    *,
    products: Products = _PRODUCTS,
    kinds: Kinds = _KINDS,
    contracts: Contracts = None,
    timeout: WholeTime = 30.0,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not list before, and do not ask: cancel at once.")
    ] = False,
    base_url: BaseUrl = HTX,
) -> None:
    """Cancel everything that is open, whoever placed it, and prove that nothing is.

    It lists what is open, and asks you to type the word cancel. Stop placing orders before.

    Take-profit, stop-loss and trailing orders protect positions, and are left alone unless --kinds
    names tpsl_orders and trailing_orders. The keys are those of the environment variables
    HTX_ACCESS_KEY and HTX_SECRET_KEY.

    Exit codes:

    * 0: it is proved that nothing of what was asked for is open
    * 1: something may be open, which the report names, or the word was not typed
    * 2: the input is bad, or nobody can be asked; nothing was sent
    * 130, 143: stopped by Ctrl-C or SIGTERM, after the requests in flight had ended
    """

    def work() -> int:
        check_flag("--yes", yes)
        about = scope(products, kinds, contracts)
        options = Options(base_url, arguments.seconds("timeout", timeout), yes)
        return cancel_everything(about, options, credentials, console(stderr=True))

    raise ended(work)


@app.command()
def guard(
    *, seconds: Seconds = 30.0, products: Products = _PRODUCTS, base_url: BaseUrl = HTX
) -> None:
    """Hold the dead-man switch until Ctrl-C: if this process dies, the exchange cancels.

    It renews the exchange's countdown of each product, and says so if that goes wrong. When one
    ends, the exchange cancels the open plain orders of its product, whoever placed them. Trigger,
    take-profit, stop-loss and trailing orders are not established to be covered. Ctrl-C and SIGTERM
    disarm it; a process that is killed leaves it armed. The keys are those of the environment
    variables HTX_ACCESS_KEY and HTX_SECRET_KEY.

    Exit codes:

    * 0: it was stopped by Ctrl-C or SIGTERM, and is disarmed
    * 1: it could not be armed, or it is not certain that it is disarmed
    * 2: the input is bad; nothing was sent
    """

    def work() -> int:
        names = some("--products", products, ALL_PRODUCTS)
        keys, err = credentials(), console(stderr=True)
        return asyncio.run(hold(names, seconds, keys, base_url, err))

    raise ended(work)
