# Needs the development environment: pip install -e ".[all]"; bench also the extra bench
PYTHON ?= python

.PHONY: check test bench docs report sanitize fuzz

check:  ## lint, format and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest

bench:  ## what is measured, then what is counted; each writes its results under benchmarks/results
	$(PYTHON) -m benchmarks.speed.ops
	$(PYTHON) -m benchmarks.speed.gate_call
	$(PYTHON) -m benchmarks.speed.layers
	$(PYTHON) -m benchmarks.speed.resnet50
	$(PYTHON) -m benchmarks.speed.graphs
	$(PYTHON) -m benchmarks.speed.cednn
	$(PYTHON) -m benchmarks.speed.networks
	$(PYTHON) -m benchmarks.speed.attach_overhead
	$(PYTHON) -m benchmarks.sweeps.attach
	reference-models ledger --json benchmarks/results/ledger.json
	$(PYTHON) -m benchmarks.triton.build

sanitize:  ## the CPU kernels under AddressSanitizer and UBSan, over the tests of the operations
	$(PYTHON) -m benchmarks.robustness.sanitize

fuzz:  ## ten thousand calls and two thousand damaged files
	$(PYTHON) -m tests.fuzz --calls 10000 --files 2000

docs:  ## bring the generated tables up to date, then build the site, where any warning is an error
	$(PYTHON) -m docs.generate
	$(PYTHON) -m mkdocs build --strict

report:  ## one page of cost and speed from the committed results
	$(PYTHON) -m benchmarks.report -o report.html
