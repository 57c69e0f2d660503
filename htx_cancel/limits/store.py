"""The messages between a process and the store of shared budgets, and the store's protocol.

A message says what a process holds and needs of each budget that it uses; the answer says what the
process may hold. All times are delays in microseconds, so no two clocks are ever compared.
``share.lua`` computes the answer.
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
    taught: bool  #: whether a reply of the exchange stated this limit: the store must adopt it
    claim: int  #: tokens held
    given: list[int]  #: for each token given back, when it is free
    used: int  #: tokens held that are in flight or cooling
    in_flight: int
    soonest: int  #: when the first token held is free
    waiting: tuple[int, int, int]  #: waiting calls, by priority
    composite: int = 0  #: tokens needed by calls that also charge a scarcer budget
    scarcer: dict[str, int] = {}  #: by scarcer budget: tokens of this one that accompany one of it
    accompanying: int = 0  #: tokens given back that accompany given tokens of scarcer budgets
    pressing: int = 0  #: urgent calls that arrived since the last message
    hold: int = 0  #: how long a refusal still holds the budget


class Message(Struct, array_like=True, frozen=True):
    """What a process tells the store."""

    process: str
    serial: int  #: greater with each message of the process
    lease: int
    grace: int  #: how late a request may leave after its lease has ended
    known: bool  #: whether a store has answered this process before
    bye: bool  #: whether the process gives back all tokens and leaves
    keep_for_urgent: int  #: tokens of each budget that only urgent calls may use
    wants: list[Want]


class Lent(Struct, array_like=True, frozen=True):
    """What a process may hold of one budget, and what it should give back."""

    name: str
    calls: int
    window: int
    held: int  #: tokens that the process holds now, including ``fresh``
    fresh: list[int]  #: for each token lent with this answer, when it is free
    give: int  #: tokens to give back
    hold: int  #: how long a refusal still holds the budget
    fair: int  #: tokens that the process can count on
    others: bool  #: whether other processes wait for more tokens than they hold


class Answer(Struct, array_like=True, frozen=True):
    """What the store answers."""

    read: bool  #: False if the store had read a later message of the process before
    processes: int
    lents: list[Lent]


class Recall(Struct, array_like=True, frozen=True):
    """A notice to a process: give back tokens of one budget, or (``give`` is 0) fetch some."""

    name: str
    give: int
    urgent: bool  #: for an urgent call elsewhere: give the soonest tokens, even if calls wait here


class Holdings(Struct, frozen=True):
    """Which process holds how many tokens of one budget."""

    name: str
    calls: int
    seconds: float
    at_home: int  #: tokens that no process holds
    held: dict[str, int]  #: tokens, by process


class Store(Protocol):
    """Keeps the book of one UID. Its methods may raise anything while it is unavailable."""

    async def sync(self, message: bytes) -> bytes:
        """Take a message, return the answer."""

    def notices(self, process: str) -> AsyncIterator[bytes]:
        """Yield the notices to a process, each an encoded list of ``Recall``."""

    async def close(self) -> None:
        """Close all connections."""


encode = msgspec.msgpack.Encoder().encode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
decode_notice = msgspec.msgpack.Decoder(list[Recall]).decode


def holdings(book: bytes) -> list[Holdings]:
    """Return which process holds how many tokens of each budget, by a store's book."""
    found = []
    for name, budget in sorted(msgspec.msgpack.decode(book)["budgets"].items()):
        held = {process: int(tokens) for process, tokens in dict(budget["held"]).items()}
        seconds = budget["window"] / MICROSECONDS
        found.append(Holdings(name, int(budget["n"]), seconds, len(budget["home"]), held))
    return found
