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
	$(PYTHON) -m benchmarks.measure_ops
	$(PYTHON) -m benchmarks.measure_gate_call
	$(PYTHON) -m benchmarks.measure_layers
	$(PYTHON) -m benchmarks.measure_resnet50
	$(PYTHON) -m benchmarks.measure_graphs
	$(PYTHON) -m benchmarks.measure_cednn
	$(PYTHON) -m benchmarks.measure_networks
	$(PYTHON) -m benchmarks.bench_attach_overhead
	$(PYTHON) benchmarks/sweep_attach.py
	reference-models ledger --json benchmarks/results/ledger.json
	$(PYTHON) -m benchmarks.build_triton

sanitize:  ## the CPU kernels under AddressSanitizer and UBSan, over the tests of the operations
	$(PYTHON) -m benchmarks.sanitize

fuzz:  ## ten thousand calls and two thousand damaged files
	$(PYTHON) -m benchmarks.fuzz --calls 10000 --files 2000

docs:  ## bring the generated tables up to date, then build the site, where any warning is an error
	$(PYTHON) docs/generate.py
	$(PYTHON) -m mkdocs build --strict

report:  ## one page of cost and speed from the committed results
	attnzoo report -o report.html
