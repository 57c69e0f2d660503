"""Shared budgets through TLS, a cluster and Sentinel: what only ``redis-server`` has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.asyncio
import trustme
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.sentinel import Sentinel
from servers import LIMITS, POOL, RIGHTS, StoreServer, free_port, grants, old_enough

from htx_cancel import Priority, RedisStore, SharedBudgets
from htx_cancel.limits import shared
from htx_cancel.limits.store import decode_notice

pytestmark = pytest.mark.redis_server

HOST = "127.0.0.1"
USER, SECRET = "htx", "correct-horse"
SLOTS = 16384

#: What a user of the store needs to be allowed to do beside ``RIGHTS``, in a cluster.
CLUSTER_RIGHTS = ("+cluster|slots", "+command", "+asking")


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition; the test's own timeout ends a wait for ever."""
    while not await holds():  # noqa: ASYNC110 - another process makes it true
        await asyncio.sleep(0.01)


@asynccontextmanager
async def joined(*stores: RedisStore, **options: Any) -> AsyncIterator[list[SharedBudgets]]:
    """Join once with each store."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(SharedBudgets(store, limits=LIMITS, **options))
            for store in stores
        ]


async def add_user(server: StoreServer, *rights: str) -> None:
    """Let a user do what the guide lists."""
    await server.tell("ACL", "SETUSER", USER, "on", f">{SECRET}", *RIGHTS, *rights)


def check(times: list[float]) -> None:
    """Check that no window has more requests than the limit, wherever it begins."""
    limit, times = LIMITS[POOL], sorted(times)
    for first, last in zip(times, times[limit.calls :], strict=False):
        assert last - first >= limit.seconds


def linked(*processes: SharedBudgets) -> bool:
    """Say whether all of them have the store's word."""
    return {it.store for each in processes for it in each.snapshot()} == {"linked"}


def held(process: SharedBudgets) -> int:
    """Say how many tokens of the pool a process holds."""
    return {it.name: it for it in process.snapshot()}[POOL].held


async def hold_all_idle(process: SharedBudgets) -> None:
    """Let a process hold every token, and use none."""
    for permit in [await process.acquire((POOL,)) for _ in range(LIMITS[POOL].calls)]:
        permit.unsent()
    assert held(process) == LIMITS[POOL].calls


async def listening(servers: list[StoreServer], count: int) -> None:
    """Wait until so many processes hear notices, at whichever server."""

    async def all_are() -> bool:
        found = [await each.tell("PUBSUB", "CHANNELS", "htx-cancel:*") for each in servers]
        return sum(map(len, found)) >= count

    await until(all_are)


async def hands_over(
    servers: list[StoreServer], stores: list[RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that an urgent call gets an idle token of another process by notices alone.

    Nothing is renewed: without them both leases end first. The book must be there before, since a
    new one lends nothing until others would have renewed theirs.
    """
    await use_together(stores)
    monkeypatch.setattr(shared, "RENEWAL", 3600.0)
    async with joined(*stores) as (holder, other):
        await hold_all_idle(holder)
        await listening(servers, 2)
        permit = await other.acquire((POOL,), priority=Priority.URGENT)
        assert linked(holder, other)
        permit.unsent()


async def grants_to_all(*processes: SharedBudgets) -> list[float]:
    """Let each process use nine permits; return when each was answered."""
    times = await asyncio.gather(*(grants(it, 9) for it in processes))
    return [at for each in times for at in each]


async def use_together(stores: list[RedisStore]) -> None:
    """Check that processes use every token, and none twice."""
    async with joined(*stores) as processes:
        check(await grants_to_all(*processes))
        assert linked(*processes)


# TLS


class Secured:
    """A server that speaks TLS only, and a user of it that may do what the guide lists."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = self._write(folder / "ca.pem", self.authority.cert_pem)
        options = ["--tls-ca-cert-file", self.ca_file, "--tls-auth-clients", "no"]
        self.named = self._start(folder, HOST, *options)
        self.misnamed = self._start(folder, "other.example", *options)

    def _write(self, path: Path, *blobs: trustme.Blob) -> str:
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return str(path)

    def _start(self, folder: Path, name: str, *options: str) -> "TlsServer":
        certificate = self.authority.issue_cert(name)
        own = folder / name
        own.mkdir()
        key = self._write(own / "key.pem", certificate.private_key_pem)
        chain = self._write(own / "cert.pem", *certificate.cert_chain_pems)
        return TlsServer(own, "--tls-key-file", key, "--tls-cert-file", chain, *options)


class TlsServer(StoreServer):
    """A server with a TLS port."""

    def __init__(self, folder: Path, *options: str) -> None:
        port = free_port()
        self.tls_url = f"rediss://{USER}:{SECRET}@{HOST}:{port}"
        super().__init__(folder, "--tls-port", str(port), *options)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Run the servers with TLS."""
    found = Secured(tmp_path_factory.mktemp("tls"))
    yield found
    found.named.kill()
    found.misnamed.kill()


async def test_tls_and_a_user_of_few_rights_suffice(secured: Secured) -> None:
    """With a private authority; every token is used, and none twice."""
    await add_user(secured.named)
    await old_enough(secured.named)
    url, ca_file = secured.named.tls_url, secured.ca_file
    await use_together([RedisStore(url, account="tls", ssl_ca_certs=ca_file) for _ in "12"])


async def test_an_urgent_call_is_served_at_once_through_tls(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process that holds all, and hears of it."""
    await add_user(secured.named)
    await old_enough(secured.named)
    url, ca_file = secured.named.tls_url, secured.ca_file
    stores = [RedisStore(url, account="urgent", ssl_ca_certs=ca_file) for _ in "12"]
    await hands_over([secured.named], stores, monkeypatch)


async def test_a_server_that_does_not_prove_its_name_is_not_spoken_to(secured: Secured) -> None:
    """Its certificate is of the authority, or not, but not of its name: the store is away."""
    await add_user(secured.misnamed)
    trusting = RedisStore(secured.misnamed.tls_url, account="x", ssl_ca_certs=secured.ca_file)
    strange = RedisStore(secured.named.tls_url, account="x")
    async with joined(trusting, strange) as processes:
        for each in processes:
            assert {it.store for it in each.snapshot()} == {"own_share"}


# a cluster


class Cluster:
    """Three nodes of a cluster, all masters, and a user who may do what the guide lists."""

    def __init__(self, folder: Path) -> None:
        self.ports = [free_port() for _ in range(3)]
        self.buses = [free_port() for _ in range(3)]
        self.nodes = []
        for port, bus in zip(self.ports, self.buses, strict=True):
            own = folder / str(port)
            own.mkdir()
            options = ["--port", str(port), "--cluster-port", str(bus), "--cluster-enabled", "yes"]
            self.nodes.append(StoreServer(own, *options, "--bind", HOST))

    async def form(self) -> None:
        """Divide the slots, and wait until each node knows who has which."""
        if await self._formed(self.nodes[0]):
            return
        edges = [SLOTS * number // 3 for number in range(4)]
        for number, node in enumerate(self.nodes):
            await add_user(node, *CLUSTER_RIGHTS)
            slots = str(edges[number]), str(edges[number + 1] - 1)
            await node.tell("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            await node.tell("CLUSTER", "ADDSLOTSRANGE", *slots)
            await node.tell("CLUSTER", "MEET", HOST, str(self.ports[0]), str(self.buses[0]))
        for node in self.nodes:
            await until(partial(self._formed, node))

    async def _formed(self, node: StoreServer) -> bool:
        info = await node.tell("CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info

    def client(self) -> RedisCluster:
        """Make a client that knows one node."""
        known = [ClusterNode(HOST, self.ports[0])]
        return RedisCluster(startup_nodes=known, username=USER, password=SECRET)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run the nodes."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    yield found
    for node in found.nodes:
        node.kill()


@asynccontextmanager
async def in_cluster(nodes: Cluster, account: str) -> AsyncIterator[list[RedisStore]]:
    """Make the stores of two processes, each with a client of its own."""
    await nodes.form()
    await old_enough(nodes.nodes[-1])
    async with nodes.client() as one, nodes.client() as other:
        yield [RedisStore.of(client, account=account) for client in (one, other)]


async def test_a_cluster_keeps_each_book_on_the_node_of_its_key(nodes: Cluster) -> None:
    """Whichever node a client was told of; every token is used, and none twice."""
    for account in "abcdef":
        async with in_cluster(nodes, account) as stores:
            await use_together(stores)
    keys = [len(await node.tell("KEYS", "*")) for node in nodes.nodes]
    assert sum(keys) == 6
    assert all(keys)


async def test_an_urgent_call_is_served_at_once_through_a_cluster(
    nodes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process that holds all, and hears of it."""
    async with in_cluster(nodes, "urgent") as stores:
        await hands_over(nodes.nodes, stores, monkeypatch)


async def test_every_node_of_a_cluster_passes_notices_on(nodes: Cluster) -> None:
    """To those who have subscribed there."""

    async def first(store: RedisStore, process: str) -> str:
        async for notice in store.notices(process):
            (recall,) = decode_notice(notice)
            return recall.name
        raise AssertionError

    async with in_cluster(nodes, "each") as stores, joined(*stores) as (holder, other):
        await hold_all_idle(holder)
        clients = [redis.asyncio.Redis.from_url(node.url) for node in nodes.nodes]
        through = [RedisStore.of(client, account="each") for client in clients]
        heard = [asyncio.create_task(first(it, holder.process)) for it in through]
        await listening(nodes.nodes, 4)
        (await other.acquire((POOL,), priority=Priority.URGENT)).unsent()
        assert await asyncio.gather(*heard) == [POOL] * 3
        for client in clients:
            await client.aclose()


async def test_a_book_that_moves_to_another_node_is_found_there(nodes: Cluster) -> None:
    """While its slot moves, and after: the holder keeps what it holds, and no token is used twice.

    The script is new to that node.
    """
    async with in_cluster(nodes, "moves") as stores, joined(*stores) as (one, other):
        times = await grants(one, 6)
        (key,) = {repr(it).split()[1].rstrip(">") for it in stores}
        await move(nodes, key)
        assert await stores[0].book() is not None
        check(times + await grants_to_all(one, other))
        assert linked(one, other)


async def move(nodes: Cluster, key: str) -> None:
    """Move the slot of a key, and the key, to the node after its own."""
    slot = int(await nodes.nodes[0].tell("CLUSTER", "KEYSLOT", key))
    at = next(number for number in range(3) if slot < SLOTS * (number + 1) // 3)
    source, target, third = (nodes.nodes[(at + number) % 3] for number in range(3))
    ids = [(await node.tell("CLUSTER", "MYID")).decode() for node in (source, target)]
    port = str(nodes.ports[(at + 1) % 3])
    await target.tell("SCRIPT", "FLUSH")
    await target.tell("CLUSTER", "SETSLOT", str(slot), "IMPORTING", ids[0])
    await source.tell("CLUSTER", "SETSLOT", str(slot), "MIGRATING", ids[1])
    await source.tell("MIGRATE", HOST, port, key, "0", "5000")
    await asyncio.sleep(2 * shared.RENEWAL)  # each process has spoken to it
    for node in (target, source, third):
        await node.tell("CLUSTER", "SETSLOT", str(slot), "NODE", ids[1])


# Sentinel


class Watched:
    """A master, its replica, and a sentinel that replaces the one by the other."""

    def __init__(self, folder: Path) -> None:
        self.ports = [free_port() for _ in range(3)]
        self.folder = folder
        self.master = self._start("master", 0)
        self.replica = self._start("replica", 1, "--replicaof", HOST, str(self.ports[0]))
        config = folder / "sentinel.conf"
        config.touch()
        self.sentinel = self._start("sentinel", 2, str(config), "--sentinel")

    def _start(self, name: str, number: int, *options: str) -> StoreServer:
        own = self.folder / name
        own.mkdir()
        return StoreServer(own, *options, "--port", str(self.ports[number]), "--bind", HOST)

    def kill(self) -> None:
        """Kill all three."""
        for each in (self.sentinel, self.replica, self.master):
            each.kill()

    async def watch(self) -> None:
        """Let the sentinel watch, and wait until it could replace the master."""
        port = str(self.ports[0])
        await self.sentinel.tell("SENTINEL", "MONITOR", "mm", HOST, port, "1")
        for name, value in (("down-after-milliseconds", "300"), ("failover-timeout", "5000")):
            await self.sentinel.tell("SENTINEL", "SET", "mm", name, value)

        async def knows() -> bool:
            replicas = str(await self.sentinel.tell("SENTINEL", "REPLICAS", "mm"))
            return "b'ok'" in replicas  # its link to the master

        await until(knows)

    @asynccontextmanager
    async def stores(self) -> AsyncIterator[list[RedisStore]]:
        """Make the stores of two processes, whose clients ask the sentinel for the master."""
        await self.watch()
        await old_enough(self.replica)
        async with AsyncExitStack() as stack:
            made = []
            for _ in range(2):
                asks = Sentinel([(HOST, self.ports[2])])  # type: ignore[no-untyped-call]
                stack.push_async_callback(asks.sentinels[0].aclose)
                client = await stack.enter_async_context(asks.master_for("mm"))
                made.append(RedisStore.of(client, account="watched"))
            yield made

    async def fail_over(self, how: str, *processes: SharedBudgets) -> None:
        """Replace the master, and wait until all processes have spoken to the new one."""
        if how == "killed":
            self.master.kill()
        else:
            await self.sentinel.tell("SENTINEL", "FAILOVER", "mm")
        run = (await self.replica.tell("INFO", "server"))["run_id"]

        async def all_have() -> bool:
            try:
                (key,) = await self.replica.tell("KEYS", "*")
                book = msgspec.msgpack.decode(await self.replica.tell("GET", key))
            except redis.exceptions.ConnectionError:  # a sentinel closes all connections, once
                return False
            return book["run"] == run and {it.process for it in processes} <= {*book["procs"]}

        await until(all_have)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Run them."""
    found = Watched(tmp_path)
    yield found
    found.kill()


@pytest.mark.parametrize("how", ["killed", "told"])
async def test_processes_keep_what_they_hold_when_the_store_fails_over(
    watched: Watched, how: str
) -> None:
    """The new master has their word for it; then all goes on, and no token is used twice."""
    async with watched.stores() as stores, joined(*stores) as (one, other):
        times = await grants_to_all(one, other)
        await asyncio.sleep(3 * shared.RENEWAL)  # both have heard that nobody waits any more
        holds = held(one), held(other)
        assert any(holds)
        await watched.fail_over(how, one, other)
        assert (held(one), held(other)) == holds
        assert linked(one, other)
        check(times + await grants_to_all(one, other))
