"""The products of the exchange, as attributes of the client: a method for each row of the table.

All methods are coroutine methods, take the ``CallOptions``, and raise what ``CancelClient`` says.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, Protocol, TypedDict, Unpack, overload

from htx_cancel import arguments
from htx_cancel.endpoints import Endpoint, coin_m_swap, usdt_m, usdt_m_v1
from htx_cancel.limits.permit import Priority
from htx_cancel.outcome import CancelAllOutcome, OrderResult, Outcome


class IdCollection(Protocol):
    """A list, tuple, set, dict view or the like of ids; a lone string is none."""

    def __contains__(self, item: object, /) -> bool:
        """Say whether an id is in it; of a string only strings can be asked."""

    def __iter__(self) -> Iterator[str | int]:
        """Go through the ids."""


Ids = IdCollection | Iterator[str | int]

#: A plain function: nobody would await an async one.
OnBatch = Callable[[tuple[OrderResult, ...]], None]


class CallOptions(TypedDict, total=False):
    """What every cancel call takes; see ``CancelClient``."""

    priority: Priority
    timeout: float | None
    on_batch: OnBatch | None


class Calls(NamedTuple):
    """What the products need of the client: to cancel by ids of one kind, or by filters."""

    by_ids: Callable[
        [Endpoint, str, tuple[str, Iterable[str | int]], CallOptions], Awaitable[Outcome]
    ]
    all: Callable[
        [Endpoint, str, Mapping[str, str | None], CallOptions], Awaitable[CancelAllOutcome]
    ]


class Product:
    """The calls of one product."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls


class CoinMSwap(Product):
    """Coin-M perpetual swaps."""

    @overload
    async def cancel_orders(
        self,
        contract_code: str,
        order_ids: Ids,
        *,
        client_order_ids: None = None,
        **options: Unpack[CallOptions],
    ) -> Outcome: ...

    @overload
    async def cancel_orders(
        self,
        contract_code: str,
        order_ids: None = None,
        *,
        client_order_ids: Ids,
        **options: Unpack[CallOptions],
    ) -> Outcome: ...

    async def cancel_orders(
        self,
        contract_code: str,
        order_ids: Ids | None = None,
        *,
        client_order_ids: Ids | None = None,
        **options: Unpack[CallOptions],
    ) -> Outcome:
        """Cancel orders, by order ids or by client order ids; 10 a request.

        By client order id, ``NOT_FOUND`` may be a live order: HTX looks these up for 8 hours only,
        and in multi-asset mode not after the order ended.

        https://www.htx.com/en-us/opend/newApiPages/?id=5d51a18b-77b6-11ed-9966-0242ac110003
        """
        ids = arguments.one_kind(order_ids, client_order_ids)
        return await self._calls.by_ids(coin_m_swap.ORDERS, contract_code, ids, options)

    async def cancel_trigger_orders(
        self, contract_code: str, order_ids: Ids, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel trigger orders by order ids; 10 a request.

        https://www.htx.com/en-us/opend/newApiPages/?id=5d51b077-77b6-11ed-9966-0242ac110003
        """
        ids = arguments.one_kind(order_ids, None)
        return await self._calls.by_ids(coin_m_swap.TRIGGER_ORDERS, contract_code, ids, options)

    async def cancel_trailing_orders(
        self, contract_code: str, order_ids: Ids, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel trailing orders by order ids; 10 a request.

        https://www.htx.com/en-us/opend/newApiPages/?id=5d51be6e-77b6-11ed-9966-0242ac110003
        """
        ids = arguments.one_kind(order_ids, None)
        return await self._calls.by_ids(coin_m_swap.TRAILING_ORDERS, contract_code, ids, options)

    async def cancel_all_trailing_orders(
        self,
        contract_code: str,
        *,
        direction: Literal["buy", "sell"] | None = None,
        offset: Literal["open", "close"] | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel every trailing order of a contract, in one request.

        ``direction`` is ``"buy"`` or ``"sell"``, ``offset`` is ``"open"`` or ``"close"``; ``None``
        means both. The outcome holds the ids that the reply lists and, in ``call``, what became
        of the request itself.

        https://www.htx.com/en-us/opend/newApiPages/?id=5d51bfd0-77b6-11ed-9966-0242ac110003
        """
        filters = arguments.filters(direction=direction, offset=offset)
        row = coin_m_swap.ALL_TRAILING_ORDERS
        return await self._calls.all(row, contract_code, filters, options)


class UsdtM(Product):
    """USDT-M contracts, of accounts that were moved to v5."""

    @overload
    async def cancel_orders(
        self,
        contract_code: str,
        order_ids: Ids,
        *,
        client_order_ids: None = None,
        **options: Unpack[CallOptions],
    ) -> Outcome: ...

    @overload
    async def cancel_orders(
        self,
        contract_code: str,
        order_ids: None = None,
        *,
        client_order_ids: Ids,
        **options: Unpack[CallOptions],
    ) -> Outcome: ...

    async def cancel_orders(
        self,
        contract_code: str,
        order_ids: Ids | None = None,
        *,
        client_order_ids: Ids | None = None,
        **options: Unpack[CallOptions],
    ) -> Outcome:
        """Cancel orders, by order ids or by client order ids; one a request.

        By client order id, ``NOT_FOUND`` may be a live order: HTX looks these up for 8 hours only,
        and in multi-asset mode not after the order ended.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-1958947efe6
        """
        ids = arguments.one_kind(order_ids, client_order_ids)
        return await self._calls.by_ids(usdt_m.ORDERS, contract_code, ids, options)


class UsdtMV1Isolated(Product):
    """USDT-M contracts in isolated margin, of accounts that were not moved to v5."""

    async def cancel_trigger_orders(
        self, contract_code: str, order_ids: Ids, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel trigger orders by order ids; 20 a request. An account that was moved is refused.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb86f61-77b5-11ed-9966-0242ac110003
        """
        ids = arguments.one_kind(order_ids, None)
        row = usdt_m_v1.ISOLATED_TRIGGER_ORDERS
        return await self._calls.by_ids(row, contract_code, ids, options)
