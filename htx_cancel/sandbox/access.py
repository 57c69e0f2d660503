"""Check signatures as HTX does, with code that is independent of the client's.

Source: the API signature pages of HTX futures. The tolerance of five minutes is from the general
page. The host may be signed with or without its port: HTX's pages ask for the host as sent, and its
own Python SDKs sign the bare host.
"""

import base64
import hashlib
import hmac
import re
from datetime import datetime
from urllib.parse import parse_qsl, quote

from htx_cancel.sandbox.texts import Denial

TOLERANCE = 300.0  #: seconds
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_PORT = re.compile(r":\d+\Z", re.ASCII)


class Access:
    """Checks requests against one pair of keys."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key.encode()

    def denial(self, method: str, host: str, target: str, now: float) -> Denial | None:
        """Return why a request is denied; ``None`` if it is not."""
        path, _, query = target.partition("?")
        given = dict(parse_qsl(query, keep_blank_values=True))
        signature = given.pop("Signature", "")
        if given.get("AccessKeyId") != self._access_key:
            return "key"
        if given.get("SignatureMethod") != "HmacSHA256":
            return "method"
        if given.get("SignatureVersion") != "2":
            return "version"
        if denial := _time_denial(given.get("Timestamp", ""), now):
            return denial
        for name in (host, _PORT.sub("", host)):
            expected = self._sign("\n".join((method, name.lower(), path, _canonical(given))))
            if hmac.compare_digest(expected, signature.encode()):
                return None
        return "signature"

    def _sign(self, text: str) -> bytes:
        return base64.b64encode(hmac.digest(self._secret_key, text.encode(), hashlib.sha256))


def _canonical(parameters: dict[str, str]) -> str:
    return "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in sorted(parameters.items())
    )


def _time_denial(stamp: str, now: float) -> Denial | None:
    if not stamp:
        return "no time"
    try:
        moment = datetime.fromisoformat(f"{stamp}+00:00").timestamp()
    except ValueError:
        return "time"
    exact = _STAMP.fullmatch(stamp) and abs(now - moment) <= TOLERANCE
    return None if exact else "time"
