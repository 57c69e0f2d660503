"""Test ``htx-cancel cancel`` against a sandbox on a socket."""

from collections.abc import Iterator

import pytest
from cli_sandbox import Sandbox, lines, served

from htx_cancel.endpoints import ENDPOINTS
from htx_cancel.sandbox.seeding import KINDS


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Serve an empty book."""
    with served() as one:
        yield one


CONTRACTS = {"coin_m_swap": "BTC-USD", "coin_m_futures": "BTC260327"}
BY_IDS = [name for name, row in ENDPOINTS.items() if row.batch_size]


@pytest.mark.parametrize("name", BY_IDS)
def test_every_kind_of_every_product_is_cancelled(sandbox: Sandbox, name: str) -> None:
    """Order ids are cancelled in one request, and the table of results is shown."""
    product, _, kind = name.partition(".cancel_")
    contract = CONTRACTS.get(product, "BTC-USDT")
    orders = [sandbox.exchange.book.add(KINDS[name], contract) for _ in range(3)]
    result = sandbox.invoke(
        "cancel", product, kind, contract, *(order.order_id for order in orders)
    )
    assert result.exit_code == 0, result.output
    assert all(order.canceled_by_us for order in orders)
    assert sandbox.exchange.calls.total() == 1
    assert "Results by endpoint" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", [name for name in BY_IDS if ENDPOINTS[name].client_ids])
def test_client_order_ids_are_cancelled(
    sandbox: Sandbox, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The results name client order ids as such, of algo orders too."""
    product, _, kind = name.partition(".cancel_")
    contract = CONTRACTS.get(product, "BTC-USDT")
    order = sandbox.exchange.book.add(KINDS[name], contract, client_order_id=77)
    words = ("cancel", product, kind, contract, "77", "--client-ids", "--output", "-")
    assert sandbox.invoke(*words).exit_code == 0
    (line,) = lines(capfd.readouterr().out)
    assert (line["endpoint"], line["order_id"], line["client_order_id"]) == (name, None, "77")
    assert order.canceled_by_us


def test_an_id_counts_once_and_what_is_refused_makes_the_code_1(sandbox: Sandbox) -> None:
    """The command follows the same rules as ``run`` with a file."""
    order = sandbox.exchange.book.add("v5", "BTC-USDT", refusal=1088)
    result = sandbox.invoke("cancel", "usdt_m", "orders", "BTC-USDT", *[order.order_id] * 3)
    assert result.exit_code == 1
    assert "1 order may be live: 1 rejected." in result.stderr
    assert ": 1 of 1 ids answered" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("usdt_m tpsl_orders BTC-USDT 7", "usdt_m algo_orders, usdt_m_v1_isolated orders,"),
        ("usdt_m tpsl_orders BTC-USDT 7", "got 'usdt_m' and 'tpsl_orders'"),
        ("spot orders BTC-USDT 7", "product and kind must be one of coin_m_swap orders, "),
        ("coin_m_swap all_orders BTC-USD 7", "got 'coin_m_swap' and 'all_orders'"),
        ("coin_m_swap orders BTC-USD 7,8", "order_id must be 1 to 64 visible ASCII characters"),
        ("coin_m_swap orders BTC-USD 7 1.1E+18", "order_id must be a whole number or a string"),
        ("coin_m_swap orders 'BTC USD' 7", "contract_code must be a word"),
        ("coin_m_swap tpsl_orders BTC-USD 7 --client-ids", "must have an order_id, got a client"),
        ("coin_m_swap orders BTC-USD 7 --timeout 0", "timeout must be above 0 seconds"),
        ("coin_m_swap orders BTC-USD 7 --output nowhere/x", "nowhere/x: No such file"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_sent(
    sandbox: Sandbox, words: str, expected: str
) -> None:
    """The error is one line, and the exit code is 2."""
    given = [word.replace("'BTC", "BTC USD") for word in words.split() if word != "USD'"]
    result = sandbox.invoke("cancel", *given)
    assert result.exit_code == 2
    assert result.stderr.startswith("htx-cancel: ")
    assert expected in result.stderr
    assert not sandbox.exchange.calls
