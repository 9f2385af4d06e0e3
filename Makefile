# Two commands do all the set-up: `make demo` and `make test`. Everything lands in .venv of this folder.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint clean

demo: $(READY)        ## build the quickstart bundle from the embedded model, verify it and predict with it
	$(BIN)/python tools/demo.py

test: $(READY)        ## run the whole test suite
	$(BIN)/python -m pytest -n auto

lint: $(READY)        ## style and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 14) else "Python 3.10 to 3.13 is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps pnnx
	touch $(READY)

clean:                ## remove what the commands above made
	rm -rf $(VENV) build dist *.egg-info
