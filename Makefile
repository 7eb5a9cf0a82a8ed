# Two commands: `make demo` shows the example, `make test` runs everything. Python 3.11+ is all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
# Each test starts processes, and each of these would compile the library again.
unexport PYTHONDONTWRITEBYTECODE
# What `make test` tries on the lowest versions of other libraries; `make matrix` tries more.
ON_LOWEST := tests/redis/test_clients.py tests/redis/test_sender.py tests/redis/test_presence.py \
  $(addprefix tests/app/test_,$(addsuffix .py,delivery presence recovery topics jobs parameters settings_given)) \
  tests/processes/test_readme.py tests/processes/test_job_fates.py::test_each_fate_is_told_once_and_in_order
SEED ?= 1
DURATION ?= 65

.PHONY: help demo test core fast faults mutations matrix tools bench lint mypy pyright format dist clean

help: ## say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/make \1\t\2/'

demo: $(VENV)/ready ## run the example: Redis, two web nodes, a worker and a beat
	$(BIN)/qrsocket dev api.main:app --celery worker.app:app --nodes 2

# Several at a time: most wait for processes and sockets. The fault run judges by the clock, and has the machine alone.
test: lint core ## run all tests, the fast ones first
	$(BIN)/pytest -n 3 tests/test_architecture.py tests/unit
	$(BIN)/pytest -n 5 --dist loadgroup tests/typing tests/browser_client tests/release tests/testing tests/processes tests/browser tests/attacks tests/redis tests/app
	$(BIN)/pytest tests/faults tests/compose
	$(BIN)/nox -s lowest -- $(ON_LOWEST)

core: $(VENV)/ready ## try each branch of what decides who gets what, without sockets and Redis
	$(BIN)/coverage run -m pytest tests/core
	$(BIN)/coverage report

fast: core ## run the tests that need no processes
	$(BIN)/pytest tests/test_architecture.py tests/unit
	$(BIN)/pytest -n 2 tests/redis tests/app

faults: $(VENV)/ready ## break everything on purpose for a minute, and judge what clients saw: SEED=1 DURATION=65
	$(BIN)/python -m tests.faults --seed $(SEED) --seconds $(DURATION)

mutations: $(VENV)/ready ## switch off what keeps the promises, one at a time: each run must notice
	@for name in resync reaper amnesty quiet-window run-id message-id topics-compared topic-tops topic-positions \
	  topic-gaps leaving members-reread members-left others failures jobs-reread; do \
	  echo "== $$name"; $(BIN)/python -m tests.faults --seed $(SEED) --seconds $(DURATION) --mutation $$name || exit 1; \
	done

matrix: $(VENV)/ready ## run what can differ on the lowest and the newest of other libraries, on each Python that is there
	$(BIN)/nox

tools: $(VENV)/ready ## run the tests beside Sentry, gunicorn, RabbitMQ and others: docs/tools.md
	$(BIN)/nox -s tools

bench: $(VENV)/ready ## measure what a web node costs, beside the least that Python can do: about 4 minutes
	$(BIN)/python -m bench

lint: $(VENV)/ready ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory --jobs 2 --output-sync mypy pyright

mypy pyright: $(VENV)/ready
	$(BIN)/$@

format: $(VENV)/ready ## write the style that `lint` checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: $(VENV)/ready $(BIN)/twine ## build the wheel, the sdist and the npm package, and try each: about 3 minutes
	$(BIN)/python -m tests.release dist

# Not among the `dev` extra: it needs a newer rich than the lowest that we are tried with.
$(BIN)/twine: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt twine
	touch $@

# What the tests run with is pinned, without hashes or addresses, by constraints.txt.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean: ## remove what was made
	rm -rf $(VENV) var .mypy_cache .pytest_cache .ruff_cache dist tests/browser_client/node_modules tests/release/node_modules
