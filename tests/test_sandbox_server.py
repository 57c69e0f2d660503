"""The sandbox over a socket, and its command line."""

import asyncio
import gzip
import json
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sandbox_requests import CANCEL, TRACK, TRACK_ALL, TRIGGER, V5, batch, signed_target
from yarl import URL

from htx_cancel.sandbox import Book, Exchange, SandboxServer
from htx_cancel.sandbox.__main__ import _exchange, _parser, _serve, _server, main
from htx_cancel.sandbox.rules import PRODUCTS
from htx_cancel.sandbox.seeding import add_from_csv, add_seeded

ROWS = """\
endpoint,contract_code,order_id,client_order_id,state
coin_m_swap.cancel_orders,BTC-USD,11,,
coin_m_swap.cancel_orders,BTC-USD,,12,filled
coin_m_swap.cancel_trailing_orders,ETH-USD,13,,canceled
coin_m_swap.cancel_all_trailing_orders,ETH-USD,,,
usdt_m_v1_isolated.cancel_trigger_orders,BTC-USDT,14,,refused
usdt_m.cancel_orders,BTC-USDT,15,16,canceling
usdt_m.cancel_orders,BTC-USDT,17,,missing
"""
SWAP = "coin_m_swap.cancel_orders"


def url(base_url: str, path: str) -> URL:
    """Return the URL of a signed request to a server."""
    origin = URL(base_url)
    target = signed_target(path, host=f"{origin.host}:{origin.port}", now=time.time())
    return URL(base_url + target, encoded=True)


async def ask(base_url: str, path: str, fields: dict[str, str]) -> Any:
    """Return the decoded reply of a server to a signed request."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(url(base_url, path), json=fields) as response,
    ):
        return await response.json(content_type=None)


async def test_a_reply_over_a_socket() -> None:
    """The reply is compressed text/plain with rate headers."""
    exchange = Exchange()
    order = exchange.book.add("swap", "BTC-USD")
    async with (
        SandboxServer(exchange) as server,
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(
            url(server.base_url, CANCEL), json=batch("BTC-USD", order.order_id)
        ) as response,
    ):
        body = json.loads(gzip.decompress(await response.read()))
        headers = response.headers
    assert body["data"] == {"errors": [], "successes": order.order_id}
    assert order.state == "canceled"
    assert headers.getall("Content-Type") == ["text/plain;charset=UTF-8"]
    assert headers.getall("Content-Encoding") == ["gzip"]
    assert (headers["Ratelimit-Limit"], headers["Ratelimit-Remaining"]) == ("36", "35")
    assert int(headers["Ratelimit-Reset"]) == pytest.approx(time.time() * 1000, abs=60_000)


async def test_errors_of_the_web_framework_over_a_socket() -> None:
    """An unknown path and a wrong method have the framework's status and body."""
    async with SandboxServer(Exchange()) as server, aiohttp.ClientSession() as session:
        async with session.post(f"{server.base_url}/nowhere") as response:
            assert (response.status, (await response.json())["status"]) == (404, 404)
        async with session.get(f"{server.base_url}{CANCEL}") as response:
            assert response.status == 405


@pytest.mark.parametrize(
    ("path", "contract_code"),
    [(TRACK, "BTC-USD"), (TRACK_ALL, "BTC-USD"), (TRIGGER, "BTC-USDT"), (V5, "BTC-USDT")],
)
async def test_every_path_is_served(path: str, contract_code: str) -> None:
    """The server passes every path to the exchange."""
    exchange = Exchange()
    async with SandboxServer(exchange) as server:
        await ask(server.base_url, path, batch(contract_code, "1"))
    assert exchange.log[0].outcome in ("ok", "refused")


async def test_a_delay_applies_each_way() -> None:
    """A reply takes two delays."""
    async with SandboxServer(Exchange(), delay=0.05) as server:
        start = time.perf_counter()
        await ask(server.base_url, CANCEL, batch("BTC-USD", "1"))
    assert time.perf_counter() - start >= 0.1


async def test_a_port_in_use_is_an_error() -> None:
    """A second server on the same port does not start."""
    async with SandboxServer(Exchange()) as server:
        taken = URL(server.base_url).port
        assert taken
        with pytest.raises(OSError, match="address already in use"):
            await SandboxServer(Exchange(), port=taken).__aenter__()


def test_the_base_url_of_tls_is_https() -> None:
    """The server has a TLS context."""
    server = SandboxServer(Exchange(), port=443, ssl_context=ssl.create_default_context())
    assert server.base_url == "https://127.0.0.1:443"


# Seeding


def test_seeded_orders_are_open_and_repeat_with_their_seed() -> None:
    """The given number of orders is added for each kind."""
    books = [Book(), Book(), Book()]
    for book, seed in zip(books, (1, 1, 2), strict=True):
        add_seeded(book, 20, seed=seed)
    assert books[0].open() == books[1].open() != books[2].open()
    assert len(books[0].open("swap")) == len(books[0].open("v5")) == 20
    assert len(books[0]) == 20 * len(PRODUCTS)


def test_a_file_fills_the_book() -> None:
    """Each row adds an order in its state, with a new id if the row has none."""
    book = Book()
    add_from_csv(book, ROWS.splitlines())
    by_client = book.find("swap", "BTC-USD", "12", by_client_id=True)
    assert by_client is not None
    assert by_client.state == "filled"
    assert [book.verdict(order_id) for order_id in (11, 13, 14, 15, 17)] == [
        "open",
        "canceled",
        "open",
        "canceling",
        "missing",
    ]
    assert (book[14].refusal, book[15].client_order_id) == (1088, "16")
    assert len(book.open("swap_trailing", "ETH-USD")) == 1


def test_a_file_needs_no_states() -> None:
    """Without the column, every order is open."""
    book = Book()
    add_from_csv(book, ["endpoint,contract_code,order_id,client_order_id", SWAP + ",X,1,"])
    assert book.verdict(1) == "open"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("nothing,X,1,,", "missing column or unknown value 'nothing'"),
        (SWAP + ",X,1,,gone", "missing column or unknown value 'gone'"),
        (SWAP + ",X,1,,,,", "more values than columns"),
        (SWAP + ",X,9,,", "order 9 already exists"),
    ],
)
def test_a_bad_row_is_named_by_its_line(row: str, message: str) -> None:
    """The error has the line's number and the reason."""
    lines = [
        "endpoint,contract_code,order_id,client_order_id,state",
        SWAP + ",X,9,,",
        row,
    ]
    with pytest.raises(ValueError, match=f"^line 3: {message}$"):
        add_from_csv(Book(), lines)


# The command line


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """Restore the handlers of signals after a test."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Stopping:
    """An output that raises SIGTERM when it is flushed."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        """Record the text."""
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Raise SIGTERM."""
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("_own_signals")
async def test_the_command_prints_its_address_and_stops_on_sigterm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It also prints the keys."""
    path = tmp_path / "orders.csv"
    path.write_text(ROWS, encoding="utf-8")
    output = Stopping()
    monkeypatch.setattr(sys, "stdout", output)
    arguments = ["--port", "0", "--orders", "3", "--orders-file", str(path), "--no-limits"]
    options = _parser().parse_args(arguments)
    await _serve(_exchange(options), options)
    assert f"with {3 * len(PRODUCTS) + 6} orders" in output.text
    assert "export HTX_ACCESS_KEY=sandbox-access-key\n" in output.text
    assert "export HTX_SECRET_KEY=sandbox-secret-key\n" in output.text
    assert "htx-cancel run examples/orders.csv --base-url http://127.0.0.1:" in output.text


def test_the_options_for_cancels_and_faults() -> None:
    """Faults repeat with their seed."""
    options = _parser().parse_args(["--cancel-after", "50", "--faults", "0.5", "--seed", "3"])
    exchange = _exchange(options)
    order = exchange.book.add("swap", "BTC-USD")
    exchange.book.cancel(order, 1.0)
    assert (order.state, order.ends_at) == ("canceling", 1.05)
    plans = [_server(exchange, options)._faults for _ in range(2)]
    faults, again = ([plan.next((), CANCEL) for _ in range(20)] for plan in plans)
    assert faults == again
    assert 0 < faults.count(None) < 20


@pytest.mark.parametrize("text", [None, "endpoint,contract_code\nsome,BTC-USD\n"])
def test_main_refuses_a_bad_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | None
) -> None:
    """The command ends with a usage error."""
    path = tmp_path / "orders.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["--orders-file", str(path)])
    assert caught.value.code == 2
    assert ("line 2: " if text else "No such file") in capsys.readouterr().err


async def test_the_module_serves_until_sigint(tmp_path: Path) -> None:
    """Started as a process with a file of orders, it ends with exit code 0."""
    path = tmp_path / "orders.csv"
    path.write_text(ROWS, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "htx_cancel.sandbox", "--port", "0", "--orders-file", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    first = (await process.stdout.readline()).decode()
    base_url = first.split()[3]
    reply = await ask(base_url, CANCEL, batch("BTC-USD", "11", "12"))
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert reply["data"]["successes"] == "11"
    assert (process.returncode, errors) == (0, b"")


async def test_up_and_down_may_be_repeated() -> None:
    """The port stays the same."""
    async with SandboxServer(Exchange()) as server:
        base_url = server.base_url
        await server.up()
        await server.down()
        await server.down()
        await server.up()
        assert server.base_url == base_url
        async with aiohttp.ClientSession() as session:
            assert (await session.get(f"{base_url}/api/v1/timestamp")).status == 200


async def test_no_other_process_takes_the_port_of_a_server_that_is_down() -> None:
    """After the context the port is free."""
    async with SandboxServer(Exchange()) as server:
        await server.down()
        address = "127.0.0.1", URL(server.base_url).port
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(address)
    with socket.socket() as other:
        other.bind(address)
