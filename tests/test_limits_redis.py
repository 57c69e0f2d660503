"""Test shared budgets through a real server, over a Unix socket."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from servers import LIMITS, POOL, RIGHTS, StoreServer, server, state, until_trusted, use_permits

from htx_cancel import (
    Holdings,
    InvalidTypeError,
    InvalidValueError,
    RedisStore,
    SharedBudgets,
    holdings,
)

SECRET = "correct-horse"


@pytest.fixture(scope="module")
def running() -> Iterator[StoreServer]:
    """Run a server for all tests of this module."""
    with server() as found:
        yield found


@asynccontextmanager
async def joined(store: RedisStore) -> AsyncIterator[SharedBudgets]:
    """Join with a store until the end of the block."""
    async with SharedBudgets(store, limits=LIMITS) as budgets:
        yield budgets


async def test_two_processes_use_every_token_once(running: StoreServer) -> None:
    """Three windows use all their tokens, and no window has too many."""
    await until_trusted(running)
    async with (
        joined(RedisStore(running.url, account="both")) as one,
        joined(RedisStore(running.url, account="both")) as other,
    ):
        both = await asyncio.gather(use_permits(one, 9), use_permits(other, 9))
        times = sorted(both[0] + both[1])
        assert all(last - first >= 0.5 for first, last in zip(times, times[6:], strict=False))
        shown = state(one)
        assert (shown.processes, shown.store) == (2, "linked")


async def test_accounts_share_nothing(running: StoreServer) -> None:
    """Each account has a book of its own."""
    await until_trusted(running)
    async with (
        joined(RedisStore(running.url, account="one")) as one,
        joined(RedisStore(running.url, account="other")) as other,
    ):
        for budgets in (one, other):
            assert len(await use_permits(budgets, 6)) == 6
            assert state(budgets).processes == 1


async def test_the_script_is_sent_again_to_a_server_that_forgot_it(running: StoreServer) -> None:
    """The server does not know the script's hash any more."""
    await until_trusted(running)
    async with joined(RedisStore(running.url, account="script")) as budgets:
        await running.tell("SCRIPT", "FLUSH")
        await use_permits(budgets, 1)
        assert state(budgets).store == "linked"


class Client(redis.asyncio.Redis):
    """A client that notes whether it was closed."""

    closed = False

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections."""
        self.closed = True
        await super().aclose(close_connection_pool)


async def test_an_existing_client_is_used_and_left_open(running: StoreServer) -> None:
    """Clients of Sentinel and Cluster are passed the same way."""
    await until_trusted(running)
    client = Client(unix_socket_path=str(running.socket))
    async with joined(RedisStore.of(client, account="ready")) as budgets:
        await use_permits(budgets, 2)
    assert not client.closed
    await client.aclose()


async def test_the_book_shows_which_process_holds_which_tokens(running: StoreServer) -> None:
    """It lists the holdings by budget."""
    await until_trusted(running)
    store = RedisStore(running.url, account="held")
    assert await store.book() is None
    async with joined(store) as budgets:
        await use_permits(budgets, 6)
        book = await store.book()
        assert book is not None
        (found,) = holdings(book)
        assert found == Holdings(POOL, 6, 0.5, 0, {budgets.process: 6})


async def test_the_rights_listed_in_the_guide_suffice(running: StoreServer) -> None:
    """With a wrong password the store is unavailable. No password is shown."""
    await until_trusted(running)
    await running.tell("ACL", "SETUSER", "htx", "on", f">{SECRET}", *RIGHTS)
    url = f"unix://htx:{SECRET}@{running.socket}"
    store = RedisStore(url, account="rights")
    async with joined(store) as one, joined(RedisStore(url, account="rights")) as other:
        await asyncio.gather(use_permits(one, 7), use_permits(other, 7))
        assert state(one).store == "linked"
        assert SECRET not in f"{store!r} {one!r} {one.snapshot()}"
    async with joined(RedisStore(url.replace(SECRET, "wrong"), account="rights")) as away:
        assert state(away).store == "own_share"


async def test_a_killed_and_restarted_server_loses_nothing(tmp_path: Path) -> None:
    """With its append-only file or empty: held tokens stay held, the others wait."""
    for number, options in enumerate((("--appendonly", "yes"), ())):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = StoreServer(folder, *options)
        try:
            await until_trusted(found)
            async with joined(RedisStore(found.url, account="x")) as one:
                before = await use_permits(one, 6)
                found.kill()
                found.start()
                after = await use_permits(one, 7)
                assert min(after) - max(before) >= 0.5
                assert state(one).store == "linked"
        finally:
            found.kill()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"url": 7, "account": "a"}, InvalidTypeError, "url must be a str, got int"),
        ({"url": "http://x", "account": "a"}, InvalidValueError, "url must begin with redis://"),
        ({"url": "redis://x", "account": ""}, InvalidValueError, "account must be a name"),
        ({"url": "redis://x", "account": 7}, InvalidTypeError, "account must be a str, got int"),
    ],
)
def test_bad_arguments_are_refused(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    """The message shows the argument, except the URL, which may contain a password."""
    with pytest.raises(error, match=words):
        RedisStore(**given)


def test_the_key_does_not_show_the_account() -> None:
    """The key contains only a hash of the account's name."""
    store = RedisStore(f"redis://user:{SECRET}@localhost", account="mm-main")
    assert "mm-main" not in repr(store)
    assert SECRET not in repr(store)
    assert repr(store) == repr(RedisStore("redis://elsewhere", account="mm-main"))
    assert "<RedisStore mine:" in repr(RedisStore("redis://x", account="mm-main", prefix="mine"))


def test_a_private_certificate_authority_is_passed_on() -> None:
    """The package's client accepts its file."""
    assert RedisStore("rediss://localhost", account="a", ssl_ca_certs="/nowhere/ca.pem")


def test_only_the_store_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, the error says what to install."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ImportError, match=r"pip install 'htx-cancel\[redis\]'"):
        RedisStore("redis://localhost", account="a")
