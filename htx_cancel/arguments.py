"""Check the arguments of public methods, and cut ids into the fewest batches.

Rules:

* An id is a ``str`` or an ``int`` and becomes a string; it never passes through a float.
* Of two equal ids only the first is sent. ``7`` and ``"7"`` are equal.
* ``batches`` reads ids lazily, and yields an empty batch whenever its caller should let the event
  loop turn.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from inspect import iscoroutinefunction
from math import isfinite

from htx_cancel.errors import InvalidTypeError, InvalidValueError

YIELD_EVERY = 200  #: ids checked between two turns of the event loop
_MAX_LENGTH = 64  #: characters of an id


def one_id(given: object, field: str) -> str:
    """Return an id as the string to send."""
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise InvalidTypeError(f"each {field} must be a str or an int, got {_shown(given)}")
    if isinstance(given, int):
        if not 0 < given < 2**63:
            raise InvalidValueError(
                f"a whole {field} must be from 1 to 2**63 - 1, got {_shown(given)}"
            )
        return str(int(given))
    if not given or len(given) > _MAX_LENGTH or not _plain(given) or "," in given:
        raise InvalidValueError(
            f"{field} must be 1 to {_MAX_LENGTH} visible ASCII characters without commas,"
            f" got {_shown(given)}"
        )
    return str.__str__(given)  # a subclass such as an enum may override ``__str__``


def batches(ids: Iterable[str | int], field: str, size: int) -> Iterator[tuple[str, ...]]:
    """Yield batches of ``size`` distinct ids, as the strings to send.

    Only the last batch may be smaller. An empty batch follows every ``YIELD_EVERY`` ids. Raises
    ``InvalidTypeError`` or ``InvalidValueError`` at the first id that cannot be sent.
    """
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidTypeError(f"{field}s must be an iterable of ids, got {_shown(ids)}")
    seen: dict[str, None] = {}  # the garbage collector does not scan it, unlike a set
    batch: list[str] = []
    for number, given in enumerate(ids, 1):
        if type(given) is str and given.isdigit() and given.isascii() and len(given) <= _MAX_LENGTH:
            order_id = given  # nearly always; this saves a function call
        else:
            order_id = one_id(given, field)
        if order_id not in seen:
            seen[order_id] = None
            batch.append(order_id)
            if len(batch) == size:
                yield tuple(batch)
                batch = []
        if number % YIELD_EVERY == 0:
            yield ()
    if batch:
        yield tuple(batch)


def contract_code(given: object) -> str:
    """Return a contract code that can be sent; the exchange decides whether it exists."""
    if not isinstance(given, str):
        raise InvalidTypeError(
            f"contract_code must be a str such as 'BTC-USD', got {_shown(given)}"
        )
    if not given or not _plain(given):
        raise InvalidValueError(
            f"contract_code must be a word such as 'BTC-USD' without spaces, got {_shown(given)}"
        )
    return given


def choice(name: str, given: object, allowed: Collection[str]) -> str | None:
    """Return an optional word if it is one of those that the exchange accepts."""
    if given is None or (isinstance(given, str) and given in allowed):
        return given
    kind = InvalidValueError if isinstance(given, str) else InvalidTypeError
    raise kind(
        f"{name} must be one of {', '.join(map(repr, allowed))} or None, got {_shown(given)}"
    )


#: The filters of a cancel-all call, and the words that each accepts.
FILTERS: dict[str, tuple[str, ...]] = {
    "direction": ("buy", "sell"),
    "offset": ("open", "close"),
    "contract_type": ("this_week", "next_week", "quarter", "next_quarter"),
    "side": ("buy", "sell"),
    "position_side": ("long", "short", "both"),
}


def filters(**given: object) -> dict[str, str | None]:
    """Return the filters of a cancel-all call if their words are valid."""
    return {name: choice(name, word, FILTERS[name]) for name, word in given.items()}


def one_kind(**given: Iterable[str | int] | None) -> tuple[str, Iterable[str | int]]:
    """Return the field and the ids of the only argument that is not ``None``."""
    kinds = [(name, ids) for name, ids in given.items() if ids is not None]
    if not kinds:
        raise InvalidValueError("the ids to cancel must be given, got None")
    if len(kinds) > 1:
        raise InvalidValueError(f"either {' or '.join(given)} must be given, got both")
    name, ids = kinds[0]
    return name.removesuffix("s"), ids


def seconds(name: str, given: object, *, zero: bool = False) -> float:
    """Return a number of seconds as a float; it must be above 0, or with ``zero`` 0 or more."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise InvalidTypeError(f"{name} must be a number of seconds, got {_shown(given)}")
    if not isfinite(given) or given < 0 or (given == 0 and not zero):
        least = "0 or more" if zero else "above 0"
        raise InvalidValueError(f"{name} must be {least} seconds and finite, got {_shown(given)}")
    return float(given)


def count(name: str, given: object, *, zero: bool = False) -> int:
    """Return a whole number; it must be at least 1, or with ``zero`` at least 0."""
    if isinstance(given, bool) or not isinstance(given, int):
        raise InvalidTypeError(f"{name} must be a whole number, got {_shown(given)}")
    least = 0 if zero else 1
    if given < least:
        raise InvalidValueError(f"{name} must be at least {least}, got {_shown(given)}")
    return given


def several(name: str, given: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return the distinct words, at least one, if all are known."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidTypeError(f"{name} must be several of {', '.join(known)}, got {_shown(given)}")
    words = list(dict.fromkeys(given))
    if not words or not set(words) <= set(known):
        raise InvalidValueError(f"{name} must be some of {', '.join(known)}, got {_shown(words)}")
    return words


def callback(name: str, given: Callable[..., object] | None) -> None:
    """Check an optional callback: a plain function, because nobody would await a coroutine."""
    if given is None:
        return
    if not callable(given) or any(map(iscoroutinefunction, (given, type(given).__call__))):
        raise InvalidTypeError(f"{name} must be a plain function, got {_shown(given)}")


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _shown(value: object) -> str:
    """Return the ``repr`` of a value, shortened."""
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits has no repr
        text = "a huge int"
    return text if len(text) <= 80 else f"{text[:77]}..."
