"""Signed requests to the sandbox's exchange, and its expected replies."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from htx_cancel.sandbox.exchange import Exchange, HttpRequest, HttpResponse
from htx_cancel.sandbox.rules import Kind

CANCEL = "/swap-api/v1/swap_cancel"
TRACK = "/swap-api/v1/swap_track_cancel"
TRACK_ALL = "/swap-api/v1/swap_track_cancelall"
TRIGGER = "/linear-swap-api/v1/swap_trigger_cancel"
V5 = "/v5/trade/cancel_order"
PATHS = [CANCEL, TRACK, TRACK_ALL, TRIGGER, V5]
V1_BATCHES: list[tuple[str, Kind, str]] = [
    (CANCEL, "swap", "BTC-USD"),
    (TRACK, "swap_trailing", "BTC-USD"),
    (TRIGGER, "linear_trigger", "BTC-USDT"),
]
NOW = 1767323045.0  # 2026-01-02T03:04:05 UTC
TS = 1767323045000
HOST = "api.hbdm.com"


def signed_target(
    path: str, *, method: str = "POST", host: str = HOST, now: float = NOW, **changed: Any
) -> str:
    """Return a path with a query that is signed with the sandbox's default keys."""
    parameters = {
        "AccessKeyId": "sandbox-access-key",
        "SignatureMethod": "HmacSHA256",
        "SignatureVersion": "2",
        "Timestamp": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
    } | changed
    query = urlencode(sorted(parameters.items()), quote_via=quote)
    message = f"{method}\n{host.lower()}\n{path}\n{query}".encode()
    mac = hmac.new(b"sandbox-secret-key", message, hashlib.sha256).digest()
    return f"{path}?{query}&{urlencode({'Signature': base64.b64encode(mac)})}"


def post(path: str, fields: Any, *, now: float = NOW) -> HttpRequest:
    """Return a signed request with these fields, or these bytes, as its body."""
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return HttpRequest("POST", HOST, signed_target(path, now=now), {}, body)


def get(path: str, fields: dict[str, str], *, now: float = NOW) -> HttpRequest:
    """Return a GET whose parameters are all in the signed query."""
    target = signed_target(path, method="GET", now=now, **fields)
    return HttpRequest("GET", HOST, target, {}, b"")


def ask(exchange: Exchange, path: str, fields: Any, *, now: float = NOW) -> Any:
    """Return the decoded reply to a signed request."""
    return decoded(exchange.handle(post(path, fields, now=now), now))


def decoded(response: HttpResponse) -> Any:
    """Return the JSON of a reply that is not compressed."""
    return json.loads(response.body)


def batch(contract_code: str, *ids: str) -> dict[str, str]:
    """Return the fields of a call with these ids."""
    return {"contract_code": contract_code, "order_id": ",".join(ids)}


def error(code: int, message: str) -> dict[str, Any]:
    """Return the refusal of a whole call in the v1 envelope."""
    return {"status": "error", "err_code": code, "err_msg": message, "ts": TS}


def error_v5(code: int | str, message: str) -> dict[str, Any]:
    """Return the refusal of a whole call in the v5 envelope."""
    return in_v5(code, message, None)


def in_v5(code: int | str, message: str, data: Any) -> dict[str, Any]:
    """Return a reply in the v5 envelope."""
    return {
        "code": code,
        "message": message,
        "data": data,
        "args": None,
        "ts": TS,
        "unknownException": False,
    }
