# Two commands do everything on a fresh machine with Python 3.11 or 3.12: `make demo` and `make test`.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell command -v $(p))))
VENV ?= .venv
BIN := $(VENV)/bin
RUNTIME := $(BIN)/.runtime-installed
DEV := $(BIN)/.dev-installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Where a timing run keeps its figures, and what it is compared with.
BENCH_JSON ?= build/bench.json
LADDER_JSON ?= build/ladder_mini.json
BENCH_BASELINE ?= benchmark/results/baseline.json

.PHONY: help demo test test-faults test-slow faults ladder-mini bench check format lock clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(RUNTIME)  ## Install, make demo data and an untrained bundle, predict, score
	$(BIN)/hakuna demo --out demo

test: $(DEV)  ## Install and run the fast tests (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest -m "not slow and not faults" --ignore runtime_tests/faults

test-faults: $(DEV)  ## Run the fault tests with small counts: kills, full disks, signals, damage (under 7 minutes)
	$(BIN)/python -m pytest -m "not slow and not faults" runtime_tests/faults

test-slow: $(DEV)  ## Run the tests that take minutes: full-size networks
	$(BIN)/python -m pytest -m slow

faults: $(DEV)  ## Run the fault tests with their full counts, keep the figures (half an hour)
	$(BIN)/python -m pytest runtime_tests/faults -m "not slow and not faults" --faults-json=benchmark/results/faults.json
	$(BIN)/python -m pytest runtime_tests -m faults --faults-json=benchmark/results/faults.json

ladder-mini: $(DEV)  ## Climb the ladder once, as small as it works (under 4 minutes)
	$(BIN)/hakuna bench --ladder --mini --json $(LADDER_JSON)

bench: $(DEV)  ## Time every stage, compare with the committed baseline (under 3 minutes)
	$(BIN)/hakuna bench --short --compare $(BENCH_BASELINE) --json $(BENCH_JSON)

check: $(DEV)  ## Lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

COMPILE := $(BIN)/uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock"
lock: $(DEV)  ## Renew the locked requirement sets
	$(COMPILE) --extra cpu -o requirements/cpu.txt
	$(COMPILE) --extra gpu -o requirements/gpu.txt
	$(COMPILE) --extra cpu --extra dev -o requirements/dev.txt

clean:  ## Remove the virtual environment and the demo
	rm -rf $(VENV) demo

$(RUNTIME): requirements/cpu.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "needs Python 3.11 or 3.12 (Debian: apt install python3 python3-venv)"; exit 2; }
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 12); sys.exit(0 if ok else f"needs Python 3.11 or 3.12, got {sys.version.split()[0]}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --require-hashes -r requirements/cpu.txt
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.txt
	$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@
