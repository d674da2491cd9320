# Each target sets up what it needs by itself: a virtual environment in .venv, with all dependencies.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help setup quickstart test lint clean

help:
	@echo "make quickstart   the whole job on embedded data: search, train, export, measure, report"
	@echo "make test         all tests"
	@echo "make lint         format, style and type checks"
	@echo "make clean        removes the virtual environment and runs/"

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "error: needs Python 3.11 or newer; say which with PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

setup: $(VENV)/.installed

quickstart: setup
	$(BIN)/python -m keras_nas --config=configs/quickstart.py --workdir=runs/quickstart

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs
