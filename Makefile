# Each target sets up what it needs by itself: a virtual environment in .venv, with all dependencies.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
AOT_VENV := .venv-tpu-aot
AOT_FLAGS ?=
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help setup quickstart test lint tpu-aot clean

help:
	@echo "make quickstart   the whole job on embedded data: search, train, export, measure, report"
	@echo "make test         all tests"
	@echo "make lint         format, style and type checks"
	@echo "make tpu-aot      compiles every step for TPUs that are not there (hours); flags in AOT_FLAGS"
	@echo "make clean        removes the virtual environments and runs/"

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
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(AOT_VENV)/.installed: requirements.txt pyproject.toml
	test -x $(AOT_VENV)/bin/python || $(PYTHON) -m venv $(AOT_VENV)
	$(AOT_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(AOT_VENV)/bin/python -m pip install --quiet --editable ".[tpu-aot]"
	touch $@

tpu-aot: $(AOT_VENV)/.installed
	$(AOT_VENV)/bin/python -m keras_nas.tools.compile_for_tpu $(AOT_FLAGS)

clean:
	rm -rf $(VENV) $(AOT_VENV) runs
