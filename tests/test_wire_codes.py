"""What the exchange's codes mean."""

import pytest
from replies import of, ok, read

from htx_cancel import CancelStatus
from htx_cancel.endpoints import Endpoint, coin_m_swap, usdt_m
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
