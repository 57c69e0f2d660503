"""``cancel_everything``: it proves that nothing is open, and never while an order is open."""

import asyncio
import os
import random
from typing import Any

import pytest
from clients import CONTRACTS, EPOCH, ONCE, in_process, over_a_socket
from msgspec.structs import replace
from virtualtime import VirtualLoop, run

from htx_cancel import (
    Budgets,
    EverythingReport,
    InvalidTypeError,
    InvalidValueError,
    RetryPolicy,
)
from htx_cancel.endpoints import KINDS, LEGACY, PRODUCTS, PROTECTIVE
from htx_cancel.sandbox import Exchange
from htx_cancel.sandbox.faults import FAULTS as FAULT_BY_NAME
from htx_cancel.sandbox.faults import FaultPlan
from htx_cancel.sandbox.rules import ALGO_TYPES, ROUTES, Kind
from htx_cancel.sandbox.rules import PRODUCTS as BY_KIND

SEEDS = int(os.environ.get("EVERYTHING_SEEDS", "24"))
ALL_KINDS = (*KINDS, *PROTECTIVE)
#: The sandbox's kinds of orders, in the products that are cancelled by default.
DEFAULT: list[Kind] = [kind for kind in BY_KIND if not kind.startswith(("linear", "cross"))]
#: The maximum seconds of the last listing of all products: a window of the read budgets.
WINDOW = 3.5
#: Known faults of HTX, and faults of a network.
FAULTS = (
    "busy",
    "rate",
    "lost_before",
    "lost_after",
    "reset_before",
    "reset_after",
    "html",
    "http_5xx",
    "cut",
    "settling",
    "system_error",
)


def fill(exchange: Exchange, count: int, chance: random.Random) -> None:
    """Add orders of every kind and of three coins to the book."""
    for number in range(count):
        add(exchange, DEFAULT[number % len(DEFAULT)], chance)


def add(exchange: Exchange, kind: Kind, chance: random.Random) -> None:
    """Add one order to the book."""
    order: dict[str, Any] = {"direction": chance.choice(("buy", "sell"))}
    if kind == "v5":
        order["margin_mode"] = chance.choice(("cross", "isolated"))
    if kind == "v5_algo":
        order["algo_type"] = chance.choice(ALGO_TYPES)
    coin = chance.choice(("BTC", "ETH", "XRP"))
    exchange.book.add(kind, CONTRACTS[kind].replace("BTC", coin), **order)


async def trouble(exchange: Exchange, chance: random.Random, seconds: float) -> None:
    """Let strategy orders fire and new orders appear, for some seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        strategies = [order for order in exchange.book.open() if "_" in order.kind]
        if strategies and chance.random() < 0.7:
            exchange.book.trigger(chance.choice(strategies))
        elif chance.random() < 0.5:
            add(exchange, chance.choice(DEFAULT), chance)


def test_a_quiet_account_is_proved_empty_in_about_the_time_of_the_rate_limits() -> None:
    """The account has 2,000 orders of all products and kinds."""

    async def main() -> EverythingReport:
        exchange = Exchange()
        fill(exchange, 2000, random.Random(0))
        async with in_process(exchange, delay=0.005) as client:
            await client.warm_up()
            report = await client.cancel_everything(kinds=ALL_KINDS)
        assert not exchange.book.open()
        assert not exchange.refused
        return report

    report = run(main())
    assert report.proved
    assert not report.remaining
    # The cancel-all calls of ten contracts of each v1 product take two windows of 1 s. Two listings
    # of three kinds of each product, and of the plain orders, take 62 reads: two windows of 3 s.
    least = 1.0 + 3.0
    assert report.seconds <= 1.1 * least
    by_name = {f"{kind.product}.{kind.kind}": kind for kind in report.kinds}
    assert len(by_name) == 12
    assert sum(kind.accepted for kind in report.kinds) == 2000
    assert not any(kind.why for kind in report.kinds)


def test_the_timeout_of_a_cancel_all_covers_its_wait_for_a_token() -> None:
    """The cancel-all calls of 40 contracts take 8 seconds, and no order is left to cancel by id."""

    async def main() -> None:
        exchange = Exchange()
        for number in range(30):
            exchange.book.add("swap_trigger", f"C{number}-USD")
        async with in_process(exchange, delay=0.005) as client:
            report = await client.cancel_everything(
                products=["coin_m_swap"], kinds=["trigger_orders"]
            )
        assert report.proved
        assert exchange.calls["/swap-api/v1/swap_trigger_cancelall"] == 40
        assert "/swap-api/v1/swap_trigger_cancel" not in exchange.calls

    run(main())


def test_all_requests_are_urgent() -> None:
    """Cancels and lists go first in each window, although others wait for two minutes."""

    async def main() -> None:
        exchange = Exchange()
        add(exchange, "v5_algo", random.Random(8))
        async with in_process(exchange, delay=0.005) as client:

            async def other(budget: str) -> None:
                (await client.budgets.acquire((budget,))).replied()

            names = ["usdt_m_trade", "usdt_m_read"] * 3000
            others = [asyncio.create_task(other(name)) for name in names]
            await asyncio.sleep(0.5)
            report = await client.cancel_everything(
                products=["usdt_m"], kinds=ALL_KINDS, timeout=60.0
            )
            assert report.proved
            assert exchange.calls["/v5/trade/cancel_all_orders"] == 1
            assert report.seconds < 31.0  # two cancels and four listings of two steps each
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    run(main())


class Broken(Budgets):
    """Budgets that raise when asked for the wait of one product."""

    def wait(self, names: tuple[str, ...], **given: Any) -> float:
        """Raise for coin-M swaps."""
        if names == ("coin_m_swap_trade",):
            raise RuntimeError("wait")
        return super().wait(names, **given)


def test_a_failure_of_one_product_does_not_affect_the_others() -> None:
    """The failure is reported, and the product is not proved."""
    loop = VirtualLoop()

    async def main() -> None:
        exchange = Exchange()
        stuck = exchange.book.add("swap", "BTC-USD")
        exchange.book.add("v5", "BTC-USDT")
        async with in_process(exchange, budgets=Broken()) as client:
            report = await client.cancel_everything(
                products=["coin_m_swap", "usdt_m"], kinds=["orders"], timeout=3.0
            )
        assert not report.proved
        assert [kind.proved for kind in report.kinds] == [False, True]
        assert exchange.book.open() == [stuck]

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    assert {str(failure["exception"]) for failure in loop.failures} == {"wait"}


@pytest.mark.parametrize("coins", [1, 400])
def test_a_quiet_account_with_many_algo_orders_is_listed_three_times(coins: int) -> None:
    """The timeout of cancels by ids covers the time of the rate limits."""

    async def main() -> None:
        exchange = Exchange()
        for number in range(3000):
            kind = ALGO_TYPES[number % len(ALGO_TYPES)]
            exchange.book.add("v5_algo", f"C{number % coins}-USDT", algo_type=kind)
        async with in_process(exchange, delay=0.005) as client:
            report = await client.cancel_everything(
                products=["usdt_m"], kinds=ALL_KINDS, timeout=60.0
            )
        assert report.proved
        assert not exchange.refused
        # For each of five types: seven pages, and then two empty ones.
        assert exchange.calls["/v5/algo/order/opens"] == 5 * (7 + 2)
        assert report.seconds <= 1.1 * (exchange.calls["/v5/algo/cancel_orders"] / 72 * 3.0)

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_proved_while_the_book_has_an_open_order(seed: int) -> None:
    """Orders fire and appear, one contract settles, and one request in five fails."""

    async def main() -> None:
        chance = random.Random(seed)
        exchange = Exchange(list_lag=0.2, cancel_after=chance.choice((0.0, 0.05)))
        fill(exchange, 2000 if seed % 2 == 0 else 150, chance)
        exchange.settling.add("ETH-USD")
        loop = asyncio.get_running_loop()
        loop.call_later(chance.uniform(0.0, 40.0), exchange.settling.clear)
        faults = FaultPlan(share=0.2, seed=seed, kinds=FAULTS)
        stopped = chance.uniform(1.0, 8.0)
        busy = asyncio.create_task(trouble(exchange, chance, stopped))
        seen: list[EverythingReport] = []
        async with in_process(
            exchange,
            delay=0.01,
            jitter=0.01,
            seed=seed,
            faults=faults,
            request_timeout=0.5,
            retry=RetryPolicy(max_elapsed=5.0, backoff_max=0.5),
        ) as client:
            report = await client.cancel_everything(
                kinds=ALL_KINDS, timeout=chance.choice((5.0, 20.0, 60.0)), on_progress=seen.append
            )
            ended = loop.time()
            open_now = [order.order_id for order in exchange.book.open()]
        await asyncio.sleep(0)
        if report.proved and ended > stopped + WINDOW:
            assert not open_now
        await busy
        for kind in report.kinds:
            assert kind.proved == (not kind.why)
            assert not (kind.proved and kind.remaining)
        assert seen[-1].kinds == report.kinds
        assert not any(progress.proved for progress in seen)

    run(main())


@pytest.mark.parametrize("kinds", [KINDS, ("orders",), PROTECTIVE])
def test_only_the_given_kinds_are_cancelled(kinds: tuple[str, ...]) -> None:
    """By default, orders that protect positions stay."""

    async def main() -> None:
        exchange = Exchange()
        fill(exchange, 200, random.Random(1))
        async with in_process(exchange) as client:
            report = await client.cancel_everything(kinds=kinds)
        assert report.proved
        assert {kind.kind for kind in report.kinds} == set(kinds)
        assert {kind_of(order.kind, order.algo_type) for order in exchange.book.open()} == set(
            ALL_KINDS
        ) - set(kinds)
        named = {f"{product}.{kind}" for product in PRODUCTS for kind in kinds}
        everything = {f"{product}.{kind}" for product in (*PRODUCTS, *LEGACY) for kind in ALL_KINDS}
        assert set(report.unchecked) == everything - named

    run(main())


def kind_of(kind: Kind, algo_type: str) -> str:
    """Return the client's name of an order's kind."""
    sort = kind.partition("_")[2]
    if sort == "algo":
        sort = {"trigger": "trigger", "trailing_stop": "trailing"}.get(algo_type, "tpsl")
    return f"{sort}_orders".lstrip("_")


async def test_legacy_products_are_cancelled_if_given() -> None:
    """Over sockets, in both margin modes."""
    exchange = Exchange()
    for kind in BY_KIND:
        if kind.startswith(("linear", "cross")):
            exchange.book.add(kind, "BTC-USDT")
    async with over_a_socket(exchange) as client:
        report = await client.cancel_everything(products=LEGACY, kinds=ALL_KINDS)
    assert report.proved
    assert not exchange.book.open()


def test_both_margin_modes_of_v1_use_their_cancel_all_calls() -> None:
    """One call per contract, and no cancel by ids, which would be limited to five per second."""

    async def main() -> None:
        exchange = Exchange()
        for kind in ("linear_tpsl", "cross_tpsl"):
            for _ in range(60):
                exchange.book.add(kind, "ETH-USDT")
        async with in_process(exchange) as client:
            report = await client.cancel_everything(products=LEGACY, kinds=["tpsl_orders"])
        assert report.proved
        for mode in ("", "cross_"):
            assert exchange.calls[f"/linear-swap-api/v1/swap_{mode}tpsl_cancelall"] == 10
            assert exchange.calls[f"/linear-swap-api/v1/swap_{mode}tpsl_cancel"] == 0

    run(main())


def test_only_the_given_contracts_are_cancelled() -> None:
    """A coin of delivery futures stands for all its contracts."""

    async def main() -> None:
        exchange = Exchange()
        fill(exchange, 300, random.Random(2))
        named = ("BTC-USDT", "BTC", "BTC-USD")
        others = [order for order in exchange.book.open() if order.contract_code[:3] != "BTC"]
        async with in_process(exchange) as client:
            report = await client.cancel_everything(kinds=ALL_KINDS, contracts=named)
        assert report.proved
        assert exchange.book.open() == others
        assert list(dict.fromkeys(kind.product for kind in report.kinds)) == list(PRODUCTS)

    run(main())


def test_a_contract_of_two_products_is_cancelled_in_both() -> None:
    """It counts once, although it is given twice."""

    async def main() -> None:
        exchange = Exchange()
        for kind in ("linear", "cross"):
            exchange.book.add(kind, "BTC-USDT")
        async with in_process(exchange) as client:
            report = await client.cancel_everything(
                products=LEGACY, kinds=["orders"], contracts=["BTC-USDT", "BTC-USDT"]
            )
        assert report.proved
        assert not exchange.book.open()
        for mode in ("", "cross_"):
            assert exchange.calls[f"/linear-swap-api/v1/swap_{mode}cancelall"] == 1

    run(main())


def test_an_order_that_cannot_be_cancelled_is_reported_with_the_reason() -> None:
    """Its kind is not proved, and all other orders are cancelled."""

    async def main() -> None:
        exchange = Exchange()
        fill(exchange, 60, random.Random(3))
        stuck = exchange.book.add("swap", "BTC-USD", refusal=1088)
        async with in_process(exchange) as client:
            report = await client.cancel_everything(kinds=ALL_KINDS, timeout=6.0)
        assert not report.proved
        assert [order.order_id for order in report.remaining] == [stuck.order_id]
        assert "1088" in report.remaining[0].reason
        (unproved,) = [kind for kind in report.kinds if not kind.proved]
        assert (unproved.product, unproved.kind) == ("coin_m_swap", "orders")

    run(main())


def test_an_acceptance_replaces_the_reason_of_an_earlier_refusal() -> None:
    """The order is still listed."""

    async def main() -> None:
        exchange = Exchange(cancel_after=100.0)
        stuck = exchange.book.add("swap", "BTC-USD", refusal=1088)
        asyncio.get_running_loop().call_later(2.9, setattr, stuck, "refusal", None)
        async with in_process(exchange) as client:
            report = await client.cancel_everything(products=["coin_m_swap"], timeout=3.5)
        assert [order.reason for order in report.remaining] == [
            "the cancel was accepted, but the order is still listed"
        ]

    run(main())


def test_a_filled_order_is_not_counted_as_accepted() -> None:
    """The list lags behind and still shows it."""

    async def main() -> None:
        exchange = Exchange(list_lag=0.5)
        async with in_process(exchange, delay=0.01) as client:
            exchange.book.add("v5", "BTC-USDT")
            filled = exchange.book.add("v5", "BTC-USDT")
            await asyncio.sleep(1.0)
            await client.warm_up(1)
            filled.state, filled.ends_at = "filled", EPOCH + asyncio.get_running_loop().time()
            report = await client.cancel_everything(products=["usdt_m"], kinds=["orders"])
        assert report.proved
        assert [kind.accepted for kind in report.kinds] == [1]

    run(main())


class Slow(Budgets):
    """Budgets that take 0.3 seconds to return a wait, like a busy event loop."""

    def wait(self, *args: Any, **given: Any) -> float:
        """Let time pass first."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.stall(0.3)
        return super().wait(*args, **given)


def test_a_timeout_between_two_calls_is_no_error() -> None:
    """Kinds whose calls cannot be sent in time are not proved, and their calls are not sent."""

    async def main() -> None:
        exchange = Exchange()
        fill(exchange, 60, random.Random(7))
        async with in_process(exchange, budgets=Slow()) as client:
            assert not (await client.cancel_everything(timeout=1.0)).proved
        assert exchange.calls["/swap-api/v1/swap_cancelall"] > 0
        assert exchange.calls["/swap-api/v1/swap_trigger_cancelall"] == 0

    run(main())


def test_no_order_is_cancelled_after_the_timeout() -> None:
    """The second listing shows an order, and has no reply about the other margin mode."""

    async def main() -> None:
        exchange = Exchange()
        asyncio.get_running_loop().call_later(0.1, exchange.book.add, "v5", "BTC-USDT")
        faults = FaultPlan({"/v5/trade/order/opens": [None, None, None, *["lost_before"] * 20]})
        async with in_process(exchange, faults=faults) as client:
            report = await client.cancel_everything(
                products=["usdt_m"], kinds=["orders"], timeout=1.0
            )
        assert len(report.remaining) == len(exchange.book.open()) == 1

    run(main())


def test_a_product_refused_to_the_account_is_not_proved() -> None:
    """It is listed once, not until the timeout."""

    async def main() -> None:
        withdrawn = [path for path in ROUTES if path.startswith("/api/v1/")]
        exchange = Exchange(withdrawn=withdrawn)
        fill(exchange, 60, random.Random(4))
        async with in_process(exchange) as client:
            report = await client.cancel_everything(kinds=ALL_KINDS, timeout=60.0)
        assert report.seconds < 10.0
        assert not report.proved
        for kind in report.kinds:
            assert kind.proved == (kind.product != "coin_m_futures")
            assert kind.proved or "404" in kind.why

    run(main())


@pytest.mark.parametrize("code", [None, 403], ids=["unreadable", "refused"])
def test_the_lists_of_all_given_contracts_count(code: int | None) -> None:
    """The list of the first contract fails once; nothing is open."""

    async def main() -> None:
        fault = FAULT_BY_NAME["html"] if code is None else replace(FAULT_BY_NAME["busy"], code=code)
        faults = FaultPlan({"/swap-api/v1/swap_openorders": [fault, None]})
        async with in_process(Exchange(), faults=faults, retry=ONCE) as client:
            seen: list[EverythingReport] = []
            report = await client.cancel_everything(
                products=["coin_m_swap"],
                kinds=["orders"],
                contracts=["BTC-USD", "ETH-USD"],
                on_progress=seen.append,
            )
        assert report.proved
        assert len(seen) == 3
        assert "BTC-USD" in seen[0].kinds[0].why

    run(main())


def test_an_on_progress_that_raises_ends_nothing() -> None:
    """Each exception is reported."""
    loop = VirtualLoop()

    def broken(_report: EverythingReport) -> None:
        raise RuntimeError("on_progress")

    async def main() -> None:
        async with in_process(Exchange()) as client:
            report = await client.cancel_everything(products=["usdt_m"], on_progress=broken)
        assert report.proved
        assert report.seconds < 1.0

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    assert [failure["message"] for failure in loop.failures] == ["on_progress raised"] * 2


def test_the_timeout_ends_the_pause_before_a_listing() -> None:
    """A listing less than a quarter of a second after another proves nothing."""

    async def main() -> None:
        async with in_process(Exchange()) as client:
            report = await client.cancel_everything(products=["usdt_m"], timeout=0.1)
        assert not report.proved
        assert report.seconds == pytest.approx(0.1, abs=0.01)
        assert {kind.why for kind in report.kinds} == {"only one listing showed no order"}

    run(main())


def test_a_refused_kind_does_not_end_the_other_kinds_of_its_product() -> None:
    """The exchange refuses the list of trigger orders only."""

    async def main() -> None:
        exchange = Exchange(withdrawn=["/swap-api/v1/swap_trigger_openorders"])
        exchange.book.add("swap", "BTC-USD")
        async with in_process(exchange) as client:
            report = await client.cancel_everything(products=["coin_m_swap"], timeout=3.0)
        assert not report.proved
        assert [(kind.kind, kind.proved) for kind in report.kinds] == [
            ("orders", True),
            ("trigger_orders", False),
        ]

    run(main())


def test_a_report_of_progress_says_why_a_kind_is_not_proved() -> None:
    """The first listing shows an order, the next two show none."""

    async def main() -> None:
        exchange = Exchange()
        asyncio.get_running_loop().call_later(0.015, exchange.book.add, "v5", "BTC-USDT")
        seen: list[EverythingReport] = []
        async with in_process(exchange, delay=0.01) as client:
            report = await client.cancel_everything(
                products=["usdt_m"], kinds=["orders"], on_progress=seen.append
            )
        assert report.proved
        assert [kind.why for progress in seen for kind in progress.kinds] == [
            "orders are still listed",
            "only one listing showed no order",
            "",
        ]

    run(main())


def test_an_entry_order_is_cancelled_before_its_tpsl_order() -> None:
    """The exchange refuses to cancel a take-profit order while its entry order is open."""

    async def main() -> None:
        exchange = Exchange()
        entry = exchange.book.add("swap", "BTC-USD").order_id
        exchange.book.add("swap_tpsl", "BTC-USD", entry=entry)
        async with in_process(exchange) as client:
            report = await client.cancel_everything(kinds=ALL_KINDS)
        assert report.proved
        assert not exchange.book.open()

    run(main())


def test_orders_that_appear_meanwhile_are_cancelled_and_counted() -> None:
    """New orders appear for two seconds."""

    async def main() -> None:
        exchange = Exchange()
        fill(exchange, 60, random.Random(5))
        loop = asyncio.get_running_loop()
        for number in range(8):
            loop.call_later(number / 4, exchange.book.add, "v5", "BTC-USDT")
        async with in_process(exchange) as client:
            report = await client.cancel_everything(products=["usdt_m"])
        assert report.proved
        assert report.seconds > 1.75
        (plain, _) = report.kinds
        assert plain.appeared >= 5
        assert not exchange.book.open("v5")

    run(main())


def test_one_empty_listing_is_no_proof() -> None:
    """The list lags behind: a new order appears in the next listing only."""

    async def main() -> None:
        exchange = Exchange(list_lag=0.2)
        asyncio.get_running_loop().call_later(0.015, exchange.book.add, "v5", "BTC-USDT")
        async with in_process(exchange, delay=0.01) as client:
            report = await client.cancel_everything(products=["usdt_m"], kinds=["orders"])
        assert report.proved
        assert [kind.appeared for kind in report.kinds] == [1]
        assert not exchange.book.open()

    run(main())


def test_an_order_that_is_listed_again_did_not_appear() -> None:
    """The list between the two that show the order cannot be read."""

    async def main() -> None:
        exchange = Exchange()
        exchange.book.add("swap", "BTC-USD", refusal=1088)
        faults = FaultPlan({"/swap-api/v1/swap_openorders": [None, "html"]})
        async with in_process(exchange, faults=faults, retry=ONCE) as client:
            report = await client.cancel_everything(
                products=["coin_m_swap"], kinds=["orders"], timeout=3.0
            )
        assert faults.injected == {"html": 1}
        assert exchange.calls["/swap-api/v1/swap_openorders"] > 2
        assert [kind.appeared for kind in report.kinds] == [0]

    run(main())


@pytest.mark.parametrize(("last", "again"), [(0.35, False), (0.6, True), (2.0, True)])
def test_a_product_proved_long_before_the_last_one_is_listed_again(
    last: float, again: bool
) -> None:
    """A new order is found there; a proof of less than a second ago stands."""

    async def main() -> None:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        for moment in (0.1, 0.35, 0.6, 0.85, 1.1, 1.35, 1.6, 2.0):
            if moment <= last:
                loop.call_later(moment, exchange.book.add, "swap", "BTC-USD")
        if again:
            loop.call_later(0.5, exchange.book.add, "v5", "BTC-USDT")
        async with in_process(exchange) as client:
            report = await client.cancel_everything(
                products=["usdt_m", "coin_m_swap"], kinds=["orders"]
            )
        assert report.proved
        assert not exchange.book.open()
        listings = exchange.calls["/v5/trade/order/opens"] / 2  # one for each margin mode
        assert listings == (5 if again else 2)
        assert exchange.calls["/v5/trade/cancel_all_orders"] == 1

    run(main())


def test_a_list_that_cannot_be_read_does_not_renew_an_old_proof() -> None:
    """The third listing fails, and would have shown an order."""

    async def main() -> None:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        for moment in (0.1, 0.35, 0.6, 0.85, 1.1):
            loop.call_later(moment, exchange.book.add, "swap", "BTC-USD")
        loop.call_later(0.5, exchange.book.add, "v5", "BTC-USDT")
        faults = FaultPlan({"/v5/trade/order/opens": [None] * 4 + ["html"] * 2})
        async with in_process(exchange, faults=faults, retry=ONCE) as client:
            report = await client.cancel_everything(
                products=["usdt_m", "coin_m_swap"], kinds=["orders"]
            )
        assert faults.injected == {"html": 2}
        assert report.proved
        assert not exchange.book.open()

    run(main())


def test_an_old_proof_of_one_kind_is_not_renewed_by_another_kind() -> None:
    """The list of plain orders cannot be read while the trigger orders are proved."""

    async def main() -> None:
        exchange = Exchange()
        loop = asyncio.get_running_loop()
        for moment in (0.1, 0.35, 0.6, 0.85, 1.1):
            loop.call_later(
                moment,
                lambda: exchange.book.add("v5_algo", "BTC-USDT", algo_type="trigger"),
            )
        loop.call_later(0.3, exchange.book.add, "v5", "BTC-USDT")
        faults = FaultPlan({"/v5/trade/order/opens": [None] * 4 + ["html"] * 12})
        async with in_process(exchange, faults=faults, retry=ONCE) as client:
            report = await client.cancel_everything(products=["usdt_m"])
        assert faults.injected == {"html": 12}
        assert report.proved
        assert not exchange.book.open()

    run(main())


def test_closing_the_client_ends_the_call_without_a_proof() -> None:
    """One listing showed no order."""

    async def main() -> None:
        async with in_process(Exchange()) as client:
            await asyncio.sleep(5.0)
            calling = asyncio.create_task(
                client.cancel_everything(products=["usdt_m"], kinds=["orders"])
            )
            await asyncio.sleep(0.1)
            await client.aclose()
            report = await calling
        assert not report.proved
        assert report.seconds < 1.0
        assert [kind.why for kind in report.kinds] == ["only one listing showed no order"]

    run(main())


def test_a_contract_in_settlement_delays_the_listings_for_some_seconds_only() -> None:
    """Each round tries its cancels for ``PATIENCE`` seconds at most, then lists again."""

    async def main() -> None:
        exchange = Exchange()
        exchange.book.add("swap", "BTC-USD")
        exchange.settling.add("BTC-USD")
        loop = asyncio.get_running_loop()
        listed: list[float] = []
        async with in_process(exchange) as client:
            report = await client.cancel_everything(
                products=["coin_m_swap"],
                kinds=["orders"],
                timeout=8.0,
                on_progress=lambda _: listed.append(loop.time()),
            )
        assert not report.proved
        # The cancel-all takes 2 s, the cancel by id 2 s more; a third try would be too late.
        assert listed[:2] == pytest.approx([4.0, 6.25], abs=0.01)

    run(main())


def test_requests_of_others_do_not_lengthen_the_timeout_of_a_cancel() -> None:
    """An urgent cancel does not wait for their tokens; its contract is in settlement."""

    async def main() -> None:
        exchange = Exchange()
        exchange.book.add("swap", "BTC-USD")
        exchange.settling.add("BTC-USD")
        loop = asyncio.get_running_loop()
        listed: list[float] = []
        async with in_process(exchange) as client:

            async def other() -> None:
                (await client.budgets.acquire(("coin_m_swap_trade",))).replied()

            others = [asyncio.create_task(other()) for _ in range(300)]
            await asyncio.sleep(0)
            await client.cancel_everything(
                products=["coin_m_swap"],
                kinds=["orders"],
                timeout=15.0,
                on_progress=lambda _: listed.append(loop.time()),
            )
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        assert listed[0] < 10.0

    run(main())


def test_an_accepted_order_that_stays_listed_is_cancelled_again_after_a_second() -> None:
    """It is not cancelled at each listing, because lists lag behind."""

    async def main() -> None:
        exchange = Exchange(cancel_after=2.6)
        exchange.book.add("swap", "BTC-USD")
        async with in_process(exchange) as client:
            report = await client.cancel_everything(products=["coin_m_swap"], kinds=["orders"])
        assert report.proved
        sent = [
            call.now - EPOCH for call in exchange.log if call.path == "/swap-api/v1/swap_cancel"
        ]
        assert sent == pytest.approx([1.0, 2.0], abs=0.01)

    run(main())


def test_a_cancelled_caller_leaves_nothing_running() -> None:
    """No request is sent afterwards."""

    async def main() -> None:
        exchange = Exchange()
        fill(exchange, 600, random.Random(6))
        async with in_process(exchange, delay=0.02) as client:
            calling = asyncio.create_task(client.cancel_everything(kinds=ALL_KINDS))
            await asyncio.sleep(0.5)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await asyncio.sleep(0.1)
            sent = sum(exchange.calls.values())
            await asyncio.sleep(5.0)
            assert sum(exchange.calls.values()) == sent
            for budget in client.budgets.snapshot():
                assert budget.in_flight == 0

    run(main())


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"products": "usdt_m"}, InvalidTypeError),
        ({"products": []}, InvalidValueError),
        ({"products": ["spot"]}, InvalidValueError),
        ({"kinds": ["stops"]}, InvalidValueError),
        ({"kinds": 7}, InvalidTypeError),
        ({"contracts": "BTC-USD"}, InvalidTypeError),
        ({"contracts": 7}, InvalidTypeError),
        ({"contracts": ["BTC-USDT"], "products": ["coin_m_swap"]}, InvalidValueError),
        ({"contracts": ["BTC-USD", "BTC-USDT"], "products": ["coin_m_swap"]}, InvalidValueError),
        ({"timeout": None}, InvalidTypeError),
        ({"timeout": 0}, InvalidValueError),
        ({"on_progress": "print"}, InvalidTypeError),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], error: type[Exception]) -> None:
    """They are refused before anything is sent."""

    async def main() -> None:
        exchange = Exchange()
        async with in_process(exchange) as client:
            with pytest.raises(error):
                await client.cancel_everything(**given)
        assert not exchange.calls

    run(main())
