# The only commands anybody needs. Each does all the set-up it requires.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: demo test test-slow test-gpu check bench bench-gpu docs clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY)
	$(BIN)/python -m pytest

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate_records.py --check

bench: $(READY)
	$(BIN)/python benchmarks/bench.py

bench-gpu: $(READY)
	$(BIN)/python benchmarks/gpu.py

docs: $(READY)
	$(BIN)/python docs/generate_records.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
