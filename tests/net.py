"""Hosts of one exchange on virtual time, each of which may behave badly."""

import asyncio
from collections.abc import Callable

import msgspec
from clients import EPOCH, add, cancel, credentials
from virtualtime import now

from htx_cancel import CancelClient, Outcome
from htx_cancel.errors import NoAnswerError, NotSentError, StaleConnectionError
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.sandbox.rules import Kind
from htx_cancel.wire.transport import CONNECT_TIMEOUT, Reply, Request

ONE, TWO = "https://one.example", "https://two.example"
#: What a host does with a request: see ``Net.send``.
Behaviour = Callable[[Request], str]


def always(behaviour: str) -> Behaviour:
    """Behave so at any request."""
    return lambda _request: behaviour


def refusing(seen: list[str]) -> Behaviour:
    """Refuse any cancel of one order, and note the order."""

    def refuse(request: Request) -> str:
        seen.append(msgspec.json.decode(request.body)["order_id"])
        return "refuse"

    return refuse


class Net:
    """Hosts of one exchange, each of which may behave badly; ``log`` has every attempt."""

    def __init__(self, exchange: Exchange, delay: float = 0.002) -> None:
        self.inner = InProcessTransport(exchange, delay=delay, epoch=EPOCH)
        self.hosts: dict[str, Behaviour] = dict.fromkeys((ONE, TWO), always("ok"))
        self.log: list[tuple[float, str, str]] = []  #: when, where to, and the method

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Carry a request, or not."""
        self.log.append((now(), request.origin, request.method))
        behaviour = self.hosts[request.origin](request)
        if behaviour == "refuse":
            raise NotSentError("connection refused")
        if behaviour == "refuse late":
            await asyncio.sleep(0.01)
            raise NotSentError("no route to host")
        if behaviour == "hang":  # a connection that is never made
            await asyncio.sleep(min(timeout, CONNECT_TIMEOUT))
            raise NotSentError("no connection")
        if behaviour == "stale":
            raise StaleConnectionError("data arrived on the connection before the request was sent")
        if behaviour == "broken":
            raise NoAnswerError("connection reset")
        if behaviour == "silent":
            await asyncio.sleep(timeout)
            raise NoAnswerError(f"no reply within {timeout:g} s")
        if behaviour == "late":
            await asyncio.sleep(4.0)
        if behaviour == "5xx":
            return Reply(503, {}, b"Service Unavailable", now())
        return await self.inner.send(request, timeout=timeout)

    async def close(self) -> None:
        """Hold nothing."""

    def client(self, *hosts: str, **settings: object) -> CancelClient:
        """Return a client of these hosts."""
        loop = asyncio.get_running_loop()
        return CancelClient(
            credentials(),
            base_url=list(hosts) or [ONE],
            transport=self,
            wall_clock=lambda: EPOCH + loop.time(),
            **settings,  # type: ignore[arg-type]
        )

    def to(self, origin: str, method: str = "POST") -> list[float]:
        """List when requests went to a host."""
        return [at for at, where, how in self.log if (where, how) == (origin, method)]


async def many(
    client: CancelClient, exchange: Exchange, kind: Kind, calls: int, ids: int
) -> list["asyncio.Task[Outcome]"]:
    """Start calls of so many ids each."""
    return [
        asyncio.create_task(cancel(client, kind, add(exchange, kind, ids))) for _ in range(calls)
    ]
