"""Test shared budgets through TLS, a cluster and Sentinel, which need ``redis-server``."""

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
from servers import LIMITS, POOL, RIGHTS, StoreServer, free_port, state, until_trusted, use_permits

from htx_cancel import Priority, RedisStore, SharedBudgets
from htx_cancel.limits import shared
from htx_cancel.limits.store import decode_notice

pytestmark = pytest.mark.redis_server

HOST = "127.0.0.1"
USER, SECRET = "htx", "correct-horse"
SLOTS = 16384

#: The rights that a user of the store needs in a cluster, in addition to ``RIGHTS``.
CLUSTER_RIGHTS = ("+cluster|slots", "+command", "+asking")


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition; the test's timeout ends the wait."""
    while not await holds():  # noqa: ASYNC110 - another process makes it true
        await asyncio.sleep(0.01)


@asynccontextmanager
async def joined(*stores: RedisStore, **options: Any) -> AsyncIterator[list[SharedBudgets]]:
    """Join once with each store until the end of the block."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(SharedBudgets(store, limits=LIMITS, **options))
            for store in stores
        ]


async def add_user(server: StoreServer, *rights: str) -> None:
    """Add a user with the rights that the guide lists."""
    await server.tell("ACL", "SETUSER", USER, "on", f">{SECRET}", *RIGHTS, *rights)


def check(times: list[float]) -> None:
    """Check that no window has more requests than the limit allows."""
    limit, times = LIMITS[POOL], sorted(times)
    for first, last in zip(times, times[limit.calls :], strict=False):
        assert last - first >= limit.seconds


def linked(*processes: SharedBudgets) -> bool:
    """Return whether all processes are linked to the store."""
    return all(state(process).store == "linked" for process in processes)


def held(process: SharedBudgets) -> int:
    """Return how many tokens of the pool a process holds."""
    return state(process).held


async def hold_all_idle(process: SharedBudgets) -> None:
    """Let a process hold every token without using any."""
    for permit in [await process.acquire((POOL,)) for _ in range(LIMITS[POOL].calls)]:
        permit.unsent()
    assert held(process) == LIMITS[POOL].calls


async def listening(servers: list[StoreServer], count: int) -> None:
    """Wait until ``count`` processes have subscribed, at any of the servers."""

    async def all_are() -> bool:
        found = [await server.tell("PUBSUB", "CHANNELS", "htx-cancel:*") for server in servers]
        return sum(map(len, found)) >= count

    await until(all_are)


async def check_handover(
    servers: list[StoreServer], stores: list[RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that notices alone get an urgent call an idle token of another process.

    Without renewals, and without notices, both leases would end first. The book must exist before,
    because a new book lends nothing at first.
    """
    await check_shared_use(stores)
    monkeypatch.setattr(shared, "RENEWAL", 3600.0)
    async with joined(*stores) as (holder, other):
        await hold_all_idle(holder)
        await listening(servers, 2)
        permit = await other.acquire((POOL,), priority=Priority.URGENT)
        assert linked(holder, other)
        permit.unsent()


async def use_permits_everywhere(*processes: SharedBudgets) -> list[float]:
    """Let each process use nine permits; return when each was answered."""
    times = await asyncio.gather(*(use_permits(process, 9) for process in processes))
    return [at for answered in times for at in answered]


async def check_shared_use(stores: list[RedisStore]) -> None:
    """Check that processes with these stores share a budget and keep its limit."""
    async with joined(*stores) as processes:
        check(await use_permits_everywhere(*processes))
        assert linked(*processes)


# TLS


class TlsServers:
    """A TLS server with a valid certificate, and one whose certificate has another name."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = self._write(folder / "ca.pem", self.authority.cert_pem)
        options = ["--tls-ca-cert-file", self.ca_file, "--tls-auth-clients", "no"]
        self.trusted = self._start(folder, HOST, *options)
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
def tls_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServers]:
    """Run the TLS servers."""
    found = TlsServers(tmp_path_factory.mktemp("tls"))
    yield found
    found.trusted.kill()
    found.misnamed.kill()


async def test_processes_share_budgets_through_tls_with_few_rights(tls_servers: TlsServers) -> None:
    """With a private certificate authority; the limit is kept."""
    await add_user(tls_servers.trusted)
    await until_trusted(tls_servers.trusted)
    url, ca_file = tls_servers.trusted.tls_url, tls_servers.ca_file
    await check_shared_use([RedisStore(url, account="tls", ssl_ca_certs=ca_file) for _ in "12"])


async def test_an_urgent_call_gets_a_token_at_once_through_tls(
    tls_servers: TlsServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that holds all tokens gets a notice, and gives one."""
    await add_user(tls_servers.trusted)
    await until_trusted(tls_servers.trusted)
    url, ca_file = tls_servers.trusted.tls_url, tls_servers.ca_file
    stores = [RedisStore(url, account="urgent", ssl_ca_certs=ca_file) for _ in "12"]
    await check_handover([tls_servers.trusted], stores, monkeypatch)


async def test_a_server_without_a_valid_certificate_is_not_used(tls_servers: TlsServers) -> None:
    """Its certificate has another name, or its authority is unknown: the store is unavailable."""
    await add_user(tls_servers.misnamed)
    trusting = RedisStore(
        tls_servers.misnamed.tls_url, account="x", ssl_ca_certs=tls_servers.ca_file
    )
    strange = RedisStore(tls_servers.trusted.tls_url, account="x")
    async with joined(trusting, strange) as processes:
        for process in processes:
            assert state(process).store == "own_share"


# a cluster


class Cluster:
    """Three nodes of a cluster, all masters, with a user who has the rights of the guide."""

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
        """Divide the slots, and wait until each node knows the others."""
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
        """Make a client that was told of one node."""
        known = [ClusterNode(HOST, self.ports[0])]
        return RedisCluster(startup_nodes=known, username=USER, password=SECRET)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run the nodes of a cluster."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    yield found
    for node in found.nodes:
        node.kill()


@asynccontextmanager
async def in_cluster(nodes: Cluster, account: str) -> AsyncIterator[list[RedisStore]]:
    """Make the stores of two processes, each with a client of its own."""
    await nodes.form()
    await until_trusted(nodes.nodes[-1])
    async with nodes.client() as one, nodes.client() as other:
        yield [RedisStore.of(client, account=account) for client in (one, other)]


async def test_a_cluster_keeps_each_book_on_the_node_of_its_key(nodes: Cluster) -> None:
    """It works whichever node a client was told of."""
    for account in "abcdef":
        async with in_cluster(nodes, account) as stores:
            await check_shared_use(stores)
    keys = [len(await node.tell("KEYS", "*")) for node in nodes.nodes]
    assert sum(keys) == 6
    assert all(keys)


async def test_an_urgent_call_gets_a_token_at_once_through_a_cluster(
    nodes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that holds all tokens gets a notice, and gives one."""
    async with in_cluster(nodes, "urgent") as stores:
        await check_handover(nodes.nodes, stores, monkeypatch)


async def test_every_node_of_a_cluster_passes_notices_on(nodes: Cluster) -> None:
    """They reach the subscribers at each node."""

    async def first(store: RedisStore, process: str) -> str:
        async for notice in store.notices(process):
            (recall,) = decode_notice(notice)
            return recall.name
        raise AssertionError

    async with in_cluster(nodes, "each") as stores, joined(*stores) as (holder, other):
        await hold_all_idle(holder)
        clients = [redis.asyncio.Redis.from_url(node.url) for node in nodes.nodes]
        through = [RedisStore.of(client, account="each") for client in clients]
        heard = [asyncio.create_task(first(store, holder.process)) for store in through]
        await listening(nodes.nodes, 4)
        (await other.acquire((POOL,), priority=Priority.URGENT)).unsent()
        assert await asyncio.gather(*heard) == [POOL] * 3
        for client in clients:
            await client.aclose()


async def test_a_book_that_moves_to_another_node_is_found_there(nodes: Cluster) -> None:
    """The holder keeps its tokens while the slot moves, and the limit is kept after.

    The other node does not know the script yet.
    """
    async with in_cluster(nodes, "moves") as stores, joined(*stores) as (one, other):
        times = await use_permits(one, 6)
        (key,) = {repr(store).split()[1].rstrip(">") for store in stores}
        await move(nodes, key)
        assert await stores[0].book() is not None
        check(times + await use_permits_everywhere(one, other))
        assert linked(one, other)


async def move(nodes: Cluster, key: str) -> None:
    """Move a key and its slot to the next node."""
    slot = int(await nodes.nodes[0].tell("CLUSTER", "KEYSLOT", key))
    at = next(number for number in range(3) if slot < SLOTS * (number + 1) // 3)
    source, target, third = (nodes.nodes[(at + number) % 3] for number in range(3))
    ids = [(await node.tell("CLUSTER", "MYID")).decode() for node in (source, target)]
    port = str(nodes.ports[(at + 1) % 3])
    await target.tell("SCRIPT", "FLUSH")
    await target.tell("CLUSTER", "SETSLOT", str(slot), "IMPORTING", ids[0])
    await source.tell("CLUSTER", "SETSLOT", str(slot), "MIGRATING", ids[1])
    await source.tell("MIGRATE", HOST, port, key, "0", "5000")
    await asyncio.sleep(2 * shared.RENEWAL)  # each process has sent it a message
    for node in (target, source, third):
        await node.tell("CLUSTER", "SETSLOT", str(slot), "NODE", ids[1])


# Sentinel


class Watched:
    """A master, its replica, and a sentinel that promotes the replica."""

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
        """Kill all three servers."""
        for server in (self.sentinel, self.replica, self.master):
            server.kill()

    async def watch(self) -> None:
        """Let the sentinel watch the master, and wait until it could promote the replica."""
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
        """Make the stores of two processes whose clients ask the sentinel for the master."""
        await self.watch()
        await until_trusted(self.replica)
        async with AsyncExitStack() as stack:
            made = []
            for _ in range(2):
                asks = Sentinel([(HOST, self.ports[2])])  # type: ignore[no-untyped-call]
                stack.push_async_callback(asks.sentinels[0].aclose)
                client = await stack.enter_async_context(asks.master_for("mm"))
                made.append(RedisStore.of(client, account="watched"))
            yield made

    async def fail_over(self, how: str, *processes: SharedBudgets) -> None:
        """Replace the master, and wait until all processes have sent the new one a message."""
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
            names = {process.process for process in processes}
            return book["run"] == run and names <= {*book["procs"]}

        await until(all_have)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Run a master, a replica and a sentinel."""
    found = Watched(tmp_path)
    yield found
    found.kill()


@pytest.mark.parametrize("how", ["killed", "told"])
async def test_processes_keep_their_tokens_when_the_store_fails_over(
    watched: Watched, how: str
) -> None:
    """The new master gets their claims; the processes go on, and the limit is kept."""
    async with watched.stores() as stores, joined(*stores) as (one, other):
        times = await use_permits_everywhere(one, other)
        await asyncio.sleep(3 * shared.RENEWAL)  # both know that no call waits any more
        holds = held(one), held(other)
        assert any(holds)
        await watched.fail_over(how, one, other)
        assert (held(one), held(other)) == holds
        assert linked(one, other)
        check(times + await use_permits_everywhere(one, other))
