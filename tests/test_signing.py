"""Signatures, hosts and keys."""

import base64
import hashlib
import hmac
import pickle
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_cancel import signing
from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.signing import Credentials, Signer

KEY = "test-access-key-0000-0000-00000001"
SECRET = "test-secret-key-0000-0000-00000001"
NOON = 1767323045  # 2026-01-02T03:04:05 UTC

#: Published vectors; two other clients compute the same.
VECTORS = [
    ("api.hbdm.com", "/swap-api/v1/swap_cancel", 0, "sVbtxXaJKW70Utke/KLnNxI1KEwziphm4iQSh3KhfXI="),
    ("api.hbdm.com", "/api/v1/contract_cancel", 0, "qbUeD7IV7zAOhmUJb3jwXeqsWDlZaYM48yPZbRL/YYc="),
    ("api.hbdm.vn", "/swap-api/v1/swap_cancel", 0, "6zQDNh5x2IpGy9CITyEzNWpA3HU/aThqlKc9pNvF7T8="),
    ("api.hbdm.com", "/swap-api/v1/swap_cancel", 8, "/xe73SklBZVn07kHoh+SCcZda3zcyakPWepFa0fpcGY="),
]


@pytest.mark.parametrize(("host", "path", "later", "signature"), VECTORS)
def test_the_signature_is_the_published_one(
    host: str, path: str, later: int, signature: str
) -> None:
    """The signed target carries the vector's signature, percent-encoded."""
    target = Signer(Credentials(KEY, SECRET), host).target("POST", path, NOON + later + 0.9)
    assert target.startswith(f"{path}?AccessKeyId={KEY}&SignatureMethod=HmacSHA256")
    assert dict(parse_qsl(urlsplit(target).query))["Signature"] == signature
    assert not set("+/") & set(target.partition("Signature=")[2])


def test_the_url_of_the_first_vector_is_identical() -> None:
    """The whole target is byte for byte the published URL's."""
    assert Signer(Credentials(KEY, SECRET), "api.hbdm.com").target(
        "POST", "/swap-api/v1/swap_cancel", NOON
    ) == (
        "/swap-api/v1/swap_cancel?AccessKeyId=test-access-key-0000-0000-00000001"
        "&SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp=2026-01-02T03%3A04%3A05"
        "&Signature=sVbtxXaJKW70Utke%2FKLnNxI1KEwziphm4iQSh3KhfXI%3D"
    )


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_signature_is_never_older_than_its_request(first: int, second: int) -> None:
    """Signing twice gives what signing anew gives, whatever was kept in between."""
    kept = Signer(Credentials(KEY, SECRET), "api.hbdm.com")
    for epoch in (first, first, second, first):
        fresh = Signer(Credentials(KEY, SECRET), "api.hbdm.com")
        assert kept.target("POST", "/p", epoch) == fresh.target("POST", "/p", epoch)


def test_the_parameters_of_a_get_are_signed_in_order() -> None:
    """Query parameters join the four, sorted by name with capitals first."""
    target = Signer(Credentials(KEY, SECRET), "h").target("GET", "/p", NOON, {"b": "x y", "a": "é"})
    query, _, signature = target.partition("?")[2].partition("&Signature=")
    assert query.endswith("&Timestamp=2026-01-02T03%3A04%3A05&a=%C3%A9&b=x%20y")
    expected = hmac.new(SECRET.encode(), f"GET\nh\n/p\n{query}".encode(), hashlib.sha256).digest()
    assert dict(parse_qsl(f"s={signature}"))["s"] == base64.b64encode(expected).decode()


def test_keys_are_never_shown() -> None:
    """No repr, string or pickle carries a key."""
    credentials = Credentials(KEY, SECRET)
    for shown in (repr(credentials), str(credentials), repr(Signer(credentials, "h"))):
        assert KEY not in shown
        assert SECRET not in shown
    with pytest.raises(TypeError, match="not written out"):
        pickle.dumps(credentials)


@pytest.mark.parametrize("bad", ["", "a b", "a\n", "é"])
def test_a_key_that_cannot_be_one_is_refused_unseen(bad: str) -> None:
    """A broken key raises a ValueError that does not show it."""
    with pytest.raises(InvalidValueError, match="secret_key is a word") as caught:
        Credentials("key", bad)
    assert not bad or bad not in str(caught.value)
    with pytest.raises(InvalidTypeError, match="access_key is a str, not a NoneType"):
        Credentials(None, "secret")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("base_url", "origin", "host"),
    [
        ("https://api.hbdm.com", "https://api.hbdm.com", "api.hbdm.com"),
        ("https://api.hbdm.com/", "https://api.hbdm.com", "api.hbdm.com"),
        ("https://API.hbdm.com:443", "https://api.hbdm.com", "api.hbdm.com"),
        ("https://api.hbdm.com:8443", "https://api.hbdm.com:8443", "api.hbdm.com:8443"),
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090", "127.0.0.1:8090"),
        ("http://localhost:80", "http://localhost", "localhost"),
        ("http://[::1]:8090", "http://[::1]:8090", "[::1]:8090"),
    ],
)
def test_the_signed_host_is_the_one_the_server_sees(base_url: str, origin: str, host: str) -> None:
    """A default port is left out, any other is part of the host."""
    assert signing.origin(base_url) == (origin, host)


@pytest.mark.parametrize(
    "bad",
    [
        "http://api.hbdm.com",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "api.hbdm.com",
        "https://",
        "https://api.hbdm.com/path",
        "https://api.hbdm.com?x=1",
        "https://api.hbdm.com:port",
        "https://api hbdm.com",
        "https://[::1",
    ],
)
def test_a_base_url_that_would_not_be_safe_is_refused(bad: str) -> None:
    """Plain http leaves this machine for nowhere, and a base URL is a host and no more."""
    with pytest.raises(InvalidValueError, match="base_url is"):
        signing.origin(bad)


def test_a_base_url_with_a_password_is_refused_unseen() -> None:
    """User names and passwords are neither taken nor shown."""
    with pytest.raises(InvalidValueError, match="no user name") as caught:
        signing.origin("https://user:canary@api.hbdm.com")
    assert "canary" not in str(caught.value)
    with pytest.raises(InvalidTypeError, match="base_url is a str"):
        signing.origin(None)


def test_a_signing_host_is_a_host() -> None:
    """A host in any case is taken, a URL or a line break is not."""
    assert signing.host("API.hbdm.com") == "api.hbdm.com"
    for bad in ("", "https://api.hbdm.com", "a\nb"):
        with pytest.raises(InvalidValueError, match="signing_host is a host"):
            signing.host(bad)
    with pytest.raises(InvalidTypeError, match="signing_host is a str"):
        signing.host(7)
