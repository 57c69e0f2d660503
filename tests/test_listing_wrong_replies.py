"""Lists of open orders with wrong replies: they make nothing complete, or proved."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from clients import CONTRACTS, EPOCH, add, credentials, in_process
from virtualtime import now, run

from htx_cancel import CancelClient, EverythingReport, InvalidValueError, RetryPolicy
from htx_cancel.endpoints import CATALOGUES, KINDS, LISTS, PROTECTIVE
from htx_cancel.sandbox import Exchange, InProcessTransport
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.rules import ALGO_TYPES, Kind
from htx_cancel.wire.transport import Reply, Request

SWAP = LISTS["coin_m_swap.open_orders"].path
TRIGGER = LISTS["coin_m_swap.open_trigger_orders"].path
V5 = LISTS["usdt_m.open_orders"].path
ALGO = LISTS["usdt_m.open_algo_orders"].path

pytestmark = pytest.mark.loops

#: Plain and trigger orders of the three products.
SOME: list[Kind] = ["swap", "futures", "v5", "swap_trigger", "futures_trigger", "v5_algo"]

#: Returns a wrong reply, from the parameters of a request and its correct reply.
Change = Callable[[Mapping[str, Any], dict[str, Any]], object]


class ChangingTransport(InProcessTransport):
    """A transport that changes the replies of some paths."""

    def __init__(self, exchange: Exchange, changes: Mapping[str, Change]) -> None:
        super().__init__(exchange, epoch=EPOCH)
        self.changes = changes

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Send a request; change its reply."""
        reply = await super().send(request, timeout=timeout)
        url = urlsplit(request.target)
        if url.path not in self.changes:
            return reply
        params = msgspec.json.decode(request.body) if request.body else dict(parse_qsl(url.query))
        changed = self.changes[url.path](params, msgspec.json.decode(reply.body))
        return Reply(reply.status, reply.headers, msgspec.json.encode(changed), reply.left_at)


def changing(exchange: Exchange, changes: Mapping[str, Change], **settings: Any) -> CancelClient:
    """Return a client that gets changed replies."""
    return CancelClient(
        credentials(),
        transport=ChangingTransport(exchange, changes),
        wall_clock=lambda: EPOCH + now(),
        **{"retry": RetryPolicy(max_attempts=2), **settings},
    )


def always(data: object) -> Change:
    """Replace the data of each reply."""
    return lambda _params, reply: {**reply, "data": data}


def page(orders: object, **fields: object) -> Change:
    """Reply with these orders, in the form of a list by pages."""
    return always({"orders": orders, "current_page": 1, **fields})


CATALOGUE = CATALOGUES["coin_m_swap"].path
KINDS_OF = {SWAP: "orders", V5: "orders", CATALOGUE: "trigger_orders"}
HIDING = {
    "a row that is not an object": (SWAP, page([None], total_page=1)),
    "fewer orders than its own count": (SWAP, page([], total_page=1, total_size=3)),
    "empty pages": (SWAP, page([], total_page=3)),
    "a number of pages as a string": (SWAP, page([], total_page="1")),
    "no number of pages": (SWAP, page([])),
    "no data": (SWAP, always(None)),
    "no data of v5": (V5, always(None)),
    "a row of v5 that is not an object": (V5, always(["1"])),
    "an empty catalogue": (CATALOGUE, always([])),
    "a catalogue of contracts that have ended": (
        CATALOGUE,
        always([{"contract_code": "BTC-USD", "contract_status": 8}]),
    ),
    "a catalogue without contract codes": (CATALOGUE, always([{"code": "BTC-USD"}])),
    "no catalogue": (CATALOGUE, always(None)),
}


@pytest.mark.parametrize(("path", "change"), HIDING.values(), ids=HIDING)
def test_nothing_is_proved_by_a_list_that_hides_an_order(path: str, change: Change) -> None:
    """The exchange refuses to cancel the order, and only the list would name it."""

    async def main() -> EverythingReport:
        exchange = Exchange()
        for kind in SOME:
            exchange.book.add(kind, CONTRACTS[kind], refusal=1088)
        product = "usdt_m" if path == V5 else "coin_m_swap"
        async with changing(exchange, {path: change}) as client:
            return await client.cancel_everything(
                products=[product], kinds=[KINDS_OF[path]], timeout=5.0
            )

    report = run(main())
    assert not report.proved
    assert report.kinds[0].why


def without_type(_params: Mapping[str, Any], reply: dict[str, Any]) -> object:
    """Remove the type from the rows."""
    for row in reply["data"]:
        row.pop("type", None)
    return reply


def of_unknown_type(_params: Mapping[str, Any], reply: dict[str, Any]) -> object:
    """Give the rows a type that no page of the exchange describes."""
    return {**reply, "data": [{**row, "type": ["new"]} for row in reply["data"]]}


@pytest.mark.parametrize("change", [without_type, of_unknown_type])
def test_an_algo_order_without_a_known_type_has_the_type_asked_for(change: Change) -> None:
    """So the order counts as open for its own kind, and is not cancelled with another kind."""

    async def main() -> None:
        exchange = Exchange()
        for algo_type in ALGO_TYPES:
            exchange.book.add("v5_algo", "BTC-USDT", algo_type=algo_type)
        async with changing(exchange, {ALGO: change}) as client:
            report = await client.cancel_everything(products=["usdt_m"], timeout=5.0)
            assert report.proved
            left = {order.algo_type for order in exchange.book.open()}
            assert left == set(ALGO_TYPES) - {"trigger"}
            kinds = (*KINDS, *PROTECTIVE)
            assert (await client.cancel_everything(products=["usdt_m"], kinds=kinds)).proved
        assert not exchange.book.open()

    run(main())


def test_an_algo_order_listed_under_two_types_proves_nothing() -> None:
    """The exchange lists the order for every type that is asked for, without its type."""

    async def main() -> EverythingReport:
        exchange = Exchange()
        row = {"id": "5", "algo_id": "5", "contract_code": "BTC-USDT"}
        async with changing(exchange, {ALGO: always([row])}) as client:
            return await client.cancel_everything(
                products=["usdt_m"], kinds=["trigger_orders"], timeout=3.0
            )

    report = run(main())
    assert not report.proved
    assert "listed under two types" in report.kinds[0].why


def test_an_algo_order_keeps_a_type_that_was_not_asked_for() -> None:
    """The exchange lists the order for every type that is asked for, with its own type."""

    async def main() -> None:
        row = {"id": "5", "algo_id": "5", "contract_code": "BTC-USDT", "type": "tp"}
        async with changing(Exchange(), {ALGO: always([row])}) as client:
            orders = await client.usdt_m.open_algo_orders("BTC-USDT")
        assert [order.type for order in orders] == ["tp"]
        assert orders.complete

    run(main())


def test_a_contract_may_be_listed_in_lower_case() -> None:
    """The order counts as one of the contract that was asked for."""

    def lower(_params: Mapping[str, Any], reply: dict[str, Any]) -> object:
        for row in reply["data"]["orders"]:
            row["contract_code"] = row["contract_code"].lower()
        return reply

    async def main() -> None:
        exchange = Exchange()
        exchange.book.add("futures", "BTC260327")
        path = LISTS["coin_m_futures.open_orders"].path
        async with changing(exchange, {path: lower}) as client:
            assert len(await client.coin_m_futures.open_orders("BTC260327")) == 1

    run(main())


@pytest.mark.parametrize("contract_code", ["btc-usd", "btc260327", "btc-usdt", "Btc", "BTC260327"])
def test_a_contract_may_be_written_in_lower_case(contract_code: str) -> None:
    """Its open orders are listed, and orders of other contracts stay open."""

    async def main() -> EverythingReport:
        exchange = Exchange()
        for kind in SOME:
            exchange.book.add(kind, CONTRACTS[kind], refusal=1088)
            exchange.book.add(kind, CONTRACTS[kind].replace("BTC", "ETH"))
        async with changing(exchange, {}) as client:
            report = await client.cancel_everything(contracts=[contract_code], timeout=5.0)
        assert len(exchange.book.open()) == 2 * len(SOME)
        return report

    report = run(main())
    assert not report.proved
    assert len(report.remaining) == 2


def test_a_coin_whose_name_ends_with_a_digit_is_not_a_contract() -> None:
    """The open orders of its contracts are listed."""

    async def main() -> None:
        exchange = Exchange()
        kinds: list[Kind] = ["futures", "futures_trigger"]
        for kind in kinds:
            exchange.book.add(kind, "C98260327")
            exchange.book.add(kind, "C98260109")
        async with changing(exchange, {}) as client:
            assert len(await client.coin_m_futures.open_orders("C98")) == 2
            (order,) = await client.coin_m_futures.open_orders("C98260327")
            assert order.contract_code == "C98260327"
            assert len(await client.coin_m_futures.open_trigger_orders()) == 2

    run(main())


@pytest.mark.parametrize("contracts", [[], iter(()), ["LTC_USD"], ["BTC-EUR"]])
def test_contracts_must_be_one_or_more_of_a_known_form(contracts: Iterable[str]) -> None:
    """Without a contract nothing could be proved."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "swap", 1)
        async with changing(exchange, {}) as client:
            with pytest.raises(InvalidValueError, match=r"contracts must be .*, got "):
                await client.cancel_everything(contracts=contracts)
        assert not exchange.calls

    run(main())


@pytest.mark.parametrize("after", [0.0, 0.1, 1.0, 2.1])
def test_closing_the_client_ends_cancel_everything_at_once(after: float) -> None:
    """The call returns what is known, and no exception is reported."""

    async def main() -> None:
        exchange = Exchange()
        exchange.book.add("swap", "BTC-USD", refusal=1088)
        client = changing(exchange, {})
        calling = asyncio.create_task(client.cancel_everything())
        await asyncio.sleep(after)
        began = now()
        await client.aclose()
        assert not (await calling).proved
        assert now() < began + 0.5

    run(main())


def test_a_catalogue_that_gets_no_reply_ends_by_the_timeout_of_its_call() -> None:
    """A list of all contracts needs the catalogue."""

    async def main() -> None:
        plan = FaultPlan({CATALOGUE: ["lost_before"] * 100})
        async with in_process(Exchange(), faults=plan) as client:
            orders = await client.coin_m_swap.open_trigger_orders(timeout=1.0)
            assert not orders.complete
            assert now() < 1.1
            report = await client.cancel_everything(products=["coin_m_swap"], timeout=2.0)
        assert not report.proved
        assert report.seconds < 2.1

    run(main())


def test_orders_read_before_a_page_failed_are_listed() -> None:
    """They can be cancelled; the listing is not complete."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "v5", 150)
        add(exchange, "swap", 120)

        def fails(params: Mapping[str, Any], reply: dict[str, Any]) -> object:
            later = "from" in params or params.get("page_index") == 2
            return {"code": 1018, "message": "no"} if later else reply

        async with changing(exchange, {V5: fails, SWAP: fails}) as client:
            for orders, count in (
                (await client.usdt_m.open_orders(), 100),
                (await client.coin_m_swap.open_orders(), 70),
            ):
                assert (len(orders), orders.complete) == (count, False)
                assert "1018 no" in orders.missing[0]

    run(main())


@pytest.mark.parametrize(
    "row",
    [
        {"order_id": "7"},
        {"contract_code": "BTC-USDT"},
        {"contract_code": "BTC-USDT", "order_id": "1,2"},
        {"contract_code": "BTC-USDT", "order_id": 1.5e18},
        {"contract_code": "BTC USDT", "order_id": "7"},
    ],
)
def test_a_row_that_cannot_be_cancelled_does_not_protect_the_others(row: Mapping[str, Any]) -> None:
    """The others are listed and cancelled, and nothing is proved."""

    async def main() -> None:
        exchange = Exchange()
        for _ in range(3):
            exchange.book.add("v5", "BTC-USDT", margin_mode="isolated")

        def more(_params: Mapping[str, Any], reply: dict[str, Any]) -> object:
            return {**reply, "data": [{"id": "7", **row}, *reply["data"]]}

        changes = {V5: more, "/v5/trade/cancel_all_orders": always([])}
        async with changing(exchange, changes) as client:
            orders = await client.usdt_m.open_orders()
            assert len(orders) == 3
            assert "without a valid contract or id" in orders.missing[0]
            report = await client.cancel_everything(products=["usdt_m"], timeout=3.0)
        assert not report.proved
        assert not exchange.book.open()

    run(main())


def test_an_account_refused_in_one_margin_mode_is_emptied_in_the_other() -> None:
    """Until the timeout, although it cannot be proved empty."""

    async def main() -> None:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        loop.call_later(2.0, exchange.book.add, "v5", "BTC-USDT")

        def refuses(params: Mapping[str, Any], reply: dict[str, Any]) -> object:
            return {"code": 4002, "message": "no"} if "margin_mode" in params else reply

        async with changing(exchange, {V5: refuses}) as client:
            report = await client.cancel_everything(
                products=["usdt_m"], kinds=["orders"], timeout=5.0
            )
        assert not report.proved
        assert report.seconds > 4.9
        assert len(exchange.book) == 1
        assert not exchange.book.open()

    run(main())


def test_a_catalogue_is_requested_from_another_host_when_one_is_down() -> None:
    """The first of its three attempts fails."""

    async def main() -> None:
        exchange = Exchange()
        transport = ChangingTransport(exchange, {})
        hosts = [f"https://{name}.example.com" for name in ("a", "b")]
        transport.down.add(hosts[0])
        async with CancelClient(
            credentials(), base_url=hosts, transport=transport, wall_clock=lambda: EPOCH + now()
        ) as client:
            assert (await client.coin_m_swap.open_trigger_orders(timeout=5.0)).complete

    run(main())


@pytest.mark.parametrize(
    ("path", "name", "row", "price"),
    [
        (V5, "open_orders", {"price": "7", "tp_trigger_price": "9"}, 7),
        (V5, "open_orders", {"price": "", "tp_trigger_price": "9"}, None),
        (V5, "open_orders", {"price": "NaN"}, None),
        (ALGO, "open_algo_orders", {"price": "7", "trigger_price": "9"}, 9),
        (ALGO, "open_algo_orders", {"price": "7", "tp_trigger_price": "", "type": "tp"}, None),
        (ALGO, "open_algo_orders", {"price": "7", "sl_trigger_price": "9"}, 9),
    ],
)
def test_the_price_of_an_algo_order_is_the_one_at_which_it_triggers(
    path: str, name: str, row: Mapping[str, Any], price: int | None
) -> None:
    """It is not the price of the order that follows; a plain order has its own price."""

    async def main() -> None:
        fields = {"order_id": "5", "algo_id": "5", "contract_code": "BTC-USDT", "created_time": "x"}
        async with changing(Exchange(), {path: always([{**fields, **row}])}) as client:
            (order,) = await getattr(client.usdt_m, name)("BTC-USDT")
        assert (order.price, order.created) == (price, None)

    run(main())
