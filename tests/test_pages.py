"""Long sequences of small tuples."""

import gc

from hypothesis import given
from hypothesis import strategies as st

from htx_cancel.errors import Meaning
from htx_cancel.outcome import Finding, Tally, order_result
from htx_cancel.pages import PAGE, Pages

items = st.sampled_from([(), ("1",), ("2", "3")])
lengths = st.sampled_from([0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])


@given(lengths, st.lists(items, max_size=3 * PAGE), st.data())
def test_pages_are_a_list_of_tuples(
    length: int, more: list[tuple[str, ...]], data: st.DataObject
) -> None:
    """Whatever is appended and swapped, in any order."""
    pages: Pages[str] = Pages(length)
    model: list[tuple[str, ...]] = [()] * length
    for item in more:
        pages.append(item)
        model.append(item)
    for number in data.draw(st.lists(st.integers(0, len(model) - 1)) if model else st.just([])):
        item = data.draw(items)
        assert pages.swap(number, item) == model[number]
        model[number] = item
    assert list(pages) == model
    assert len(pages) == len(model)


def test_what_is_full_is_not_walked_through() -> None:
    """Results of a million ids would otherwise stall the loop at every full collection."""
    tally = Tally(100 * PAGE)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(100 * PAGE):
        tally.put(number, (order_result(str(number), Finding(Meaning.ACCEPTED), 1),))
    gc.collect()
    assert len(gc.get_objects()) - before < PAGE


def test_what_was_filled_or_emptied_one_by_one_is_not_walked_through_either() -> None:
    """Batches that are appended when a call is planned, and taken out when it runs."""
    gc.collect()
    before = len(gc.get_objects())
    pages: Pages[str] = Pages()
    for number in range(100 * PAGE):
        pages.append((str(number),))
    gc.collect()  # lets go of the small tuples
    gc.collect()  # and then of the pages
    assert len(gc.get_objects()) - before < PAGE
    for number in range(100 * PAGE):
        pages.swap(number, ())
    gc.collect()
    assert len(gc.get_objects()) - before < PAGE
    assert set(pages) == {()}
