# Every target works from a bare clone: each starts by making .venv.
PYTHON ?= python3.11
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: install test
install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

test: install
	$(BIN)/python -m pytest
