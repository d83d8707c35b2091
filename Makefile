# Everything runs in .venv, which the first target to need it makes. PYTHON picks the interpreter.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
COMPILED := models/*.so workers/formats/*.so
BIN := $(VENV)/bin

.PHONY: demo up test clean

demo: $(STAMP)
	$(BIN)/labelmint demo

up: $(STAMP)
	$(BIN)/labelmint up

# Two processes with threads for every core each wait for one another more than they work: one thread, then.
test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

clean:
	rm -rf $(VENV) build $(COMPILED) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml constraints.txt models/fused_labeling.c workers/formats/tracing.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "labelmint needs Python 3.11 or newer; '$(PYTHON)' is missing or older. Name another: make PYTHON=python3.12"; \
		exit 1; }
	@echo "making $(VENV), once: this takes some minutes and 6 GB of disk"
	@rm -f $(COMPILED)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[worker,embedded,dev]'
	@touch $@
