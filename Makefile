# Two commands do everything on a fresh machine: make run, make test.
PYTHON ?= python3
ROOT ?= var
PORT_OFFSET ?= 0
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run install test-install test unit integration interop crash container-test lint types load fuzz soak bench docs clean

run: install
	@$(BIN)/tubepost init $(ROOT) --port-offset $(PORT_OFFSET)
	@exec $(BIN)/tubepost -c $(ROOT)/conf run

# Installed again when the declaration changes.
install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

test-install: $(VENV)/.test-installed
$(VENV)/.test-installed: pyproject.toml .ci/packages
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@sh .ci/packages
	@touch $(VENV)/.installed $@

test: test-install
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup tests/unit tests/integration tests/interop tests/crash

unit: test-install
	$(BIN)/python -m pytest -q -n 2 tests/unit

integration interop crash: test-install
	$(BIN)/python -m pytest -q tests/$@

container-test: test-install
	sh .ci/container-test

lint: test-install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: test-install
	$(BIN)/mypy

load: test-install
	$(BIN)/python -m pytest -q tests/load

SECONDS ?= 60
fuzz: test-install
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[fuzz]'
	@for harness in tests/fuzz/fuzz_*.py; do \
	    echo "$$harness for $(SECONDS) s"; \
	    $(BIN)/python $$harness -max_total_time=$(SECONDS) || exit 1; \
	done

soak: test-install
	$(BIN)/python -m pytest -q tests/load --soak

bench: test-install
	@for script in delivery relay fanout large backlog idle arrival mailbox connections huge; do $(BIN)/python bench/$$script.py || exit 1; done

docs: install
	$(BIN)/python -m tubepost.common.config.reference > docs/parameters.md

clean:
	rm -rf $(VENV) build *.egg-info
