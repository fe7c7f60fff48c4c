# `make` or `make help` lists what there is. Everything runs in .venv, which the first target that needs it sets up.

PYTHON ?= python3
BIN := .venv/bin
# One thread for the tests' arithmetic: its products are so small that more only get in the way.
THREADS := OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint format types check clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## create .venv with the tested versions (again only when requirements change)

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than Python 3.11; try make PYTHON=python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing packages into .venv (several minutes and gigabytes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup ## run a small federation on handwritten digits, with nothing to download
	@$(BIN)/python -m experiments run demo

test: setup ## run the tests (five to ten minutes on two cores, no network)
	$(THREADS) $(BIN)/python -m pytest -m "not long"

test-long: setup ## run what waits for real processes: Ray, flwr run, a deployment (before a release)
	$(THREADS) $(BIN)/python -m pytest -m long

lint: setup ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: setup ## check types
	$(BIN)/mypy

check: lint types test ## all that has to pass before a commit

clean: ## remove .venv and caches (runs/ is kept)
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
