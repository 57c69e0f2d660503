"""Print the table of the cancel calls, in Markdown: ``python -m htx_cancel.endpoints``."""

import sys

from htx_cancel.endpoints import BUDGETS, ENDPOINTS, Endpoint


def _row(endpoint: Endpoint) -> str:
    ids = str(endpoint.batch_size) if endpoint.batch_size else "all"
    client_ids = "yes" if endpoint.client_ids else "no"
    limit = BUDGETS[endpoint.budgets()[0]]
    rate = f"{limit.calls} per {limit.seconds:g} s"
    cells = (f"`{endpoint.name}`", f"POST {endpoint.path}", ids, client_ids, rate)
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """Return the table."""
    head = "| method | endpoint | ids a request | client order ids | rate limit |"
    return "\n".join([head, "|---|---|---|---|---|", *map(_row, ENDPOINTS.values())])


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
