# SPDX-License-Identifier: Apache-2.0
PYTHON := .venv/bin/python
OBJECT := src/penstock/bpf/penstock.bpf.o
LANE := src/penstock/engine/proxy/lane/lane.so
C_FILES := $(wildcard src/penstock/bpf/*.[ch] src/penstock/engine/proxy/lane/*.[ch])
SETUP_FILES := pyproject.toml hatch_build.py tools/setup.sh tools/packages.sh

export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help setup setup-dev run test lint programs bench lock clean
.DELETE_ON_ERROR:

help:
	@echo "make run    set up, then show penstock at work, in a lab of network namespaces if root"
	@echo "make test   set up, then lint, type check and run all tests (without root: those that can)"
	@echo "make bench  set up, then measure side by side with its peers (root)"
	@echo "make setup  .venv/bin/penstock, and nothing more"
	@echo "make lint   ruff, mypy and the direction of imports"
	@echo "make lock   renew requirements/*.lock"
	@echo "make clean  remove everything that was made here"

setup: .venv/.run $(OBJECT) $(LANE)

setup-dev: .venv/.dev $(OBJECT) $(LANE)

.venv/.run: requirements/run.lock requirements/compiler.lock $(SETUP_FILES)
	@tools/setup.sh run

.venv/.dev: requirements/dev.lock requirements/compiler.lock $(SETUP_FILES)
	@tools/setup.sh dev

# Either set-up compiles it; this is for later, when the C has changed.
$(OBJECT) $(LANE) &: $(C_FILES) hatch_build.py
	@test -x $(PYTHON) || tools/setup.sh run
	@$(PYTHON) hatch_build.py

run: setup
	@$(PYTHON) -m penstock.lab

lint: setup-dev
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check --quiet .
	@$(PYTHON) -m mypy
	@$(PYTHON) tools/check_imports.py

# The linters keep one processor busy, what is installed the network: at once.
test: setup-dev
	@$(MAKE) --no-print-directory -j2 lint programs
	@$(PYTHON) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

programs:
	@tools/test-programs.sh

bench: setup-dev programs
	@$(PYTHON) -m bench $(BENCH_ARGS)

lock:
	@tools/lock.sh

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis $(OBJECT) $(LANE)
	find . -name __pycache__ -prune -exec rm -rf {} +
