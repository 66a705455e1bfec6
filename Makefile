.PHONY: help setup demo notebook test test-portable test-faults lint wheel lock
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
UV := VIRTUAL_ENV=.venv $(BIN)/uv
INSTALL := pip install --quiet $(if $(TORCH),--torch-backend=$(TORCH)) --constraint requirements.lock

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: .venv/current ## make .venv with everything in it (TORCH=cpu: uv's processor-only torch; untested)

.venv/current: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock uv
	$(UV) $(INSTALL) --group dev --editable .
	touch $@

demo: setup ## the main job on embedded data: train, retrain, recover; under 5 minutes on two cores
	$(BIN)/study run demo 'segnet/*'
	$(BIN)/study report demo

notebook: setup ## execute analysis/recovery.ipynb in place, on the demo's export in runs/
	$(BIN)/python -m tests.notebook

test: lint ## everything that continuous integration checks
	$(BIN)/pytest
	$(MAKE) --no-print-directory wheel

test-portable: setup ## tests of trained values under imitated processors, thread counts and seeds, with margins; under an hour
	$(BIN)/python -m tests.portable

test-faults: setup ## kill, lose and damage things under a running study; about 40 minutes
	$(BIN)/pytest -n 0 -m faults -x --durations=0

lint: setup ## formatting, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

wheel: setup ## build the wheel, install it in an empty environment, run it and the examples there
	rm -rf dist && $(UV) build --quiet --wheel --out-dir dist
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && $(UV) venv --quiet "$$scratch/env" && \
	VIRTUAL_ENV="$$scratch/env" $(BIN)/uv $(INSTALL) dist/*.whl && \
	(cd "$$scratch" && env/bin/study list && env/bin/python -m analysis.paper > /dev/null) && \
	STUDY_ENVIRONMENT="$$scratch/env" $(BIN)/pytest --dist load -m wheel

lock: setup ## solve the dependencies again
	$(UV) pip compile pyproject.toml --group dev --universal --upgrade --quiet --no-header --no-annotate --output-file requirements.lock
