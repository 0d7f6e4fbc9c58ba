# make demo | make docs | make test | make bench | make soak | make dist | make airgap BUNDLE=bundle; PYTHON chooses the interpreter.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Python compiles what is imported when it is imported: most of these six gigabytes never are.
PIP_OPTIONS := --disable-pip-version-check --quiet --no-compile -c constraints.txt
# Without what it compiled before, Python takes half a minute to import what a run needs, at every start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint check docs bench soak dist airgap clean

.venv/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Polyclinic needs Python 3.11 or later; set PYTHON")'
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/pip install $(PIP_OPTIONS) -e '.[train,serve,deidentify]'
	touch $@

.venv/.developer: .venv/pyvenv.cfg pyproject.toml constraints.txt tests/system_packages.sh
	tests/system_packages.sh
	$(BIN)/pip install $(PIP_OPTIONS) -e '.[dev]'
	touch .venv/.installed $@

demo: .venv/.installed
	$(BIN)/polyclinic demo

lint: .venv/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: lint
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

docs: .venv/.developer
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "documentation: $(CURDIR)/site/index.html"
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" = Darwin ]; then \
	  $(BIN)/python -m webbrowser "file://$(CURDIR)/site/index.html" > /dev/null; fi

bench: .venv/.developer
	$(BIN)/python -m benchmarks

soak: .venv/.developer
	$(BIN)/pytest -m slow
	$(BIN)/python -m benchmarks soak hostile

dist: .venv/.developer
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

airgap: .venv/.installed
	PYTHON=$(BIN)/python docker/kit/airgap.sh "$(BUNDLE)" airgap

clean:
	rm -rf .venv demo demo-quick bench runs dist airgap site
