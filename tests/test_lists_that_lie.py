"""Lists of open orders whose replies are wrong: nothing is called complete, or proved, by them."""

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

#: From the parameters of a request and its true reply to a wrong one.
Lie = Callable[[Mapping[str, Any], dict[str, Any]], object]


class Lying(InProcessTransport):
    """A way to the exchange on which the replies of some paths are changed."""

    def __init__(self, exchange: Exchange, lies: Mapping[str, Lie]) -> None:
        super().__init__(exchange, epoch=EPOCH)
        self.lies = lies

    async def send(self, request: Request, *, timeout: float) -> Reply:
        """Change what comes back."""
        reply = await super().send(request, timeout=timeout)
        url = urlsplit(request.target)
        if url.path not in self.lies:
            return reply
        given = msgspec.json.decode(request.body) if request.body else dict(parse_qsl(url.query))
        told = self.lies[url.path](given, msgspec.json.decode(reply.body))
        return Reply(reply.status, reply.headers, msgspec.json.encode(told), reply.left_at)


def lied_to(exchange: Exchange, lies: Mapping[str, Lie], **settings: Any) -> CancelClient:
    """Return a client that hears lies."""
    loop = asyncio.get_running_loop()
    return CancelClient(
        credentials(),
        transport=Lying(exchange, lies),
        wall_clock=lambda: EPOCH + loop.time(),
        **{"retry": RetryPolicy(max_attempts=2), **settings},
    )


def always(data: object) -> Lie:
    """Answer each request with the same data."""
    return lambda _given, told: {**told, "data": data}


def page(orders: object, **told: object) -> Lie:
    """Answer with these orders, as a list by pages does."""
    return always({"orders": orders, "current_page": 1, **told})


CATALOGUE = CATALOGUES["coin_m_swap"].path
KINDS_OF = {SWAP: "orders", V5: "orders", CATALOGUE: "trigger_orders"}
HIDING = {
    "a row that is none": (SWAP, page([None], total_page=1)),
    "fewer than it counts": (SWAP, page([], total_page=1, total_size=3)),
    "empty pages": (SWAP, page([], total_page=3)),
    "a number of pages in a text": (SWAP, page([], total_page="1")),
    "no number of pages": (SWAP, page([])),
    "no data": (SWAP, always(None)),
    "no data of v5": (V5, always(None)),
    "a row of v5 that is none": (V5, always(["1"])),
    "an empty catalogue": (CATALOGUE, always([])),
    "a catalogue of what is over": (
        CATALOGUE,
        always([{"contract_code": "BTC-USD", "contract_status": 8}]),
    ),
    "a catalogue of other names": (CATALOGUE, always([{"code": "BTC-USD"}])),
    "no catalogue": (CATALOGUE, always(None)),
}


@pytest.mark.parametrize(("path", "lie"), HIDING.values(), ids=HIDING)
def test_nothing_is_proved_by_a_list_that_hides_an_order(path: str, lie: Lie) -> None:
    """The order cannot be cancelled, and only the list would name it."""

    async def main() -> EverythingReport:
        exchange = Exchange()
        for kind in SOME:
            exchange.book.add(kind, CONTRACTS[kind], refusal=1088)
        product = "usdt_m" if path == V5 else "coin_m_swap"
        async with lied_to(exchange, {path: lie}) as client:
            return await client.cancel_everything(
                products=[product], kinds=[KINDS_OF[path]], timeout=5.0
            )

    report = run(main())
    assert not report.proved
    assert report.kinds[0].why


def without_type(_given: Mapping[str, Any], told: dict[str, Any]) -> object:
    """Leave the type out of the rows."""
    rows = [{name: it for name, it in row.items() if name != "type"} for row in told["data"]]
    return {**told, "data": rows}


def of_another_type(_given: Mapping[str, Any], told: dict[str, Any]) -> object:
    """Name a type that no page tells of."""
    return {**told, "data": [{**row, "type": ["new"]} for row in told["data"]]}


@pytest.mark.parametrize("lie", [without_type, of_another_type])
def test_an_algo_order_without_a_known_type_is_of_the_one_that_was_asked_for(lie: Lie) -> None:
    """So it is open for the kind that it is of, and cancelled with no other."""

    async def main() -> None:
        exchange = Exchange()
        for algo_type in ALGO_TYPES:
            exchange.book.add("v5_algo", "BTC-USDT", algo_type=algo_type)
        async with lied_to(exchange, {ALGO: lie}) as client:
            report = await client.cancel_everything(products=["usdt_m"], timeout=5.0)
            assert report.proved
            left = {it.algo_type for it in exchange.book.open()}
            assert left == set(ALGO_TYPES) - {"trigger"}
            kinds = (*KINDS, *PROTECTIVE)
            assert (await client.cancel_everything(products=["usdt_m"], kinds=kinds)).proved
        assert not exchange.book.open()

    run(main())


def test_an_algo_order_of_two_types_is_of_none() -> None:
    """The exchange lists it whatever type is asked for, and does not tell."""

    async def main() -> EverythingReport:
        exchange = Exchange()
        row = {"id": "5", "algo_id": "5", "contract_code": "BTC-USDT"}
        async with lied_to(exchange, {ALGO: always([row])}) as client:
            return await client.cancel_everything(
                products=["usdt_m"], kinds=["trigger_orders"], timeout=3.0
            )

    report = run(main())
    assert not report.proved
    assert "listed under two types" in report.kinds[0].why


@pytest.mark.parametrize("contract_code", ["btc-usd", "btc260327", "btc-usdt", "Btc", "BTC260327"])
def test_a_contract_may_be_written_in_small_letters(contract_code: str) -> None:
    """The exchange knows it all the same; what is open in it is listed, and no other is touched."""

    async def main() -> EverythingReport:
        exchange = Exchange()
        for kind in SOME:
            exchange.book.add(kind, CONTRACTS[kind], refusal=1088)
            exchange.book.add(kind, CONTRACTS[kind].replace("BTC", "ETH"))
        async with lied_to(exchange, {}) as client:
            report = await client.cancel_everything(contracts=[contract_code], timeout=5.0)
        assert len(exchange.book.open()) == 2 * len(SOME)
        return report

    report = run(main())
    assert not report.proved
    assert len(report.remaining) == 2


def test_a_coin_whose_name_ends_with_a_digit_is_no_contract() -> None:
    """What is open in its contracts is listed."""

    async def main() -> None:
        exchange = Exchange()
        kinds: list[Kind] = ["futures", "futures_trigger"]
        for kind in kinds:
            exchange.book.add(kind, "C98260327")
        async with lied_to(exchange, {}) as client:
            assert len(await client.coin_m_futures.open_orders("C98")) == 1
            assert len(await client.coin_m_futures.open_orders("C98260327")) == 1
            assert len(await client.coin_m_futures.open_trigger_orders()) == 1

    run(main())


@pytest.mark.parametrize("contracts", [[], iter(()), ["LTC_USD"], ["BTC-EUR"]])
def test_contracts_must_be_one_or_more_of_a_known_form(contracts: Iterable[str]) -> None:
    """Of none, nothing could be proved."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "swap", 1)
        async with lied_to(exchange, {}) as client:
            with pytest.raises(InvalidValueError, match=r"contracts must be .*, got "):
                await client.cancel_everything(contracts=contracts)
        assert not exchange.calls

    run(main())


@pytest.mark.parametrize("after", [0.0, 0.1, 1.0, 2.1])
def test_a_client_that_is_closed_meanwhile_ends_it_at_once(after: float) -> None:
    """It returns what is known, and nothing is reported."""

    async def main() -> None:
        exchange = Exchange()
        exchange.book.add("swap", "BTC-USD", refusal=1088)
        client = lied_to(exchange, {})
        calling = asyncio.create_task(client.cancel_everything())
        await asyncio.sleep(after)
        began = now()
        await client.aclose()
        assert not (await calling).proved
        assert now() < began + 0.5

    run(main())


def test_a_catalogue_that_hangs_takes_no_longer_than_its_call_may() -> None:
    """A list of all contracts needs it."""

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


def test_a_list_that_does_not_go_on_is_not_complete() -> None:
    """Each page is the first one again: it is not asked for ever."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "v5", 150)
        first: dict[str | None, object] = {}

        def same(given: Mapping[str, Any], told: dict[str, Any]) -> object:
            return first.setdefault(given.get("margin_mode"), told)

        async with lied_to(exchange, {V5: same}) as client:
            orders = await client.usdt_m.open_orders(timeout=60.0)
        assert (len(orders), orders.complete) == (100, False)
        assert "same page twice" in orders.missing[0]
        assert exchange.calls[V5] < 5

    run(main())


def test_a_full_page_that_names_no_row_to_go_on_after_is_not_the_last() -> None:
    """There may be more."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "v5", 150)

        def nameless(_given: Mapping[str, Any], told: dict[str, Any]) -> object:
            return {**told, "data": [{**row, "id": None} for row in told["data"]]}

        async with lied_to(exchange, {V5: nameless}) as client:
            assert not (await client.usdt_m.open_orders()).complete

    run(main())


def test_what_was_read_before_a_page_failed_is_listed() -> None:
    """It can be cancelled; the listing says that there may be more."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "v5", 150)
        add(exchange, "swap", 120)

        def fails(given: Mapping[str, Any], told: dict[str, Any]) -> object:
            later = "from" in given or given.get("page_index") == 2
            return {"code": 1018, "message": "no"} if later else told

        async with lied_to(exchange, {V5: fails, SWAP: fails}) as client:
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
def test_a_row_that_cannot_be_cancelled_does_not_keep_the_others(row: Mapping[str, Any]) -> None:
    """What it is missing is named, and nothing is proved."""

    async def main() -> None:
        exchange = Exchange()
        for _ in range(3):
            exchange.book.add("v5", "BTC-USDT", margin_mode="isolated")

        def more(_given: Mapping[str, Any], told: dict[str, Any]) -> object:
            return {**told, "data": [{"id": "7", **row}, *told["data"]]}

        lies = {V5: more, "/v5/trade/cancel_all_orders": always([])}
        async with lied_to(exchange, lies) as client:
            orders = await client.usdt_m.open_orders()
            assert len(orders) == 3
            assert "without a valid contract or id" in orders.missing[0]
            report = await client.cancel_everything(products=["usdt_m"], timeout=3.0)
        assert not report.proved
        assert not exchange.book.open()

    run(main())


def test_an_account_refused_in_one_margin_mode_is_cleaned_in_the_other() -> None:
    """For as long as there is time, though it cannot be proved empty."""

    async def main() -> None:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        loop.call_later(2.0, exchange.book.add, "v5", "BTC-USDT")

        def refuses(given: Mapping[str, Any], told: dict[str, Any]) -> object:
            return {"code": 4002, "message": "no"} if "margin_mode" in given else told

        async with lied_to(exchange, {V5: refuses}) as client:
            report = await client.cancel_everything(
                products=["usdt_m"], kinds=["orders"], timeout=5.0
            )
        assert not report.proved
        assert report.seconds > 4.9
        assert len(exchange.book) == 1
        assert not exchange.book.open()

    run(main())


def test_orders_that_move_to_an_earlier_page_meanwhile_are_listed() -> None:
    """Those before them are cancelled while the second page is asked for."""

    async def main() -> None:
        exchange = Exchange()
        ids = add(exchange, "swap", 60)
        going = ids[:-11:-1]  # the newest, which are first on the first page

        def first_page_goes(given: Mapping[str, Any], told: dict[str, Any]) -> object:
            while given["page_index"] == 1 and going:
                order = exchange.book[going.pop()]
                order.state = "canceled"
            return told

        async with lied_to(exchange, {SWAP: first_page_goes}) as client:
            listed = await client.coin_m_swap.open_orders()
        assert {order.order_id for order in listed} >= set(ids[:50])
        assert listed.complete

    run(main())


def test_a_catalogue_is_asked_of_another_host_when_one_is_down() -> None:
    """The first of its three attempts finds out."""

    async def main() -> None:
        exchange = Exchange()
        transport = Lying(exchange, {})
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
    """Not that of the order it becomes; and that of a plain order is its own."""

    async def main() -> None:
        names = {"order_id": "5", "algo_id": "5", "contract_code": "BTC-USDT", "created_time": "x"}
        async with lied_to(Exchange(), {path: always([{**names, **row}])}) as client:
            (order,) = await getattr(client.usdt_m, name)("BTC-USDT")
        assert (order.price, order.created) == (price, None)

    run(main())
