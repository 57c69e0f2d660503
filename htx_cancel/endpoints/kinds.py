"""The words for products and kinds of orders, and which product has a contract."""

from collections.abc import Mapping

PRODUCTS = ("coin_m_swap", "coin_m_futures", "usdt_m")  #: of today's accounts
LEGACY = ("usdt_m_v1_isolated", "usdt_m_v1_cross")  #: of accounts that were not moved to v5
ALL_PRODUCTS = (*PRODUCTS, *LEGACY)

KINDS = ("orders", "trigger_orders")
PROTECTIVE = ("tpsl_orders", "trailing_orders")  #: of positions
ALL_KINDS = (*KINDS, *PROTECTIVE)

#: The types of v5 algo orders, by kind.
ALGO_TYPES: Mapping[str, tuple[str, ...]] = {
    "trigger_orders": ("trigger",),
    "tpsl_orders": ("tpsl", "tp", "sl"),
    "trailing_orders": ("trailing_stop",),
}


def has_contract(product: str, contract_code: str) -> bool:
    """Say whether a product has a contract, or a coin, by the form of its code."""
    code = contract_code.upper()
    if "-USDT" in code:
        return product.startswith("usdt_m")
    if code.endswith("-USD"):
        return product == "coin_m_swap"
    return product == "coin_m_futures" and code.isalnum()
