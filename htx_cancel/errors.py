"""All exceptions of the package.

A cancel call raises only ``InvalidTypeError``, ``InvalidValueError``, ``ClientClosedError`` and
``WrongLoopError``. It turns the others into statuses.
"""


class HtxCancelError(Exception):
    """Base class of every exception of this package."""


class InvalidTypeError(HtxCancelError, TypeError):
    """An argument has the wrong type; nothing was sent."""


class InvalidValueError(HtxCancelError, ValueError):
    """An argument breaks a rule; nothing was sent."""


class ClientClosedError(HtxCancelError, RuntimeError):
    """The client was closed before this call."""


class WrongLoopError(HtxCancelError, RuntimeError):
    """A client or a ``Budgets`` was used in a second event loop."""


class NotArmedError(HtxCancelError):
    """The exchange did not confirm that every countdown is armed with the time asked for."""


class TooLateError(HtxCancelError):
    """No token is free before the deadline; ``wait`` is the predicted wait in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"the next free token is {wait:.3f} s away, after the deadline")
        self.wait = wait


class TransportError(HtxCancelError):
    """A request failed."""


class NotSentError(TransportError):
    """The request never left this process."""


class StaleConnectionError(NotSentError):
    """A reused connection was unusable. The host is not to blame; a new connection may work."""


class NoAnswerError(TransportError):
    """The request may have reached the exchange, and no reply came back."""
