# make install   the package and everything its tests need, into .venv
# make demo      the main job on a synthetic study; ends by naming the pictures
# make test      all tests that this machine can run
# make check     style, types, formats, staleness of generated files
# make compile   compile the shipped pipelines and the generated schemas and pages
# make pins      exact packages of the shipped tools' conda environments; needs the channel conda-forge
# make soak      the full count of the fault and fuzz tests

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST_ARGS ?=
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: install demo test check compile pins soak clean

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "snakescope needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

demo: install
	$(BIN)/snakescope demo demo

test: install
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check --compact-diff workflow/Snakefile workflow/stage.smk workflow/fanout.smk rules
	$(BIN)/mypy src scripts tests benchmarks
	$(BIN)/python -m snakescope.generate --check

compile: install
	$(BIN)/python -m snakescope.generate

pins: install
	$(BIN)/snakescope tool pin $(notdir $(wildcard tools/*))
	$(BIN)/python -m snakescope.generate

soak: install
	SNAKESCOPE_SOAK=1 $(BIN)/python -m pytest -m soak -s $(PYTEST_ARGS)

clean:
	rm -rf demo dist build .pytest_cache .mypy_cache .ruff_cache
