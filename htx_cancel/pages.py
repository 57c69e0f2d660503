"""Keep a million small tuples where the garbage collector does not walk through them every time.

It walks through every list at each full collection, but through a tuple only until it has seen
that nothing in it can be part of a cycle; strings and results never are. So the tuples are kept in
pages, and a page is a list only while it is being filled or emptied.
"""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Generic, TypeVar

T = TypeVar("T")

PAGE = 64


class Pages(Generic[T]):
    """A sequence of tuples, all empty at first, that can grow."""

    __slots__ = ("_length", "_pages")

    def __init__(self, length: int = 0) -> None:
        self._length = length
        self._pages: list[list[tuple[T, ...]] | tuple[tuple[T, ...], ...]]
        self._pages = [()] * -(-length // PAGE)  # an empty page is one of empty tuples

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[T, ...]]:
        pages = (page or ((),) * PAGE for page in self._pages)
        return islice(chain.from_iterable(pages), self._length)

    def _open(self, at: int) -> list[tuple[T, ...]]:
        """Make a page a list."""
        page = self._pages[at]
        if isinstance(page, tuple):
            page = self._pages[at] = list(page) or [()] * min(PAGE, self._length - at * PAGE)
        return page

    def append(self, item: tuple[T, ...]) -> None:
        """Add one at the end."""
        if self._length % PAGE == 0:
            self._pages.append(())
        page = self._open(len(self._pages) - 1)
        page.append(item)
        self._length += 1
        if len(page) == PAGE and all(page):
            self._pages[-1] = tuple(page)

    def swap(self, number: int, item: tuple[T, ...]) -> tuple[T, ...]:
        """Put one in the place of another, and return the other."""
        at, place = divmod(number, PAGE)
        page = self._open(at)
        before, page[place] = page[place], item
        if all(page):
            self._pages[at] = tuple(page)
        elif not any(page):
            self._pages[at] = ()
        return before
