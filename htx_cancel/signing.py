"""Credentials, host, path and a given time to a signed query.

The rules are the exchange's: four lines (method, host, path, sorted query) under HMAC-SHA256, in
base64, percent-encoded; business parameters of a POST are not signed. The time is an argument.
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from string import ascii_letters, digits
from urllib.parse import quote, urlsplit

from htx_cancel.errors import InvalidTypeError, InvalidValueError

_HOST_CHARACTERS = frozenset(ascii_letters + digits + ".-:[]")
_DEFAULT_PORTS = {"https": 443, "http": 80}


class Credentials:
    """An access key and its secret key. Neither is ever shown."""

    __slots__ = ("_access_key", "_secret_key")

    def __init__(self, access_key: str, secret_key: str) -> None:
        """Raise ``InvalidTypeError`` or ``InvalidValueError`` for what cannot be a key."""
        for name, key in (("access_key", access_key), ("secret_key", secret_key)):
            if not isinstance(key, str):
                raise InvalidTypeError(f"{name} is a str, not a {type(key).__name__}")
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise InvalidValueError(f"{name} is a word of visible ASCII characters")
        self._access_key = access_key
        self._secret_key = secret_key

    def __repr__(self) -> str:
        return "Credentials(<hidden>)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("credentials are not written out")


class Signer:
    """Signs requests to one host.

    Requests without parameters to one path in one second carry the same signature, so that each
    is made once.
    """

    def __init__(self, credentials: Credentials, host: str) -> None:
        self.host = host
        self._secret = credentials._secret_key.encode()  # noqa: SLF001 - the one reader of the keys
        self._prefix = (
            f"AccessKeyId={quote(credentials._access_key, safe='')}"  # noqa: SLF001
            "&SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp="
        )
        self._last: dict[tuple[str, str], tuple[int, str]] = {}

    def __repr__(self) -> str:
        return f"<Signer for {self.host}>"

    def target(
        self, method: str, path: str, epoch: float, params: Mapping[str, str] | None = None
    ) -> str:
        """Return path and signed query for a request made at ``epoch`` (seconds, UTC)."""
        second = int(epoch)
        if params:
            return self._sign(method, path, second, params)
        last = self._last.get((method, path))
        if last is not None and last[0] == second:
            return last[1]
        target = self._sign(method, path, second, {})
        self._last[method, path] = (second, target)
        return target

    def _sign(self, method: str, path: str, second: int, params: Mapping[str, str]) -> str:
        stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        query = self._prefix + quote(stamp, safe="")
        if params:
            pairs = [f"{quote(name, safe='')}={quote(params[name], safe='')}" for name in params]
            query = "&".join(sorted([*query.split("&"), *pairs]))
        text = f"{method}\n{self.host}\n{path}\n{query}"
        signature = b64encode(hmac.digest(self._secret, text.encode(), "sha256")).decode()
        return f"{path}?{query}&Signature={quote(signature, safe='')}"


def origin(base_url: object) -> tuple[str, str]:
    """Check a base URL; return ``scheme://host[:port]`` and the host that the server sees."""
    if not isinstance(base_url, str):
        raise InvalidTypeError(f"base_url is a str, not a {type(base_url).__name__}")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise InvalidValueError(f"base_url is not a URL: {error}") from None
    if "@" in parts.netloc:
        raise InvalidValueError("base_url carries no user name or password")
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidValueError(f"base_url is scheme://host[:port] and no more, not {base_url!r}")
    if not base_url.isascii() or not base_url.isprintable() or " " in base_url:
        raise InvalidValueError(f"base_url is visible ASCII characters, not {base_url!r}")
    if parts.scheme != "https" and not (parts.scheme == "http" and _loopback(parts.hostname)):
        raise InvalidValueError(
            f"base_url is https, or http to this machine's loopback address, not {base_url!r}"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}", host


def host(signing_host: object) -> str:
    """Check a host to sign: ``name`` or ``name:port``, as the server sees it."""
    if not isinstance(signing_host, str):
        raise InvalidTypeError(f"signing_host is a str, not a {type(signing_host).__name__}")
    if not signing_host or not set(signing_host) <= _HOST_CHARACTERS:
        raise InvalidValueError(
            f"signing_host is a host such as 'api.hbdm.com', not {signing_host!r}"
        )
    return signing_host.lower()


def _loopback(hostname: str) -> bool:
    try:
        return ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"
