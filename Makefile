# Everything a person does with this project, from a clone with nothing but make and Python 3.11 or later.
# `make help` lists the targets; every variable below may be given on the command line.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# The interpreter the virtual environment is made with; empty: the newest suitable one on PATH.
PYTHON ?=
# The virtual environment. To try a second Python side by side: make test PYTHON=python3.13 VENV=.venv-3.13
VENV ?= .venv
# How many nodes `make run` starts, where they keep their queue, and the first one's port; the others' are 10 apart.
NODES ?= 3
DATA_DIR ?= .gearmesh
LISTEN_BASE ?= 4730
# How many simulated histories `make sim` plays, and how long `make soak` goes on.
SEEDS ?= 200
SECONDS ?= 3600
# More flags for pytest, for the benchmarks, and for the calls of client libraries.
PYTEST_FLAGS ?= -n auto
BENCH_FLAGS ?=
LIBRARIES_FLAGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
SOURCES := protocol cluster node tests benchmarks
# setuptools warns at length that an editable package is read from where it lies, which is the point of it.
PIP_INSTALL := PYTHONWARNINGS=ignore "$(BIN)/python" -m pip install --quiet --disable-pip-version-check

.PHONY: help run test lint format bench sim soak chaos libraries mutants clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

run: $(INSTALLED) ## Set everything up and start a cluster of NODES nodes in this terminal, with its queue in DATA_DIR
	@exec "$(BIN)/gearmesh" dev --nodes "$(NODES)" --data-dir "$(DATA_DIR)" --listen-base "$(LISTEN_BASE)"

test: lint ## Set everything up, check style, types and walls, and run every test
	"$(BIN)/python" -m pytest $(PYTEST_FLAGS)

lint: $(INSTALLED_DEV) ## Check style, types and the walls between the packages
	"$(BIN)/ruff" check $(SOURCES)
	"$(BIN)/ruff" format --check $(SOURCES)
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"

format: $(INSTALLED_DEV) ## Lay the code out the one way, and mend what can be mended by machine
	"$(BIN)/ruff" format $(SOURCES)
	"$(BIN)/ruff" check --fix $(SOURCES)

bench: $(INSTALLED_DEV) ## Measure this server beside gearmand, in one run, and print the ratios
	"$(BIN)/python" -m benchmarks $(BENCH_FLAGS)

sim: $(INSTALLED_DEV) ## Play SEEDS simulated histories of whole clusters; a failure prints the seed that replays it
	"$(BIN)/python" -m tests.simulation --seeds $(SEEDS)

soak: $(INSTALLED_DEV) ## Play simulated histories for SECONDS
	"$(BIN)/python" -m tests.simulation --seconds $(SECONDS) --start $$(date +%s)

chaos: $(INSTALLED_DEV) ## Kill, stall, part, wipe and restart the nodes of a live cluster under load for SECONDS
	"$(BIN)/python" -m tests.chaos --seconds $(SECONDS)

libraries: $(INSTALLED_DEV) ## Have the PHP, Perl, Ruby and Python libraries that are here call workers on another node
	"$(BIN)/python" -m tests.libraries $(LIBRARIES_FLAGS)

mutants: $(INSTALLED_DEV) ## Seed faults one at a time; the simulator or the scenarios must catch each
	"$(BIN)/python" -m tests.simulation.mutants

clean: ## Remove what was built or cached; a queue in DATA_DIR is not touched
	rm -rf "$(VENV)" build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@python=; \
	for candidate in $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3 python); do \
	  if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "gearmesh needs Python 3.11 or later with its venv module, and $(or $(PYTHON),PATH) has none." >&2; \
	  echo "Debian and Ubuntu: apt install python3 python3-venv. Installed elsewhere: make PYTHON=/path/to/python3." >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear "$(VENV)"

# The stamps make set-up happen once, and again only when what there is to install has changed.
$(INSTALLED): pyproject.toml | $(VENV)/bin/python
	@echo "Installing gearmesh into $(VENV)"
	@$(PIP_INSTALL) --editable .
	@touch "$@"

$(INSTALLED_DEV): pyproject.toml | $(VENV)/bin/python
	@echo "Installing gearmesh and its development tools into $(VENV)"
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch "$@" "$(INSTALLED)"
