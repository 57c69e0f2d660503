"""The exception tree.

::

    HtxCancelError
    ├── InvalidTypeError (TypeError)      an argument of the wrong type; nothing was sent
    ├── InvalidValueError (ValueError)    an argument against a rule; nothing was sent
    ├── ClientClosedError (RuntimeError)  a client used after it was closed
    ├── WrongLoopError (RuntimeError)     used in a second event loop
    ├── NotArmedError                     a dead-man switch that could not be armed
    ├── TooLateError                      a budget has no token before the deadline
    └── TransportError                    one request failed
        ├── NotSentError                  it never left this process
        │   └── StaleConnectionError      since a kept connection was not fit; a new one may be
        └── NoAnswerError                 it may have left, and no reply came

A cancel call raises the first four only. The others are turned into statuses on the way.
"""


class HtxCancelError(Exception):
    """Everything this package raises."""


class InvalidTypeError(HtxCancelError, TypeError):
    """An argument has the wrong type; nothing was sent."""


class InvalidValueError(HtxCancelError, ValueError):
    """An argument breaks a rule; nothing was sent."""


class ClientClosedError(HtxCancelError, RuntimeError):
    """The client was closed before this call."""


class WrongLoopError(HtxCancelError, RuntimeError):
    """A client, or budgets, used in another event loop than the first time."""


class NotArmedError(HtxCancelError):
    """The exchange did not confirm that a countdown is armed as it was asked to."""


class TooLateError(HtxCancelError):
    """No token is free before the deadline; ``wait`` is the predicted wait in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"the next free call is {wait:.3f} s away, after the deadline")
        self.wait = wait


class TransportError(HtxCancelError):
    """One request failed."""


class NotSentError(TransportError):
    """The request never left this process."""


class StaleConnectionError(NotSentError):
    """The connection was not fit to send on: try another one; the host is not to blame."""


class NoAnswerError(TransportError):
    """The request may have reached the exchange, and no reply came back."""
