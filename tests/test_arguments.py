"""Checks of arguments, and how ids become batches."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_cancel import arguments
from htx_cancel.errors import InvalidTypeError, InvalidValueError

VISIBLE = "".join(chr(code) for code in range(33, 127) if chr(code) != ",")
ids = st.lists(st.integers(1, 2**63 - 1) | st.text(VISIBLE, min_size=1, max_size=64), max_size=200)


def ids_of(given_ids: Iterable[str | int]) -> list[str]:
    """Return the ids that ``batches`` yields."""
    return list(chain.from_iterable(arguments.batches(given_ids, "order_id", 1)))


@given(ids, st.integers(1, 20))
def test_batches_hold_each_id_once_in_order_and_are_as_few_as_possible(
    given_ids: list[str | int], size: int
) -> None:
    """Joined, they are the distinct ids in the order given; all but the last are full."""
    batches = list(filter(None, arguments.batches(given_ids, "order_id", size)))
    joined = [order_id for batch in batches for order_id in batch]
    assert joined == list(dict.fromkeys(map(str, given_ids)))
    assert len(batches) == -(-len(joined) // size)
    assert all(len(batch) == size for batch in batches[:-1])


def test_batches_read_no_id_ahead() -> None:
    """A generator is read batch by batch."""
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in range(1, 100):
            read.append(number)
            yield number

    batches = arguments.batches(source(), "order_id", 10)
    assert next(batches) == tuple(map(str, range(1, 11)))
    assert read == list(range(1, 11))


def test_batches_pause_however_many_ids_are_equal() -> None:
    """An empty batch follows every ``YIELD_EVERY`` ids, and no id is read ahead."""
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        for _ in range(10 * arguments.YIELD_EVERY):
            read += 1
            yield 7

    batches = arguments.batches(source(), "order_id", 10)
    for pauses in range(1, 11):
        assert next(batches) == ()
        assert read == pauses * arguments.YIELD_EVERY
    assert list(batches) == [("7",)]


def test_an_id_beyond_a_floats_precision_keeps_every_digit() -> None:
    """An id of 19 digits never becomes a float."""
    assert ids_of([1329854625038651393]) == ["1329854625038651393"]


def test_only_the_first_of_two_equal_ids_is_kept() -> None:
    """A number and the string of its digits are the same id."""
    assert ids_of([7, "8", "7", 8, 7, "07"]) == ["7", "8", "07"]


class Number(int):
    """An int with a ``__str__`` of its own."""

    def __str__(self) -> str:
        return "seven"


class Word(str):
    """A str with a ``__str__`` of its own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "seven"


def test_an_id_is_sent_as_a_plain_string_of_its_own_value() -> None:
    """Whatever the ``__str__`` of a subclass returns."""
    found = ids_of([Number(7), Word("8"), Word("a")])
    assert found == ["7", "8", "a"]
    assert {type(order_id) for order_id in found} == {str}


def test_an_error_shows_only_the_beginning_of_a_long_value() -> None:
    """A log line stays short."""
    with pytest.raises(InvalidValueError) as caught:
        ids_of(["9" * 1_000_000])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "bad", ["", " ", "1 2", "1,2", "1\n", "\x00", "é", "\u0661", "\ud800", "9" * 65]
)
def test_a_string_that_is_not_an_id_is_refused(bad: str) -> None:
    """Empty, blank, comma, control and non-ASCII ids raise a ValueError that shows the value."""
    with pytest.raises(InvalidValueError, match="order_id must be 1 to 64 visible") as caught:
        ids_of(["1", bad])
    assert repr(bad)[:70] in str(caught.value)


@pytest.mark.parametrize("bad", [0, -1, 2**63, 10**5000], ids=["zero", "below", "above", "huge"])
def test_a_number_that_is_not_an_id_is_refused(bad: int) -> None:
    """Zero, negative and too large numbers raise a ValueError."""
    with pytest.raises(InvalidValueError, match="a whole order_id must be from 1 to"):
        ids_of([bad])


@pytest.mark.parametrize("bad", [1.0, True, None, b"1", ("1",)])
def test_an_id_of_another_type_is_refused(bad: object) -> None:
    """Floats, booleans and the like raise a TypeError."""
    with pytest.raises(InvalidTypeError, match="each order_id must be a str or an int, got"):
        ids_of([bad])  # type: ignore[list-item]


@pytest.mark.parametrize("bad", ["123", b"123", 123, None])
def test_a_single_value_instead_of_a_list_is_refused(bad: object) -> None:
    """A string is not a list of its characters."""
    with pytest.raises(InvalidTypeError, match="order_ids must be an iterable of ids, got"):
        ids_of(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["", "BTC USD", "BTC-USD\n", "BTÇ"])
def test_a_contract_code_is_a_word(bad: str) -> None:
    """An empty or malformed contract code raises a ValueError."""
    assert arguments.contract_code("BTC-USD") == "BTC-USD"
    with pytest.raises(
        InvalidValueError,
        match="contract_code must be a word such as 'BTC-USD' without spaces, got",
    ):
        arguments.contract_code(bad)


def test_a_contract_code_is_a_string() -> None:
    """Another type raises a TypeError."""
    with pytest.raises(
        InvalidTypeError, match="contract_code must be a str such as 'BTC-USD', got None"
    ):
        arguments.contract_code(None)


def test_a_filter_is_one_of_the_exchanges_words() -> None:
    """Directions and offsets are HTX's words, or None."""
    assert arguments.choice("direction", None, ("buy", "sell")) is None
    assert arguments.choice("direction", "buy", ("buy", "sell")) == "buy"
    with pytest.raises(
        InvalidValueError, match="direction must be one of 'buy', 'sell' or None, got 'BUY'"
    ):
        arguments.choice("direction", "BUY", ("buy", "sell"))
    with pytest.raises(InvalidTypeError, match="direction must be one of"):
        arguments.choice("direction", 1, ("buy", "sell"))


def test_exactly_one_kind_of_id_must_be_given() -> None:
    """Both kinds, or neither, raise a ValueError."""
    assert arguments.one_kind(order_ids=["1"], client_order_ids=None) == ("order_id", ["1"])
    assert arguments.one_kind(order_ids=None, client_order_ids=["1"]) == ("client_order_id", ["1"])
    with pytest.raises(
        InvalidValueError, match="either order_ids or client_order_ids must be given, got both"
    ):
        arguments.one_kind(order_ids=["1"], client_order_ids=["2"])
    with pytest.raises(InvalidValueError, match="the ids to cancel must be given, got None"):
        arguments.one_kind(order_ids=None)


@pytest.mark.parametrize("bad", [0, -1.0, float("inf"), float("nan")])
def test_a_number_of_seconds_is_above_zero(bad: float) -> None:
    """Zero, negative and infinite numbers raise a ValueError."""
    assert arguments.seconds("timeout", 3) == 3.0
    assert isinstance(arguments.seconds("timeout", 3), float)
    assert arguments.seconds("drain", 0, zero=True) == 0.0
    with pytest.raises(InvalidValueError, match="timeout must be above 0 seconds and finite, got"):
        arguments.seconds("timeout", bad)


def test_settings_of_the_wrong_type_are_refused() -> None:
    """Numbers must be numbers, and callbacks plain functions."""

    async def coroutine_function() -> None:
        raise AssertionError

    with pytest.raises(InvalidTypeError, match="timeout must be a number of seconds, got '3'"):
        arguments.seconds("timeout", "3")
    with pytest.raises(InvalidTypeError, match="timeout must be a number of seconds, got True"):
        arguments.seconds("timeout", given=True)
    with pytest.raises(InvalidTypeError, match="max_in_flight must be a whole number, got True"):
        arguments.count("max_in_flight", given=True)
    with pytest.raises(InvalidTypeError, match=r"max_in_flight must be a whole number, got 1\.5"):
        arguments.count("max_in_flight", 1.5)
    with pytest.raises(InvalidValueError, match="max_in_flight must be at least 1, got 0"):
        arguments.count("max_in_flight", 0)

    class Coroutine:
        async def __call__(self) -> None:
            raise AssertionError

    for bad in (coroutine_function, partial(coroutine_function), Coroutine(), 7):
        with pytest.raises(InvalidTypeError, match="on_batch must be a plain function, got"):
            arguments.callback("on_batch", bad)  # type: ignore[arg-type]


def test_a_count_may_be_zero_only_where_zero_is_allowed() -> None:
    """Below the least count, a ValueError says which count is the least."""
    assert arguments.count("keep", 0, zero=True) == 0
    with pytest.raises(InvalidValueError, match="keep must be at least 0, got -1"):
        arguments.count("keep", -1, zero=True)


def test_several_words_are_distinct_and_known() -> None:
    """At least one word is needed, and a string is not a list of words."""
    known = ("a", "b", "c")
    assert arguments.several("kinds", iter(["b", "a", "b"]), known) == ["b", "a"]
    for bad in ([], ["a", "d"]):
        with pytest.raises(InvalidValueError, match="kinds must be some of a, b, c, got"):
            arguments.several("kinds", bad, known)
    for wrong in ("a", 7):
        with pytest.raises(InvalidTypeError, match="kinds must be several of a, b, c, got"):
            arguments.several("kinds", wrong, known)  # type: ignore[arg-type]


def test_each_filter_has_its_own_words() -> None:
    """``None`` means that a filter is not used."""
    given = {"direction": "sell", "offset": None, "contract_type": "next_quarter"}
    assert arguments.filters(**given, position_side="both") == {**given, "position_side": "both"}
    with pytest.raises(InvalidValueError, match="offset must be one of 'open', 'close' or None"):
        arguments.filters(offset="both")


def test_an_id_has_64_characters_at_most() -> None:
    """Digits or not."""
    assert ids_of(["a" * 64, "9" * 64]) == ["a" * 64, "9" * 64]
    with pytest.raises(InvalidValueError, match="order_id must be 1 to 64 visible"):
        ids_of(["a" * 65])
