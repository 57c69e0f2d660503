"""Fill a book with random orders, or with the orders of a file of cancel jobs."""

import csv
import random
from collections.abc import Iterable, Mapping
from typing import cast, get_args

from htx_cancel.sandbox.book import Book
from htx_cancel.sandbox.rules import ALGO_TYPES, PRODUCTS, Kind, State

#: The kind of order that each name in the ``endpoint`` column cancels.
KINDS: Mapping[str, Kind] = {
    f"{product}.cancel_{which}{sort}orders": cast("Kind", f"{kind}_{sort}".strip("_"))
    for product, kind in (
        ("coin_m_swap", "swap"),
        ("coin_m_futures", "futures"),
        ("usdt_m_v1_isolated", "linear"),
        ("usdt_m_v1_cross", "cross"),
    )
    for sort in ("", "trigger_", "tpsl_", "trailing_")
    for which in ("", "all_")
} | {
    "usdt_m.cancel_orders": "v5",
    "usdt_m.cancel_all_orders": "v5",
    "usdt_m.cancel_all_account_orders": "v5",
    "usdt_m.cancel_algo_orders": "v5_algo",
}
_STATES: Mapping[str, State] = {state: state for state in get_args(State)}
_REFUSAL = 1088


def add_seeded(book: Book, number: int, *, seed: int = 0) -> None:
    """Add this many open orders of each kind; the same seed adds the same orders.

    The v5 orders have both margin modes, and the algo orders all types.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for kind, product in PRODUCTS.items():
        codes = sorted(product.contracts)
        for _ in range(number):
            book.add(
                kind,
                rng.choice(codes),
                direction=rng.choice(("buy", "sell")),
                offset=rng.choice(("open", "close")),
                margin_mode=rng.choice(("cross", "isolated")),
                algo_type=rng.choice(ALGO_TYPES),
            )


def add_from_csv(book: Book, lines: Iterable[str]) -> None:
    """Add an order for each row of ``endpoint,contract_code,order_id,client_order_id[,state]``.

    An order is open by default, and gets an id if it has none. The state ``missing`` adds no order;
    ``refused`` adds an open order whose cancel is refused. Raises ``ValueError`` with the line.
    """
    rows = csv.DictReader(lines)
    for row in rows:
        try:
            _add_row(book, {name: (value or "").strip() for name, value in row.items()})
        except KeyError as error:
            raise ValueError(
                f"line {rows.line_num}: missing column or unknown value {error}"
            ) from None
        except AttributeError:
            raise ValueError(f"line {rows.line_num}: more values than columns") from None
        except ValueError as error:
            raise ValueError(f"line {rows.line_num}: {error}") from None


def _add_row(book: Book, row: Mapping[str, str]) -> None:
    state = row.get("state") or "open"
    if state == "missing":
        return
    book.add(
        KINDS[row["endpoint"]],
        row["contract_code"],
        order_id=row["order_id"] or None,
        client_order_id=row["client_order_id"] or None,
        state="open" if state == "refused" else _STATES[state],
        refusal=_REFUSAL if state == "refused" else None,
    )
