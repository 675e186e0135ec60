# What a stranger needs: `make demo` and `make test`. Each sets itself up in .venv with a Python of 3.10 or newer;
# name another with `make PYTHON=/path/to/python`. Logic beyond two lines lives in scripts/.

SHELL := /bin/sh
PYTHON ?=
RUN := .venv/bin/python
export PYTHONDONTWRITEBYTECODE := # the suite starts hundreds of Pythons: what they compile is kept

.PHONY: help demo test lint unit pythons lowest wheel format clean bench fuzz soak proof

help:
	@echo "make demo      the WebSocket example, and the table of which credential went where"
	@echo "make test      everything that must hold: lint, types, layers, tests, other Pythons, the wheel"
	@echo "make lint      ruff, mypy --strict and import-linter alone"
	@echo "make bench     what the proxy and its fixture cost, beside a direct connection (docs/performance.md)"
	@echo "make fuzz      some minutes of mutated bytes over the wire"
	@echo "make soak      ten minutes of 500 tunnels that open, talk and break: nothing may grow"
	@echo "make proof     ten minutes: what make test shows at a smaller size, at its full size (docs/performance.md)"
	@echo "make format    what ruff can put right by itself"
	@echo "make clean     remove environments, caches and builds"

demo: .venv/examples
	cd examples/websocket && WS_API_TOKEN=t0k-for-the-demo ../../$(RUN) -m pytest -v test_websocket.py

# In this order, also under make -j: what is quick and likely to fail comes first. Only the environments are made two at
# a time: an installation keeps one core busy.
test:
	@$(MAKE) --no-print-directory -j 2 .venv/all .venvs
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory pythons
	@$(MAKE) --no-print-directory lowest
	@$(MAKE) --no-print-directory wheel
	@echo "make test: all passed"

lint: .venv/all
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	.venv/bin/lint-imports --no-logo

# In random order on four workers, measured, what it puts out searched for the secrets that it used; the clients in one
# process, in the order of their files, and counted.
unit: .venv/all
	$(RUN) -m coverage erase
	$(RUN) scripts/secrets_shown.py $(RUN) -m coverage run -m pytest -q -n 4 --ignore=tests/clients
	GATEKEEPER_CLIENT_RESULTS=.venv/client-results.json $(RUN) -m coverage run -m pytest -q -p no:randomly tests/clients
	$(RUN) -m coverage combine -q
	$(RUN) -m coverage report
	$(RUN) scripts/coverage_floor.py
	$(RUN) scripts/client_table.py .venv/client-results.json --check

pythons: .venv/all
	$(RUN) scripts/other_pythons.py

lowest: .venv/all
	$(RUN) scripts/other_pythons.py --lowest

wheel: .venv/all
	$(RUN) scripts/check_wheel.py

# Not part of `make test`: they take minutes, and figures of a busy machine prove nothing. ARGS goes to the script.
bench: .venv/all
	$(RUN) benchmarks/bench.py $(ARGS)

fuzz: .venv/all
	$(RUN) scripts/fuzz_heads.py
	GATEKEEPER_FUZZ=50 $(RUN) -m pytest -q -p no:randomly --timeout 1800 tests/engine/test_fuzz.py $(ARGS)

soak: .venv/all
	$(RUN) -W error::ResourceWarning benchmarks/soak.py $(ARGS)

# What has to hold at any size, at its full size. -k: one that fails does not hide the others.
proof: .venv/all
	@$(MAKE) --no-print-directory -k $(PROOFS)

PROOFS := proof-records proof-leaks proof-interrupt proof-memory proof-idle proof-output
.PHONY: $(PROOFS)

proof-records:
	$(RUN) benchmarks/happens_before.py
proof-leaks:
	$(RUN) benchmarks/scan.py --soak 100
proof-interrupt:
	$(RUN) benchmarks/interrupted.py
proof-memory:
	$(RUN) benchmarks/bounds.py memory
proof-idle:
	$(RUN) benchmarks/bounds.py idle
proof-output:
	$(RUN) scripts/secrets_shown.py --loud $(RUN) -m pytest -q -n 4 --ignore=tests/clients

format: .venv/all
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

clean:
	rm -rf .venv .venvs build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# The environment. scripts/environment.py knows whether there is anything to do, so these always ask it.
.PHONY: .venv/examples .venv/all .venvs

.venv/examples:
	@python=$$(PYTHON='$(PYTHON)' sh scripts/find_python.sh) && "$$python" scripts/environment.py .venv --extras examples

.venv/all:
	@python=$$(PYTHON='$(PYTHON)' sh scripts/find_python.sh) && "$$python" scripts/environment.py .venv --extras test,lint,clients && $(RUN) tests/clients/install.py

.venvs:
	@python=$$(PYTHON='$(PYTHON)' sh scripts/find_python.sh) && "$$python" scripts/other_pythons.py --set-up
