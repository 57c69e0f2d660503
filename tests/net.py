"""A transport to several hosts of one exchange on virtual time, each with its own behaviour."""

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
#: Returns the name of what a host does with a request: see ``Net.send``.
Behaviour = Callable[[Request], str]


def always(behaviour: str) -> Behaviour:
    """Do the same with every request."""
    return lambda _request: behaviour


def refusing(seen: list[str]) -> Behaviour:
    """Refuse the connection of every cancel of one order, and append the order to ``seen``."""

    def refuse(request: Request) -> str:
        seen.append(msgspec.json.decode(request.body)["order_id"])
        return "refuse"

    return refuse


class Net:
    """A transport to hosts of one exchange; ``hosts`` has the behaviour of each."""

    def __init__(self, exchange: Exchange, delay: float = 0.002) -> None:
        self.inner = InProcessTransport(exchange, delay=delay, epoch=EPOCH)
        self.hosts: dict[str, Behaviour] = dict.fromkeys((ONE, TWO), always("ok"))
        self.log: list[tuple[float, str, str]] = []  #: time, origin and method of every attempt

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send a request, or fail, as its host behaves."""
        self.log.append((now(), request.origin, request.method))
        behaviour = self.hosts[request.origin](request)
        if behaviour == "refuse":
            raise NotSentError("connection refused")
        if behaviour == "refuse late":
            await asyncio.sleep(0.01)
            raise NotSentError("no route to host")
        if behaviour == "hang":  # the connection is never established
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
        if behaviour == "404":
            return Reply(404, {}, b"Not Found", now())
        if behaviour == "5xx":
            return Reply(503, {}, b"Service Unavailable", now())
        return await self.inner.send(request, timeout=timeout)

    async def close(self) -> None:
        """Do nothing."""

    def client(self, *hosts: str, **settings: object) -> CancelClient:
        """Return a client that uses these hosts, by default ``ONE``."""
        loop = asyncio.get_running_loop()
        return CancelClient(
            credentials(),
            base_url=list(hosts) or [ONE],
            transport=self,
            wall_clock=lambda: EPOCH + loop.time(),
            **settings,  # type: ignore[arg-type]
        )

    def to(self, origin: str, method: str = "POST") -> list[float]:
        """Return the times of the requests to a host."""
        return [time for time, *request in self.log if request == [origin, method]]


async def many(
    client: CancelClient, exchange: Exchange, kind: Kind, calls: int, ids: int
) -> list["asyncio.Task[Outcome]"]:
    """Start this many calls with this many ids each."""
    return [
        asyncio.create_task(cancel(client, kind, add(exchange, kind, ids))) for _ in range(calls)
    ]
