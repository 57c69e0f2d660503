"""Run functions in processes of their own.

A function given to ``child`` is an async context manager. It gives an async function, which runs in
the child and answers the parent's questions.
"""

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

Answer = Callable[..., Awaitable[Any]]
Serve = Callable[..., AbstractAsyncContextManager[Answer]]

_SPAWN = multiprocessing.get_context("spawn")


@asynccontextmanager
async def child(serve: Serve, *args: Any, loop: str = "asyncio") -> AsyncIterator[Answer]:
    """Start a new process on ``asyncio`` or ``uvloop``; give a function that asks it a question."""
    parent_end, child_end = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_main, args=(child_end, loop, serve, args), daemon=True)
    process.start()
    child_end.close()
    lock = asyncio.Lock()

    async def ask(*question: Any) -> Any:
        async with lock:
            parent_end.send(question)
            try:
                return await _receive(parent_end)
            except (EOFError, ConnectionError):
                raise RuntimeError(f"no answer from {serve.__name__}{args}{question}") from None

    try:
        yield ask
    finally:
        parent_end.close()
        await asyncio.to_thread(process.join, 10)
        process.kill()


async def fresh(function: Answer, *args: Any, loop: str = "asyncio") -> Any:
    """Run a coroutine function in a new process; return its result."""
    async with child(_once, function, loop=loop) as ask:
        return await ask(*args)


@asynccontextmanager
async def _once(function: Answer) -> AsyncIterator[Answer]:
    yield function


async def until(at: float) -> None:
    """Wait until a time of the monotonic clock, which all processes share."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))


async def _receive(pipe: Connection) -> Any:
    """Wait for an object without using a thread."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pipe.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(pipe.fileno())
    return pipe.recv()


def _main(pipe: Connection, loop: str, serve: Serve, args: tuple[Any, ...]) -> None:
    factory = None
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415 - only in processes that use it

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_answer_questions(pipe, serve, args))


async def _answer_questions(pipe: Connection, serve: Serve, args: tuple[Any, ...]) -> None:
    async with serve(*args) as answer:
        while True:
            try:
                question = await _receive(pipe)
            except (EOFError, ConnectionError):
                return
            pipe.send(await answer(*question))
