# make demo | make test | make bench | make soak | make airgap BUNDLE=bundle; PYTHON chooses the interpreter.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test lint check bench soak airgap clean

.venv/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Polyclinic needs Python 3.11 or later; set PYTHON")'
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt -e .
	touch $@

.venv/.developer: .venv/.installed tests/system_packages.sh
	tests/system_packages.sh
	$(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/.installed
	$(BIN)/python experiments/phantom/demo.py --out demo

lint: .venv/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: lint
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

bench: .venv/.developer
	$(BIN)/python -m benchmarks

soak: .venv/.developer
	$(BIN)/pytest -m slow
	$(BIN)/python -m benchmarks soak hostile

airgap: .venv/.installed
	PYTHON=$(BIN)/python docker/kit/airgap.sh "$(BUNDLE)" airgap

clean:
	rm -rf .venv demo bench runs airgap
