"""The laws of the house as tables: who may import whom, and what is pure.

``python tests/laws.py`` prints the pure modules' files, for the coverage that they must have.
"""

import sys

#: The allowed arrows: a module, and what of this package it may import. Down the flow only.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "hooks": set(),
    "endpoints.row": {"arguments"},
    "endpoints.coin_m_swap": {"endpoints.row"},
    "endpoints.usdt_m": {"endpoints.row"},
    "endpoints.usdt_m_v1": {"endpoints.row"},
    "endpoints.__main__": {"endpoints"},
    "endpoints.__init__": {
        "endpoints",
        *(f"endpoints.{name}" for name in ("coin_m_swap", "row", "usdt_m", "usdt_m_v1")),
    },
    "arguments": {"errors"},
    "outcome": {"errors"},
    "wire.__init__": set(),
    "wire.signing": {"errors"},
    "wire.transport": {"errors"},
    "wire.envelope": {"errors", "outcome"},
    "wire.cancels": {"endpoints", "errors", "outcome", "wire.envelope"},
    "wire.queries": {"endpoints", "errors", "outcome", "wire.envelope"},
    "retry": {"arguments", "errors", "outcome", "wire.cancels"},
    "limits.__init__": set(),
    "limits.headers": {"endpoints"},
    "limits.round_trip": set(),
    "limits.budget": {"endpoints", "limits.round_trip"},
    "limits.permit": {"limits.budget", "limits.headers"},
    "limits.queue": {"limits.budget", "limits.permit"},
    "limits.limiter": {"arguments", "endpoints", "errors", "hooks"}
    | {f"limits.{name}" for name in ("budget", "headers", "permit", "queue", "round_trip")},
    "limits.reconnect": {"hooks"},
    "hosts": {"wire.signing"},
    "attempt": {"errors", "hooks", "hosts", "limits.permit", "limits.reconnect", "wire.transport"},
}
ARROWS["job"] = {"attempt", "endpoints", "errors", "hooks", "limits.permit", "outcome"}
ARROWS["job"] |= {"retry", "wire.cancels"}
ARROWS["inquiry"] = {"attempt", "endpoints", "errors", "hooks", "job", "limits.permit", "outcome"}
ARROWS["inquiry"] |= {"wire.queries"}
ARROWS["confirm"] = {"hooks", "inquiry", "job", "limits.permit", "outcome"}
ARROWS["products"] = {"arguments", "endpoints", "limits.permit", "outcome"}
ARROWS["products"] |= {name for name in ARROWS if name.startswith("endpoints.")}
ARROWS["client"] = set(ARROWS) | {"endpoints"}
ARROWS["__init__"] = set(ARROWS) | {"endpoints"}
PUBLIC = {"", "arguments", "endpoints", "sandbox"}
TRANSPORT = {"errors", "wire.transport"}

#: What may use neither the loop nor a socket, a clock or chance.
PURE = {
    "arguments",
    "endpoints.coin_m_swap",
    "endpoints.row",
    "endpoints.usdt_m",
    "endpoints.usdt_m_v1",
    "errors",
    "hosts",
    "limits.budget",
    "limits.headers",
    "limits.permit",
    "limits.round_trip",
    "outcome",
    "retry",
    "wire.cancels",
    "wire.envelope",
    "wire.queries",
    "wire.signing",
}
PURE_OF_THE_SANDBOX = {
    "access",
    "book",
    "cancels",
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
