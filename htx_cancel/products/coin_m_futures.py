"""Coin-M delivery futures."""

from typing import Unpack, overload

from htx_cancel import arguments
from htx_cancel.endpoints import coin_m_futures as rows
from htx_cancel.options import CallOptions, ContractType, Direction, Ids, Offset, ReadOptions
from htx_cancel.orders import OpenOrders
from htx_cancel.outcome import CancelAllOutcome, Outcome
from htx_cancel.products.product import Product


class CoinMFutures(Product):
    """Coin-M delivery futures.

    ``contract_code`` is a contract, such as ``BTC261225``, or a coin, such as ``BTC``. The exchange
    finds ids in all contracts of the coin. A ``cancel_all_…`` method cancels the orders of the
    contract; given a coin, those of every expiry, or of one ``contract_type``.

    ``CancelClient`` describes the ids, the options and the errors of all methods.
    """

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
        """Cancel orders by order id or by client order id, 10 ids per request.

        Args:
            contract_code: a contract, such as ``BTC261225``, or a coin, such as ``BTC``.
            order_ids: the exchange's ids, as ``str`` or ``int``, in any iterable but a string.
            client_order_ids: your own ids, instead of ``order_ids``. ``NOT_FOUND`` may then be a
                live order: HTX looks these ids up for 8 hours only, and in multi-asset mode not
                after the order ended.
            **options: ``timeout`` in seconds, ``priority`` and ``on_batch``; see ``CancelClient``.

        Raises:
            InvalidTypeError, InvalidValueError: for an argument that cannot be sent.
            ClientClosedError, WrongLoopError: if the client is closed, or of another event loop.

        https://huobiapi.github.io/docs/dm/v1/en/#cancel-an-order
        """
        ids = arguments.one_kind(order_ids=order_ids, client_order_ids=client_order_ids)
        return await self._calls.by_ids(rows.ORDERS, contract_code, ids, options)

    async def cancel_all_orders(
        self,
        contract_code: str,
        *,
        contract_type: ContractType | None = None,
        direction: Direction | None = None,
        offset: Offset | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel all orders of a contract or coin in one request; filters narrow the call.

        https://huobiapi.github.io/docs/dm/v1/en/#cancel-all-orders
        """
        filters = arguments.filters(contract_type=contract_type, direction=direction, offset=offset)
        return await self._calls.all(rows.ALL_ORDERS, contract_code, filters, options)

    async def cancel_trigger_orders(
        self, contract_code: str, order_ids: Ids, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel trigger orders by order id, 10 ids per request.

        https://huobiapi.github.io/docs/dm/v1/en/#cancel-trigger-order
        """
        ids = arguments.one_kind(order_ids=order_ids)
        return await self._calls.by_ids(rows.TRIGGER_ORDERS, contract_code, ids, options)

    async def cancel_all_trigger_orders(
        self,
        contract_code: str,
        *,
        contract_type: ContractType | None = None,
        direction: Direction | None = None,
        offset: Offset | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel all trigger orders of a contract or coin in one request; filters narrow the call.

        https://huobiapi.github.io/docs/dm/v1/en/#cancel-all-trigger-orders
        """
        filters = arguments.filters(contract_type=contract_type, direction=direction, offset=offset)
        return await self._calls.all(rows.ALL_TRIGGER_ORDERS, contract_code, filters, options)

    async def cancel_tpsl_orders(
        self, contract_code: str, order_ids: Ids, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel take-profit and stop-loss (TP/SL) orders by order id, 10 ids per request.

        https://huobiapi.github.io/docs/dm/v1/en/#cancel-a-take-profit-and-stop-loss-order
        """
        ids = arguments.one_kind(order_ids=order_ids)
        return await self._calls.by_ids(rows.TPSL_ORDERS, contract_code, ids, options)

    async def cancel_all_tpsl_orders(
        self,
        contract_code: str,
        *,
        contract_type: ContractType | None = None,
        direction: Direction | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel all TP/SL orders of a contract or coin in one request; filters narrow the call.

        https://huobiapi.github.io/docs/dm/v1/en/#cancel-all-take-profit-and-stop-loss-orders
        """
        filters = arguments.filters(contract_type=contract_type, direction=direction)
        return await self._calls.all(rows.ALL_TPSL_ORDERS, contract_code, filters, options)

    async def cancel_trailing_orders(
        self, contract_code: str, order_ids: Ids, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel trailing orders by order id, 10 ids per request.

        https://huobiapi.github.io/docs/dm/v1/en/#cancel-a-trailing-order
        """
        ids = arguments.one_kind(order_ids=order_ids)
        return await self._calls.by_ids(rows.TRAILING_ORDERS, contract_code, ids, options)

    async def cancel_all_trailing_orders(
        self,
        contract_code: str,
        *,
        contract_type: ContractType | None = None,
        direction: Direction | None = None,
        offset: Offset | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel all trailing orders of a contract or coin in one request; filters narrow the call.

        https://huobiapi.github.io/docs/dm/v1/en/#cancel-all-trailing-orders
        """
        filters = arguments.filters(contract_type=contract_type, direction=direction, offset=offset)
        return await self._calls.all(rows.ALL_TRAILING_ORDERS, contract_code, filters, options)

    async def open_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open orders of a contract, or of all contracts.

        https://www.htx.com/en-us/opend/newApiPages/?id=28c317fb-77ae-11ed-9966-0242ac110003
        """
        return await self._calls.open("coin_m_futures", "orders", contract_code, options)

    async def open_trigger_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open trigger orders of a contract; without one, of each contract separately.

        https://huobiapi.github.io/docs/dm/v1/en/#query-trigger-order-open-orders
        """
        return await self._calls.open("coin_m_futures", "trigger_orders", contract_code, options)

    async def open_tpsl_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open TP/SL orders of a contract; without one, of each contract separately.

        https://huobiapi.github.io/docs/dm/v1/en/#query-open-take-profit-and-stop-loss-orders
        """
        return await self._calls.open("coin_m_futures", "tpsl_orders", contract_code, options)

    async def open_trailing_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open trailing orders of a contract; without one, of each contract separately.

        https://huobiapi.github.io/docs/dm/v1/en/#current-unfilled-trailing-order-acquisition
        """
        return await self._calls.open("coin_m_futures", "trailing_orders", contract_code, options)
