.PHONY: help setup demo test lint lock
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export UV_LINK_MODE ?= copy

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: .venv/current ## make .venv with everything in it (TORCH=cpu: the processor-only build of torch; untested)

.venv/current: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock uv
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet $(if $(TORCH),--torch-backend=$(TORCH)) --constraint requirements.lock --group dev --editable .
	touch $@
