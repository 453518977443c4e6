# `make demo` and `make test` are all that a new machine with git, make and Python 3.11+ needs.
# The first that really runs: a name on the PATH may be a version manager's shim for a version that is not chosen.
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python $(IS_NEW_ENOUGH) 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin

FEEDS ?= ../shared/feeds/feeds.tar.xz# real feeds, if you have some: an archive with a folder real/
BENCH := .bench

LOCK := requirements
UPGRADE ?= --upgrade# of make lock; UPGRADE= keeps what still fits, UPGRADE="--upgrade-package NAME" raises one
PIP := $(BIN)/python -m pip --disable-pip-version-check
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' feedwatch/__init__.py)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-long test-cluster coverage screens lint build deb man image lock bench verify-platform verify-bare version release-notes clean

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
	  printf '%-22s%s\n' "$$name" "$$what"; done

demo: $(VENV)/installed ## an episode goes from published to processed before your eyes
	@$(BIN)/feedwatch demo

# Two a core, for a test spends much of its time waiting: for processes, for what is to come true.
WORKERS ?= $(shell echo $$((2 * $$(nproc))))
PYTEST := $(BIN)/python -m pytest
IN_PARALLEL := --numprocesses $(WORKERS) --dist worksteal

test: $(VENV)/installed-dev ## the tests, but for the long ones; WORKERS=n for another number of processes than two a core
	$(PYTEST) $(IN_PARALLEL)

test-fast: $(VENV)/installed-dev ## all but the slow ones
	$(PYTEST) -m "not slow and not long"

# First the crash test, which has a lane for each core of its own; then the others, one a core; then
# PostgreSQL by a pooler, and with the defaults of isolation that a role may have.
OF_THE_STORE := tests/test_store.py tests/test_ledger.py tests/test_upkeep.py
test-long: $(VENV)/installed-dev ## what `make test` leaves out: 560 kills, 100 restores, all real feeds and series
	failed=0; $(PYTEST) -m long tests/test_crash.py || failed=1; \
	$(PYTEST) -m long --numprocesses $$(nproc) --dist worksteal --ignore tests/test_crash.py || failed=1; \
	for way in pgbouncer "repeatable read" serializable; do \
	  FEEDWATCH_TESTS_POSTGRESQL="$$way" $(PYTEST) $(IN_PARALLEL) -k postgresql $(OF_THE_STORE) || failed=1; \
	done; exit $$failed

MOMENTS := 2000
test-cluster: $(VENV)/installed-dev ## several daemons on one database, killed and frozen at MOMENTS moments
	$(BIN)/python -m tests.cluster --moments $(MOMENTS)

# Tracing makes Python code two to three times as slow: tests of its speed run without.
TIMED := take_less_than_two_seconds or quick_with_many_shows or keeps_another_thread_waiting or fraction_of_a_second
coverage: $(VENV)/installed-dev ## all tests, and how much of the code they reach; the floor is in pyproject.toml
	failed=0; $(PYTEST) --numprocesses $$(nproc) --dist worksteal -k "$(TIMED)" || failed=1; \
	$(PYTEST) $(IN_PARALLEL) -k "not ($(TIMED))" --cov --cov-report=term:skip-covered || failed=1; \
	exit $$failed

screens: $(VENV)/installed-dev ## writes tests/screens anew: what people see on a terminal; read the diff
	FEEDWATCH_TESTS_SCREENS=1 $(PYTEST) tests/test_screens.py

lint: $(VENV)/installed-dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

build: $(VENV)/installed-dev ## the wheel and the source archive, in dist/
	rm -rf dist
	$(BIN)/python -m build --quiet --no-isolation
	@$(BIN)/python -m zipfile --list dist/*.whl | grep '^feedwatch/py.typed ' > /dev/null || \
	  { echo "the wheel lacks py.typed: those who import feedwatch would lose its types"; exit 1; }

man: build/feedwatch.1 ## the manual page, build/feedwatch.1

build/feedwatch.1: $(VENV)/installed contrib/manual.py config.example.env $(wildcard feedwatch/cli/*.py)
	@mkdir -p $(@D)
	$(BIN)/python contrib/manual.py > $@.new
	@mv $@.new $@

deb: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
deb: build/feedwatch.1 ## the Debian package, in dist/, on Debian 12
	VERSION=$(VERSION) packaging/debian/build.sh

image: ## the container image feedwatch:VERSION
	docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --tag feedwatch:$(VERSION) .

version: ## the version, which only feedwatch/__init__.py states
	@echo $(VERSION)

release-notes: ## what the changelog says of this version
	@awk -v version="$(VERSION)" '/^## / { ours = $$2 == version; next } ours { print; any = 1 } \
	  END { if (!any) { print "CHANGELOG.md has no section " version > "/dev/stderr"; exit 1 } }' CHANGELOG.md

# dev.txt is made first and has all of it; the others take their versions from there. Extras are kept:
# pip 23 (Debian 12) takes coverage[toml] for unpinned once a version newer than the locked one is out.
COMPILE = .lock/bin/uv --quiet pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	--no-emit-index-url --custom-compile-command "make lock"
lock: .lock/installed ## the newest versions that fit pyproject.toml, with their hashes, in requirements/
	@mkdir -p $(LOCK)
	$(COMPILE) $(UPGRADE) pyproject.toml --extra notify --extra postgres --group dev --output-file $(LOCK)/dev.txt
	$(COMPILE) pyproject.toml --constraints $(LOCK)/dev.txt --output-file $(LOCK)/runtime.txt
	$(COMPILE) pyproject.toml --constraints $(LOCK)/dev.txt --extra notify --output-file $(LOCK)/notify.txt
	$(COMPILE) pyproject.toml --constraints $(LOCK)/dev.txt --extra postgres --output-file $(LOCK)/postgres.txt
	$(COMPILE) --group build --constraints $(LOCK)/dev.txt --output-file $(LOCK)/build.txt

.lock/installed:
	$(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	@touch $@

bench: $(VENV)/installed-dev $(BENCH)/installed ## what a check costs, beside reader and newsboat; how it scales; how late listeners make it
	@[ ! -e $(FEEDS) ] || [ -e $(BENCH)/feeds ] || { mkdir -p $(BENCH)/feeds && tar -xf $(FEEDS) -C $(BENCH)/feeds; }
	READER_PYTHON=$(abspath $(BENCH)/reader/bin/python) $(BIN)/python -m benchmarks --real $(BENCH)/feeds/real --json $(BENCH)/result.json
	$(BIN)/python -m benchmarks.scale $$([ ! -e $(BENCH)/feeds/nasty ] || echo --feeds $(BENCH)/feeds/nasty)
	$(BIN)/python -m benchmarks.listeners --bar 50

$(BENCH)/installed: | $(BIN)/python
	$(PYTHON) -m venv $(BENCH)/reader
	$(BENCH)/reader/bin/python -m pip install --quiet --disable-pip-version-check reader sgmllib3k
	@touch $@

verify-platform: ## the service and the image, for real: PLATFORM=folder of systemd-run.sh and container-run.sh
	tests/platform/verify.sh

verify-bare: ## make demo and make test in a bare Debian 12, as root; BUSY=8 for a busy machine
	tests/platform/bare_debian.sh --busy $(or $(BUSY),0)

clean: ## deletes what make has made
	rm -rf $(VENV) $(BENCH) .lock dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*

$(BIN)/python:
	@$(or $(PYTHON),false) $(IS_NEW_ENOUGH) || \
	  { echo "feedwatch needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }

# feedwatch itself is built by the locked backend: an isolated build would fetch whichever is newest.
$(VENV)/installed: pyproject.toml $(LOCK)/runtime.txt $(LOCK)/build.txt | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r $(LOCK)/runtime.txt -r $(LOCK)/build.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml $(LOCK)/dev.txt | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r $(LOCK)/dev.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/installed
