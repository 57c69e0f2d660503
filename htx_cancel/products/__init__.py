"""The products of the exchange: one class each, with a method for each row of the table."""

from htx_cancel.products.coin_m_futures import CoinMFutures
from htx_cancel.products.coin_m_swap import CoinMSwap
from htx_cancel.products.usdt_m import UsdtM
from htx_cancel.products.usdt_m_v1_cross import UsdtMV1Cross
from htx_cancel.products.usdt_m_v1_isolated import UsdtMV1Isolated

__all__ = [
    "CoinMFutures",
    "CoinMSwap",
    "UsdtM",
    "UsdtMV1Cross",
    "UsdtMV1Isolated",
]
