# What a stranger needs: `make demo` and `make test`. Each sets itself up in .venv with a Python of 3.10 or newer;
# name another with `make PYTHON=/path/to/python`. Logic beyond two lines lives in scripts/.

SHELL := /bin/sh
PYTHON ?=
RUN := .venv/bin/python

.PHONY: help demo test lint types layers unit parallel pythons lowest wheel format clean

help:
	@echo "make demo      the WebSocket example, and the table of which credential went where"
	@echo "make test      everything that must hold: lint, types, layers, tests, other Pythons, the wheel"
	@echo "make lint      ruff, mypy --strict and import-linter alone"
	@echo "make format    what ruff can put right by itself"
	@echo "make clean     remove environments, caches and builds"

demo: .venv/examples
	cd examples/websocket && WS_API_TOKEN=t0k-for-the-demo ../../$(RUN) -m pytest -v

# In this order, also under make -j: what is quick and likely to fail comes first.
test:
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory parallel
	@$(MAKE) --no-print-directory pythons
	@$(MAKE) --no-print-directory lowest
	@$(MAKE) --no-print-directory wheel
	@echo "make test: all passed"

lint: .venv/all
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	.venv/bin/lint-imports --no-logo

# One run in the order of the files, measured …
unit: .venv/all
	$(RUN) -m coverage erase
	GATEKEEPER_CLIENT_RESULTS=.venv/client-results.json $(RUN) -m coverage run -m pytest -q -p no:randomly
	$(RUN) -m coverage combine -q
	$(RUN) -m coverage report
	$(RUN) scripts/coverage_floor.py
	$(RUN) scripts/client_table.py .venv/client-results.json --check

# … and one in random order on four workers.
parallel: .venv/all
	$(RUN) -m pytest -q -n 4

pythons: .venv/all
	$(RUN) scripts/other_pythons.py

lowest: .venv/all
	$(RUN) scripts/other_pythons.py --lowest

wheel: .venv/all
	$(RUN) scripts/check_wheel.py

format: .venv/all
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

clean:
	rm -rf .venv .venvs build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# The environment. scripts/environment.py knows whether there is anything to do, so these always ask it.
.PHONY: .venv/examples .venv/all

.venv/examples:
	@python=$$(PYTHON='$(PYTHON)' sh scripts/find_python.sh) && "$$python" scripts/environment.py .venv --extras examples

.venv/all:
	@python=$$(PYTHON='$(PYTHON)' sh scripts/find_python.sh) && "$$python" scripts/environment.py .venv --extras test,lint,clients && $(RUN) tests/clients/install.py
