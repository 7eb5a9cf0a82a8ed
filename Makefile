# Two commands: `make demo` shows the example, `make test` runs everything. Python 3.11+ is all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test fast lint format clean

help: ## say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/make \1\t\2/'

demo: $(VENV)/ready ## run the example: Redis, two web nodes, a worker and a beat
	$(BIN)/qrsocket dev api.main:app --celery worker.app:app --nodes 2

test: lint ## run all tests, the fast ones first
	$(BIN)/pytest tests/test_architecture.py tests/unit tests/typing tests/redis tests/app tests/processes tests/browser tests/compose

fast: $(VENV)/ready ## run the tests that need no processes
	$(BIN)/pytest tests/test_architecture.py tests/unit tests/redis tests/app

lint: $(VENV)/ready ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

format: $(VENV)/ready ## write the style that `lint` checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What the tests run with is pinned, without hashes or addresses, by constraints.txt.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean: ## remove what was made
	rm -rf $(VENV) var .mypy_cache .pytest_cache .ruff_cache dist
