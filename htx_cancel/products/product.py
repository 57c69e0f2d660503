"""The base class of the products."""

from htx_cancel.calls import CallRunner


class Product:
    """The calls of one product.

    All methods are coroutine methods. ``CancelClient`` describes their ids, options and errors.
    """

    def __init__(self, calls: CallRunner) -> None:
        self._calls = calls
