"""The servers' side of ``benchmarks.process``: each function serves one kind of exchange.

A function gets its settings, starts to listen, and returns what to tell at the start and a
function that reports.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

from benchmarks import lean
from benchmarks.counting import listen
from benchmarks.workload import WORK, order_ids
from htx_cancel.sandbox import Exchange, FaultPlan, SandboxServer
from htx_cancel.sandbox.exchange import HttpRequest, HttpResponse, Script
from htx_cancel.sandbox.rules import PRODUCTS

Report = Callable[[], Any]


async def ready(settings: dict[str, Any], _stack: AsyncExitStack) -> tuple[Any, Report]:
    """Serve success to all, as fast as can be."""
    traffic, context = lean.Traffic(), None
    if settings.get("certificate"):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(settings["certificate"], settings["key"])
    url = await lean.listen(lean.success, traffic, context)
    return url, traffic.report


async def sandboxes(settings: dict[str, Any], stack: AsyncExitStack) -> tuple[Any, Report]:
    """Serve a sandbox with the exchange's limits and a book of its own to each of ``names``."""
    exchanges = {name: _exchange(settings) for name in settings["names"]}
    told = {}
    for name, exchange in exchanges.items():
        line = {"delay": settings["delay"], "jitter": settings["jitter"]}
        server = await stack.enter_async_context(SandboxServer(exchange, **line))
        told[name] = server.base_url
    return told, lambda: {name: _seen(exchange) for name, exchange in exchanges.items()}


def _exchange(settings: dict[str, Any]) -> Exchange:
    limits = {
        work.budget: (
            work.calls,
            work.seconds * settings["scale"],
        )
        for work in WORK.values()
    }
    exchange = Exchange(limits=limits, keep_log=False, window=settings["window"])
    for seed, (kind, count) in enumerate(settings["orders"].items()):
        for order_id in order_ids(count, seed):
            exchange.book.add(kind, WORK[kind].contract_code, order_id=order_id)
    return exchange


def _seen(exchange: Exchange) -> dict[str, Any]:
    return {
        "open": {kind: [order.order_id for order in exchange.book.open(kind)] for kind in PRODUCTS},
        "calls": {kind: exchange.calls[work.path] for kind, work in WORK.items()},
        "refused": {kind: exchange.refused[work.path] for kind, work in WORK.items()},
    }


async def scripts(settings: dict[str, Any], _stack: AsyncExitStack) -> tuple[Any, Report]:
    """Serve every scene of ``benchmarks.scenes`` on a port of its own."""
    from benchmarks.scenes import SCENES, Stage  # noqa: PLC0415 - only here

    stages = {name: Stage(SCENES[name]) for name in settings["names"]}
    told = {name: await lean.listen(stage.answer, lean.Traffic()) for name, stage in stages.items()}
    return told, lambda: {name: stage.truth() for name, stage in stages.items()}


async def windows(settings: dict[str, Any], _stack: AsyncExitStack) -> tuple[Any, Report]:
    """Count calls under every rule; see ``benchmarks.limiters``."""
    return await listen(settings)


async def counters(settings: dict[str, Any], _stack: AsyncExitStack) -> tuple[Any, Report]:
    """Count calls for each of several settings, on a port each; see ``benchmarks.matrix``."""
    listening = [await listen(each) for each in settings["each"]]
    return [port for port, _ in listening], lambda: [report() for _, report in listening]


class _Bare(Exchange):
    """An exchange that tells nothing about its windows."""

    def handle(
        self, request: HttpRequest, now: float, script: Script | None = None
    ) -> HttpResponse:
        reply = super().handle(request, now, script)
        kept = {key: it for key, it in reply.headers.items() if not key.startswith("ratelimit")}
        return HttpResponse(reply.status, kept, reply.body)


async def trouble(settings: dict[str, Any], stack: AsyncExitStack) -> tuple[Any, Report]:
    """Serve an exchange for each scene of ``benchmarks.trouble``; the first ask ends the outage."""
    exchanges: dict[str, Exchange] = {
        name: Exchange(keep_log=False) for name in ("outage", "shut", "behind", "stranger", "lossy")
    }
    for rule in ("first", "epoch", "slide"):
        exchanges[rule] = Exchange(keep_log=False, window=rule)  # type: ignore[arg-type]
        exchanges[f"{rule} bare"] = _Bare(keep_log=False, window=rule)  # type: ignore[arg-type]
    told, servers = {}, {}
    for name, exchange in exchanges.items():
        for seed, (kind, count) in enumerate(settings["counts"].items()):
            for order_id in order_ids(count, seed):
                exchange.book.add(kind, WORK[kind].contract_code, order_id=order_id)
        lost = {WORK["swap"].path: ([None] * 9 + ["lost_after"]) * 100} if name == "lossy" else {}
        faults = FaultPlan(lost)
        servers[name] = await stack.enter_async_context(SandboxServer(exchange, faults=faults))
        told[name] = servers[name].base_url
    for name in ("outage", "shut"):
        await servers[name].down()
    told["silent"] = await _silent(stack)

    def report() -> dict[str, Any]:
        if ups:
            asyncio.get_running_loop().call_later(settings["outage"], ups.pop())
        return {"refused": {name: it.refused.total() for name, it in exchanges.items()}}

    tasks: list[asyncio.Task[None]] = []
    ups = [lambda: tasks.append(asyncio.ensure_future(servers["outage"].up()))]
    return told, report


async def _silent(stack: AsyncExitStack) -> str:
    """Listen where requests are taken and none is answered."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    stack.callback(server.close)
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    settings = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    async with AsyncExitStack() as stack:
        told, report = await globals()[settings.pop("kind")](settings, stack)
        _tell(told)
        while await loop.run_in_executor(None, sys.stdin.readline):
            _tell(report())


def _tell(said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until standard input ends."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        asyncio.run(_serve())
    else:
        uvloop.run(_serve())


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
