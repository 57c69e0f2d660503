"""``htx-cancel list`` against a sandbox on a socket: what is open, for people and for ``run``."""

import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_sandbox import KEYS, Sandbox, fill, lines, runner, served

from htx_cancel import CancelClient
from htx_cancel.cli import app, scope
from htx_cancel.endpoints import ALL_KINDS, ALL_PRODUCTS, LISTS, PRODUCTS, list_of
from htx_cancel.sandbox.rules import ALGO_TYPES

Capture = pytest.CaptureFixture[str]
EVERY = ("--products", ",".join(ALL_PRODUCTS))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Serve orders of every kind."""
    with served() as one:
        fill(one.exchange)
        yield one


def test_what_is_listed_can_be_run(sandbox: Sandbox, tmp_path: Path) -> None:
    """Every order of every product and kind is listed once, and cancelled from the file."""
    path = tmp_path / "open.jsonl"
    result = sandbox.invoke("list", *EVERY, "--output", str(path))
    assert result.exit_code == 0, result.output
    listed = lines(path.read_text())
    there = sandbox.exchange.book.open()
    assert result.stdout == ""
    assert result.stderr == f"{len(there)} orders open.\n"
    assert Counter(it["order_id"] for it in listed) == Counter(it.order_id for it in there)
    assert sandbox.run(path).exit_code == 0
    assert not sandbox.exchange.book.open()
    assert all(order.canceled_by_us for order in there)


def test_a_filter_may_stand_between(sandbox: Sandbox, capfd: Capture) -> None:
    """List, filter, run: through pipes."""
    book = sandbox.exchange.book
    sells = [book.add("v5", "XRP-USDT", direction="sell").order_id for _ in range(3)]
    assert sandbox.invoke("list", "--products", "usdt_m", "--output", "-").exit_code == 0
    text = "\n".join(line for line in capfd.readouterr().out.splitlines() if '"sell"' in line)
    before = len(book.open())
    assert sandbox.run("-", given=text).exit_code == 0
    assert all(book[key].canceled_by_us for key in sells)
    assert before - len(book.open()) == 3


def test_people_see_a_table_for_each_kind_of_each_product(sandbox: Sandbox) -> None:
    """With contract, id, side, price, volume, what is filled and when it was created."""
    result = sandbox.invoke("list")
    assert result.exit_code == 0
    text = result.stdout
    for product in PRODUCTS:
        for kind in ALL_KINDS:
            assert f"{product} {kind.replace('_', ' ')}" in text
    for order in sandbox.exchange.book.open():
        assert (order.order_id in text) == (not order.kind.startswith(("linear", "cross")))
    (row,) = [it.split() for it in text.splitlines() if "1100000000000000001" in it]
    sent = ["BTC-USD", "1100000000000000001", "buy", "100000", "10", "0", "01-01", "00:00:00"]
    assert row == sent
    assert max(map(len, text.splitlines())) <= 80


def test_kinds_of_algo_orders_are_told_by_their_type(sandbox: Sandbox, capfd: Capture) -> None:
    """One list serves all three; only what was named is shown."""
    words = ("list", "--products", "usdt_m", "--kinds", "tpsl_orders", "--output", "-")
    assert sandbox.invoke(*words).exit_code == 0
    assert {it["type"] for it in lines(capfd.readouterr().out)} == {"tpsl", "tp", "sl"}
    assert set(scope.ALGO_KINDS) == set(ALGO_TYPES)


@pytest.mark.parametrize(
    ("contracts", "expected"),
    [
        ("BTC-USD", {"BTC-USD"}),
        ("ETH-USDT,BTC-USD", {"BTC-USD", "ETH-USDT"}),
        ("BTC", {"BTC260327"}),
        ("BTC260327,BTC", {"BTC260327"}),
    ],
)
def test_only_the_contracts_named_are_listed(
    sandbox: Sandbox, capfd: Capture, contracts: str, expected: set[str]
) -> None:
    """A coin is its delivery contracts; no order is listed twice."""
    assert sandbox.invoke("list", "--contracts", contracts, "--output", "-").exit_code == 0
    listed = lines(capfd.readouterr().out)
    assert {it["contract_code"] for it in listed} == expected
    assert len({it["order_id"] for it in listed}) == len(listed)
    assert {it["product"] for it in listed} <= set(PRODUCTS)


def test_a_list_that_is_not_complete_is_said_to_be_so(capfd: Capture) -> None:
    """What could be read is there; the rest is named, with the reason, and the code is 1."""
    with served(withdrawn=["/swap-api/v1/swap_openorders"]) as sandbox:
        fill(sandbox.exchange)
        words = ("list", "--products", "coin_m_swap", "--output", "-")
        result = sandbox.invoke(*words)
    assert result.exit_code == 1
    assert "Not listed: coin_m_swap orders: the list: 404" in result.stderr
    assert "The list is not complete: more orders may be open." in result.stderr
    assert {it["kind"] for it in lines(capfd.readouterr().out)} == {
        "trigger_orders",
        "tpsl_orders",
        "trailing_orders",
    }


def test_a_list_that_did_not_fit_the_time_is_not_complete(sandbox: Sandbox) -> None:
    """It ends by its timeout."""
    result = sandbox.invoke("list", *EVERY, "--timeout", "0.001")
    assert result.exit_code == 1
    assert "Not listed: usdt_m orders: " in result.stderr


def test_a_list_replaces_what_the_file_had(sandbox: Sandbox, tmp_path: Path) -> None:
    """It is of now."""
    path = tmp_path / "open.jsonl"
    path.write_text("old\n")
    words = ("list", "--products", "usdt_m", "--kinds", "orders", "--output", str(path))
    assert sandbox.invoke(*words).exit_code == 0
    assert sandbox.invoke(*words).exit_code == 0
    assert len(lines(path.read_text())) == 2


def test_a_list_that_cannot_be_written_is_told(sandbox: Sandbox) -> None:
    """With code 1."""
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
def test_bad_input_is_told_and_nothing_is_sent(
    sandbox: Sandbox, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    """In one line, with code 2, and the file stays as it was."""
    path = tmp_path / "open.jsonl"
    path.write_text("old\n")
    result = sandbox.invoke("list", *words, "--output", str(path))
    assert result.exit_code == 2
    assert result.stderr.startswith("htx-cancel: ")
    assert expected in result.stderr
    assert path.read_text() == "old\n"
    assert not sandbox.exchange.calls


def test_missing_keys_are_named() -> None:
    """As by ``run``."""
    env: dict[str, str | None] = {**KEYS, "HTX_ACCESS_KEY": None}
    result = runner(env=env).invoke(app, ["list"])
    assert result.exit_code == 2
    assert result.stderr == "htx-cancel: HTX_ACCESS_KEY must be set to the account's keys\n"


def test_the_words_and_defaults_are_those_of_the_client() -> None:
    """Products and kinds; all are listed."""
    given = inspect.signature(CancelClient.cancel_everything).parameters
    about = scope.Scope()
    assert about.products == given["products"].default
    assert about.kinds == given["kinds"].default
    for product in ALL_PRODUCTS:
        for kind in ALL_KINDS:
            assert f"{product}.open_{list_of(product, kind)}" in LISTS


@pytest.mark.parametrize(("code", "taken"), [("btc-usd", True), ("BTC-USD", True), ("A-B", False)])
def test_a_contract_is_of_the_product_whose_form_it_has(code: str, *, taken: bool) -> None:
    """In small letters as well; what no product can have is refused before anything is sent."""
    with served() as sandbox:
        result = sandbox.invoke("list", "--products", "coin_m_swap", "--contracts", code)
        assert result.exit_code == (0 if taken else 2)
        assert bool(sandbox.exchange.calls) is taken


def test_the_help_lists_the_exit_codes() -> None:
    """Each with its meaning."""
    text = runner().invoke(app, ["list", "--help"]).stdout
    for words in ("0: the list is complete", "1: something could not", "2: the input is bad"):
        assert words in text
