"""What the exchange's codes mean."""

from enum import Enum


class Meaning(Enum):
    """What a reply of the exchange, or the lack of a reply, says about a cancel."""

    __hash__ = object.__hash__  # each member exists once; Enum's own hash is slow

    ACCEPTED = "the exchange took the instruction"
    FILLED = "the order was filled"
    CANCELED = "the order was canceled earlier"
    CANCELING = "an earlier cancel is under way"
    NOT_FOUND = "the exchange knows no such order"
    RATE_LIMITED = "too many requests; the exchange did not execute this one"
    BUSY = "refused for now"
    SETTLING = "the contract is in settlement or delivery"
    ENTRY_OPEN = "the order depends on an entry order that is open: cancel the entry order first"
    FAULT = "the exchange failed internally, and may or may not have executed the request"
    CLOCK = "the request's timestamp was wrong"
    AUTH = "the key, the signature, the account's mode or the path was refused"
    INVALID = "a parameter was refused"
    REFUSED = "this order may not be canceled"
    UNCLEAR = "the code is not in our table, or says nothing certain"
    UNNAMED = "the reply does not mention this id"
    UNREADABLE = "the reply is not one of the exchange's"
    NO_ANSWER = "the request was sent, and no reply came"
    NOT_SENT = "the request never left this process"


#: The codes that we interpret. The exchange's own error tables list many more: codes of placing
#: orders, of transfers and of other products. A code that is not here is ``UNCLEAR``.
CODES: dict[int, Meaning] = {
    1063: Meaning.FILLED,
    1071: Meaning.CANCELED,
    1062: Meaning.CANCELING,
    **dict.fromkeys((1017, 1051, 1061), Meaning.NOT_FOUND),
    **dict.fromkeys((429, 1032), Meaning.RATE_LIMITED),
    # busy, not ready, no book, maintenance
    **dict.fromkeys((1001, 1004, 1060, 1076, 1411, 1431), Meaning.BUSY),
    **dict.fromkeys((1056, 1059), Meaning.SETTLING),
    1408: Meaning.ENTRY_OPEN,  # a TP/SL order that is not in effect yet
    # system, query, redis, timeout, service, dubbo
    **dict.fromkeys((1000, 1002, 1003, 1005, 1046, 1108), Meaning.FAULT),
    **dict.fromkeys((12001, 12006), Meaning.CLOCK),
    **dict.fromkeys((403, 1253, 12002, 12003, 12004, 12005, 12007, 12008, 12009), Meaning.AUTH),
    **dict.fromkeys((1010, 1011, 1012, 1113, 1115, 1200, 1205, 1220, 1228), Meaning.AUTH),
    # an account that may not make the call: suspended, not enabled, without the permission
    **dict.fromkeys((1018, 1227, 1230, 1231, 1254, 1482, 4009, 50102), Meaning.AUTH),
    # account modes: the caller's account must use another product's calls
    **dict.fromkeys((1510, 4002, 4003, 4004, 4005, 4006, 4007, 6002, 6023), Meaning.AUTH),
    **dict.fromkeys((1013, 1014, 1030, 1031, 1048, 1052, 1065, 1066, 1067), Meaning.INVALID),
    **dict.fromkeys((1332, 1347, 1348), Meaning.INVALID),
    1088: Meaning.REFUSED,
    # 1029 (free text), 1084 (placing only) and 1440 ("failed to cancel") say nothing certain
}


#: The code for too many ids in one request.
TOO_MANY = 1052

#: The codes for a body of the wrong form.
WRONG_FORM = frozenset({400, 1030, 1031, 1066, 1067, 1347})

#: The codes for a refused signature that the exchange also gives for a wrong clock.
MAYBE_CLOCK = frozenset({403, 1253})


def meaning(code: int, message: str, *, envelope: str) -> Meaning:
    """Return what a code means in its envelope.

    Two codes mean something else in v5: 1046 is a missing position, and 1003 has been seen with
    the message "invalid signature".
    """
    if envelope == "v5" and code == 1046:
        return Meaning.INVALID
    if envelope == "v5" and code == 1003 and "signature" in message.lower():
        return Meaning.AUTH
    return CODES.get(code, Meaning.UNCLEAR)
