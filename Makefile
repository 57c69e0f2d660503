# Each target installs what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
.PHONY: demo test test-lowest check check-redis redis-server judges bench bench-quick soak \
	soak-shared clean

demo: $(VENV)/cli
	$(BIN)/htx-cancel demo

# The suite without the tests marked slow, on two processes: two to four minutes.
test: $(VENV)/test
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term --cov-fail-under=95

# Everything that must pass: `make test`, style, types, the slow tests (their coverage is added to
# that of `make test`), full coverage of the pure modules, and a short soak on plain and eager tasks.
check: test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -m slow --cov --cov-append --cov-report=
	$(BIN)/coverage report --include=$$($(BIN)/python tests/laws.py) --fail-under=100
	$(BIN)/python tests/soak.py
	$(BIN)/python tests/soak.py --loop eager

# The tests that depend on other packages, with the lowest versions that pyproject.toml allows.
test-lowest: $(LOWEST)/test
	$(LOWEST)/bin/python -m pytest -n 2 tests/test_cli_*.py tests/test_job*.py $(foreach name, \
		attempt client confirm hosts inquiry limits_reconnect limits_redis limits_sockets outage probe \
		products retry secrets statuses_under_faults wire_transport,tests/test_$(name).py)

# Shared budgets through TLS, a cluster and Sentinel, with the newest and the lowest client: two
# minutes. This needs a redis-server, because no package on PyPI has one with TLS.
check-redis: redis-server $(VENV)/test $(LOWEST)/test
	$(BIN)/python -m pytest -m redis_server tests/test_limits_redis_server.py
	$(LOWEST)/bin/python -m pytest -m redis_server tests/test_limits_redis_server.py

redis-server:
	@command -v $@ >/dev/null || { echo "make check-redis needs $@ 7.0 or newer on the PATH:" \
		"apt-get install redis-server" >&2; exit 1; }

# ccxt against the sandbox, and its requests compared with ours: seconds.
judges: $(VENV)/test $(VENV)/bench
	$(BIN)/python -m pytest tests/test_judges_*.py

# Every benchmark, in less than eight minutes; writes docs/benchmarks.md and its pictures.
bench: $(VENV)/bench
	$(BIN)/python -m benchmarks --docs docs

# Each benchmark once and small, in about a minute; fails if a target that must hold is missed.
bench-quick: $(VENV)/bench
	$(BIN)/python -m benchmarks --quick

# 200,000 orders over real sockets at the published limits: more than ten minutes.
soak: $(VENV)/test
	$(BIN)/python tests/soak.py --sockets

# Four processes that share budgets, with random faults: ten minutes.
soak-shared: $(VENV)/test
	$(BIN)/python tests/shared_soak.py

clean:
	rm -rf $(VENV) $(LOWEST) dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp file for each set of extras, renewed when pyproject.toml changes.
$(VENV)/cli: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[cli]'
	touch $@

$(VENV)/test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	touch $@

$(VENV)/bench: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[bench]'
	touch $@

$(LOWEST)/bin/python:
	$(PYTHON) -m venv $(LOWEST)

# Installs our lower bounds: aiohttp>=3.12,<4 becomes aiohttp==3.12.
$(LOWEST)/test: $(LOWEST)/bin/python pyproject.toml
	$(LOWEST)/bin/python -m pip install -q --disable-pip-version-check -e '.[test]' \
		$$($(PYTHON) -c 'import tomllib; \
			project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
			extras = project["optional-dependencies"]; \
			rows = project["dependencies"] + extras["cli"] + extras["redis"] + extras["uvloop"]; \
			print(*(row.partition(",")[0].replace(">=", "==") for row in rows))')
	touch $@
