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

    Trigger, TP/SL and trailing orders are algo orders here, with ids of their own.
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
        """Cancel orders, by order ids or by client order ids; 10 a request, or ``one_by_one``.

        By client order id, ``NOT_FOUND`` may be a live order: HTX looks these up for 8 hours only,
        and in multi-asset mode not after the order ended.

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
        """Cancel all orders of a contract but algo orders, in one request; ``None`` means all.

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
        """Cancel all orders of **every** contract but algo orders, in one request.

        It is a method of its own, so that no lost argument can make it of a call for one contract.

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
        """Cancel trigger, TP/SL and trailing orders, by algo ids or by algo client order ids.

        Ten go in a request, since no page says how many the exchange takes; if it refuses that
        number, half of it. It does not find an algo order by the id of a plain one, nor the other
        way round.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-19b935d4997
        """
        ids = arguments.one_kind(algo_ids=algo_ids, algo_client_order_ids=algo_client_order_ids)
        return await self._calls.by_ids(rows.ALGO_ORDERS, contract_code, ids, options)

    async def cancel_all_algo_orders(
        self, contract_code: str, **options: Unpack[CallOptions]
    ) -> CancelAllOutcome:
        """Cancel all algo orders of a contract: list them, then cancel those that are listed.

        The exchange has no call for it. ``call`` is ``UNKNOWN`` if a list could not be read, so
        that there may be more, and ``NOT_FOUND`` if none is open.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-19b9754d736
        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-19b935d4997
        """
        return await self._calls.all_listed("usdt_m", "algo_orders", contract_code, options)

    async def open_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open orders of a contract, or of all.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-19589587da5
        """
        return await self._calls.open("usdt_m", "orders", contract_code, options)

    async def open_algo_orders(
        self, contract_code: str | None = None, **options: Unpack[ReadOptions]
    ) -> OpenOrders:
        """List the open trigger, TP/SL and trailing orders of a contract, or of all.

        https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-19b9754d736
        """
        return await self._calls.open("usdt_m", "algo_orders", contract_code, options)
