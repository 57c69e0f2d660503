"""Describe a contract as the public calls do.

Clients recognise a product by the fields that only its contracts have: futures have
``delivery_date``, USDT-M contracts ``business_type``.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from htx_cancel.sandbox.rules import EXPIRIES, FUTURES, USDT_M, Product, day_of

_DELIVERY_HOUR = timedelta(hours=8)
_LISTED = "20250101"
_SETTLED = "1767254400000"


def contract(product: Product, code: str) -> dict[str, Any]:
    """Return the row of a contract."""
    day = day_of(code)
    common = {
        "symbol": code.partition("-")[0].removesuffix(day),
        "contract_code": code,
        "contract_size": 100,
        "price_tick": 0.1,
        "delivery_time": _milliseconds(day) if day else "",
        "create_date": _LISTED,
        "contract_status": 1,
    }
    if product is FUTURES:
        return common | _dated(day) | {"settlement_time": _SETTLED}
    if product is USDT_M:
        return common | _dated(day) | _linear(code, day) | {"settlement_date": _SETTLED}
    return common | {"settlement_date": _SETTLED}


def _dated(day: str) -> dict[str, str]:
    types = {expiry: contract_type for contract_type, expiry in EXPIRIES.items()}
    return {
        "delivery_date": f"20{day}" if day else "",
        "contract_type": types.get(day, "quarter") if day else "swap",
    }


def _linear(code: str, day: str) -> dict[str, Any]:
    return {
        "contract_size": 0.001,
        "pair": code.removesuffix(f"-{day}"),
        "business_type": "futures" if day else "swap",
        "support_margin_mode": "cross" if day else "all",
        "trade_partition": "USDT",
    }


def _milliseconds(day: str) -> str:
    moment = datetime.strptime(day, "%y%m%d").replace(tzinfo=UTC) + _DELIVERY_HOUR
    return str(int(moment.timestamp()) * 1000)
