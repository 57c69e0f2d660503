"""What a process and the store of shared budgets tell one another, and what a store is.

A message says what a process holds and needs of each budget it uses; the answer says what it may
hold. All times are delays in microseconds: no clock is ever compared with another. ``share.lua`` is
what the store makes of a message.
"""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec
from msgspec import Struct

MICROSECONDS = 1_000_000


class Want(Struct, array_like=True, frozen=True):
    """What a process holds and needs of one budget."""

    name: str
    calls: int
    window: int
    taught: bool  #: whether a reply of the exchange said so, and the store is to believe it
    claim: int  #: tokens it holds
    given: list[int]  #: when each token that it gives back is free
    used: int  #: of those it holds: under way, or resting
    under_way: int  #: of these
    soonest: int  #: when the first one of those that rest is free
    waiting: tuple[int, int, int]  #: calls that wait for one, by priority
    narrow: int = 0  #: tokens that calls need which charge a scarcer budget too
    scarcer: dict[str, int] = {}  #: those budgets, and how many tokens go with one of theirs
    along: int = 0  #: tokens given back that go with tokens of theirs
    pressing: int = 0  #: urgent calls that came since the last message
    hold: int = 0  #: for how long a refusal holds the budget


class Message(Struct, array_like=True, frozen=True):
    """What a process tells the store."""

    process: str
    serial: int  #: greater with each message of the process
    lease: int
    grace: int  #: how late a request may leave after its lease has ended
    known: bool  #: whether a store has answered it before
    bye: bool  #: whether it gives back all it holds, and goes
    kept: int  #: tokens of each budget that only urgent calls may use
    wants: list[Want]


class Lent(Struct, array_like=True, frozen=True):
    """What a process may hold of one budget, and what it should do."""

    name: str
    calls: int
    window: int
    held: int  #: tokens, those in ``fresh`` among them
    fresh: list[int]  #: when each token that was just lent is free
    give: int  #: tokens that it should give back
    hold: int  #: for how long a refusal holds the budget
    fair: int  #: tokens that it can count on
    others: bool  #: whether others wait for more than they hold


class Answer(Struct, array_like=True, frozen=True):
    """What the store answers; not ``read`` is a message older than another one."""

    read: bool
    processes: int
    lents: list[Lent]


class Recall(Struct, array_like=True, frozen=True):
    """What is wanted back of one budget; none if there is something to fetch."""

    name: str
    give: int
    urgent: bool  #: whether for an urgent call elsewhere: then the soonest, whoever waits here


class Holdings(Struct, frozen=True):
    """Who holds what of one budget."""

    name: str
    calls: int
    seconds: float
    at_home: int  #: tokens that nobody holds
    held: dict[str, int]  #: tokens, by process


class Store(Protocol):
    """What keeps the book of one UID. It may raise anything: that is a store which is away."""

    async def sync(self, message: bytes) -> bytes:
        """Take a message, return the answer."""

    def notices(self, process: str) -> AsyncIterator[bytes]:
        """Yield what the store tells a process unasked, each a list of ``Recall``."""

    async def close(self) -> None:
        """Close what is open."""


encode = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(Message).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
decode_notice = msgspec.msgpack.Decoder(list[Recall]).decode


def holdings(book: bytes) -> list[Holdings]:
    """Read who holds what out of a book."""
    found = []
    for name, it in sorted(msgspec.msgpack.decode(book)["budgets"].items()):
        held = {process: int(tokens) for process, tokens in dict(it["held"] or {}).items()}
        seconds = it["window"] / MICROSECONDS
        found.append(Holdings(name, int(it["n"]), seconds, len(it["home"]), held))
    return found
