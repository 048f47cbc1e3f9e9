# `make up` serves two models on this machine, `make test` checks everything, `make help` lists the rest.
# Needed: Python 3.11, make, a package index. Everything is installed into .venv and `make clean` removes it.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
PIP_AUDIT_VERSION := 2.10.1

.DEFAULT_GOAL := help
.PHONY: help up down test lint format wheel audit venv lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | column -t -s'|'

up: venv ## install, prepare the embedded models, serve them on http://127.0.0.1:8000 (UP="--fake": no models)
	@$(BIN)/tandem up $(UP)

down: ## stop what `make up` started
	@[ ! -x $(BIN)/tandem ] || $(BIN)/tandem down

test: lint ## style, types, layers, then unit tests, notebooks, integration and end-to-end tests
	$(BIN)/pytest tests/unit tests/notebooks tests/integration tests/e2e

lint: venv ## style, types and layers only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv ## rewrite the code in our style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# By way of a source distribution: compiled in place, it would be found before the sources ever after.
wheel: | $(BIN)/uv ## dist/*.whl with what decides and what is simulated compiled: half the time (needs a C compiler)
	HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/uv build -q --python $(BIN)/python

# Without the hashes: pip-audit wants either all of them or none, and torch's CPU build has none.
audit: | $(BIN)/uv ## known vulnerabilities of the pinned packages (asks the package index)
	sed -nE 's/^([^ ]+==[^ ]+).*/\1/p' requirements/cpu.txt >$(VENV)/pins.txt
	$(BIN)/uv tool run --from pip-audit==$(PIP_AUDIT_VERSION) pip-audit --strict --no-deps --disable-pip -r $(VENV)/pins.txt

venv: $(VENV)/installed ## the environment that all of it runs in

# Made last, so that an interrupted installation is taken up again.
$(VENV)/installed: requirements/cpu.txt requirements/sync.sh pyproject.toml | $(BIN)/uv
	UV=$(BIN)/uv requirements/sync.sh $(BIN)/python requirements/cpu.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation --offline -e .
	@touch $@

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)

lock: | $(BIN)/uv ## pin the newest versions that fit, with their hashes; commit the result
	UV=$(BIN)/uv requirements/lock.sh --upgrade

clean: down ## stop, and remove the environment and what tools left (not the models in ~/.cache/tandem)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build *.egg-info
