"""Decode what a reply says of the whole request: its envelope, code and text."""

import json

import pytest
from clients import add, cancel, in_process
from replies import of, ok, read
from virtualtime import run

from htx_cancel import CancelStatus
from htx_cancel.endpoints import ENDPOINTS, Endpoint, coin_m_swap, usdt_m
from htx_cancel.sandbox import Exchange, Fault, FaultPlan
from htx_cancel.sandbox.messages import HttpResponse
from htx_cancel.sandbox.rules import Kind
from htx_cancel.status import Finding
from htx_cancel.wire import cancels
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.envelope import CLIENT_ID_CAVEAT


@pytest.mark.parametrize("endpoint", [coin_m_swap.ORDERS, usdt_m.ORDERS])
@pytest.mark.parametrize("reply", [ok("5"), {"code": 200, "data": {"order_id": "5"}}])
def test_both_success_envelopes_are_understood_on_every_path(
    endpoint: Endpoint, reply: dict[str, object]
) -> None:
    """A success counts in either envelope."""
    assert of(read(reply, endpoint=endpoint), "5").meaning is Meaning.ACCEPTED


@pytest.mark.parametrize("endpoint", [coin_m_swap.ORDERS, usdt_m.ORDERS])
@pytest.mark.parametrize(
    "reply",
    [
        {"status": "error", "err_code": 1032, "err_msg": "m", "ts": 1},
        {"status": "error", "err-code": "1032", "err-msg": "m"},
        {"code": 1032, "message": "m", "data": None},
        {"code": "1032", "message": "m"},
        {"code": 1032, "message": "", "err_msg": "m"},
        {"status": "error", "code": 1032, "message": "m"},
        {"err_code": 1032, "err_msg": "m"},
    ],
)
def test_both_error_envelopes_are_understood_on_every_path(
    endpoint: Endpoint, reply: dict[str, object]
) -> None:
    """A refusal of the whole request applies to each of its ids."""
    answer = read(reply, endpoint=endpoint)
    assert answer.rate_limited
    assert of(answer, "5") == Finding(Meaning.RATE_LIMITED, 1032, "m")


@pytest.mark.parametrize("status", [200, 302, 403, 404, 500, 503])
def test_an_error_is_read_whatever_the_http_status(status: int) -> None:
    """Both error envelopes count with any HTTP status."""
    for reply in ({"status": "error", "err_code": 1061}, {"code": 1061, "message": ""}):
        assert read(reply, status=status).whole == Finding(Meaning.NOT_FOUND, 1061)


@pytest.mark.parametrize("status", [100, 199, 300, 302, 404, 500])
def test_only_a_2xx_reply_accepts(status: int) -> None:
    """A success with another HTTP status does not come from the exchange."""
    for reply in (ok("5"), {"code": 200, "data": {"order_id": "5"}}):
        assert read(reply, status=status).whole.meaning is Meaning.UNREADABLE
        assert of(read(reply, status=status), "5").meaning is not Meaning.ACCEPTED
        assert of(read(reply, status=201), "5").meaning is Meaning.ACCEPTED


def test_a_success_with_http_500_accepts_no_id() -> None:
    """An error in the same reply still counts."""
    answer = read(ok("5", {"order_id": "6", "err_code": 1063}), status=500)
    assert of(answer, "5").meaning is Meaning.UNREADABLE
    assert of(answer, "6").meaning is Meaning.FILLED


def test_http_400_is_a_refusal_of_the_request() -> None:
    """The refusal is final: the request was not executed, whichever server answered."""
    whole = cancels.decode(400, b"bad request", coin_m_swap.ORDERS).whole
    assert (whole.meaning, whole.code) == (Meaning.INVALID, 400)


def test_http_429_is_a_rate_limit() -> None:
    """A 429 without an envelope means the same as code 1032."""
    assert cancels.decode(429, b"slow down", coin_m_swap.ORDERS).rate_limited


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"status": "error"}, Meaning.UNCLEAR),
        ({"status": "error", "code": 200}, Meaning.UNCLEAR),
        ({"status": "error", "err_code": 4999}, Meaning.UNCLEAR),
        ({"status": "maintain"}, Meaning.BUSY),
        ({"status": "maintain", "err_code": 1032}, Meaning.RATE_LIMITED),
        ({"status": "ok"}, Meaning.ACCEPTED),
        ({"status": "ok", "data": [7]}, Meaning.ACCEPTED),
        ({"status": 404, "error": "Not Found", "path": "/x"}, Meaning.UNREADABLE),
        ({"status": 500, "error": "Internal Server Error", "path": "/x"}, Meaning.UNREADABLE),
        ({}, Meaning.UNREADABLE),
        ([], Meaning.UNREADABLE),
        ("ok", Meaning.UNREADABLE),
        ({"code": True}, Meaning.UNREADABLE),
    ],
)
def test_unusual_replies_have_a_meaning(reply: object, expected: Meaning) -> None:
    """Unknown codes, missing fields and foreign shapes do not raise."""
    assert read(reply).whole.meaning is expected


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"status":"ok"', b"<html>", b"\xff", b'{"":"\xff"}', b"[" * 10**5, b"NaN"],
)
def test_a_body_without_a_json_object_is_unreadable(body: bytes) -> None:
    """An empty, cut, HTML, deeply nested or wrongly encoded body is."""
    answer = cancels.decode(200, body, coin_m_swap.ORDERS)
    assert of(answer, "1").meaning is Meaning.UNREADABLE
    assert "html" not in answer.whole.message


@pytest.mark.parametrize(
    "digits", ["+7", "-7", "1_0", " 7", "7.0", "\u0661\u0660\u0666\u0663", "²", "1" * 10, ""]
)
def test_a_code_is_ascii_digits(digits: str) -> None:
    """Other texts that Python's ``int`` accepts are not codes."""
    answer = read(ok("", {"order_id": "5", "err_code": digits, "err_msg": "m"}))
    assert of(answer, "5") == Finding(Meaning.UNCLEAR, None, "m")
    assert read({"code": digits, "message": "m"}).whole.meaning is Meaning.UNREADABLE


def test_other_digits_are_not_a_success() -> None:
    """200 in Arabic digits accepts nothing."""
    data = {"order_id": "5"}
    answer = read({"code": "\u0662\u0660\u0660", "data": data}, endpoint=usdt_m.ORDERS)
    assert of(answer, "5").meaning is not Meaning.ACCEPTED


@pytest.mark.parametrize("ts", [None, "1767323045123", 1767323045.5, 0, -1, 10**14, 10**400])
def test_an_invalid_time_is_ignored(ts: object) -> None:
    """A reply's time is a number of milliseconds, of a plausible size."""
    assert read(ok("5") | {"ts": ts}).server_time is None


@pytest.mark.parametrize("code", [403, 1253, 12001])
def test_a_refusal_has_the_exchange_s_time(code: int) -> None:
    """The caller compares it with the signed timestamp."""
    for reply in ({"status": "error", "err_code": code}, {"code": code, "message": "m"}):
        assert read(reply | {"ts": 1767323045123}).server_time == 1767323045.123


# HTX's own 404


def no_such_path(path: object, **changed: object) -> dict[str, object]:
    """Return the reply of HTX's web framework to an unknown path."""
    stamp = "2026-01-02T03:04:05.000+00:00"
    return {"timestamp": stamp, "status": 404, "error": "Not Found", "path": path} | changed


@pytest.mark.parametrize("endpoint", ENDPOINTS.values())
def test_htx_s_own_404_rejects_the_call(endpoint: Endpoint) -> None:
    """The exchange has no such call, so it did nothing: final, for every id."""
    answer = read(no_such_path(endpoint.path), status=404, endpoint=endpoint)
    message = f"HTX has no such path: {endpoint.path}"
    assert of(answer, "5") == Finding(Meaning.AUTH, 404, message)
    assert answer.account_wide


@pytest.mark.parametrize("path", ["/x", f"{coin_m_swap.ORDERS.path}?AccessKeyId=k&Signature=s"])
def test_a_404_quotes_only_the_path_of_the_request(path: str) -> None:
    """Another path may echo the key."""
    answer = read(no_such_path(path), status=404)
    assert answer.whole == Finding(Meaning.AUTH, 404, "HTX has no such path")


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (200, no_such_path(coin_m_swap.ORDERS.path)),
        (502, no_such_path(coin_m_swap.ORDERS.path)),
        (404, no_such_path(coin_m_swap.ORDERS.path, status=405, error="Method Not Allowed")),
        (404, no_such_path(coin_m_swap.ORDERS.path, status="404")),
        (404, no_such_path(None)),
        (404, {"status": 404, "error": "Not Found", "path": coin_m_swap.ORDERS.path}),
        (404, {"detail": "Not Found"}),
    ],
)
def test_another_404_is_not_htx_s(status: int, reply: dict[str, object]) -> None:
    """Any other 404 may come from a proxy."""
    answer = read(reply, status=status)
    assert answer.whole.meaning in (Meaning.UNREADABLE, Meaning.UNCLEAR)
    assert not answer.account_wide


def test_a_404_page_in_html_is_unreadable() -> None:
    """The page may come from a proxy."""
    body = b"<html><h1>404 Not Found</h1></html>"
    assert cancels.decode(404, body, coin_m_swap.ORDERS).whole.meaning is Meaning.UNREADABLE


@pytest.mark.parametrize("kind", ["swap", "v5"])
def test_a_withdrawn_call_is_rejected_at_once(kind: Kind) -> None:
    """One request is sent, and the orders stay open."""

    async def main() -> None:
        rows = (*ENDPOINTS.values(), usdt_m.ORDERS_ONE_BY_ONE)
        exchange = Exchange(withdrawn=[row.path for row in rows])
        ids = add(exchange, kind, 1)
        async with in_process(exchange) as client:
            (result,) = await cancel(client, kind, ids)
        assert (result.status, result.code, result.attempts) == (CancelStatus.REJECTED, 404, 1)
        assert "HTX has no such path: /" in result.message
        assert exchange.book.verdict(ids[0]) == "open"

    run(main())


# texts

ECHOED = "(a text that echoes the request)"
ECHOES = [
    "bad request: /swap-api/v1/swap_cancel?AccessKeyId=key&SignatureMethod=HmacSHA256",
    "accesskeyid key is unknown",
    "expected Signature=c2VjcmV0, got another",
    "x" * 500 + "AccessKeyId=key",
]


@pytest.mark.parametrize("text", ECHOES)
@pytest.mark.parametrize("endpoint", [coin_m_swap.ORDERS, usdt_m.ORDERS])
@pytest.mark.parametrize("code", [403, 1017, 4999, None])
def test_a_text_that_echoes_the_request_is_never_quoted(
    code: int | None, endpoint: Endpoint, text: str
) -> None:
    """No message of a request, an item or an accepted id quotes the text."""
    findings = [
        read(reply, endpoint=endpoint, field=field).whole
        for field in ("order_id", "client_order_id")
        for reply in (
            {"status": "error", "err_code": code, "err_msg": text},
            {"status": "error", "err-code": code, "err-msg": text},
            {"code": code or 1, "message": text},
        )
    ]
    item = {"order_id": "5", "err_code": code, "err_msg": text, "message": text}
    findings += [
        of(read(envelope | {"data": data}, endpoint=endpoint), "5")
        for envelope in ({"status": "ok"}, {"code": 200})
        for data in (
            {"errors": [item], "successes": ""},
            {"errors": [item], "successes": "5"},
            [item],
        )
    ]
    assert len(findings) == 12
    for finding in findings:
        assert finding.message.removesuffix(CLIENT_ID_CAVEAT).strip() == ECHOED


@pytest.mark.parametrize("text", ECHOES)
@pytest.mark.parametrize(
    ("kind", "path"), [("swap", coin_m_swap.ORDERS), ("v5", usdt_m.ORDERS_ONE_BY_ONE)]
)
def test_no_result_quotes_a_text_that_echoes_the_request(
    kind: Kind, path: Endpoint, text: str
) -> None:
    """The text may hold the key or the signature."""

    async def main() -> None:
        body = json.dumps({"status": "error", "err_code": 1067, "err_msg": text}).encode()
        fault = Fault("echo", executed=False, reply=HttpResponse(200, {}, body))
        exchange = Exchange()
        ids = add(exchange, kind, 1)
        async with in_process(exchange, faults=FaultPlan({path.path: [fault]})) as client:
            outcome = await cancel(client, kind, ids)
        assert outcome[ids[0]].message == ECHOED

    run(main())


def test_an_error_without_a_code_or_a_text_has_a_message() -> None:
    """The message says that the code is missing."""
    assert read({"status": "error"}).whole.message == "the error has no code"


def test_a_long_message_is_cut() -> None:
    """An error text cannot fill the log."""
    assert len(read({"code": 1, "message": "m" * 10_000}).whole.message) == 200
