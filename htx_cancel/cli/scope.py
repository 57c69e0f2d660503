"""What a command is about, where no ids are named: products, kinds and contracts.

Rules:

* Words are those of ``client.cancel_everything``, and so are the defaults.
* A contract belongs to the products whose form it has: ``BTC-USD`` is a swap, ``BTC-USDT`` a USDT-M
  contract, and a word a delivery contract or a coin. One that is of no product named is refused.
* A product of which no contract is named is left out where contracts are named.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from htx_cancel import OpenOrder, arguments
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.endpoints import ALGO_TYPES, ALL_KINDS, ALL_PRODUCTS, KINDS, PRODUCTS, has_contract

#: The kind of a v5 algo order, by its type.
ALGO_KINDS: Mapping[str, str] = {each: kind for kind, types in ALGO_TYPES.items() for each in types}


class Scope(Struct, frozen=True):
    """Some products, kinds and contracts; ``None`` means all contracts."""

    products: tuple[str, ...] = PRODUCTS
    kinds: tuple[str, ...] = KINDS
    contracts: tuple[str, ...] | None = None

    def codes(self, product: str) -> tuple[str | None, ...]:
        """Return the contracts of a product to ask for; ``None`` is for all of them."""
        if self.contracts is None:
            return (None,)
        return tuple(code for code in self.contracts if has_contract(product, code))

    def there(self) -> Iterator[tuple[str, str]]:
        """Go through the products and kinds that it is about."""
        return (
            (product, kind)
            for product in self.products
            if self.codes(product)
            for kind in self.kinds
        )


def kind_of(order: OpenOrder) -> str:
    """Name the kind of an order; that of an algo order is told by its type."""
    return ALGO_KINDS.get(order.type, order.kind)


def scope(products: str, kinds: str, contracts: str | None) -> Scope:
    """Read words with commas between them; raise ``BadInputError`` for one that is not known."""
    found = Scope(
        some("--products", products, ALL_PRODUCTS),
        some("--kinds", kinds, ALL_KINDS),
        None if contracts is None else _words(contracts),
    )
    for code in found.contracts or ():
        arguments.contract_code(code)
        if not any(has_contract(product, code) for product in found.products):
            raise BadInputError(f"--contracts must be of {', '.join(found.products)}, got {code!r}")
    return found


def some(option: str, given: str, known: Sequence[str]) -> tuple[str, ...]:
    """Read words with commas between them, at least one, all of them known."""
    words = _words(given)
    if not words or not set(words) <= set(known):
        raise BadInputError(f"{option} must be some of {','.join(known)}, got {given!r}")
    return words


def _words(given: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in given.split(",")))
