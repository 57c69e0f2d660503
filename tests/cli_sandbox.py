"""Share between tests of the command line: a sandbox in a thread, and ways to run commands."""

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec
from clients import CONTRACTS
from typer.testing import CliRunner, Result

from htx_cancel.cli import app
from htx_cancel.sandbox import Exchange, SandboxServer
from htx_cancel.sandbox.rules import ALGO_TYPES

EXAMPLE = Path(__file__).parent.parent / "examples" / "orders.csv"
SECRET = "canary-of-the-secret-key"
KEYS = {"HTX_ACCESS_KEY": "canary-of-the-access-key", "HTX_SECRET_KEY": SECRET}


class Sandbox:
    """A sandbox that serves from its own thread."""

    def __init__(self, exchange: Exchange, server: SandboxServer) -> None:
        self.exchange = exchange
        self.server = server
        self._up, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self.server:
            self._up.set()
            await self._stop.wait()

    def run(self, file: Path | str, *options: str, given: str | None = None) -> Result:
        """Run ``htx-cancel run`` in this process."""
        return self.invoke("run", str(file), *options, given=given)

    def invoke(self, name: str, *words: str, given: str | None = None) -> Result:
        """Run a command in this process, and check that its output shows no key."""
        command = [name, "--base-url", self.server.base_url, *words]
        result = runner(env=KEYS).invoke(app, command, input=given)
        assert "canary" not in result.output + str(result.exception)
        return result

    def add_open(self, number: int) -> str:
        """Add open swap orders; return the content of a file that names them."""
        ids = [self.exchange.book.add("swap", "BTC-USD").order_id for _ in range(number)]
        return as_file(ids)


def runner(**options: Any) -> CliRunner:
    """Make a runner that separates standard error, which click before 8.2 needs an option for."""
    if "mix_stderr" in inspect.signature(CliRunner.__init__).parameters:
        options["mix_stderr"] = False
    return CliRunner(**options)


def fill(exchange: Exchange, number: int = 1) -> None:
    """Add open orders of two coins for every kind of every product and every algo type."""
    for kind, contract in CONTRACTS.items():
        for algo_type in ALGO_TYPES if kind == "v5_algo" else ("trigger",):
            for coin in ("BTC", "ETH") * number:
                exchange.book.add(kind, contract.replace("BTC", coin), algo_type=algo_type)


def as_file(ids: list[str]) -> str:
    """Return the content of a file that names coin-M swap orders."""
    return "".join(
        [
            "endpoint,contract_code,order_id\n",
            *(f"coin_m_swap.cancel_orders,BTC-USD,{key}\n" for key in ids),
        ]
    )


def served(kind: type[Exchange] = Exchange, **options: Any) -> Sandbox:
    """Make a sandbox that accepts ``KEYS``."""
    exchange = kind(access_key=KEYS["HTX_ACCESS_KEY"], secret_key=SECRET, **options)
    return Sandbox(exchange, SandboxServer(exchange))


def lines(text: str) -> list[dict[str, Any]]:
    """Decode JSON lines."""
    return [msgspec.json.decode(line) for line in text.splitlines()]


def typed(text: str, *arguments: str, url: str) -> "subprocess.CompletedProcess[str]":
    """Run the command with a terminal as standard input, and type a text into it."""
    keyboard, terminal = os.openpty()
    os.write(keyboard, text.encode())
    try:
        return subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "htx_cancel", *arguments, "--base-url", url],
            stdin=terminal,
            capture_output=True,
            text=True,
            env=os.environ | KEYS,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(keyboard)


def seen(*arguments: str, url: str, folder: Path | None = None) -> tuple[int, bytes]:
    """Run the command in a terminal; return its exit code and its output."""
    screen, terminal = os.openpty()
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "htx_cancel", *arguments, "--base-url", url],
        stdout=terminal,
        stderr=terminal,
        cwd=folder,
        env=os.environ | KEYS | {"TERM": "xterm"},
        check=False,
    )
    os.close(terminal)
    text = b""
    with suppress(OSError):  # the end of a terminal
        while part := os.read(screen, 4096):
            text += part
    os.close(screen)
    return done.returncode, text


def start(*arguments: str, url: str, pipesize: int = -1) -> "subprocess.Popen[str]":
    """Start the command in a process with pipes, which may be small."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "htx_cancel", *arguments, "--base-url", url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pipesize=pipesize,
        env=os.environ | KEYS | {"PYTHONUNBUFFERED": ""},
    )
