"""The exchange's codes and texts, read from its pages independently of the client's table."""

from collections.abc import Mapping
from typing import Literal

from htx_cancel.sandbox.rules import Envelope, Interface, State

Denial = Literal["key", "method", "version", "no time", "time", "signature"]

#: The code that refuses to cancel an order that is not open.
STATE_CODES: Mapping[State, int] = {
    "filled": 1063,
    "canceling": 1062,
    "canceled": 1071,
    "partially_canceled": 1071,
}
NOT_FOUND = 1061
#: The code that refuses to cancel a TP/SL order whose entry order is open.
ENTRY_OPEN = 1408
#: The code that refuses calls while a contract is in settlement.
SETTLING = 1056
#: The code that refuses a query if it finds none of its orders.
NONE_FOUND = 1017

#: As published in 2021; replies carry these texts without straight apostrophes.
_V1_TEXTS = {
    1000: "System error.",
    1001: "System is unprepared.",
    1003: "Abnormal redis operation.",
    1004: "System busy. Please try again later.",
    1013: "This contract symbol doesnt exist.",
    1014: "This contract doesnt exist.",
    1017: "Order doesnt exist.",
    1030: "Input error.",
    1032: "The number of access exceeded the limit.",
    1051: "No orders to cancel.",
    1052: "The number exceeds the batch limit.",
    1056: "In settlement. Your order can’t be placed/withdrew currently.",  # noqa: RUF001 - as published
    1059: "In delivery. Your order can’t be placed/withdrew currently.",  # noqa: RUF001
    1061: "This order doesnt exist.",
    1062: "Cancelling. Please be patient.",
    1063: "The order has been executed.",
    1065: "The form number of client isnt an integer.",
    1066: "{0} cannot be empty.",
    1067: "Illegal parameter {0}.",
    1071: "Repeated cancellation. Your order has been canceled.",
    1088: "{0} contract is restricted of withdraw order on {1}. Please contact customer service.",
    1332: "The contract doesnt exist.",
    1408: "Unable to cancel because the take-profit and stop-loss order does not take effect.",
    1440: "{0} contracts fail to be cancelled.",
}
#: As published in 2025, where they differ.
_V5_TEXTS = _V1_TEXTS | {
    1001: "The system is not ready.",
    1003: "Redis error.",
    1014: "This contract doesn't exist.",
    1017: "Order doesn't exist.",
    1032: "Maximum number of access attempts exceeded.",
    1051: "No cancellable orders.",
    1052: "The number of batch canceling/placing has exceeded the limit.",
    1056: "Settling. Unable to place/cancel orders currently.",
    1059: "Delivering contracts. Unable to place/cancel orders currently.",
    1061: "The order does not exist.",
    1062: "Canceling. Thank you for your patience.",
    1065: "Customer order numbers should be integers.",
    1088: "{0} contracts do not support cancellation on {1} at the moment. "
    "Please contact customer service.",
    1332: "The perpetual contract does not exist.",
    1408: "Unable to cancel because the take-profit / stop-loss order has not taken effect yet.",
    1440: "Failed to cancel the {0} contract.",
}
TEXTS: Mapping[Envelope, Mapping[int, str]] = {"v1": _V1_TEXTS, "v5": _V5_TEXTS}

_V1_DENIALS: dict[Denial, tuple[int | str, str]] = {
    "key": (403, "Incorrect Access key [Access key错误]"),
    "method": (403, "Incorrect signature method [错误的签名方法]"),
    "version": (12002, "Incorrect signature version."),
    "no time": (12006, "The submission time cannot be empty."),
    "time": (12001, "Invalid submission time."),
    "signature": (403, "Verification failure [校验失败]"),
}
#: The codes and texts for a call whose signature is not valid.
DENIALS: Mapping[Envelope, Mapping[Denial, tuple[int | str, str]]] = {
    "v1": _V1_DENIALS,
    "v5": _V1_DENIALS | {"signature": ("1003", "invalid signature")},
}


class Refused(Exception):  # noqa: N818 - a reply of the exchange, not an error of the sandbox
    """Refuses a whole call; ``outcome`` goes to the log of calls."""

    def __init__(self, code: int | str, text: str, outcome: str = "invalid") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.outcome = outcome


def text(envelope: Envelope, code: int, *words: str) -> str:
    """Return a code's text. Any code may be scripted, so an unknown code has a text, too."""
    return TEXTS[envelope].get(code, "Unknown error.").format(*words)


def refusal(interface: Interface, code: int, *words: str, outcome: str = "invalid") -> Refused:
    """Return the refusal of a whole call, with the text of the call's envelope."""
    return Refused(code, text(interface.envelope, code, *words), outcome)


def contract_refusal(interface: Interface, *, given: bool) -> Refused:
    """Return the refusal of a contract_code that is unknown, or missing if not ``given``."""
    if interface.envelope == "v5":
        return Refused(interface.unknown_contract, "Invalid contract_code parameter")
    name = "The symbol field" if interface.by_symbol else "contract_code"
    return refusal(interface, interface.unknown_contract if given else 1066, name)
