"""ccxt's HTX client and ours send equal requests for the same cancel, list or query.

Methods and URLs, with the query and its signature, are equal texts; bodies are equal JSON. ccxt
differs in three points, which functions and tests below name: it writes a coin in lower case, adds
the contract to the coin in lists, and always sends a margin mode.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from clients import CONTRACTS
from judges import CALLED, LINEAR, TYPES, Sent, Wire, method
from test_wire_signing import VECTORS

from htx_cancel import CancelClient
from htx_cancel.sandbox.rules import ALGO_TYPES, Kind

IDS = ["1329854625038651392", "1329854625038651393"]
CLIENT_IDS = ["563232668624008", "563232668624009"]

Ask = Callable[[Any], Awaitable[object]]

#: The kinds for which ccxt's ``cancel_orders`` uses the right call.
MANY: tuple[Kind, ...] = (
    "swap",
    "swap_trigger",
    "swap_tpsl",
    "futures",
    "futures_trigger",
    "futures_tpsl",
    "v5",
)
BY_CLIENT_ID: tuple[Kind, ...] = ("swap", "futures", "v5", "v5_algo")
IN_V1 = [kind for kind in CALLED if not kind.startswith("v5")]
#: The filters of a cancel-all, which both clients name alike.
FILTERS: Mapping[Kind, dict[str, str]] = {
    kind: {"side": "buy", "position_side": "long"}
    if kind == "v5"
    else {"direction": "sell"}
    if kind.endswith("tpsl")
    else {"direction": "sell", "offset": "close"}
    for kind in CALLED
    if kind != "v5_algo"
}


async def sent_by_ccxt(ask: Ask) -> list[Sent]:
    """Return the signed requests that ccxt sends for a call."""
    wire = Wire()
    async with wire.judge() as judge:
        await ask(judge)
    return wire.sent


async def sent_by_us(ask: Ask, wire: Wire | None = None) -> list[Sent]:
    """Return the signed requests that our client sends for a call."""
    wire = Wire() if wire is None else wire
    async with wire.client() as client:
        await ask(client)
    return wire.sent


def upper(sent: list[Sent]) -> list[Sent]:
    """Write the coin as our client does; ccxt writes it in lower case, and HTX takes either."""
    for request in sent:
        if isinstance(request.body, dict) and "symbol" in request.body:
            assert request.body["symbol"] == request.body["symbol"].lower()
            request.body["symbol"] = request.body["symbol"].upper()
    return sent


async def same(theirs: Ask, ours: Ask) -> None:
    """Check that two calls send the same single request."""
    expected = upper(await sent_by_ccxt(theirs))
    assert len(expected) == 1
    assert await sent_by_us(ours) == expected


@pytest.mark.parametrize("kind", CALLED)
async def test_a_cancel_of_one_order(kind: Kind) -> None:
    """A single id uses the call for a single order, if there is one."""
    symbol, params = CALLED[kind]
    await same(
        lambda judge: judge.cancel_order(IDS[0], symbol, params),
        lambda client: method(client, kind, "cancel")(CONTRACTS[kind], IDS[:1]),
    )


@pytest.mark.parametrize("kind", BY_CLIENT_ID)
async def test_a_cancel_by_a_client_id(kind: Kind) -> None:
    """Both clients use the field of the order's kind."""
    symbol, params = CALLED[kind]
    field = "algo_client_order_ids" if kind == "v5_algo" else "client_order_ids"
    by_client_id = {**params, "clientOrderId": CLIENT_IDS[0]}
    await same(
        lambda judge: judge.cancel_order("", symbol, by_client_id),
        lambda client: method(client, kind, "cancel")(CONTRACTS[kind], **{field: CLIENT_IDS[:1]}),
    )


@pytest.mark.parametrize("kind", MANY)
async def test_a_cancel_of_many_orders(kind: Kind) -> None:
    """Ids are joined by commas in v1, and are a list in v5."""
    symbol, params = CALLED[kind]
    await same(
        lambda judge: judge.cancel_orders(IDS, symbol, params),
        lambda client: method(client, kind, "cancel")(CONTRACTS[kind], IDS),
    )


@pytest.mark.parametrize("kind", ["swap", "futures", "v5"])
async def test_a_cancel_of_many_by_client_ids(kind: Kind) -> None:
    """In v1 ccxt passes its argument on, so it is a string here, as HTX expects."""
    symbol, _ = CALLED[kind]
    await same(
        lambda judge: judge.cancel_orders([], symbol, {"clientOrderIds": ",".join(CLIENT_IDS)}),
        lambda client: method(client, kind, "cancel")(CONTRACTS[kind], client_order_ids=CLIENT_IDS),
    )


#: Calls that ccxt has only as a method named after the path; the caller gives the parameters.
BY_PATH: Mapping[str, tuple[Ask, Ask]] = {
    "many trailing swap orders": (
        lambda judge: judge.contractPrivatePostSwapApiV1SwapTrackCancel(
            {"contract_code": "BTC-USD", "order_id": ",".join(IDS)}
        ),
        lambda client: client.coin_m_swap.cancel_trailing_orders("BTC-USD", IDS),
    ),
    "many trailing futures orders": (
        lambda judge: judge.contractPrivatePostApiV1ContractTrackCancel(
            {"symbol": "btc", "order_id": ",".join(IDS)}
        ),
        lambda client: client.coin_m_futures.cancel_trailing_orders("BTC", IDS),
    ),
    "many algo orders": (
        lambda judge: judge.contractPrivatePostV5AlgoCancelOrders(
            [{"contract_code": "BTC-USDT", "algo_id": algo_id} for algo_id in IDS]
        ),
        lambda client: client.usdt_m.cancel_algo_orders("BTC-USDT", IDS),
    ),
    "all orders of a coin": (
        lambda judge: judge.contractPrivatePostApiV1ContractCancelall({"symbol": "btc"}),
        lambda client: client.coin_m_futures.cancel_all_orders("BTC"),
    ),
    "all orders of the account": (
        lambda judge: judge.contractPrivatePostV5TradeCancelAllOrders(),
        lambda client: client.usdt_m.cancel_all_account_orders(),
    ),
}


@pytest.mark.parametrize("name", BY_PATH)
async def test_a_call_that_ccxt_has_by_its_path(name: str) -> None:
    """This table has the parameters, from the pages; ccxt encodes and signs them."""
    await same(*BY_PATH[name])


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("filtered", [False, True])
async def test_a_cancel_all(kind: Kind, filtered: bool) -> None:
    """A futures contract is sent together with its coin."""
    symbol, params = CALLED[kind]
    filters = FILTERS[kind] if filtered else {}
    await same(
        lambda judge: judge.cancel_all_orders(symbol, {**params, **filters}),
        lambda client: method(client, kind, "cancel_all")(CONTRACTS[kind], **filters),
    )


@pytest.mark.parametrize("kind", IN_V1)
async def test_a_list_of_open_orders_in_v1(kind: Kind) -> None:
    """Our client sends only the coin, and filters the orders by their contract.

    ccxt also sends the contract, a parameter that the page of plain orders does not have.
    """
    symbol, params = CALLED[kind]
    theirs = upper(
        await sent_by_ccxt(
            lambda judge: judge.fetch_open_orders(symbol, None, 50, {**params, "page_index": 1})
        )
    )
    if kind.startswith("futures"):
        assert theirs[0].body.pop("contract_code") == "BTC260327"
    ours = await sent_by_us(lambda client: method(client, kind, "open")(CONTRACTS[kind]))
    assert ours == theirs


@pytest.mark.parametrize("symbol", [None, LINEAR])
async def test_a_list_of_open_orders_in_v5(symbol: str | None) -> None:
    """Both margin modes are listed, of one contract or of the account."""

    async def both(judge: Any) -> None:
        of_swaps = {"type": "swap", "subType": "linear"}
        await judge.fetch_open_orders(symbol, None, 100, of_swaps)
        await judge.fetch_open_orders(symbol, None, 100, {**of_swaps, "margin_mode": "isolated"})

    contract = symbol and "BTC-USDT"
    ours = await sent_by_us(lambda client: client.usdt_m.open_orders(contract))
    assert ours == await sent_by_ccxt(both)


async def test_a_list_of_all_plain_swap_orders() -> None:
    """The request names no contract."""
    await same(
        lambda judge: judge.fetch_open_orders(
            None, None, 50, {"type": "swap", "subType": "inverse", "page_index": 1}
        ),
        lambda client: client.coin_m_swap.open_orders(),
    )


@pytest.mark.parametrize("symbol", [None, LINEAR])
async def test_the_lists_of_open_algo_orders(symbol: str | None) -> None:
    """There is one request for each type, of one contract or of the account."""
    assert tuple(TYPES) == ALGO_TYPES

    async def every_type(judge: Any) -> None:
        for params in TYPES.values():
            given = {"type": "swap", "subType": "linear", **params}
            await judge.fetch_open_orders(symbol, None, 100, given)

    contract = symbol and "BTC-USDT"
    ours = await sent_by_us(lambda client: client.usdt_m.open_algo_orders(contract))
    assert ours == await sent_by_ccxt(every_type)


@pytest.mark.parametrize("kind", ["swap", "futures", "v5"])
async def test_a_query_of_one_order(kind: Kind) -> None:
    """In v5 our client sends no margin mode, which means cross; ccxt sends ``cross``."""
    symbol, _ = CALLED[kind]
    wire = Wire()
    wire.exchange.book.add(kind, CONTRACTS[kind], order_id=IDS[0], margin_mode="isolated")

    async def cancel_and_confirm(client: CancelClient) -> None:
        outcome = await method(client, kind, "cancel")(CONTRACTS[kind], IDS[:1])
        await client.confirm(outcome, timeout=1.0)

    async def ask(judge: Any) -> None:
        for mode in ("cross", "isolated")[: 2 if kind == "v5" else 1]:
            await judge.fetch_order(IDS[0], symbol, {"marginMode": mode} if kind == "v5" else {})

    ours = (await sent_by_us(cancel_and_confirm, wire))[1:]
    theirs = upper(await sent_by_ccxt(ask))
    assert ours[-1] == theirs[-1]
    assert len(ours) == len(theirs)
    if kind == "v5":
        cross = Wire()
        async with cross.judge() as judge:
            await judge.contractPrivateGetV5TradeOrder(
                {"contract_code": "BTC-USDT", "order_id": IDS[0]}
            )
        assert ours[0] == cross.sent[0]


@pytest.mark.parametrize(("host", "path", "later", "signature"), VECTORS)
async def test_ccxt_signs_the_published_vectors(
    host: str, path: str, later: int, signature: str
) -> None:
    """The keys and times are the vectors' own."""
    async with Wire(f"https://{host}").judge() as judge:
        judge.apiKey = "test-access-key-0000-0000-00000001"
        judge.secret = "test-secret-key-0000-0000-00000001"
        judge.nonce = lambda: (1767323045 + later) * 1000
        url = judge.sign(path.lstrip("/"), ["contract", "private"], "POST", {})["url"]
    quoted = judge.urlencode({"Signature": signature})
    assert url.startswith(f"https://{host}{path}?AccessKeyId=")
    assert url.endswith(f"&{quoted}")


async def test_a_host_with_a_port_is_signed_with_it() -> None:
    """The server sees the host with its port."""
    theirs, ours = Wire("https://api.hbdm.com:8443"), Wire("https://api.hbdm.com:8443")
    async with theirs.judge() as judge:
        await judge.cancel_order(IDS[0], LINEAR)
    assert (
        await sent_by_us(lambda client: client.usdt_m.cancel_orders("BTC-USDT", IDS[:1]), ours)
        == theirs.sent
    )
