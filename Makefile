# Two commands do everything on a fresh machine: make run, make test.
PYTHON ?= python3
ROOT ?= var
PORT_OFFSET ?= 0
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run install test-install test unit integration interop crash container-test lint types load fuzz fault soak bench docs clean

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

# Most tests wait for programs more than they compute: three at a time keep two cores busy.
test: test-install
	$(BIN)/python -m pytest -q -n 3 --dist loadgroup tests/unit tests/integration tests/interop tests/crash tests/attack tests/fuzz tests/fault

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

# Each harness for so long, two at a time; what breaks one is written to build/fuzz.
SECONDS ?= 300
fuzz: test-install
	@-$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[fuzz]'
	@mkdir -p build/fuzz
	@$(BIN)/python -m tests.fuzz | xargs -P 2 -I NAME sh -c \
	    '$(BIN)/python -m tests.fuzz NAME -max_total_time=$(SECONDS) > build/fuzz/NAME.log 2>&1 \
	    && echo "NAME: nothing breaks it" || { grep -a -m 1 "broken by" build/fuzz/NAME.log; exit 1; }'

# Power cuts, a minute of kills, every error of the disk at every call: the long forms.
fault: test-install
	$(BIN)/python -m pytest -q tests/fault --long

soak: test-install
	$(BIN)/python -m pytest -q tests/load/test_flat.py tests/load/test_soak.py --soak

bench: test-install
	@for script in delivery relay fanout large backlog idle arrival mailbox connections huge; do $(BIN)/python bench/$$script.py || exit 1; done

docs: install
	$(BIN)/python -m tubepost.common.config.reference > docs/parameters.md

clean:
	rm -rf $(VENV) build *.egg-info
