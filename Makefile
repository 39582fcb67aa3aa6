# Two commands do everything on a fresh machine with Python 3.11 or 3.12: `make demo` and `make test`.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell command -v $(p))))
VENV ?= .venv
BIN := $(VENV)/bin
RUNTIME := $(BIN)/.runtime-installed
DEV := $(BIN)/.dev-installed
DOCS := $(BIN)/.docs-installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Installs the locked set $(1): with uv, or with pip where only pip's settings name the index.
install_set = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r $(1) || $(INSTALL) --require-hashes -r $(1)
# Where a timing run keeps its figures, and what it is compared with.
BENCH_JSON ?= build/bench.json
ABLATION_JSON ?= build/ablation_mini.json
BENCH_BASELINE ?= benchmark/results/baseline.json
# The commit whose code the baseline timed, and a folder for that code.
BENCH_COMMIT = $(shell git log -1 --format=%H -- $(BENCH_BASELINE))
BENCH_OLD := build/baseline
# Settings of today, which the code of another day may not know and would refuse.
NO_SETTINGS = $(addprefix -u ,$(shell env | sed -n 's/^\(HAKUNA_[A-Z_]*\)=.*/\1/p'))

.PHONY: help install demo test test-e2e test-all test-timing test-faults test-cluster test-container test-slurm test-slow faults ablation-mini gpu-check bench bench-side-by-side test-tools check format docs commands site pictures examples lock lock-check audit sbom package image release-check clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(DEV)  ## Install what a developer needs into $(VENV)

demo: $(RUNTIME)  ## Install, draw an unseen season, predict it with small trained networks, score, report
	$(BIN)/hakuna demo --out demo

# Tests run in several processes, a file of tests in one of them, in their order: the long ones are not among the last. Libraries
# then get one thread each, where they can be told.
SIDE_BY_SIDE := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 \
  $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
# What the others leave to their own targets.
FAST := not slow and not faults and not container and not slurm and not timing

test: $(DEV)  ## Install and run the fast tests (under 5 minutes on 2 cores)
	$(SIDE_BY_SIDE) -n 2 -m "$(FAST) and not e2e" --ignore runtime_tests/faults

test-e2e: $(DEV)  ## Run whole programs end to end: training, demo, twin of the reference case, documentation, doctor
	$(SIDE_BY_SIDE) -n 2 -m "$(FAST) and e2e" --ignore runtime_tests/faults

test-timing: $(DEV)  ## Run the tests with bounds of time or memory: the machine must have nothing else to do (2 minutes)
	$(BIN)/python -m pytest -m "timing and not slow and not faults and not container and not slurm"

test-faults: $(DEV)  ## Run the fault tests with small counts: kills, full disks, signals, damage; they mostly wait
	$(SIDE_BY_SIDE) -n 3 -m "$(FAST)" runtime_tests/faults

test-all: $(DEV)  ## Run test, test-e2e and test-faults in one session: libraries are loaded once
	$(SIDE_BY_SIDE) -n 4 -m "$(FAST)"

test-cluster: $(DEV)  ## Run the tests of clusters with their full counts: Ray with up to five nodes on this machine (8 minutes)
	$(BIN)/python -m pytest -m "not slow" runtime_tests/inference/execution/cluster

test-container: $(DEV)  ## Build the image with an engine of its own and test it (root on Debian; under 15 minutes)
	$(BIN)/python -m pytest -m container runtime_tests

SLURM_PACKAGES := slurm-wlm munge
test-slurm: $(DEV)  ## Run the recipes for SLURM on a real controller with two nodes (root on Debian)
	@dpkg --status $(SLURM_PACKAGES) > /dev/null 2>&1 || \
	{ apt-get -qq update && apt-get -qq install --yes --no-install-recommends $(SLURM_PACKAGES); }
	RECIPES_JSON=benchmark/results/slurm.json $(BIN)/python -m pytest -m slurm runtime_tests/recipes

# What some tests ask beside the project, each where it does not get into the way of our packages.
TOOLS := build/test-tools
AXE := $(TOOLS)/node_modules/axe-core/axe.min.js
MEGADETECTOR := $(TOOLS)/megadetector/.installed
PACKAGES := bubblewrap chromium chromium-driver fonts-dejavu-core libgl1
test-tools: $(AXE) $(MEGADETECTOR)  ## Install Chromium and bubblewrap (root on Debian), axe-core (npm) and MegaDetector's validator for tests
	@dpkg --status $(PACKAGES) > /dev/null 2>&1 || \
	{ apt-get -qq update && apt-get -qq install --yes --no-install-recommends $(PACKAGES); }

$(AXE): runtime_tests/tools/package-lock.json
	mkdir -p $(TOOLS) && cp runtime_tests/tools/package*.json $(TOOLS)
	npm ci --prefix $(TOOLS) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(MEGADETECTOR): runtime_tests/tools/requirements.txt
	$(PYTHON) -m venv $(TOOLS)/megadetector
	$(TOOLS)/megadetector/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

test-slow: $(DEV)  ## Run the tests that take minutes: full-size networks
	$(BIN)/python -m pytest -m slow

FAULTS := --faults-json=benchmark/results/faults.json $(addprefix --faults-seed=,$(SEED))
faults: $(DEV)  ## Run the fault tests with their full counts, keep the figures (an hour); with SEED=N other faults and damage
	$(BIN)/python -m pytest runtime_tests/faults -m "not slow and not faults" $(FAULTS)
	$(BIN)/python -m pytest runtime_tests -m faults $(FAULTS)

ablation-mini: $(DEV)  ## Run the ablation study once, as small as it works
	$(BIN)/hakuna study ablation --mini --json $(ABLATION_JSON)

# The check of a GPU has an environment of its own with the locked gpu set, and nothing else is installed.
GPU := build/gpu
GPU_NAME = $(shell nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null | head -1 | tr -cs 'A-Za-z0-9\n' '-')
gpu-check: $(if $(filter cpu,$(DEVICE)),$(DEV),has-gpu $(GPU)/.installed)  ## Check this machine's GPU: answers, speed, memory, resuming (10 minutes); DEVICE=cpu rehearses it without one
ifeq ($(DEVICE),cpu)
	$(BIN)/hakuna doctor --full --bundle models/demo/bundle --json build/gpu-rehearsal.json
else
	mkdir -p benchmark/results/gpu
	$(GPU)/bin/hakuna doctor --gpu --full $(GPU_ARGS) --json "benchmark/results/gpu/$(GPU_NAME).json"
endif

.PHONY: has-gpu
has-gpu:
	@nvidia-smi --query-gpu=name --format=csv,noheader > /dev/null 2>&1 \
	  || { echo "gpu-check: needs an NVIDIA GPU and nvidia-smi; make gpu-check DEVICE=cpu rehearses it without"; exit 10; }

$(GPU)/.installed: requirements/gpu.txt pyproject.toml | has-gpu
	@test -n "$(PYTHON)" || { echo "needs Python 3.11 or 3.12 (Debian: apt install python3 python3-venv)"; exit 2; }
	$(PYTHON) -m venv $(GPU)
	$(GPU)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/gpu.txt
	$(GPU)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

bench: $(DEV)  ## Time every stage, compare with the committed baseline or, on another processor, side by side with its code (1 minute, 2 side by side)
	$(BIN)/hakuna bench stages --quick --compare $(BENCH_BASELINE) --json $(BENCH_JSON) || \
	{ code=$$?; test $$code -eq 2 -o $$code -eq 11 && $(MAKE) bench-side-by-side; }

# The code of another day is called with its own options: before `bench` had sub-commands, that was `bench --short`.
bench-side-by-side: $(DEV)  ## Time the code of the baseline's commit here, compare with that: for another kind of machine
	@test "$$(git rev-parse --is-shallow-repository)" = false || { echo "needs the whole history: git fetch --unshallow"; exit 2; }
	rm -rf $(BENCH_OLD) && mkdir -p $(BENCH_OLD)
	git archive $(BENCH_COMMIT) | tar -x -C $(BENCH_OLD)
	cd $(BENCH_OLD) && old() { env $(NO_SETTINGS) PYTHONPATH=. $(abspath $(BIN))/hakuna bench "$$@" --json bench.json; } && \
	{ old stages --quick || old --short; }
	$(BIN)/hakuna bench stages --quick --compare $(BENCH_OLD)/bench.json --json $(BENCH_JSON)

check: $(DEV)  ## Lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: commands site  ## Make the page of commands and the site of all pages in build/site

commands: $(DEV)  ## Make the page of commands from the command line itself; the schemas of a run's files and their tables
	$(BIN)/python -m typer benchmark.cli.app utils docs --name hakuna --title Commands | tr -d '\b' > docs/reference/commands.md
	PYTHONPATH=. $(BIN)/python docs/schemas.py

site: $(DOCS)  ## Make the site in build/site; a warning, such as a dead link, fails it
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --doctree-dir build/doctrees docs build/site

pictures: $(DEV) demo  ## Make the pictures of the pages from the demo (needs Chromium: make test-tools)
	PYTHONPATH=. $(BIN)/python docs/pictures.py demo

examples: $(DEV)  ## Renew the outputs on the page of examples (some minutes)
	PYTHONPATH=. $(BIN)/python docs/examples.py

COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock"
PROJECT := $(COMPILE) pyproject.toml --group build
# All locked sets: those of the project into folder $(1), that of the tools for tests into file $(2).
lock_into = $(PROJECT) --extra cpu -o $(1)/cpu.txt \
  && $(PROJECT) --extra cpu --extra train -o $(1)/train.txt \
  && $(PROJECT) --extra cpu --extra cluster --constraint $(1)/cpu.txt -o $(1)/cluster.txt \
  && $(PROJECT) --extra gpu -o $(1)/gpu.txt \
  && $(PROJECT) --extra cpu --extra train --extra quantize --extra cluster --extra plots --extra dev -o $(1)/dev.txt \
  && $(COMPILE) pyproject.toml --extra docs --constraint $(1)/dev.txt -o $(1)/docs.txt \
  && $(COMPILE) runtime_tests/tools/requirements.in -o $(2)
lock: $(DEV)  ## Renew the locked requirement sets; then `make sbom`
	$(call lock_into,requirements,runtime_tests/tools/requirements.txt)

lock-check: $(DEV)  ## Check that the locked sets are what `make lock` would write
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	  && cp requirements/*.txt "$$folder" && cp runtime_tests/tools/requirements.txt "$$folder/tools.txt" \
	  && $(call lock_into,"$$folder","$$folder/tools.txt") \
	  && diff runtime_tests/tools/requirements.txt "$$folder/tools.txt" && rm "$$folder/tools.txt" \
	  && diff -r -x '*.cdx.json' requirements "$$folder" || { echo "requirements: must be what make lock writes"; exit 1; }

# The auditor has an environment of its own: what it needs is no part of the project.
AUDIT := build/audit
audit: $(AUDIT)/bin/pip-audit  ## Look the locked sets up among the known vulnerabilities (asks the package index)
	for flavour in cpu train cluster gpu dev docs; do $< --strict --disable-pip --require-hashes -r requirements/$$flavour.txt || exit 1; done

$(AUDIT)/bin/pip-audit:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit

# A pip that reads licence expressions.
SBOM := build/sbom
sbom: $(SBOM)/.installed  ## Renew requirements/*.cdx.json and THIRD_PARTY.md from the locked sets (asks the package index)
	for flavour in cpu train cluster gpu; do $(SBOM)/bin/python -m pip install --quiet --disable-pip-version-check --dry-run \
	  --ignore-installed --no-deps --require-hashes --report $(SBOM)/$$flavour.json -r requirements/$$flavour.txt || exit 1; done
	$(SBOM)/bin/python runtime_tests/tools/third_party.py $(SBOM)/cpu.json $(SBOM)/train.json $(SBOM)/cluster.json $(SBOM)/gpu.json

$(SBOM)/.installed:
	python3.11 -m venv $(SBOM)
	$(SBOM)/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@touch $@

DIST := build/dist
package: $(DEV)  ## Build sdist and wheel into build/dist, without network
	rm -rf $(DIST)
	$(BIN)/uv build --quiet --offline --no-build-isolation --python $(BIN)/python --out-dir $(DIST)
	rm -rf hakuna_runtime.egg-info

FLAVOUR ?= cpu
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image:  ## Build the image hakuna-runtime:cpu (FLAVOUR=train, cluster or gpu for the others)
	docker build --build-arg FLAVOUR=$(FLAVOUR) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD) $(IMAGE_ARGS) -t hakuna-runtime:$(FLAVOUR) .

release-check: clean-tree changelog check lock-check audit package image  ## All that must hold before a version is published

.PHONY: clean-tree changelog
clean-tree:
	@test -z "$$(git status --porcelain)" || { git status --short; echo "the tree must be clean"; exit 1; }

changelog:
	@grep -Eqx '## $(VERSION) \([0-9]{4}-[0-9]{2}-[0-9]{2}\)' CHANGELOG.md \
	  || { echo "CHANGELOG.md: must have the entry '## $(VERSION) (YYYY-MM-DD)'"; exit 1; }

clean:  ## Remove the virtual environment, the demo and build
	rm -rf $(VENV) demo build

$(RUNTIME): requirements/cpu.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "needs Python 3.11 or 3.12 (Debian: apt install python3 python3-venv)"; exit 2; }
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 12); sys.exit(0 if ok else f"needs Python 3.11 or 3.12, got {sys.version.split()[0]}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements/dev.txt > $(VENV)/uv.txt && $(INSTALL) --require-hashes -r $(VENV)/uv.txt
	$(call install_set,requirements/cpu.txt)
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.txt
	$(call install_set,requirements/dev.txt)
	@touch $@

$(DOCS): $(DEV) requirements/docs.txt
	$(call install_set,requirements/docs.txt)
	@touch $@
