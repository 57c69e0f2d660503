"""USDT-M contracts in isolated margin, of accounts that were not moved to v5."""

from typing import Unpack, overload

from htx_cancel import arguments
from htx_cancel.endpoints import usdt_m_v1_isolated as rows
from htx_cancel.options import CallOptions, Direction, Ids, Offset, ReadOptions
from htx_cancel.orders import OpenOrders
from htx_cancel.outcome import CancelAllOutcome, Outcome
from htx_cancel.products.product import Product


class UsdtMV1Isolated(Product):
    """USDT-M contracts in isolated margin, of accounts that were not moved to v5.

    HTX announced the end of these calls for 2026. It refuses accounts that were moved to v5.

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
        """Cancel orders by order id or by client order id, 25 ids per request.

        Args:
            contract_code: a contract, such as ``BTC-USDT``.
            order_ids: the exchange's ids, as ``str`` or ``int``, in any iterable but a string.
            client_order_ids: your own ids, instead of ``order_ids``. ``NOT_FOUND`` may then be a
                live order: HTX looks these ids up for 8 hours only, and in multi-asset mode not
                after the order ended.
            **options: ``timeout`` in seconds, ``priority`` and ``on_batch``; see ``CancelClient``.

        Raises:
            InvalidTypeError, InvalidValueError: for an argument that cannot be sent.
            ClientClosedError, WrongLoopError: if the client is closed, or of another event loop.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb84a62-77b5-11ed-9966-0242ac110003
        """
        ids = arguments.one_kind(order_ids=order_ids, client_order_ids=client_order_ids)
        return await self._calls.by_ids(rows.ORDERS, contract_code, ids, options)

    async def cancel_all_orders(
        self,
        contract_code: str,
        *,
        direction: Direction | None = None,
        offset: Offset | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel all orders of a contract in one request; filters narrow the call.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb84dae-77b5-11ed-9966-0242ac110003
        """
        filters = arguments.filters(direction=direction, offset=offset)
        return await self._calls.all(rows.ALL_ORDERS, contract_code, filters, options)

    async def cancel_trigger_orders(
        self, contract_code: str, order_ids: Ids, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel trigger orders by order id, 20 ids per request.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb86f61-77b5-11ed-9966-0242ac110003
        """
        ids = arguments.one_kind(order_ids=order_ids)
        return await self._calls.by_ids(rows.TRIGGER_ORDERS, contract_code, ids, options)

    async def cancel_all_trigger_orders(
        self,
        contract_code: str,
        *,
        direction: Direction | None = None,
        offset: Offset | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel all trigger orders of a contract in one request; filters narrow the call.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb87161-77b5-11ed-9966-0242ac110003
        """
        filters = arguments.filters(direction=direction, offset=offset)
        return await self._calls.all(rows.ALL_TRIGGER_ORDERS, contract_code, filters, options)

    async def cancel_tpsl_orders(
        self, contract_code: str, order_ids: Ids, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel take-profit and stop-loss (TP/SL) orders by order id, 10 ids per request.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb87bc0-77b5-11ed-9966-0242ac110003
        """
        ids = arguments.one_kind(order_ids=order_ids)
        return await self._calls.by_ids(rows.TPSL_ORDERS, contract_code, ids, options)

    async def cancel_all_tpsl_orders(
        self,
        contract_code: str,
        *,
        direction: Direction | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel all TP/SL orders of a contract in one request; filters narrow the call.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb87d94-77b5-11ed-9966-0242ac110003
        """
        filters = arguments.filters(direction=direction)
        return await self._calls.all(rows.ALL_TPSL_ORDERS, contract_code, filters, options)

    async def cancel_trailing_orders(
        self, contract_code: str, order_ids: Ids, **options: Unpack[CallOptions]
    ) -> Outcome:
        """Cancel trailing orders by order id, 10 ids per request.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb88f2c-77b5-11ed-9966-0242ac110003
        """
        ids = arguments.one_kind(order_ids=order_ids)
        return await self._calls.by_ids(rows.TRAILING_ORDERS, contract_code, ids, options)

    async def cancel_all_trailing_orders(
        self,
        contract_code: str,
        *,
        direction: Direction | None = None,
        offset: Offset | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel all trailing orders of a contract in one request; filters narrow the call.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb8924f-77b5-11ed-9966-0242ac110003
        """
        filters = arguments.filters(direction=direction, offset=offset)
        return await self._calls.all(rows.ALL_TRAILING_ORDERS, contract_code, filters, options)

    async def open_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open orders of a contract, or of all contracts.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb85791-77b5-11ed-9966-0242ac110003
        """
        return await self._calls.open("usdt_m_v1_isolated", "orders", contract_code, options)

    async def open_trigger_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open trigger orders of a contract; without one, of each contract separately.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb873a8-77b5-11ed-9966-0242ac110003
        """
        return await self._calls.open(
            "usdt_m_v1_isolated", "trigger_orders", contract_code, options
        )

    async def open_tpsl_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open TP/SL orders of a contract; without one, of each contract separately.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb87fb0-77b5-11ed-9966-0242ac110003
        """
        return await self._calls.open("usdt_m_v1_isolated", "tpsl_orders", contract_code, options)

    async def open_trailing_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open trailing orders of a contract; without one, of each contract separately.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb894b7-77b5-11ed-9966-0242ac110003
        """
        return await self._calls.open(
            "usdt_m_v1_isolated", "trailing_orders", contract_code, options
        )
