"""The names of products and of kinds of orders, and which product a contract belongs to."""

from collections.abc import Mapping

PRODUCTS = ("coin_m_swap", "coin_m_futures", "usdt_m")  #: of accounts on the v5 API
LEGACY = ("usdt_m_v1_isolated", "usdt_m_v1_cross")  #: of accounts that were not moved to v5
ALL_PRODUCTS = (*PRODUCTS, *LEGACY)

KINDS = ("orders", "trigger_orders")
PROTECTIVE = ("tpsl_orders", "trailing_orders")  #: the kinds that protect positions
ALL_KINDS = (*KINDS, *PROTECTIVE)

#: The types of v5 algo orders, by kind.
ALGO_TYPES: Mapping[str, tuple[str, ...]] = {
    "trigger_orders": ("trigger",),
    "tpsl_orders": ("tpsl", "tp", "sl"),
    "trailing_orders": ("trailing_stop",),
}


def has_contract(product: str, contract_code: str) -> bool:
    """Return whether a contract code, or a coin, has the form that a product uses."""
    code = contract_code.upper()
    if "-USDT" in code:
        return product.startswith("usdt_m")
    if code.endswith("-USD"):
        return product == "coin_m_swap"
    return product == "coin_m_futures" and code.isalnum()
