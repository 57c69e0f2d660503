"""Keep the book of shared budgets in Redis or Valkey: the only module that imports ``redis``.

The store uses one key and one script (``share.lua``). Notices are published on one channel per
process. The name of the key contains a hash of the account's name, and no access key.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import nullcontext
from importlib.resources import files
from typing import Any, Self

from htx_cancel.errors import InvalidTypeError, InvalidValueError

SCRIPT = (files("htx_cancel.limits") / "share.lua").read_text()
_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


def _client(url: str, **options: Any) -> Any:  # noqa: ANN401 - the package may be missing
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an optional package
    except ImportError:
        raise ImportError("RedisStore needs the extra: pip install 'htx-cancel[redis]'") from None
    return Redis.from_url(url, **options)


def _node_client(cluster: Any) -> Any:  # noqa: ANN401 - as above
    """Make a client of any node of a cluster: each node passes on what others publish."""
    from redis.asyncio import ConnectionPool, Redis  # noqa: PLC0415 - as above

    node = cluster.get_random_node()
    pool = ConnectionPool(connection_class=node.connection_class, **node.connection_kwargs)
    return Redis.from_pool(pool)


class RedisStore:
    """A store that keeps the book of one UID in Redis 6.2 or newer, or in Valkey.

    Args:
        url: ``redis://``, ``rediss://`` for TLS, or ``unix://``; may contain user and password.
        account: any stable name of the UID, the same in every process; not an access key.
        ssl_ca_certs: a file of certificate authorities, for ``rediss://`` with a private one.
        prefix: the prefix of the names of the key and the channels.

    Raises:
        InvalidTypeError, InvalidValueError: for an invalid argument.
        ImportError: if the extra ``redis`` is not installed.
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
            options["ssl_check_hostname"] = True  # not the default before redis 6.0
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
        """Use an existing client of ``redis.asyncio``, also of Sentinel or Cluster.

        ``close`` does not close it. Raises ``InvalidTypeError`` or ``InvalidValueError`` for an
        invalid ``account``.
        """
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
        """Run the script on a message, return the answer."""
        arguments = (1, self._key, message, f"{self._key}:")
        try:
            answer: bytes = await self._client.evalsha(_SHA, *arguments)
        except Exception as error:
            if type(error).__name__ != "NoScriptError":
                raise
            answer = await self._client.eval(SCRIPT, *arguments)
        return answer

    async def book(self) -> bytes | None:
        """Return the book; ``None`` if there is none."""
        book: bytes | None = await self._client.get(self._key)
        return book

    async def notices(self, process: str) -> AsyncIterator[bytes]:
        """Yield the notices that are published for a process."""
        has_pubsub = hasattr(self._client, "pubsub")  # not in a cluster client before redis 8.0
        context = nullcontext(self._client) if has_pubsub else _node_client(self._client)
        async with context as client, client.pubsub() as subscription:
            await subscription.subscribe(f"{self._key}:{process}")
            async for message in subscription.listen():
                if message["type"] == "message":
                    yield message["data"]

    async def close(self) -> None:
        """Close the client, unless it was given to ``of``."""
        if self._owned:
            await self._client.aclose()
