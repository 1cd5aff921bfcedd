# What people type. `make run` and `make test` install what is missing first; a second time that takes no time.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
# three times the cores of a small machine: most tests wait for a download
TEST_JOBS ?= 6
TEST_ARGS ?=

# where Python is told to write no bytecode, every program that a test or a benchmark starts would compile all of it
COMPILE := $(BIN)/python -m compileall -q odctl oddaemon proto/odproto tests

# literally as given: a URL may hold dollar signs, quotes and ampersands
export RUN_URL := $(value URL)

.DEFAULT_GOAL := help
.PHONY: help run dev dev-worker test test-browser test-hosts pictures snapshots lint types imports bench proto migrate-up migrate-down docs setup clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run  ## start the daemon in the foreground; with URL=… fetch that into ./downloads
	@tools/programs.sh
	@$(BIN)/python tools/run.py

dev: $(VENV)/.dev  ## as run, with debug logs, started again whenever the code changes
	@tools/programs.sh
	@$(BIN)/python tools/dev.py

dev-worker: $(VENV)/.dev  ## as dev, a worker, also beside a controller here: CONTROLLER_URL=… CONTROLLER_TOKEN=… make dev-worker
	@tools/programs.sh
	@$(BIN)/python tools/dev.py worker

test: lint types imports  ## everything that has to hold
	@tools/programs.sh --required
	@$(COMPILE)
	$(BIN)/pytest -n $(TEST_JOBS) --dist loadgroup $(TEST_ARGS)

test-browser: $(VENV)/.dev  ## odctl web in Chromium, the dashboard in tmux, completion in bash, zsh and fish; says what to install
	SHELLS=all $(BIN)/pytest -o addopts='--strict-markers --strict-config -ra -p no:schemathesis' \
	  tests/browser tests/system/test_shells.py

test-hosts: $(VENV)/.dev  ## many nodes on hosts of network namespaces, with the long cuts; says where it needs root
	@tools/programs.sh --required
	HOSTS=long $(BIN)/pytest -n 2 -s tests/hosts

pictures: $(VENV)/.dev  ## draw docs/pictures from the running dashboard
	@tools/programs.sh --required
	$(BIN)/python -m tools.pictures

snapshots: $(VENV)/.dev  ## renew how tests expect the dashboard to look; then look at the difference
	SNAPSHOTS=renew $(BIN)/pytest -q tests/integration/test_dashboard_snapshots.py

lint: $(VENV)/.dev  ## ruff
	$(BIN)/ruff check .

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy --strict tools

imports: $(VENV)/.dev  ## who may import whom
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## measure; prints ratios. BENCH=download runs one
	@tools/programs.sh --required
	@$(COMPILE)
	$(BIN)/python -m tests.perf $(BENCH)

proto: $(VENV)/.dev  ## generate proto/odproto/gen from the .proto files
	$(BIN)/python proto/generate.py

docs: $(VENV)/.dev  ## write the generated reference pages
	$(BIN)/python tools/reference.py
	$(BIN)/python tools/reference_cli.py
	$(BIN)/python tools/manpage.py

migrate-up: $(VENV)/.run  ## bring the store to the newest schema (a start does it by itself)
	@$(BIN)/oddaemon migrate up

migrate-down: $(VENV)/.run  ## take the newest schema revision back
	@$(BIN)/oddaemon migrate down

setup: $(VENV)/.dev  ## install everything for development
	@tools/programs.sh

clean:  ## remove caches and builds; never data, never .venv
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(VENV)/.run: pyproject.toml constraints.txt tools/setup.sh
	@PYTHON=$(PYTHON) tools/setup.sh $(VENV) run

$(VENV)/.dev: pyproject.toml constraints.txt tools/setup.sh
	@PYTHON=$(PYTHON) tools/setup.sh $(VENV) dev
