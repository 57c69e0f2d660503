"""A store in Redis or Valkey: the only room that needs the package ``redis``.

One key and one script (``share.lua``); notices come by publish and subscribe, on a channel for each
process. The name of the key is made from the account's name, never from an access key, and does not
show it.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import nullcontext
from importlib.resources import files
from typing import Any, Self

from htx_cancel.errors import InvalidTypeError, InvalidValueError

SCRIPT = (files("htx_cancel.limits") / "share.lua").read_text()
_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


def _client(url: str, **options: Any) -> Any:  # noqa: ANN401 - the package may not be there
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
    except ImportError:
        raise ImportError("RedisStore needs the extra: pip install 'htx-cancel[redis]'") from None
    return Redis.from_url(url, **options)


def _client_of_a_node(cluster: Any) -> Any:  # noqa: ANN401 - same
    """Make a client of any node of a cluster: each passes on what is published on the others."""
    from redis.asyncio import ConnectionPool, Redis  # noqa: PLC0415 - same

    node = cluster.get_random_node()
    pool = ConnectionPool(connection_class=node.connection_class, **node.connection_kwargs)
    return Redis.from_pool(pool)


class RedisStore:
    """Keeps the book of one UID in Redis 6.2 or newer, or in Valkey.

    Args:
        url: ``redis://``, ``rediss://`` for TLS, or ``unix://``; it may hold user and password.
        account: a name of the UID, the same in every process. Any stable one; no key.
        ssl_ca_certs: a file of certificate authorities, for ``rediss://`` with a private one.
        prefix: the start of the names of the key and the channels.

    Raises:
        InvalidTypeError, InvalidValueError: for arguments that make no sense.
        ImportError: where the extra ``redis`` is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        account: str,
        ssl_ca_certs: str | None = None,
        prefix: str = "htx-cancel",
    ) -> None:
        if not isinstance(url, str):
            raise InvalidTypeError(f"url must be a str, got {type(url).__name__}")
        options: dict[str, Any] = {}
        if url.startswith("rediss://"):
            options["ssl_check_hostname"] = True  # redis before 6.0 does not by itself
        if ssl_ca_certs is not None:
            options["ssl_ca_certs"] = ssl_ca_certs
        try:
            client = _client(url, **options)
        except (ValueError, TypeError):
            schemes = "redis://, rediss:// or unix://"
            raise InvalidValueError(f"url must begin with {schemes}") from None
        self._use(client, account, prefix, owned=True)

    @classmethod
    def of(cls, client: Any, *, account: str, prefix: str = "htx-cancel") -> Self:  # noqa: ANN401
        """Use a ready client of ``redis.asyncio``, of Sentinel or Cluster, too; it stays open."""
        store = cls.__new__(cls)
        store._use(client, account, prefix, owned=False)  # noqa: SLF001 - our own
        return store

    def _use(self, client: Any, account: str, prefix: str, *, owned: bool) -> None:  # noqa: ANN401
        if not isinstance(account, str):
            raise InvalidTypeError(f"account must be a str, got {type(account).__name__}")
        if not account:
            raise InvalidValueError("account must be a name of the UID, got ''")
        tag = hashlib.blake2b(account.encode(), digest_size=12, person=b"htx-cancel").hexdigest()
        self._client = client
        self._owned = owned
        self._key = f"{prefix}:{{{tag}}}:book"

    def __repr__(self) -> str:
        return f"<RedisStore {self._key}>"

    async def sync(self, message: bytes) -> bytes:
        """Run the script."""
        arguments = (1, self._key, message, f"{self._key}:")
        try:
            answer: bytes = await self._client.evalsha(_SHA, *arguments)
        except Exception as error:
            if type(error).__name__ != "NoScriptError":
                raise
            answer = await self._client.eval(SCRIPT, *arguments)
        return answer

    async def book(self) -> bytes | None:
        """Read the book; ``None`` if there is none."""
        book: bytes | None = await self._client.get(self._key)
        return book

    async def notices(self, process: str) -> AsyncIterator[bytes]:
        """Yield what is published for a process."""
        ready = hasattr(self._client, "pubsub")  # redis before 8.0 has none for a cluster
        using = nullcontext(self._client) if ready else _client_of_a_node(self._client)
        async with using as client, client.pubsub() as subscription:
            await subscription.subscribe(f"{self._key}:{process}")
            async for message in subscription.listen():
                if message["type"] == "message":
                    yield message["data"]

    async def close(self) -> None:
        """Close the client, if it was made here."""
        if self._owned:
            await self._client.aclose()
