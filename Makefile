# Needs the development environment: pip install -e ".[all]"
PYTHON ?= python

.PHONY: check test bench docs

check:  ## lint, format and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest

bench:  ## every benchmark; each writes its results under benchmarks/results and refuses when its tests fail
	set -e; for script in benchmarks/bench_*.py; do $(PYTHON) "$$script"; done

docs:  ## bring the generated tables up to date, then build the site, where any warning is an error
	$(PYTHON) docs/generate.py
	$(PYTHON) -m mkdocs build --strict
