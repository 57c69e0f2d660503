"""The sandbox without a socket, on virtual time."""

import asyncio
import json

import pytest
import virtualtime
from sandbox_requests import CANCEL, NOW, batch, signed_target

from htx_cancel.errors import NoAnswerError
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.wire.transport import Reply, Request

BODY = json.dumps(batch("BTC-USD", "1")).encode()


def request(host: str = "api.hbdm.com") -> Request:
    """Return a signed request."""
    return Request("POST", f"https://{host}", signed_target(CANCEL, host=host), BODY)


async def timed(transport: InProcessTransport) -> float:
    """Return how long one request takes."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await transport.send(request(), timeout=60)
    return loop.time() - start


def test_a_request_is_answered_with_plain_json() -> None:
    """The reply is not compressed, and has lower-case header names."""

    async def main() -> Reply:
        transport = InProcessTransport(Exchange())
        reply = await transport.send(request(), timeout=1)
        await transport.close()
        return reply

    reply = virtualtime.run(main())
    assert reply.status == 200
    assert json.loads(reply.body)["data"]["errors"][0]["err_code"] == 1061
    assert reply.headers["content-type"] == "text/plain;charset=UTF-8"
    assert reply.headers["ratelimit-remaining"] == "35"
    assert "content-encoding" not in reply.headers


def test_the_host_of_the_origin_is_signed() -> None:
    """The Host header is the origin's host and port."""

    async def main() -> Reply:
        return await InProcessTransport(Exchange()).send(request("localhost:8090"), timeout=1)

    assert json.loads(virtualtime.run(main()).body)["status"] == "ok"


def test_a_delay_applies_each_way() -> None:
    """A request arrives after one delay, and its reply after two."""
    exchange = Exchange()
    took = virtualtime.run(timed(InProcessTransport(exchange, delay=0.25)))
    assert took == pytest.approx(0.5)
    assert exchange.log[0].now == pytest.approx(NOW + 0.25, abs=1e-6)


def test_without_a_delay_other_tasks_still_run() -> None:
    """The transport yields to the event loop, although no time passes."""
    exchange = Exchange()

    async def main() -> tuple[int, float]:
        sending = asyncio.create_task(timed(InProcessTransport(exchange)))
        await asyncio.sleep(0)
        return len(exchange.log), await sending

    arrived, took = virtualtime.run(main())
    assert (arrived, len(exchange.log)) == (0, 1)
    assert took < 1e-6


def test_jitter_applies_each_way_and_repeats_with_its_seed() -> None:
    """A round trip takes up to twice the jitter longer."""

    async def main(seed: int) -> list[float]:
        transport = InProcessTransport(Exchange(), delay=0.1, jitter=0.05, seed=seed)
        return [await timed(transport) for _ in range(30)]

    first, again, other = (virtualtime.run(main(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert all(0.2 <= seconds <= 0.3 + 1e-6 for seconds in first)
    assert max(first) - min(first) > 0.05


def test_the_epoch_sets_the_exchanges_clock() -> None:
    """A clock that is ahead refuses the timestamp."""

    async def main() -> Reply:
        transport = InProcessTransport(Exchange(), epoch=NOW + 301)
        return await transport.send(request(), timeout=1)

    assert json.loads(virtualtime.run(main()).body)["err_code"] == 12001


def test_a_reply_later_than_the_timeout_is_no_answer() -> None:
    """The exchange has executed the request."""
    exchange = Exchange()

    async def main() -> float:
        transport = InProcessTransport(exchange, delay=1)
        with pytest.raises(NoAnswerError, match=r"no reply within 1\.5 s"):
            await transport.send(request(), timeout=1.5)
        return asyncio.get_running_loop().time()

    assert virtualtime.run(main()) == pytest.approx(1.5)
    assert len(exchange.log) == 1
