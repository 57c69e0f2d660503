"""The tables of statuses, and the order of answers."""

from htx_cancel.status import REQUEST_REFUSALS, STATUS, CancelStatus
from htx_cancel.wire.codes import Meaning


def test_every_meaning_has_a_status() -> None:
    """Only a success is accepted."""
    assert set(STATUS) == set(Meaning)
    accepted = [key for key, (status, _) in STATUS.items() if status is CancelStatus.ACCEPTED]
    assert accepted == [Meaning.ACCEPTED]


def test_every_refusal_is_of_the_request_or_of_the_order() -> None:
    """A new meaning must be assigned to one side."""
    rejected = {meaning for meaning in Meaning if STATUS[meaning][0] is CancelStatus.REJECTED}
    assert rejected - REQUEST_REFUSALS == {Meaning.INVALID, Meaning.REFUSED, Meaning.ENTRY_OPEN}
    assert rejected >= REQUEST_REFUSALS
