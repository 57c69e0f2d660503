"""The endpoint table and its rate limits."""

from typing import Any

import pytest
from clients import add, cancel, in_process
from virtualtime import run

from htx_cancel import InvalidTypeError, InvalidValueError, Limit
from htx_cancel.endpoints import BUDGETS, ENDPOINTS, LISTS, QUERIES
from htx_cancel.sandbox import Exchange


def test_every_row_names_existing_budgets_and_its_page() -> None:
    """A call charges its own budget, and also its product's pool with ``charge_pools``."""
    for row in ENDPOINTS.values():
        assert row.page.startswith(("https://www.htx.com/", "https://huobiapi.github.io/"))
        alone, both = row.budgets(), row.budgets(charge_pools=True)
        assert set(both) <= set(BUDGETS)
        assert alone == (row.pool if row.own_limit is None else row.path,)
        assert both == (*alone, row.pool)[: 1 if row.own_limit is None else 2]
    assert {row.budget for row in QUERIES.values()} <= set(BUDGETS)
    assert set(QUERIES) == set(ENDPOINTS)


def test_a_budget_is_named_after_its_pool_or_its_path() -> None:
    """No two rows share a name by mistake, and every budget belongs to a row."""
    pools = {row.pool for row in ENDPOINTS.values()}
    assert pools == {"coin_m_swap_trade", "coin_m_futures_trade", "usdt_m_trade"}
    own = {row.path for row in ENDPOINTS.values() if row.own_limit is not None}
    reads = {row.budget for row in (*QUERIES.values(), *LISTS.values())}
    assert set(BUDGETS) == pools | own | reads


@pytest.mark.parametrize(
    ("calls", "seconds", "error"),
    [
        (0, 1, InvalidValueError),
        (1, 0, InvalidValueError),
        (1, float("inf"), InvalidValueError),
        (True, 1, InvalidTypeError),
        (1.5, 1, InvalidTypeError),
        (1, "1", InvalidTypeError),
        (1, True, InvalidTypeError),
    ],
)
def test_a_limit_out_of_range_is_refused(calls: Any, seconds: Any, error: type[Exception]) -> None:
    """A limit has at least one call, and a window above zero."""
    with pytest.raises(error):
        Limit(calls, seconds)


def test_listing_open_trigger_orders_keeps_the_list_s_own_limit() -> None:
    """Twelve pages of open orders are read, and the exchange refuses none for the rate."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "linear_trigger", 1)
        add(exchange, "linear_trigger", 600)
        async with in_process(exchange, delay=0.01) as client:
            await client.confirm(await cancel(client, "linear_trigger", ids), timeout=20.0)
        path = QUERIES["usdt_m_v1_isolated.cancel_trigger_orders"].path
        assert exchange.calls[path] > 12
        assert exchange.refused[path] == 0

    run(main())
