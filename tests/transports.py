"""Transports that answer from a list, or with the result of a function."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from clients import EPOCH, SECRET, credentials

from htx_cancel import CancelClient
from htx_cancel.errors import NoAnswerError
from htx_cancel.wire.transport import Reply, Request


class Scripted:
    """A transport that answers from a list, and then not at all."""

    def __init__(self, replies: list[bytes | Exception]) -> None:
        self.replies = replies

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Return or raise the next item of the list."""
        assert timeout > 0
        assert SECRET not in repr(request)
        await asyncio.sleep(0)
        reply = self.replies.pop(0) if self.replies else NoAnswerError("nothing left")
        if isinstance(reply, Exception):
            raise reply
        return Reply(200, {}, reply)

    async def close(self) -> None:
        """Do nothing."""


def v1_reply(successes: list[str], errors: list[str]) -> bytes:
    """Return a reply whose lists may overlap, repeat ids, or name unknown ones."""
    listed = ",".join(f'{{"order_id":"{key}","err_code":1063}}' for key in errors)
    joined = ",".join(successes)
    return f'{{"status":"ok","data":{{"errors":[{listed}],"successes":"{joined}"}}}}'.encode()


class Answering:
    """A transport that answers each request with a function of its parameters."""

    def __init__(self, answer: Callable[[Mapping[str, Any]], object]) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Return what the function returns, or raise it if it is an exception."""
        assert timeout > 0
        await asyncio.sleep(0)
        given = dict(parse_qsl(urlsplit(request.target).query))
        params = {key: word for key, word in given.items() if key.islower()}
        if request.body:
            params = msgspec.json.decode(request.body)
        self.asked.append(params)
        answer = self.answer(params)
        if isinstance(answer, BaseException):
            raise answer
        return Reply(200, {}, msgspec.json.encode(answer))

    async def close(self) -> None:
        """Do nothing."""

    def client(self, **settings: Any) -> CancelClient:
        """Return a client with this transport."""
        return CancelClient(credentials(), transport=self, wall_clock=lambda: EPOCH, **settings)


def found(state: str) -> Callable[[Mapping[str, Any]], object]:
    """Answer that the order is in a state."""
    return lambda params: {"code": 200, "data": {"order_id": params["order_id"], "state": state}}


def missing(_params: Mapping[str, Any]) -> object:
    """Answer that there is no such order."""
    return {"code": 1061, "message": "This order does not exist."}


def lost(_params: Mapping[str, Any]) -> object:
    """Raise the error of a lost reply."""
    return NoAnswerError("lost")
