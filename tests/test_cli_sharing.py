"""Test the command line with shared budgets: options, environment and the table of tokens."""

import asyncio
import sys
import time

import pytest
from cli_sandbox import KEYS, runner, served
from servers import server

from htx_cancel import Limit, RedisStore, SharedBudgets
from htx_cancel.cli import app

PASSWORD = "canary-of-the-password"


def test_a_run_shares_budgets_and_the_table_shows_them() -> None:
    """Options and environment variables name the store; another process holds tokens meanwhile."""

    async def hold(url: str) -> tuple[str, str]:
        async with SharedBudgets(
            RedisStore(url, account="mm"), limits={"usdt_m_trade": Limit(12, 3.0)}
        ) as budgets:
            permit = await budgets.acquire(("usdt_m_trade",))
            permit.replied()
            env = {"HTX_CANCEL_STORE": url, "HTX_CANCEL_ACCOUNT": "mm"}
            shown = await asyncio.to_thread(runner(env=env).invoke, app, ["budgets"])
            assert shown.exit_code == 0
            return shown.output, budgets.process

    with server() as running, served() as sandbox:
        order = sandbox.exchange.book.add("swap", "BTC-USD")
        nobody = runner().invoke(app, ["--store", running.url, "--account", "mm", "budgets"])
        assert (nobody.exit_code, nobody.output) == (
            0,
            "No process has shared rate limits in this store yet.\n",
        )
        words = ["cancel", "--base-url", sandbox.server.base_url]
        words += ["coin_m_swap", "orders", "BTC-USD", order.order_id]
        time.sleep(1.0)
        done = runner(env=KEYS).invoke(app, ["--store", running.url, "--account", "mm", *words])
        assert done.exit_code == 0
        assert order.state == "canceled"
        shown, process = asyncio.run(hold(running.url))
    assert "coin_m_swap_trade" in shown
    (line,) = [line for line in shown.splitlines() if "usdt_m_trade" in line]
    assert "12 per 3 s" in line
    assert process in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--store must name a Redis or Valkey, got none"),
        (["--store", "unix:///nowhere"], "--account must name the UID in the store, got none"),
        (["--store", f"http://{PASSWORD}@x", "--account", "a"], "url must begin with redis://"),
    ],
)
def test_a_bad_store_or_account_is_refused(options: list[str], words: str) -> None:
    """The exit code is 2, and the error shows no password."""
    done = runner().invoke(app, [*options, "budgets"])
    assert done.exit_code == 2
    assert words in done.stderr
    assert PASSWORD not in done.output + done.stderr


def test_a_store_that_cannot_be_read_is_code_1() -> None:
    """The error does not repeat the address, because it may contain a password."""
    done = runner().invoke(app, ["--store", "unix:///nowhere", "--account", "a", "budgets"])
    assert (done.exit_code, done.stderr) == (1, "The store cannot be read: ConnectionError.\n")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra if it is not installed."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    done = runner().invoke(app, ["--store", "unix:///nowhere", "--account", "a", "budgets"])
    assert done.exit_code == 2
    assert "pip install 'htx-cancel[redis]'" in done.stderr
