"""The rules of the package as one table: who imports whom, and which modules are pure.

``python tests/laws.py`` prints the files of the pure modules, for their coverage check.
"""

import sys

PRODUCTS = ("coin_m_futures", "coin_m_swap", "usdt_m", "usdt_m_v1_cross", "usdt_m_v1_isolated")


def _each(package: str) -> str:
    return " ".join(f"{package}.{product}" for product in PRODUCTS)


#: Pure modules, and what each imports of this package: exactly that, and only modules above it.
PURE: dict[str, str] = {
    "errors": "",
    "arguments": "errors",
    "endpoints.row": "arguments",
    "endpoints.kinds": "",
    **{f"endpoints.{product}": "endpoints.row" for product in PRODUCTS},
    "endpoints.__init__": f"endpoints.kinds endpoints.row {_each('endpoints')}",
    "wire.codes": "",
    "status": "wire.codes",
    "results": "status wire.codes",
    "retry": "arguments status wire.codes",
    "wire.envelope": "status wire.codes",
    "wire.cancels": "endpoints endpoints.row status wire.codes wire.envelope",
    "batch": "endpoints results retry status wire.cancels wire.codes wire.envelope",
    "wire.signing": "errors",
    "hosts": "wire.signing",
    "limits.round_trip": "",
    "limits.budget": "endpoints limits.round_trip",
    "limits.headers": "endpoints",
    "limits.permit": "limits.budget limits.headers",
    "options": "limits.permit results",
    "outcome": "errors results status",
    "orders": "arguments endpoints errors",
    "wire.queries": "endpoints endpoints.row orders status wire.codes wire.envelope",
    "wire.countdown": "endpoints wire.envelope",
    "limits.leased": "endpoints limits.budget limits.round_trip",
    "limits.store": "",
    "limits.loan": "endpoints limits.leased limits.store",
    "limits.__init__": "",
    "wire.__init__": "",
}

#: The modules that use the event loop, likewise; they may import pure modules as well.
ON_THE_LOOP: dict[str, str] = {
    "hooks": "",
    "limits.queue": "limits.budget limits.permit",
    "limits.limiter": (
        "arguments endpoints errors hooks limits.budget limits.headers limits.permit limits.queue "
        "limits.round_trip"
    ),
    "limits.reconnect": "hooks",
    "wire.transport": "errors",
    "probe": "errors hooks hosts limits.limiter wire.transport",
    "attempt": (
        "batch errors hooks hosts limits.limiter limits.permit limits.reconnect probe retry "
        "status wire.codes wire.envelope wire.transport"
    ),
    "job": (
        "attempt batch endpoints errors hooks limits.permit options outcome results status "
        "wire.codes wire.envelope"
    ),
    "listing": (
        "attempt batch endpoints errors limits.permit orders retry status wire.codes "
        "wire.envelope wire.queries"
    ),
    "mixed": "errors orders outcome results status",
    "calls": (
        "arguments attempt batch endpoints errors job limits.permit listing mixed options orders "
        "outcome results status wire.cancels"
    ),
    "inquiry": (
        "attempt endpoints hooks limits.permit listing results retry status wire.cancels "
        "wire.queries"
    ),
    "confirm": "attempt hooks inquiry limits.permit outcome results status",
    "deadman": (
        "attempt batch endpoints errors hooks limits.permit retry status wire.codes "
        "wire.countdown wire.envelope"
    ),
    "everything": (
        "arguments endpoints errors hooks limits.limiter limits.permit options orders outcome "
        "status"
    ),
    "products.product": "calls",
    **{
        f"products.{product}": "arguments options orders outcome products.product "
        f"endpoints.{product}"
        for product in PRODUCTS
    },
    "products.__init__": _each("products"),
    "client": (
        "arguments attempt calls confirm deadman endpoints errors everything hosts limits.limiter "
        "limits.permit listing options orders outcome products retry wire.signing wire.transport"
    ),
    "limits.redis": "errors",
    "limits.shared": (
        "arguments endpoints errors hooks limits.budget limits.leased limits.limiter limits.loan "
        "limits.permit limits.queue limits.round_trip limits.store"
    ),
    "__init__": (
        "client deadman endpoints errors everything limits.limiter limits.permit limits.redis "
        "limits.shared limits.store options orders outcome results retry status wire.signing"
    ),
    "endpoints.__main__": "endpoints",
}

ARROWS: dict[str, set[str]] = {
    module: set(imported.split()) for module, imported in (PURE | ON_THE_LOOP).items()
}
PUBLIC = {"", "arguments", "endpoints", "sandbox"}
TRANSPORT = {"errors", "wire.transport"}
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
