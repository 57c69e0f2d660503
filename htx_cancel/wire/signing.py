"""Sign requests, and check keys and hosts.

The rules are the exchange's: four lines (method, host, path, sorted query) are signed with
HMAC-SHA256, then encoded in base64 and percent-encoded. The business parameters of a POST are not
signed. The time is an argument.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from htx_cancel.errors import InvalidTypeError, InvalidValueError

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_DEFAULT_PORTS = {"https": 443, "http": 80}


class Credentials:
    """An access key and its secret key. Neither is ever shown."""

    __slots__ = ("_access_key", "_secret_key")

    def __init__(self, access_key: str, secret_key: str) -> None:
        """Raise ``InvalidTypeError`` or ``InvalidValueError`` for a key that cannot be valid."""
        for name, key in (("access_key", access_key), ("secret_key", secret_key)):
            if not isinstance(key, str):
                raise InvalidTypeError(f"{name} must be a str, got {type(key).__name__}")
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                got = "other characters, which are not shown" if key else "an empty str"
                raise InvalidValueError(
                    f"{name} must be visible ASCII characters without a space, got {got}"
                )
        self._access_key = access_key
        self._secret_key = secret_key

    def __repr__(self) -> str:
        return "Credentials(<hidden>)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("Credentials cannot be pickled or copied")


class Signer:
    """Signs requests to one host.

    Within one second, all requests without parameters to one path carry the same signature, which
    is computed once.
    """

    def __init__(self, credentials: Credentials, host: str) -> None:
        self.host = host
        self._secret = credentials._secret_key.encode()  # noqa: SLF001 - only Signer reads the keys
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
    """Check a base URL; return ``scheme://host[:port]`` and its ``Host`` header."""
    if not isinstance(base_url, str):
        raise InvalidTypeError(f"base_url must be a str, got {type(base_url).__name__}")
    if "@" in base_url:
        raise InvalidValueError("base_url must be https://host[:port], got a URL with a user name")
    address, query, _ = base_url.partition("?")
    got = f"got {address!r}" + (" and a query" if query else "")
    scheme, name, port = _split(base_url)
    if not name or scheme not in _DEFAULT_PORTS:
        raise InvalidValueError(f"base_url must be https://host[:port], {got}")
    if scheme == "http" and not _loopback(name):
        raise InvalidValueError(
            f"base_url must be https, or http to this machine's loopback address, {got}"
        )
    host = _host(name, None if port == _DEFAULT_PORTS[scheme] else port)
    return f"{scheme}://{host}", host


def host(signing_host: object) -> str:
    """Check a host to sign, ``name`` or ``name:port``; return it in lower case."""
    if not isinstance(signing_host, str):
        raise InvalidTypeError(f"signing_host must be a str, got {type(signing_host).__name__}")
    _, name, port = _split(f"//{signing_host}")
    if not name or _host(name, port) != signing_host.lower():
        raise InvalidValueError(
            f"signing_host must be host or host:port, such as 'api.hbdm.com', got {signing_host!r}"
        )
    return signing_host.lower()


def _split(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host name and port; no name if the name is invalid, or more follows it."""
    nothing = "", "", None
    if not url.isascii() or not url.isprintable() or " " in url:
        return nothing
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return nothing
    if parts.path.strip("/") or parts.query or parts.fragment or not _is_host(name):
        return nothing
    return parts.scheme, name, port


def _host(name: str, port: int | None) -> str:
    """Return a host as a request's ``Host`` header has it."""
    bracketed = f"[{name}]" if ":" in name else name
    return bracketed if port is None else f"{bracketed}:{port}"


def _is_host(name: str) -> bool:
    """Return whether a name is an IP address or a name that can be looked up."""
    try:
        ip_address(name)
    except ValueError:
        return len(name) <= 253 and all(map(_LABEL.fullmatch, name.split(".")))
    return True


def _loopback(hostname: str) -> bool:
    try:
        return ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"
