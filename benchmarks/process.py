"""Functions that run in processes of their own.

A function given to ``child`` is an async context manager. It gives an async function, which answers
in the child whatever the parent asks for.
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
    """Start a fresh process, on ``asyncio`` or ``uvloop``; give a function that asks it."""
    pipe, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_main, args=(theirs, loop, serve, args), daemon=True)
    process.start()
    theirs.close()

    async def ask(*question: Any) -> Any:
        pipe.send(question)
        try:
            return await _receive(pipe)
        except (EOFError, ConnectionError):
            raise RuntimeError(f"no answer from {serve.__name__}{args}{question}") from None

    try:
        yield ask
    finally:
        pipe.close()
        await asyncio.to_thread(process.join, 10)
        process.kill()


async def fresh(function: Answer, *args: Any, loop: str = "asyncio") -> Any:
    """Run a coroutine function in a fresh process."""
    async with child(_once, function, loop=loop) as ask:
        return await ask(*args)


@asynccontextmanager
async def _once(function: Answer) -> AsyncIterator[Answer]:
    yield function


async def until(at: float) -> None:
    """Wait for that time of the monotonic clock, which all processes share."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))


async def _receive(pipe: Connection) -> Any:
    """Wait for an object without a thread."""
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
        import uvloop  # noqa: PLC0415 - only where it is asked for

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_answers(pipe, serve, args))


async def _answers(pipe: Connection, serve: Serve, args: tuple[Any, ...]) -> None:
    async with serve(*args) as answer:
        while True:
            try:
                question = await _receive(pipe)
            except (EOFError, ConnectionError):
                return
            pipe.send(await answer(*question))
