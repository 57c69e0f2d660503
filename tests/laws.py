"""The laws of the house as tables: who may import whom, and what is pure.

``python tests/laws.py`` prints the pure modules' files, for the coverage that they must have.
"""

import sys

PRODUCTS = ("coin_m_futures", "coin_m_swap", "usdt_m", "usdt_m_v1_cross", "usdt_m_v1_isolated")

#: The allowed arrows: a module, and what of this package it may import. Down the flow only.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "hooks": set(),
    "endpoints.row": {"arguments"},
    "endpoints.kinds": set(),
    **{f"endpoints.{product}": {"endpoints.row"} for product in PRODUCTS},
    "endpoints.__main__": {"endpoints"},
    "endpoints.__init__": {
        "endpoints",
        "endpoints.kinds",
        "endpoints.row",
        *(f"endpoints.{product}" for product in PRODUCTS),
    },
    "arguments": {"errors"},
    "wire.codes": set(),
    "outcome": {"errors", "wire.codes"},
    "wire.__init__": set(),
    "wire.signing": {"errors"},
    "wire.transport": {"errors"},
    "wire.envelope": {"outcome", "wire.codes"},
    "wire.cancels": {"endpoints", "endpoints.row", "outcome", "wire.codes", "wire.envelope"},
    "wire.queries": {"endpoints", "endpoints.row", "orders", "outcome"}
    | {"wire.codes", "wire.envelope"},
    "wire.countdown": {"endpoints", "wire.envelope"},
    "deadman": {"attempt", "batch", "endpoints", "errors", "hooks", "limits.permit", "outcome"}
    | {"retry", "wire", "wire.codes", "wire.countdown", "wire.envelope"},
    "orders": {"arguments", "endpoints", "errors"},
    "mixed": {"errors", "orders", "outcome"},
    "everything": {"arguments", "endpoints", "errors", "hooks", "limits.limiter", "limits.permit"}
    | {"orders", "outcome", "products"},
    "retry": {"arguments", "outcome", "wire.codes"},
    "batch": {"endpoints", "outcome", "retry"} | {"wire.cancels", "wire.codes", "wire.envelope"},
    "limits.__init__": set(),
    "limits.headers": {"endpoints"},
    "limits.round_trip": set(),
    "limits.budget": {"endpoints", "limits.round_trip"},
    "limits.permit": {"limits.budget", "limits.headers"},
    "limits.queue": {"limits.budget", "limits.permit"},
    "limits.limiter": {"arguments", "endpoints", "errors", "hooks"}
    | {f"limits.{name}" for name in ("budget", "headers", "permit", "queue", "round_trip")},
    "limits.reconnect": {"hooks"},
    "limits.leased": {"endpoints", "limits.budget", "limits.round_trip"},
    "limits.loan": {"endpoints", "limits.leased", "limits.store"},
    "limits.store": set(),
    "limits.redis": {"errors"},
    "limits.shared": {"arguments", "endpoints", "errors", "hooks", "limits"}
    | {f"limits.{name}" for name in ("budget", "leased", "limiter", "loan", "permit", "queue")}
    | {"limits.round_trip", "limits.store"},
    "hosts": {"wire.signing"},
    "probe": {"errors", "hooks", "hosts", "limits.limiter", "wire.transport"},
    "attempt": {"batch", "errors", "hooks", "hosts", "outcome", "probe", "retry"}
    | {f"limits.{name}" for name in ("limiter", "permit", "reconnect")}
    | {f"wire.{name}" for name in ("codes", "envelope", "transport")},
    "job": {"attempt", "batch", "endpoints", "errors", "hooks", "limits.permit", "outcome"}
    | {"wire.codes", "wire.envelope"},
    "listing": {"attempt", "batch", "endpoints", "errors", "limits.permit", "orders", "outcome"}
    | {"retry", "wire.codes", "wire.envelope", "wire.queries"},
    "inquiry": {"attempt", "endpoints", "hooks", "limits.permit", "listing", "outcome", "retry"}
    | {"wire.cancels", "wire.queries"},
    "confirm": {"attempt", "hooks", "inquiry", "limits.permit", "outcome"},
    "products.product": {"endpoints", "limits.permit", "orders", "outcome"},
    **{
        f"products.{product}": {"arguments", "endpoints", "orders", "outcome", "products.product"}
        | {f"endpoints.{product}"}
        for product in PRODUCTS
    },
    "products.__init__": {"products.product", *(f"products.{product}" for product in PRODUCTS)},
}
ARROWS["calls"] = {"arguments", "attempt", "batch", "endpoints", "errors", "job", "limits.permit"}
ARROWS["calls"] |= {"listing", "mixed", "orders", "outcome", "products.product", "wire.cancels"}
ARROWS["client"] = set(ARROWS) | {"endpoints", "products"}
ARROWS["__init__"] = set(ARROWS) | {"endpoints", "products"}
PUBLIC = {"", "arguments", "endpoints", "sandbox"}
TRANSPORT = {"errors", "wire.transport"}

#: What may use neither the loop nor a socket, a clock or chance.
PURE = {
    "arguments",
    "batch",
    "endpoints.kinds",
    "endpoints.row",
    *(f"endpoints.{product}" for product in PRODUCTS),
    "errors",
    "hosts",
    "limits.budget",
    "limits.headers",
    "limits.leased",
    "limits.loan",
    "limits.permit",
    "limits.round_trip",
    "limits.store",
    "orders",
    "outcome",
    "retry",
    "wire.cancels",
    "wire.codes",
    "wire.countdown",
    "wire.envelope",
    "wire.queries",
    "wire.signing",
}
PURE_OF_THE_SANDBOX = {
    "access",
    "book",
    "cancels",
    "countdown",
    "exchange",
    "lifecycle",
    "messages",
    "parameters",
    "queries",
    "rules",
    "texts",
    "windows",
}


def files() -> str:
    """List the files of the pure modules, with commas between."""
    modules = [*PURE, *(f"sandbox.{name}" for name in PURE_OF_THE_SANDBOX)]
    return ",".join(f"htx_cancel/{name.replace('.', '/')}.py" for name in sorted(modules))


if __name__ == "__main__":
    sys.stdout.write(files())
