# `make demo` and `make test` are all that a new machine with git, make and Python 3.11+ needs.
# The first that really runs: a name on the PATH may be a version manager's shim for a version that is not chosen.
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python $(IS_NEW_ENOUGH) 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin

FEEDS ?= ../shared/feeds/feeds.tar.xz# real feeds, if you have some: an archive with a folder real/
BENCH := .bench

.PHONY: demo test test-fast lint build bench verify-platform clean

demo: $(VENV)/installed ## an episode goes from published to processed before your eyes
	@$(BIN)/feedwatch demo

test: $(VENV)/installed-dev ## all tests
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal

test-fast: $(VENV)/installed-dev ## all but the slow ones
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/installed-dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

build: $(VENV)/installed-dev ## the wheel and the source archive, in dist/
	$(BIN)/python -m build --quiet

bench: $(VENV)/installed-dev $(BENCH)/installed ## what a check costs, beside reader and newsboat; then how it scales
	@[ ! -e $(FEEDS) ] || [ -e $(BENCH)/feeds ] || { mkdir -p $(BENCH)/feeds && tar -xf $(FEEDS) -C $(BENCH)/feeds; }
	READER_PYTHON=$(abspath $(BENCH)/reader/bin/python) $(BIN)/python -m benchmarks --real $(BENCH)/feeds/real --json $(BENCH)/result.json
	$(BIN)/python -m benchmarks.scale $$([ ! -e $(BENCH)/feeds/nasty ] || echo --feeds $(BENCH)/feeds/nasty)

$(BENCH)/installed: | $(BIN)/python
	$(PYTHON) -m venv $(BENCH)/reader
	$(BENCH)/reader/bin/python -m pip install --quiet --disable-pip-version-check reader sgmllib3k
	@touch $@

verify-platform: ## the service and the image, for real: PLATFORM=folder of systemd-run.sh and container-run.sh
	tests/platform/verify.sh

clean:
	rm -rf $(VENV) $(BENCH) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(or $(PYTHON),false) $(IS_NEW_ENOUGH) || \
	  { echo "feedwatch needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@ $(VENV)/installed
