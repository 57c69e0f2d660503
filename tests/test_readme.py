"""Every block of the README and the guide does what it says, on a sandbox."""

import ast
import asyncio
import re
import shlex
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_sandbox import EXAMPLE, Sandbox

import htx_cancel
from htx_cancel import CancelClient, Credentials
from htx_cancel.sandbox import Exchange, SandboxServer
from htx_cancel.sandbox.seeding import add_from_csv

ROOT = Path(__file__).parent.parent
README, GUIDE = ROOT / "README.md", ROOT / "docs" / "guide.md"
KEYS = ("sandbox-access-key", "sandbox-secret-key")
ADDRESS = "http://127.0.0.1:8090"  # what the text says; the tests take a free port


def blocks(page: Path, language: str) -> list[str]:
    """List the blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def served() -> Sandbox:
    """Serve the example's orders."""
    exchange = Exchange()
    with EXAMPLE.open(encoding="utf-8", newline="") as lines:
        add_from_csv(exchange.book, lines)
    return Sandbox(exchange, SandboxServer(exchange))


def start(*command: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run Python with these arguments."""
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *command], capture_output=True, text=True, check=False, **options
    )


def test_the_first_example_prints_what_it_says() -> None:
    """As typed, but for the port."""
    (example,) = blocks(README, "python")
    (said,) = re.findall(r"print\(outcome\)  # (.*)", example)
    with served() as sandbox:
        done = start("-c", example.replace(ADDRESS, sandbox.server.base_url))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{said}\n", "")


def test_the_guide_s_examples_run() -> None:
    """One after another, with an open client and the ids of one open order."""

    async def main(base_url: str, order_id: str) -> None:
        names = {name: getattr(htx_cancel, name) for name in htx_cancel.__all__}
        credentials = Credentials(*KEYS)
        async with CancelClient(credentials, base_url=base_url) as client:
            names |= {
                "asyncio": asyncio,
                "client": client,
                "credentials": credentials,
                "order_ids": [order_id],
                "trade": partial(asyncio.sleep, 0),
            }
            for text in blocks(GUIDE, "python"):
                code = compile(text, str(GUIDE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                running = eval(code, names)  # noqa: S307 - our own text
                if running is not None:
                    await running
            assert names["outcome"].settled

    assert len(blocks(GUIDE, "python")) == 8
    with served() as sandbox:
        order_id = sandbox.exchange.book.add("swap", "BTC-USD").order_id
        asyncio.run(main(sandbox.server.base_url, order_id))
        assert sandbox.exchange.book[order_id].state != "open"


@pytest.mark.parametrize("page", [README, GUIDE], ids=["README", "guide"])
def test_every_command_is_there_and_ends_as_it_should(page: Path, tmp_path: Path) -> None:
    """``make`` has the target, ``pip`` the extra, and our own commands end as they should."""
    makefile = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    env: dict[str, str] = {}
    with served() as sandbox:
        for line in "".join(blocks(page, "console")).splitlines():
            assert line.startswith("$ ")
            line = line.replace(ADDRESS, sandbox.server.base_url)  # noqa: PLW2901
            match shlex.split(line[2:], comments=True):
                case ["make", target]:
                    assert f"\n{target}:" in makefile
                case ["pip", "install", what]:
                    assert what == "." or what[2:-1] in extras
                case ["export", *settings]:
                    env |= dict(it.split("=", 1) for it in settings)
                case ["python", "-m", "htx_cancel.sandbox", *options]:
                    done = start("-m", "htx_cancel.sandbox", *options, "--help", cwd=tmp_path)
                    assert done.returncode == 0
                case ["htx-cancel", ("everything" | "guard") as name, *options]:
                    done = start("-m", "htx_cancel", name, *options, "--help", cwd=tmp_path)
                    assert done.returncode == 0, done.stderr
                case ["htx-cancel", *arguments]:
                    keys = env or dict(zip(("HTX_ACCESS_KEY", "HTX_SECRET_KEY"), KEYS, strict=True))
                    done = start("-m", "htx_cancel", *arguments, cwd=tmp_path, env=keys)
                    refused = "run" in arguments and "--dry-run" not in arguments
                    assert done.returncode == int(refused), done.stderr
                case other:
                    pytest.fail(f"no such command: {other}")


def test_the_pages_link_to_files_that_there_are() -> None:
    """Each relative link leads somewhere."""
    for page in (README, *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), target
