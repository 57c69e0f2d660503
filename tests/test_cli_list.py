"""Test ``htx-cancel list`` against a sandbox: the tables, and the lines that ``run`` reads."""

import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_sandbox import Sandbox, fill, lines, served

from htx_cancel import CancelClient
from htx_cancel.cli import scope
from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS, LISTS, PRODUCTS, list_kind
from htx_cancel.sandbox.rules import ALGO_TYPES

Capture = pytest.CaptureFixture[str]
EVERY = ("--products", ",".join(ALL_PRODUCTS))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Serve orders of every kind."""
    with served() as one:
        fill(one.exchange)
        yield one


def test_a_list_can_be_run(sandbox: Sandbox, tmp_path: Path) -> None:
    """Every order of every product and kind is listed once, and cancelled from the file."""
    path = tmp_path / "open.jsonl"
    result = sandbox.invoke("list", *EVERY, "--output", str(path))
    assert result.exit_code == 0, result.output
    listed = lines(path.read_text())
    orders = sandbox.exchange.book.open()
    assert result.stdout == ""
    assert result.stderr == f"{len(orders)} orders open.\n"
    assert Counter(line["order_id"] for line in listed) == Counter(
        order.order_id for order in orders
    )
    keys = [(line["product"], line["kind"], line["contract_code"]) for line in listed]
    assert keys.index(("coin_m_swap", "orders", "BTC-USD")) == 0  # the exchange lists ETH first
    assert keys.index(("coin_m_swap", "orders", "ETH-USD")) == 1
    assert sandbox.run(path).exit_code == 0
    assert not sandbox.exchange.book.open()
    assert all(order.canceled_by_us for order in orders)


def test_a_filter_may_stand_between(sandbox: Sandbox, capfd: Capture) -> None:
    """``list | filter | run`` cancels the filtered orders only."""
    book = sandbox.exchange.book
    sells = [book.add("v5", "XRP-USDT", direction="sell").order_id for _ in range(3)]
    assert sandbox.invoke("list", "--products", "usdt_m", "--output", "-").exit_code == 0
    text = "\n".join(line for line in capfd.readouterr().out.splitlines() if '"sell"' in line)
    before = len(book.open())
    assert sandbox.run("-", given=text).exit_code == 0
    assert all(book[key].canceled_by_us for key in sells)
    assert before - len(book.open()) == 3


def test_each_kind_of_each_product_has_a_table(sandbox: Sandbox) -> None:
    """A row has contract, id, side, price, volume, filled volume and creation time."""
    result = sandbox.invoke("list")
    assert result.exit_code == 0
    text = result.stdout
    for product in PRODUCTS:
        for kind in ALL_KINDS:
            assert f"{product} {kind.replace('_', ' ')}" in text
    for order in sandbox.exchange.book.open():
        assert (order.order_id in text) == (not order.kind.startswith(("linear", "cross")))
    (row,) = [line.split() for line in text.splitlines() if "1100000000000000001" in line]
    sent = ["BTC-USD", "1100000000000000001", "buy", "100000", "10", "0", "01-01", "00:00:00"]
    assert row == sent
    assert max(map(len, text.splitlines())) <= 80


def test_the_type_of_an_algo_order_decides_its_kind(sandbox: Sandbox, capfd: Capture) -> None:
    """One list of the exchange has three kinds; only the named kind is shown."""
    words = ("list", "--products", "usdt_m", "--kinds", "tpsl_orders", "--output", "-")
    assert sandbox.invoke(*words).exit_code == 0
    assert {line["type"] for line in lines(capfd.readouterr().out)} == {"tpsl", "tp", "sl"}
    assert set(scope.ALGO_KINDS) == set(ALGO_TYPES)


@pytest.mark.parametrize(
    ("contracts", "expected"),
    [
        ("BTC-USD", {"BTC-USD"}),
        ("ETH-USDT,BTC-USD", {"BTC-USD", "ETH-USDT"}),
        ("BTC", {"BTC260327"}),
        ("BTC260327,BTC", {"BTC260327"}),
        ("BTC-USD, ETH-USDT", {"BTC-USD", "ETH-USDT"}),
    ],
)
def test_only_the_contracts_named_are_listed(
    sandbox: Sandbox, capfd: Capture, contracts: str, expected: set[str]
) -> None:
    """A coin stands for its delivery contracts; no order is listed twice."""
    assert sandbox.invoke("list", "--contracts", contracts, "--output", "-").exit_code == 0
    listed = lines(capfd.readouterr().out)
    assert {line["contract_code"] for line in listed} == expected
    assert len({line["order_id"] for line in listed}) == len(listed)
    assert {line["product"] for line in listed} <= set(PRODUCTS)


def test_an_incomplete_list_is_reported(capfd: Capture) -> None:
    """The orders read are written; what is missing is named with the reason; the exit code is 1."""
    with served(withdrawn=["/swap-api/v1/swap_openorders"]) as sandbox:
        fill(sandbox.exchange)
        words = ("list", "--products", "coin_m_swap", "--output", "-")
        result = sandbox.invoke(*words)
    assert result.exit_code == 1
    assert "Not listed: coin_m_swap orders: the list: 404" in result.stderr
    assert "The list is not complete: more orders may be open." in result.stderr
    assert {line["kind"] for line in lines(capfd.readouterr().out)} == {
        "trigger_orders",
        "tpsl_orders",
        "trailing_orders",
    }


def test_a_list_that_timed_out_is_incomplete(sandbox: Sandbox) -> None:
    """The command ends by its timeout."""
    result = sandbox.invoke("list", *EVERY, "--timeout", "0.001")
    assert result.exit_code == 1
    assert "Not listed: usdt_m orders: " in result.stderr


def test_a_list_replaces_what_the_file_had(sandbox: Sandbox, tmp_path: Path) -> None:
    """Unlike results, a list is not appended."""
    path = tmp_path / "open.jsonl"
    path.write_text("old\n")
    words = ("list", "--products", "usdt_m", "--kinds", "orders", "--output", str(path))
    assert sandbox.invoke(*words).exit_code == 0
    assert sandbox.invoke(*words).exit_code == 0
    assert len(lines(path.read_text())) == 2


def test_a_list_that_cannot_be_written_is_reported(sandbox: Sandbox) -> None:
    """The exit code is 1."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no full device here")
    result = sandbox.invoke("list", "--output", "/dev/full")
    assert result.exit_code == 1
    assert "the list could not be written to /dev/full: No space left" in result.stderr


BAD = [
    (("--products", "spot"), "--products must be some of coin_m_swap,coin_m_futures,usdt_m,"),
    (("--products", ""), "--products must be some of coin_m_swap,"),
    (("--kinds", "orders,algo_orders"), "tpsl_orders,trailing_orders, got 'orders,algo_orders'"),
    (("--contracts", ""), "contract_code must be a word"),
    (("--contracts", "BTC-USD,,"), "contract_code must be a word"),
    (
        ("--contracts", "BTC-USDT", "--products", "coin_m_swap"),
        "--contracts must be of coin_m_swap, got 'BTC-USDT'",
    ),
    (("--timeout", "0"), "timeout must be above 0 seconds"),
]


@pytest.mark.parametrize(("words", "expected"), BAD)
def test_bad_input_is_refused_and_nothing_is_sent(
    sandbox: Sandbox, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    """The error is one line, the exit code is 2, and the file stays as it was."""
    path = tmp_path / "open.jsonl"
    path.write_text("old\n")
    result = sandbox.invoke("list", *words, "--output", str(path))
    assert result.exit_code == 2
    assert result.stderr.startswith("htx-cancel: ")
    assert expected in result.stderr
    assert path.read_text() == "old\n"
    assert not sandbox.exchange.calls


def test_a_repeated_value_counts_once() -> None:
    """Spaces around commas are ignored."""
    about = scope.read_scope("usdt_m, usdt_m", "orders,orders", "BTC-USDT,BTC-USDT")
    assert about == scope.Scope(("usdt_m",), ("orders",), ("BTC-USDT",))


def test_values_and_defaults_are_those_of_the_client() -> None:
    """Every kind of every product has a list."""
    given = inspect.signature(CancelClient.cancel_everything).parameters
    about = scope.Scope()
    assert about.products == given["products"].default
    assert about.kinds == given["kinds"].default
    for product in ALL_PRODUCTS:
        for kind in ALL_KINDS:
            assert f"{product}.open_{list_kind(product, kind)}" in LISTS


@pytest.mark.parametrize(("code", "taken"), [("btc-usd", True), ("BTC-USD", True), ("A-B", False)])
def test_the_form_of_a_contract_decides_its_product(code: str, *, taken: bool) -> None:
    """Lower case is accepted; a code of no product is refused before anything is sent."""
    with served() as sandbox:
        result = sandbox.invoke("list", "--products", "coin_m_swap", "--contracts", code)
        assert result.exit_code == (0 if taken else 2)
        assert bool(sandbox.exchange.calls) is taken
