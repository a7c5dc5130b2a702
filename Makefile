# Weft's commands. Everything lives in .venv, which is made on first use and again when its inputs change.
.PHONY: help demo test test-all check types docs-commands bench studies golden setup system clean
BIN := .venv/bin
STAMP := .venv/.ready
BENCHMARKS := $(filter-out benchmarks/harness.py benchmarks/planner_problems.py,$(wildcard benchmarks/*.py))

help:
	@echo "make demo     plan, compile and run the voice agent on this machine"
	@echo "make test     the tests that CI runs"
	@echo "make test-all all tests, the slow ones too (tests/conftest.py lists them)"
	@echo "make check    style, types, import layers, sizes, documented commands"
	@echo "make bench    every benchmark with its goal"
	@echo "make studies  write docs/studies/ again from the catalogue and the cost model"
	@echo "make golden   rewrite golden files from what the code says now"
	@echo "make setup    .venv and system packages (the others do this by themselves)"
	@echo "make clean    remove caches and outputs, keep .venv"

demo: setup
	@$(BIN)/weft demo

test: setup
	@$(BIN)/pytest -n 2

test-all: setup
	@$(BIN)/pytest -n 2 --slow --timeout 900

# Types and documented commands take longest and use one core each: they run side by side.
check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/python tools/check_sizes.py
	@$(MAKE) --no-print-directory -j2 types docs-commands

types:
	$(BIN)/pyright

docs-commands:
	$(BIN)/python tools/check_docs.py

bench: setup
	@status=0; for file in $(BENCHMARKS); do echo; echo "== $$file"; $(BIN)/python $$file || status=1; done; exit $$status

studies: setup
	@for name in tco kv-bandwidth catalogue scaling routing mix failure retention; do $(BIN)/weft study $$name || exit 1; done

golden: setup
	@$(BIN)/pytest -n 2 --golden

setup: system $(STAMP)

system:
	@tools/setup system

$(STAMP): pyproject.toml constraints.txt
	@tools/setup python
	@touch $@

clean:
	rm -rf out build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
