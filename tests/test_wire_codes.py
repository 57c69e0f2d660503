"""What the exchange's codes mean."""

import json

import pytest
from clients import EPOCH, add, cancel, in_process
from replies import of, ok, read
from virtualtime import run

from htx_cancel import CancelStatus
from htx_cancel.endpoints import Endpoint, coin_m_swap, usdt_m
from htx_cancel.sandbox import Exchange, Fault, FaultPlan
from htx_cancel.sandbox.messages import HttpResponse
from htx_cancel.status import STATUS, Finding
from htx_cancel.wire.codes import Meaning


def test_two_codes_mean_something_else_in_v5() -> None:
    """1046 is a missing position, and 1003 may be a refused signature."""

    def meant(code: int, message: str, endpoint: Endpoint) -> Meaning:
        return read({"code": code, "message": message}, endpoint=endpoint).whole.meaning

    assert meant(1046, "", coin_m_swap.ORDERS) is Meaning.FAULT
    assert meant(1046, "", usdt_m.ORDERS) is Meaning.INVALID
    assert meant(1003, "Redis error.", usdt_m.ORDERS) is Meaning.FAULT
    assert meant(1003, "invalid signature", usdt_m.ORDERS) is Meaning.AUTH


#: Codes that refuse every call of the account.
ACCOUNT_CODES = [4009, 1227, 1230, 1231, 1254, 50102, 1018, 1482]


@pytest.mark.parametrize("endpoint", [coin_m_swap.ORDERS, usdt_m.ORDERS])
@pytest.mark.parametrize("code", ACCOUNT_CODES)
def test_a_refused_account_is_not_retried(code: int, endpoint: Endpoint) -> None:
    """Each of these codes rejects every id of the call, and is final."""
    answer = read({"status": "error", "err_code": code, "err_msg": "m"}, endpoint=endpoint)
    assert of(answer, "5") == Finding(Meaning.AUTH, code, "m")
    assert STATUS[answer.whole.meaning] == (CancelStatus.REJECTED, None)
    assert answer.account_wide


@pytest.mark.parametrize(
    ("code", "account_wide"),
    [(403, True), (1253, True), (6002, True), (1032, False), (1067, False), (12001, False)],
)
def test_only_refusals_of_the_account_are_account_wide(code: int, account_wide: bool) -> None:
    """A refused key, signature or account mode is; a parameter or a rate limit is not."""
    assert read({"status": "error", "err_code": code}).account_wide is account_wide
    item = {"order_id": "5", "err_code": code}
    assert not read(ok("", item)).account_wide


def refusal(code: int, seconds: float) -> Fault:
    """Return a fault that refuses a request with a code, at this time after ``EPOCH``."""
    reply = {"status": "error", "err_code": code, "ts": round((EPOCH + seconds) * 1000)}
    body = json.dumps(reply).encode()
    return Fault("refusal", executed=False, reply=HttpResponse(200, {}, body))


@pytest.mark.parametrize(("code", "corrected"), [(403, True), (1253, True), (4009, False)])
def test_only_a_refused_signature_may_be_a_wrong_clock(code: int, corrected: bool) -> None:
    """If the exchange's clock differs, the request is signed again by that clock."""

    async def main() -> None:
        exchange = Exchange(clock_offset=900.0)
        ids = add(exchange, "swap", 1)
        plan = FaultPlan({ids[0]: [refusal(code, 900.0)]})
        async with in_process(exchange, faults=plan) as client:
            outcome = await cancel(client, "swap", ids)
        expected = CancelStatus.ACCEPTED if corrected else CancelStatus.REJECTED
        assert outcome[ids[0]].status is expected

    run(main())


@pytest.mark.parametrize(
    ("code", "requests"),
    [(400, 2), (1030, 2), (1031, 2), (1066, 2), (1067, 2), (1347, 2), (1088, 1)],
)
def test_a_list_that_is_refused_for_its_form_is_sent_in_another_form(
    code: int, requests: int
) -> None:
    """Any other refusal is final."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "v5_algo", 1)
        plan = FaultPlan({ids[0]: [refusal(code, 0.0)]})
        async with in_process(exchange, faults=plan) as client:
            outcome = await client.usdt_m.cancel_algo_orders("BTC-USDT", ids)
        assert outcome[ids[0]].attempts == requests

    run(main())
