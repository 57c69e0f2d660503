"""Print the table of cancel calls as Markdown: ``python -m htx_cancel.endpoints [--grid]``.

With ``--grid`` it prints one line per product, for the README; without it one line per call, for
docs/methods.md.
"""

import sys

from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS, BUDGETS, ENDPOINTS, Endpoint

KINDS = (*ALL_KINDS, "algo_orders")


def _rate(endpoint: Endpoint) -> str:
    limit = BUDGETS[endpoint.budgets()[0]]
    return f"{limit.calls} per {limit.seconds:g} s"


def _row(endpoint: Endpoint) -> str:
    ids = str(endpoint.batch_size) if endpoint.batch_size else "all"
    client_ids = "yes" if endpoint.client_ids else "no"
    page = f"[POST {endpoint.path}]({endpoint.page})"
    cells = (f"`{endpoint.name}`", page, ids, client_ids, _rate(endpoint))
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """Return the table of all cancel calls."""
    head = "| method | endpoint | ids a request | client order ids | rate limit |"
    return "\n".join([head, "|---|---|---|---|---|", *map(_row, ENDPOINTS.values())])


def _cell(product: str, kind: str) -> str:
    row = ENDPOINTS.get(f"{product}.cancel_{kind}")
    return f"{row.batch_size}; {_rate(row)}" if row else ""


def grid() -> str:
    """Return the table of products and kinds: ids per request, and the rate limit."""
    lines = [f"| `client.` | {' | '.join(f'`{kind}`' for kind in KINDS)} |"]
    lines.append("|---" * (len(KINDS) + 1) + "|")
    for product in ALL_PRODUCTS:
        cells = (_cell(product, kind) for kind in KINDS)
        lines.append(f"| `{product}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(f"{grid() if sys.argv[1:] == ['--grid'] else table()}\n")
