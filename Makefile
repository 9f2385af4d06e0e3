# Everything lands in .venv of this folder. `make help` lists the targets.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
FAST   := not slow and not ssh and not browser and not stress
# Each worker starts on a stretch of the tests of its own and takes half of what is left to another: tests of one file,
# which share what they build, mostly stay together.
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal

# Containers often set it. Then each of the thousand processes that the tests start would compile this package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: long help demo check test coverage lint docs dist schema clean

help:                 ## list these targets
	@awk -F ' *## ' '/^[a-z]+:.*## / {sub(/:.*/, "", $$1); printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)        ## build the quickstart bundle from the embedded model, verify it and predict with it
	$(BIN)/python tools/demo.py

check: $(READY)       ## run the fast tests: under two minutes on two cores
	$(PYTEST) -m '$(FAST)'

test: $(READY)        ## run the whole test suite
	$(PYTEST)

coverage: $(READY)    ## run the whole test suite and show which lines it reached; a page in build/coverage
	$(PYTEST) --cov --cov-report=term --cov-report=html:build/coverage

long: $(READY)        ## run the tests that `make check` leaves out
	$(PYTEST) -m 'not ($(FAST))'

lint: $(READY)        ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)        ## build the site of the documentation in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean --site-dir build/site

dist: $(READY)        ## build wheel and sdist, install the wheel in bare environments, run the quickstart from it
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tools/check_dist.py dist

schema: $(READY)      ## write the JSON schema of recipes that editors use
	$(BIN)/edgecompile schema > recipes/recipe.schema.json

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 14) else "Python 3.10 to 3.13 is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps pnnx
	touch $(READY)

clean:                ## remove what the commands above made
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.*
