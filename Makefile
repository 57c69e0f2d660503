# Each target sets up what it needs in .venv; nothing has to be installed before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench soak clean

demo: $(VENV)/cli
	$(BIN)/htx-cancel demo

test: $(VENV)/test
	$(BIN)/python -m pytest

check: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=95

# Ten minutes over real sockets at twice the published limits.
soak: $(VENV)/test
	$(BIN)/python tests/soak.py --orders 200000
	$(BIN)/python tests/soak.py --orders 300000 --sockets --speed 2

bench: $(VENV)/bench
	$(BIN)/python -m benchmarks.orders

clean:
	rm -rf $(VENV) dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp a set of extras: made again when the project's own file changes.
$(VENV)/cli: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[cli]'
	touch $@

$(VENV)/test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	touch $@

$(VENV)/bench: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test,bench,uvloop]'
	touch $@
