"""Shared budgets through a real server, over a Unix socket."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from servers import LIMITS, POOL, RIGHTS, StoreServer, grants, old_enough, server

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
    """Run a server that is old enough to be trusted."""
    with server() as found:
        yield found


@asynccontextmanager
async def joined(store: RedisStore) -> AsyncIterator[SharedBudgets]:
    """Join with a store."""
    async with SharedBudgets(store, limits=LIMITS) as budgets:
        yield budgets


async def test_two_processes_use_every_token_and_none_twice(running: StoreServer) -> None:
    """Three windows, each with all its tokens."""
    await old_enough(running)
    async with (
        joined(RedisStore(running.url, account="both")) as one,
        joined(RedisStore(running.url, account="both")) as other,
    ):
        times = sorted(
            [at for each in await asyncio.gather(grants(one, 9), grants(other, 9)) for at in each]
        )
        assert all(last - first >= 0.5 for first, last in zip(times, times[6:], strict=False))
        state = {it.name: it for it in one.snapshot()}[POOL]
        assert (state.processes, state.store) == (2, "linked")


async def test_accounts_share_nothing(running: StoreServer) -> None:
    """Each has a book of its own."""
    await old_enough(running)
    async with (
        joined(RedisStore(running.url, account="one")) as one,
        joined(RedisStore(running.url, account="other")) as other,
    ):
        for budgets in (one, other):
            assert len(await grants(budgets, 6)) == 6
            assert {it.processes for it in budgets.snapshot()} == {1}


async def test_it_survives_a_server_that_forgot_the_script(running: StoreServer) -> None:
    """The script is sent again."""
    await old_enough(running)
    async with joined(RedisStore(running.url, account="script")) as budgets:
        await running.tell("SCRIPT", "FLUSH")
        await grants(budgets, 1)
        assert {it.store for it in budgets.snapshot()} == {"linked"}


async def test_a_ready_client_is_used_and_left_open(running: StoreServer) -> None:
    """As those of Sentinel and Cluster are given."""
    await old_enough(running)
    client = redis.asyncio.Redis.from_url(running.url)
    async with joined(RedisStore.of(client, account="ready")) as budgets:
        await grants(budgets, 2)
    assert await client.ping()
    await client.aclose()


async def test_the_book_tells_who_holds_what(running: StoreServer) -> None:
    """By budget; nothing of it is secret."""
    await old_enough(running)
    store = RedisStore(running.url, account="held")
    assert await store.book() is None
    async with joined(store) as budgets:
        await grants(budgets, 6)
        book = await store.book()
        assert book is not None
        (found,) = holdings(book)
        assert found == Holdings(POOL, 6, 0.5, 0, {budgets.process: 6})


async def test_the_listed_rights_suffice(running: StoreServer) -> None:
    """And a wrong password is a store that is away; none of it is shown anywhere."""
    await old_enough(running)
    await running.tell("ACL", "SETUSER", "htx", "on", f">{SECRET}", *RIGHTS)
    url = f"unix://htx:{SECRET}@{running.socket}"
    store = RedisStore(url, account="rights")
    async with joined(store) as one, joined(RedisStore(url, account="rights")) as other:
        await asyncio.gather(grants(one, 7), grants(other, 7))
        assert {it.store for it in one.snapshot()} == {"linked"}
        assert SECRET not in f"{store!r} {one!r} {one.snapshot()}"
    async with joined(RedisStore(url.replace(SECRET, "wrong"), account="rights")) as away:
        assert {it.store for it in away.snapshot()} == {"own_share"}


async def test_a_killed_and_restarted_server_loses_nothing(tmp_path: Path) -> None:
    """With its append-only file or empty: what was held is held, the rest waits."""
    for number, options in enumerate((("--appendonly", "yes"), ())):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = StoreServer(folder, *options)
        try:
            await old_enough(found)
            async with joined(RedisStore(found.url, account="x")) as one:
                before = await grants(one, 6)
                found.kill()
                found.start()
                after = await grants(one, 7)
                assert min(after) - max(before) >= 0.5
                assert {it.store for it in one.snapshot()} == {"linked"}
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
    """With what was given, but for the URL, which may hold a password."""
    with pytest.raises(error, match=words):
        RedisStore(**given)


def test_the_key_does_not_show_the_account() -> None:
    """It is made from its name."""
    store = RedisStore(f"redis://user:{SECRET}@localhost", account="mm-main")
    assert "mm-main" not in repr(store)
    assert SECRET not in repr(store)
    assert repr(store) == repr(RedisStore("redis://elsewhere", account="mm-main"))


def test_a_private_authority_of_certificates_is_passed_on() -> None:
    """To the client of the package."""
    assert RedisStore("rediss://localhost", account="a", ssl_ca_certs="/nowhere/ca.pem")


def test_the_package_is_needed_for_the_store_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the store says what to install."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ImportError, match=r"pip install 'htx-cancel\[redis\]'"):
        RedisStore("redis://localhost", account="a")
