"""Signatures, hosts and keys."""

import base64
import hashlib
import hmac
import pickle
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_cancel.errors import InvalidTypeError, InvalidValueError
from htx_cancel.wire import signing
from htx_cancel.wire.signing import Credentials, Signer

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


def test_the_target_of_the_first_vector_is_the_published_one() -> None:
    """The whole target is equal byte for byte."""
    assert Signer(Credentials(KEY, SECRET), "api.hbdm.com").target(
        "POST", "/swap-api/v1/swap_cancel", NOON
    ) == (
        "/swap-api/v1/swap_cancel?AccessKeyId=test-access-key-0000-0000-00000001"
        "&SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp=2026-01-02T03%3A04%3A05"
        "&Signature=sVbtxXaJKW70Utke%2FKLnNxI1KEwziphm4iQSh3KhfXI%3D"
    )


requests = st.tuples(
    st.sampled_from(["GET", "POST"]), st.sampled_from(["/p", "/q"]), st.integers(NOON, NOON + 3)
)


@given(st.lists(requests))
def test_a_cached_signature_equals_a_fresh_one(
    signed: list[tuple[str, str, int]],
) -> None:
    """Earlier requests do not change a signature."""
    caching = Signer(Credentials(KEY, SECRET), "api.hbdm.com")
    for method, path, epoch in signed:
        fresh = Signer(Credentials(KEY, SECRET), "api.hbdm.com")
        assert caching.target(method, path, epoch) == fresh.target(method, path, epoch)


def test_a_signature_is_computed_once_a_second() -> None:
    """The requests of a burst share the signature."""
    signer = Signer(Credentials(KEY, SECRET), "api.hbdm.com")
    assert signer.target("POST", "/p", NOON) is signer.target("POST", "/p", NOON + 0.9)


def test_the_parameters_of_a_get_are_signed_in_order() -> None:
    """They are sorted by name with the signature's four parameters, capitals first."""
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
    with pytest.raises(TypeError, match=r"^Credentials cannot be pickled"):
        pickle.dumps(credentials)


@pytest.mark.parametrize("bad", ["", "a b", "a\n", "é"])
def test_an_invalid_key_is_refused_and_not_shown(bad: str) -> None:
    """The error does not show the key."""
    with pytest.raises(InvalidValueError, match="secret_key must be visible ASCII") as caught:
        Credentials("key", bad)
    assert not bad or bad not in str(caught.value)
    with pytest.raises(InvalidTypeError, match="access_key must be a str, got NoneType"):
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
    """It has no default port, but any other port."""
    assert signing.origin(base_url) == (origin, host)


#: Hosts that cannot be looked up: empty or too long labels, and other characters.
NO_HOSTS = [
    "",
    ".",
    "a..b",
    "a.",
    ".a",
    "a" * 64 + ".example",
    ".".join(["a" * 63] * 4),
    "a<b",
    "a%b",
    "bücher.example",
    "a b",
    "a\nb",
    "a:port",
    "a:65536",
    "[::1",
    "[a]",
    "user@a",
    "a/path",
    "a?x=1",
    "a#x",
]


@pytest.mark.parametrize("bad", NO_HOSTS)
def test_a_base_url_with_an_invalid_host_is_refused(bad: str) -> None:
    """The error names the argument."""
    with pytest.raises(InvalidValueError, match=r"^base_url must be https://host\[:port\], got "):
        signing.origin(f"https://{bad}")


@pytest.mark.parametrize("bad", [*NO_HOSTS, "https://api.hbdm.com", "a/", "a:", "a:0443"])
def test_an_invalid_signing_host_is_refused(bad: str) -> None:
    """Only a name or an address is valid, with or without a port."""
    with pytest.raises(
        InvalidValueError, match=r"^signing_host must be host or host:port, .* got "
    ):
        signing.host(bad)


@pytest.mark.parametrize(
    "good", ["API.hbdm.com", "my_host", "a" * 63 + ".b", "10.0.0.1:8443", "[::1]", "[::1]:8090"]
)
def test_a_signing_host_is_signed_in_lower_case(good: str) -> None:
    """The host of a base URL is signed in lower case, too."""
    assert signing.host(good) == good.lower()
    assert signing.origin(f"https://{good}") == (f"https://{good.lower()}", good.lower())


@pytest.mark.parametrize("bad", ["http://api.hbdm.com", "http://10.0.0.1", "http://localhost.a"])
def test_plain_http_is_refused_except_to_loopback(bad: str) -> None:
    """Others could use a signature that is not encrypted."""
    with pytest.raises(InvalidValueError, match=f"^base_url must be https, or http to .*{bad}"):
        signing.origin(bad)


@pytest.mark.parametrize("bad", ["ftp://127.0.0.1", "api.hbdm.com", "//api.hbdm.com", ""])
def test_a_base_url_with_another_scheme_or_none_is_refused(bad: str) -> None:
    """The scheme is not guessed."""
    with pytest.raises(InvalidValueError, match=f"^base_url must be https://.*got '{bad}'$"):
        signing.origin(bad)


@pytest.mark.parametrize(
    "bad", ["https://user:canary@a", "https://a?Signature=canary", "https://a..b?canary"]
)
def test_a_base_url_with_a_password_or_a_query_is_refused_and_not_shown(bad: str) -> None:
    """A password or a query may be secret."""
    with pytest.raises(InvalidValueError, match=r"^base_url must be https://") as caught:
        signing.origin(bad)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 7, b"https://api.hbdm.com"])
def test_a_host_that_is_not_text_is_a_type_error(wrong: object) -> None:
    """base_url and signing_host must each be a str."""
    with pytest.raises(InvalidTypeError, match=r"^base_url must be a str, got "):
        signing.origin(wrong)
    with pytest.raises(InvalidTypeError, match=r"^signing_host must be a str, got "):
        signing.host(wrong)
