"""The sandbox checks keys, timestamps and signatures."""

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from sandbox_requests import (
    CANCEL,
    HOST,
    NOW,
    TRACK,
    V5,
    batch,
    decoded,
    error,
    error_v5,
    post,
    signed_target,
)

from htx_cancel.sandbox.access import Access
from htx_cancel.sandbox.exchange import Call, Exchange, HttpRequest


@pytest.fixture
def exchange() -> Exchange:
    """Return an exchange with an empty book."""
    return Exchange()


@pytest.mark.parametrize(
    ("host", "path", "second", "signature"),
    [
        (HOST, CANCEL, "05", "sVbtxXaJKW70Utke%2FKLnNxI1KEwziphm4iQSh3KhfXI%3D"),
        (HOST, CANCEL, "05", "sVbtxXaJKW70Utke/KLnNxI1KEwziphm4iQSh3KhfXI%3D"),
        (
            HOST,
            "/api/v1/contract_cancel",
            "05",
            "qbUeD7IV7zAOhmUJb3jwXeqsWDlZaYM48yPZbRL%2FYYc%3D",
        ),
        ("api.hbdm.vn", CANCEL, "05", "6zQDNh5x2IpGy9CITyEzNWpA3HU%2FaThqlKc9pNvF7T8%3D"),
        ("API.HBDM.COM", CANCEL, "05", "sVbtxXaJKW70Utke%2FKLnNxI1KEwziphm4iQSh3KhfXI%3D"),
        (HOST, CANCEL, "13", "%2Fxe73SklBZVn07kHoh%2BSCcZda3zcyakPWepFa0fpcGY%3D"),
    ],
)
def test_published_signatures_are_valid(host: str, path: str, second: str, signature: str) -> None:
    """Other implementations of HTX's scheme computed them."""
    access = Access("test-access-key-0000-0000-00000001", "test-secret-key-0000-0000-00000001")
    query = (
        "AccessKeyId=test-access-key-0000-0000-00000001&SignatureMethod=HmacSHA256"
        f"&SignatureVersion=2&Timestamp=2026-01-02T03%3A04%3A{second}&Signature={signature}"
    )
    assert access.denial("POST", host, f"{path}?{query}", NOW) is None


def test_a_call_with_a_published_signature_is_executed() -> None:
    """The exchange uses the keys it is given."""
    exchange = Exchange(
        access_key="test-access-key-0000-0000-00000001",
        secret_key="test-secret-key-0000-0000-00000001",
    )
    order = exchange.book.add("swap", "BTC-USD")
    target = (
        f"{CANCEL}?AccessKeyId=test-access-key-0000-0000-00000001&SignatureMethod=HmacSHA256"
        "&SignatureVersion=2&Timestamp=2026-01-02T03%3A04%3A05"
        "&Signature=sVbtxXaJKW70Utke%2FKLnNxI1KEwziphm4iQSh3KhfXI%3D"
    )
    body = json.dumps(batch("BTC-USD", order.order_id)).encode()
    response = exchange.handle(HttpRequest("POST", HOST, target, {}, body), NOW)
    assert decoded(response)["data"] == {"errors": [], "successes": order.order_id}


def test_a_plus_that_is_not_escaped_is_a_space() -> None:
    """A signature with a bare plus sign is denied."""
    access = Access("test-access-key-0000-0000-00000001", "test-secret-key-0000-0000-00000001")
    target = (
        f"{CANCEL}?AccessKeyId=test-access-key-0000-0000-00000001&SignatureMethod=HmacSHA256"
        "&SignatureVersion=2&Timestamp=2026-01-02T03%3A04%3A13"
        "&Signature=%2Fxe73SklBZVn07kHoh+SCcZda3zcyakPWepFa0fpcGY%3D"
    )
    assert access.denial("POST", HOST, target, NOW) == "signature"


@pytest.mark.parametrize(
    ("signed", "header", "status"),
    [
        ("127.0.0.1:8090", "127.0.0.1:8090", "ok"),
        ("127.0.0.1", "127.0.0.1:8090", "ok"),
        ("[::1]", "[::1]:8090", "ok"),
        ("[::1]", "[::1]", "ok"),
        ("127.0.0.1:8090", "127.0.0.1", "error"),
        ("127.0.0.1:8091", "127.0.0.1:8090", "error"),
        ("[:", "[::1]", "error"),
    ],
)
def test_the_host_is_signed_with_its_port_or_without(
    exchange: Exchange, signed: str, header: str, status: str
) -> None:
    """Both of HTX's own Python SDKs sign the bare host. Another port is denied."""
    target = signed_target(CANCEL, host=signed)
    body = json.dumps(batch("BTC-USD", "1")).encode()
    response = exchange.handle(HttpRequest("POST", header, target, {}, body), NOW)
    assert decoded(response)["status"] == status


def test_all_parameters_in_the_query_are_signed(exchange: Exchange) -> None:
    """They are sorted by name, with a space as %20."""
    signed = "AccessKeyId=sandbox-access-key&SignatureMethod=HmacSHA256&SignatureVersion=2"
    signed += "&Timestamp=2026-01-02T03%3A04%3A05&weird=a%20b%2F~%C3%A9"
    message = f"POST\n{HOST}\n{CANCEL}\n{signed}".encode()
    mac = base64.b64encode(hmac.digest(b"sandbox-secret-key", message, hashlib.sha256))
    sent = "&".join(reversed(signed.replace("%20", "+").split("&")))
    target = f"{CANCEL}?{sent}&{urlencode({'Signature': mac})}"
    exchange.handle(HttpRequest("POST", HOST, target, {}, b"{}"), NOW)
    assert exchange.log[0].outcome == "invalid"


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"AccessKeyId": "another"}, 403, "Incorrect Access key [Access key错误]"),
        ({"SignatureMethod": "Ed25519"}, 403, "Incorrect signature method [错误的签名方法]"),
        ({"SignatureVersion": "1"}, 12002, "Incorrect signature version."),
        ({"Timestamp": ""}, 12006, "The submission time cannot be empty."),
        ({"Timestamp": "2026-01-02T03:04:05Z"}, 12001, "Invalid submission time."),
        ({"Timestamp": "2026-01-02 03:04:05"}, 12001, "Invalid submission time."),
        ({"Timestamp": "2026-13-02T03:04:05"}, 12001, "Invalid submission time."),
        ({"Timestamp": "2026-01-02T02:59:04"}, 12001, "Invalid submission time."),
        ({"Timestamp": "2026-01-02T03:09:06"}, 12001, "Invalid submission time."),
    ],
)
def test_bad_access_parameters(
    exchange: Exchange, changed: dict[str, Any], code: int, message: str
) -> None:
    """Every parameter is checked before the signature, in either envelope."""
    replies = [
        decoded(
            exchange.handle(
                HttpRequest("POST", HOST, signed_target(path, **changed), {}, b"{}"), NOW
            )
        )
        for path in (CANCEL, V5)
    ]
    assert replies == [error(code, message), error_v5(code, message)]


@pytest.mark.parametrize("stamp", ["2026-01-02T02:59:05", "2026-01-02T03:09:05"])
def test_a_timestamp_is_valid_for_five_minutes(stamp: str) -> None:
    """The limit is the same before and after the exchange's time."""
    access = Access("sandbox-access-key", "sandbox-secret-key")
    assert access.denial("POST", HOST, signed_target(CANCEL, Timestamp=stamp), NOW) is None


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("POST", "api.hbdm.vn", signed_target(CANCEL), {}, b"{}"),
        HttpRequest("POST", HOST, signed_target(CANCEL)[:-9] + "x", {}, b"{}"),
        HttpRequest("POST", HOST, signed_target(CANCEL).partition("&Signature=")[0], {}, b"{}"),
        HttpRequest("POST", HOST, signed_target(CANCEL) + "é", {}, b"{}"),
        HttpRequest("POST", HOST, signed_target(TRACK).replace(TRACK, CANCEL), {}, b"{}"),
    ],
)
def test_bad_signatures(exchange: Exchange, request_: HttpRequest) -> None:
    """A signature of another host or path, or none, is denied without rate headers."""
    response = exchange.handle(request_, NOW)
    assert response.status == 200
    assert decoded(response) == error(403, "Verification failure [校验失败]")
    assert list(response.headers) == ["Content-Type"]


def test_a_bad_signature_in_v5_has_a_string_as_code(exchange: Exchange) -> None:
    """The code is the string 1003."""
    target = signed_target(CANCEL).replace(CANCEL, V5)
    reply = decoded(exchange.handle(HttpRequest("POST", HOST, target, {}, b"{}"), NOW))
    assert reply == error_v5("1003", "invalid signature")
    assert exchange.log == [Call(NOW, V5, (), "auth", 1003)]


def test_no_repr_shows_a_secret(exchange: Exchange) -> None:
    """A repr has neither a key nor a signature."""
    request = post(CANCEL, {})
    shown = f"{exchange!r} {exchange._access!r} {request!r} {exchange.log!r}"
    assert "secret" not in shown
    assert "Signature" not in shown
    assert repr(request) == f"<HttpRequest POST {HOST}{CANCEL}>"
