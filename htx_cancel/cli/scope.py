"""Read the products, kinds and contracts that a command is about.

Rules:

* Values and defaults are the same as of ``client.cancel_everything``.
* The form of a contract code decides to which products it belongs: ``BTC-USD`` is a swap,
  ``BTC-USDT`` a USDT-M contract, and a word a delivery contract or a coin. A contract that belongs
  to none of the chosen products is refused.
* If contracts are given, a product without any of them is left out.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from htx_cancel import OpenOrder, arguments
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.endpoints import ALGO_TYPES, ALL_KINDS, ALL_PRODUCTS, KINDS, PRODUCTS, has_contract

#: The kind of a v5 algo order, by its type.
ALGO_KINDS: Mapping[str, str] = {name: kind for kind, names in ALGO_TYPES.items() for name in names}


class Scope(Struct, frozen=True):
    """Products, kinds and contracts; ``None`` means all contracts."""

    products: tuple[str, ...] = PRODUCTS
    kinds: tuple[str, ...] = KINDS
    contracts: tuple[str, ...] | None = None

    def contracts_of(self, product: str) -> tuple[str | None, ...]:
        """Return the contracts of a product to list; ``None`` stands for all of them."""
        if self.contracts is None:
            return (None,)
        return tuple(code for code in self.contracts if has_contract(product, code))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return the pairs of product and kind."""
        return (
            (product, kind)
            for product in self.products
            if self.contracts_of(product)
            for kind in self.kinds
        )


def kind_of(order: OpenOrder) -> str:
    """Return the kind of an order; the type of an algo order decides its kind."""
    return ALGO_KINDS.get(order.type, order.kind)


def read_scope(products: str, kinds: str, contracts: str | None) -> Scope:
    """Read comma-separated options; raise ``BadInputError`` for an unknown value."""
    scope = Scope(
        choices("--products", products, ALL_PRODUCTS),
        choices("--kinds", kinds, ALL_KINDS),
        None if contracts is None else _split(contracts),
    )
    for code in scope.contracts or ():
        arguments.contract_code(code)
        if not any(has_contract(product, code) for product in scope.products):
            raise BadInputError(f"--contracts must be of {', '.join(scope.products)}, got {code!r}")
    return scope


def choices(option: str, given: str, known: Sequence[str]) -> tuple[str, ...]:
    """Read one or more comma-separated values; raise ``BadInputError`` for an unknown value."""
    values = _split(given)
    if not set(values) <= set(known):
        raise BadInputError(f"{option} must be some of {','.join(known)}, got {given!r}")
    return values


def _split(given: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.strip() for value in given.split(",")))
