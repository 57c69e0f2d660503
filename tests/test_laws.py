"""The laws of the house: who may import whom, what is pure, and which clock is read where."""

import ast
import inspect
import subprocess
import sys
from enum import EnumType
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import pytest
from laws import ARROWS, PUBLIC, PURE, PURE_OF_THE_SANDBOX, TRANSPORT

import htx_cancel
from htx_cancel import arguments, endpoints
from htx_cancel.endpoints import usdt_m
from htx_cancel.endpoints.__main__ import grid, table
from htx_cancel.products.product import Product
from htx_cancel.sandbox import rules

ROOT = Path(htx_cancel.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")
}

IMPURE = {"asyncio", "aiohttp", "aiolimiter", "socket", "time", "random"}


def imports(module: str) -> set[str]:
    """List everything that a module's file imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(module: str) -> set[str]:
    """List the modules of this package that a module imports."""
    found = set()
    for name in imports(module):
        if name == "htx_cancel" or name.startswith("htx_cancel."):
            parts = name.split(".")[1:]
            while (
                parts
                and ".".join(parts) not in MODULES
                and f"{'.'.join(parts)}.__init__" not in MODULES
            ):
                parts.pop()
            found.add(".".join(parts))
    return found


@pytest.mark.parametrize("module", ARROWS)
def test_imports_only_look_down_the_flow(module: str) -> None:
    """Each module imports exactly what the table says: modules that stand above it."""
    table = list(ARROWS)
    above = set(table[: table.index(module)])
    assert own(module) == ARROWS[module]
    assert {name if name in MODULES else f"{name}.__init__" for name in own(module)} <= above


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_pure_modules_only(module: str) -> None:
    """So a pure module cannot reach the event loop through another one."""
    assert {name if name in MODULES else f"{name}.__init__" for name in own(module)} <= set(PURE)


@pytest.mark.parametrize("module", sorted(set(MODULES) - set(ARROWS)))
def test_the_other_rooms_use_the_public_names(module: str) -> None:
    """The command line sees the public API; the sandbox sees itself and the transport."""
    room, found = module.partition(".")[0], own(module)
    if room == "sandbox":
        inside = {name for name in found if name.startswith("sandbox")}
        assert found - inside <= (TRANSPORT if module == "sandbox.inprocess" else set())
    else:
        assert room in {"cli", "__main__"}
        assert {name for name in found if not name.startswith(("cli", "sandbox"))} <= PUBLIC


@pytest.mark.parametrize(
    "module", [*PURE, *(f"sandbox.{name}" for name in sorted(PURE_OF_THE_SANDBOX))]
)
def test_pure_means_pure(module: str) -> None:
    """No loop, no socket, no clock and no chance in the pure rooms."""
    assert not {name.partition(".")[0] for name in imports(module)} & IMPURE


def test_only_the_stamp_of_a_signature_reads_the_wall_clock() -> None:
    """``time`` is imported where a client's default clock is named, and by the sandbox's server."""
    readers = {
        module
        for module in MODULES
        if {name.partition(".")[0] for name in imports(module)} & {"time"}
    }
    assert {name for name in readers if name in ARROWS} == {"client"}
    text = MODULES["client"].read_text()
    assert text.count("time.time") == 1
    assert "time.monotonic" not in text


def test_both_readings_of_the_pages_agree() -> None:
    """The client's table and the sandbox's rules, written apart, say the same."""
    rows = [*endpoints.ENDPOINTS.values(), usdt_m.ORDERS_ONE_BY_ONE]
    assert {row.path for row in rows} == set(rules.INTERFACES)
    assert usdt_m.ORDERS.single_id_path == usdt_m.ORDERS_ONE_BY_ONE.path
    for row in rows:
        theirs = rules.INTERFACES[row.path]
        assert row.batch_size == theirs.max_ids
        assert row.fields == theirs.ids or not row.batch_size
        assert row.ids_as == theirs.ids_as
        assert row.filters == theirs.filters
        assert row.by_symbol == theirs.by_symbol
        assert row.envelope == theirs.envelope
        assert (row.own_limit is None) == (theirs.own is None)
        for ours, budget in (
            (row.own_limit, theirs.own),
            (endpoints.BUDGETS[row.pool], theirs.pool),
        ):
            if ours is not None and budget is not None:
                assert (ours.calls, ours.seconds) == (budget.calls, budget.seconds)


def test_both_readings_of_the_queries_agree() -> None:
    """So do the two tables of queries."""
    ours = {row.path: row for row in (*endpoints.QUERIES.values(), *endpoints.LISTS.values())}
    assert set(ours) == set(rules.QUERIES)
    for path, theirs in rules.QUERIES.items():
        assert ours[path].method == theirs.method
        assert ours[path].batch_size == (theirs.max_ids or (50 if theirs.paged else 100))
        assert (ours[path].paging == "by_page") == (theirs.paged and not theirs.max_ids)
        assert ours[path].by_symbol == theirs.by_symbol
        budget = theirs.own or theirs.pool
        limit = endpoints.BUDGETS[ours[path].budget]
        assert (limit.calls, limit.seconds) == (budget.calls, budget.seconds)
        assert ours[path].pool == theirs.pool.name
        assert (ours[path].own_limit is None) == (theirs.own is None)


def test_the_core_works_without_any_extra() -> None:
    """Importing the package and its sandbox needs aiohttp, aiolimiter and msgspec alone."""
    script = (
        "import sys\n"
        "for name in ('typer', 'rich', 'click', 'uvloop', 'ccxt'): sys.modules[name] = None\n"
        "import htx_cancel, htx_cancel.sandbox\n"
        "print(len(htx_cancel.__all__))\n"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == len(htx_cancel.__all__)


def test_every_public_name_is_there_and_documented() -> None:
    """``__all__`` is importable, described by a docstring, and named in the guide."""
    guide = (ROOT.parent / "docs" / "guide.md").read_text()
    assert len(htx_cancel.__all__) == len(set(htx_cancel.__all__))
    for name in htx_cancel.__all__:
        assert getattr(htx_cancel, name).__doc__
        assert f"`{name}" in guide, name


def test_every_member_of_a_public_enum_is_documented() -> None:
    """By a docstring below it, which editors and documentation tools show."""
    for name in htx_cancel.__all__:
        public = getattr(htx_cancel, name)
        if not isinstance(public, EnumType):
            continue
        (definition,) = ast.parse(inspect.getsource(public)).body
        assert isinstance(definition, ast.ClassDef)
        described = {
            each.targets[0].id
            for each, text in pairwise(definition.body)
            if isinstance(each, ast.Assign)
            and isinstance(each.targets[0], ast.Name)
            and isinstance(text, ast.Expr)
        }
        assert described >= set(public.__members__), name


def test_every_row_has_its_method_and_every_method_its_row() -> None:
    """The method names the row's page, and takes client order ids where the row does."""
    client = htx_cancel.CancelClient(htx_cancel.Credentials("key", "secret"))
    products = {name: it for name, it in vars(client).items() if isinstance(it, Product)}
    methods = {
        f"{product}.{name}"
        for product, it in products.items()
        for name in dir(it)
        if name.startswith("cancel_")
    }
    assert methods == {*endpoints.ENDPOINTS, "usdt_m.cancel_all_algo_orders"}
    for name, row in endpoints.ENDPOINTS.items():
        method = attrgetter(name)(client)
        assert row.page in (method.__doc__ or "")
        given = inspect.signature(method).parameters
        ids = {f"{field}s" for field in row.fields if row.batch_size}
        assert {each for each in given if each.endswith("_ids")} == ids
        narrower = {each for each in row.filters if each != "contract_code"}
        assert set(given) & set(arguments.FILTERS) == narrower
        assert ("contract_code" in given) == (name != "usdt_m.cancel_all_account_orders")


def test_the_docs_show_the_tables_as_they_are() -> None:
    """``python -m htx_cancel.endpoints`` prints them."""
    assert grid() in (ROOT.parent / "README.md").read_text()
    assert table() in (ROOT.parent / "docs" / "methods.md").read_text()
