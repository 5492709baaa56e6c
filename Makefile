# Two commands on a fresh machine: `make demo`, `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Models this small train an order of magnitude slower on several threads.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test docs fuzz table matrix scores faults lint format types layers bench clean

demo: $(READY)  ## one training four ways, three of them sabotaged, each diagnosed
	$(BIN)/trainguard demo

test: $(READY)  ## the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

fuzz: $(READY)  ## 100 000 damaged inputs, at most 25 minutes; the test suite has a small one
	$(BIN)/python -m tests.fuzz --inputs 100000 --seconds 1500 --seed 0

table: $(READY)  ## every type of PEFT and every fault: what PEFT says, what trainguard says
	$(BIN)/python -m tests.adapter_table

matrix: $(READY)  ## every sabotaged run with the cause that was named, and the healthy twins
	$(BIN)/python -m tests.quality.live

scores: $(READY)  ## every faked score with what proved it, and the honest set-ups
	$(BIN)/python -m tests.quality.faked_scores
	$(BIN)/python -m tests.quality.evaluation

faults: $(READY)  ## every fault of the reference trainer: what its user sees, the named cause
	$(BIN)/python -m tests.reference.faults

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

docs: $(READY)  ## the documentation, offline; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

bench: $(READY)  ## ratios, each measured in one run
	$(BIN)/python benchmarks/adapter_scan.py
	$(BIN)/python benchmarks/live_overhead.py
	$(BIN)/python benchmarks/overlap.py
	$(BIN)/python benchmarks/source_scan.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) demo
