# Two commands: `make demo` trains a network on real data and leads to its report, `make test` runs every check.
# Both create the environment in .venv on their first call and need no network afterwards.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint format clean

demo: $(VENV)/core.stamp
	$(BIN)/netwright train digits
	@echo
	@echo "The report is a page for your browser:  $$($(BIN)/netwright report last)"
	@echo "The command is $(BIN)/netwright; try:  $(BIN)/netwright --help"

# Two processes with one thread each: the tests are small, and threads that wait for each other cost more than they give.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "netwright needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# torch comes first and alone: the constraint chooses its build before anything else can ask for another.
$(VENV)/core.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable .
	touch $@

$(VENV)/test.stamp: $(VENV)/core.stamp
	$(PIP) --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
