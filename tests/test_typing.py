"""What a type checker says about code that uses the API."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MARKER = re.compile(r"  # error: (.+)$")


def test_the_type_checker_refuses_every_illegal_use_and_no_legal_one(tmp_path: Path) -> None:
    """Exactly the marked lines of ``typed_use`` are refused, each with the marked error code."""
    marked, _, text = (ROOT / "tests" / "typed_use.py").read_text().partition("\n")
    assert marked == "# mypy: ignore-errors"  # the project's own run skips the file
    used = tmp_path / "used.py"
    used.write_text(f"\n{text}")
    expected = [
        (number, found[1])
        for number, line in enumerate(used.read_text().splitlines(), 1)
        if (found := MARKER.search(line))
    ]
    options = ["--config-file", "pyproject.toml", "--hide-error-context", "--no-pretty"]
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "mypy", *options, str(used)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert not done.stderr
    report = done.stdout
    errors = re.findall(r"used\.py:(\d+): error: .*  \[([\w-]+)\]$", report, re.MULTILINE)
    assert [(int(number), code) for number, code in errors] == expected
    assert len(errors) == report.count(": error: ")
    assert expected
