"""Encode requests that arm or disarm a countdown, and decode their replies."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_cancel.endpoints import COUNTDOWNS
from htx_cancel.wire import countdown
from htx_cancel.wire.codes import Meaning
from htx_cancel.wire.countdown import CountdownReply

V5 = COUNTDOWNS["usdt_m"]
BEGIN = 1767323045123


def read(begin: object, end: object) -> CountdownReply:
    """Decode a reply with these times."""
    data = {"current_time": begin, "trigger_time": end}
    body = json.dumps({"code": 200, "data": data, "ts": BEGIN})
    return countdown.decode(200, body.encode(), V5)


@pytest.mark.parametrize("kind", [int, str])
def test_a_reply_names_the_end_of_the_countdown(kind: type) -> None:
    """Times are numbers or texts; the reply has the exchange's time, too."""
    reply = read(kind(BEGIN), kind(BEGIN + 30_000))
    assert (reply.whole.meaning, reply.seconds) == (Meaning.ACCEPTED, 30.0)
    assert reply.server_time == BEGIN / 1000


@pytest.mark.parametrize(
    "end", [None, 0, -1, "0", BEGIN - 1, True, 1.5, "", "x", "²", "-5", "1" * 5000, [BEGIN], {}]
)
def test_a_reply_without_an_end_in_the_future_arms_nothing(end: object) -> None:
    """A time of another form is no time, and never raises."""
    assert read(BEGIN, end).seconds == 0.0


@given(st.binary(max_size=100), st.integers(100, 599))
def test_random_bytes_never_raise_and_arm_nothing(body: bytes, status: int) -> None:
    """Decoding does not fail."""
    assert countdown.decode(status, body, V5).seconds == 0.0


@pytest.mark.parametrize(("unit", "time_out"), [(0.001, 30_000), (1.0, 30)])
def test_times_are_sent_in_the_exchange_s_unit(unit: float, time_out: int) -> None:
    """A disarming has no time; ``on_off`` is a text in v5 and a number elsewhere."""
    armed = countdown.encode(30.0, unit=unit, as_text=True)
    assert json.loads(armed) == {"on_off": "1", "time_out": time_out}
    assert json.loads(countdown.encode(0.0, unit=unit, as_text=False)) == {"on_off": 0}
