"""What all tests share.

A module whose ``pytestmark`` is ``pytest.mark.loops`` runs on every kind of event loop: its async
tests on each of ``loops.FACTORIES``, its other tests on virtual time with plain and eager tasks.
"""

import asyncio
import inspect
import os
from collections.abc import Callable, Iterator, Mapping

import loops
import pytest
import virtualtime
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Say on which loops an async test runs."""
    if item.get_closest_marker("loops"):
        return loops.FACTORIES
    return {"asyncio": asyncio.new_event_loop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on virtual time with plain and with eager tasks, if it is marked so."""
    if metafunc.definition.get_closest_marker("loops") and not inspect.iscoroutinefunction(
        metafunc.function
    ):
        kinds = {"plain": None, "eager": loops.eager_tasks}
        metafunc.parametrize("_virtual_tasks", kinds.values(), indirect=True, ids=kinds.keys())


@pytest.fixture(autouse=True)
def _virtual_tasks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make virtual loops with the task factory of the test's parameter."""
    virtualtime.task_factory = getattr(request, "param", None)
    yield
    virtualtime.task_factory = None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which row of the table passed which check, where the rows were tested."""
    checks: dict[str, dict[str, bool]] = {}
    for word in ("passed", "failed"):
        for report in terminalreporter.getreports(word):
            told = dict(report.user_properties)
            if "row" in told:
                row = checks.setdefault(str(told["row"]), {})
                row[str(told["check"])] = word == "passed"
    if not checks:
        return
    names = list(dict.fromkeys(name for row in checks.values() for name in row))
    marks = {True: "yes", False: "NO", None: "-"}
    terminalreporter.section("rows of the table")
    terminalreporter.write_line(f"{'':<46}{'  '.join(names)}")
    for name, row in sorted(checks.items()):
        cells = (marks[row.get(check)].ljust(len(check)) for check in names)
        terminalreporter.write_line(f"{name:<46}{'  '.join(cells)}")
