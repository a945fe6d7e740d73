# The only commands anybody needs. Each does all the set-up it requires.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: demo wheel pretrain test test-slow test-gpu test-browser check bench bench-gpu bench-data bench-startup bench-diagnosis reliability \
	reliability-images docs clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/retop demo

# Runs the demo from the wheel in an empty environment.
wheel: $(READY)
	.ci/wheel $(BIN)/python

# Pretrains the pocket backbones on DATA and puts their weights into the package; goes on where it was interrupted.
DATA ?= ../shared/data/tiny_imagenet/train.parquet
RUNS ?= runs/pretraining
POCKET := pocket_vgg pocket_resnet pocket_inception pocket_xception
pretrain: $(READY)
	set -e; for name in $(POCKET); do \
	  test -f $(RUNS)/$$name/$$name-0/run.json || $(BIN)/retop pretrain $(DATA) --backbone $$name --out $(RUNS)/$$name; \
	  $(BIN)/python pretraining/embed_weights.py $(RUNS)/$$name/$$name-0; \
	done

# One process for each core, one thread in each: small networks do not fill more.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu

test-browser: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	command -v chromium >/dev/null || apt-get install -y chromium || $(BIN)/playwright install chromium
	$(BIN)/python -m pytest -m browser

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate_records.py --check
	$(BIN)/python docs/generate_findings.py --check

bench: $(READY)
	$(BIN)/python benchmarks/bench.py

reliability: $(READY)
	$(BIN)/python benchmarks/reliability

bench-gpu: $(READY)
	$(BIN)/python benchmarks/gpu.py

bench-diagnosis: $(READY)
	$(BIN)/python benchmarks/diagnosis.py --half judging

bench-data: $(READY)
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/data_decoding.py

bench-startup: $(READY)
	$(BIN)/python benchmarks/startup.py

reliability-images: $(READY)
	$(BIN)/python benchmarks/reliability/images.py

docs: $(READY)
	$(BIN)/python docs/generate_records.py
	$(BIN)/python docs/generate_findings.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
