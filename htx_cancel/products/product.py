"""What the products have in common."""

from htx_cancel.calls import CallRunner


class Product:
    """The calls of one product.

    All methods are coroutine methods, take the ``CallOptions``, and raise what ``CancelClient``
    says.
    """

    def __init__(self, calls: CallRunner) -> None:
        self._calls = calls
