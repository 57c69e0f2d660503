"""USDT-M contracts, of accounts that were moved to v5."""

from typing import Unpack, overload

from htx_cancel import arguments
from htx_cancel.endpoints import usdt_m as rows
from htx_cancel.options import CallOptions, Direction, Ids, PositionSide, ReadOptions
from htx_cancel.orders import OpenOrders
from htx_cancel.outcome import CancelAllOutcome, Outcome
from htx_cancel.products.product import Product


class UsdtM(Product):
    """USDT-M contracts, such as ``BTC-USDT``, of accounts that were moved to v5.

    Trigger, TP/SL and trailing orders are algo orders here, with their own ids.

    ``CancelClient`` describes the ids, the options and the errors of all methods.
    """

    @overload
    async def cancel_orders(
        self,
        contract_code: str,
        order_ids: Ids,
        *,
        client_order_ids: None = None,
        one_by_one: bool = False,
        **options: Unpack[CallOptions],
    ) -> Outcome: ...

    @overload
    async def cancel_orders(
        self,
        contract_code: str,
        order_ids: None = None,
        *,
        client_order_ids: Ids,
        one_by_one: bool = False,
        **options: Unpack[CallOptions],
    ) -> Outcome: ...

    async def cancel_orders(
        self,
        contract_code: str,
        order_ids: Ids | None = None,
        *,
        client_order_ids: Ids | None = None,
        one_by_one: bool = False,
        **options: Unpack[CallOptions],
    ) -> Outcome:
        """Cancel orders by order id or by client order id, 10 ids per request.

        Args:
            contract_code: a contract, such as ``BTC-USDT``.
            order_ids: the exchange's ids, as ``str`` or ``int``, in any iterable but a string.
            client_order_ids: your own ids, instead of ``order_ids``. ``NOT_FOUND`` may then be a
                live order: HTX looks these ids up for 8 hours only, and in multi-asset mode not
                after the order ended.
            one_by_one: whether to send each id in a request of its own.
            **options: ``timeout`` in seconds, ``priority`` and ``on_batch``; see ``CancelClient``.

        Raises:
            InvalidTypeError, InvalidValueError: for an argument that cannot be sent.
            ClientClosedError, WrongLoopError: if the client is closed, or of another event loop.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-195894d0de8
        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-1958947efe6
        """
        ids = arguments.one_kind(order_ids=order_ids, client_order_ids=client_order_ids)
        row = rows.ORDERS_ONE_BY_ONE if one_by_one else rows.ORDERS
        return await self._calls.by_ids(row, contract_code, ids, options)

    async def cancel_all_orders(
        self,
        contract_code: str,
        *,
        side: Direction | None = None,
        position_side: PositionSide | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel all orders of a contract, except algo orders, in one request.

        ``side`` and ``position_side`` narrow the call.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-195894f0cf6
        """
        filters = arguments.filters(side=side, position_side=position_side)
        return await self._calls.all(rows.ALL_ORDERS, contract_code, filters, options)

    async def cancel_all_account_orders(
        self,
        *,
        side: Direction | None = None,
        position_side: PositionSide | None = None,
        **options: Unpack[CallOptions],
    ) -> CancelAllOutcome:
        """Cancel all orders of **every** contract, except algo orders, in one request.

        A separate method, so that no forgotten argument turns a call for one contract into this.
        ``side`` and ``position_side`` narrow the call.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-195894f0cf6
        """
        filters = arguments.filters(side=side, position_side=position_side)
        return await self._calls.all(rows.ALL_ACCOUNT_ORDERS, None, filters, options)

    @overload
    async def cancel_algo_orders(
        self,
        contract_code: str,
        algo_ids: Ids,
        *,
        algo_client_order_ids: None = None,
        **options: Unpack[CallOptions],
    ) -> Outcome: ...

    @overload
    async def cancel_algo_orders(
        self,
        contract_code: str,
        algo_ids: None = None,
        *,
        algo_client_order_ids: Ids,
        **options: Unpack[CallOptions],
    ) -> Outcome: ...

    async def cancel_algo_orders(
        self,
        contract_code: str,
        algo_ids: Ids | None = None,
        *,
        algo_client_order_ids: Ids | None = None,
        **options: Unpack[CallOptions],
    ) -> Outcome:
        """Cancel trigger, TP/SL and trailing orders by algo id or by algo client order id.

        A request has 10 ids, because no page states a maximum; if the exchange refuses that many,
        it has half as many. Algo ids and plain order ids are not interchangeable.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-19b935d4997
        """
        ids = arguments.one_kind(algo_ids=algo_ids, algo_client_order_ids=algo_client_order_ids)
        return await self._calls.by_ids(rows.ALGO_ORDERS, contract_code, ids, options)

    async def cancel_all_algo_orders(
        self, contract_code: str, **options: Unpack[CallOptions]
    ) -> CancelAllOutcome:
        """Cancel all algo orders of a contract: list them, then cancel the listed orders.

        The exchange has no call for this. The status of ``outcome.call`` is ``UNKNOWN`` if a list
        could not be read, because more orders may be open, and ``NOT_FOUND`` if none is open.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-19b9754d736
        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-19b935d4997
        """
        return await self._calls.all_listed("usdt_m", "algo_orders", contract_code, options)

    async def open_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open orders of a contract, or of all contracts.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-19589587da5
        """
        return await self._calls.open("usdt_m", "orders", contract_code, options)

    async def open_algo_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open trigger, TP/SL and trailing orders of a contract, or of all contracts.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-19b9754d736
        """
        return await self._calls.open("usdt_m", "algo_orders", contract_code, options)
