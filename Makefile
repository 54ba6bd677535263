# Two commands on a fresh machine with Python >= 3.11: `make demo` and `make test`. Every target
# makes the environment if it is missing.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: env demo test quick-test check docs evidence wheel scorer clean

env: $(VENV)/installed

$(VENV)/installed: setup.py pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  f"Python >= 3.11 is needed, $(PYTHON) is {sys.version.split()[0]}; " + \
	  "try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt setuptools
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: env  ## the main job on computed CT: scans, store, training, scores, figure, export
	$(BIN)/ubr-pretrain demo

# Two processes, each of which computes with one thread. Each begins with one half of the tests, and
# the one that ends first takes from the other.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test: env  ## all tests, a quarter of an hour on two cores; PYTEST="..." adds options
	$(TESTS) $(PYTEST)

quick-test: env  ## without the heavy ones
	$(TESTS) -m "not heavy"

check: env  ## linter and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

docs: env  ## the documentation, in build/site; --quiet would let dead links pass
	$(BIN)/mkdocs build --strict

evidence: env  ## the paper's tables and figures from the committed rows; renews what docs show
	rm -rf build/evidence
	$(BIN)/python -m benchmarks.evidence
	cd benchmarks/pictures && for one in *.png; do cp ../../build/evidence/$$one .; done

wheel: env  ## build the wheel, install it elsewhere, use it from outside the tree
	rm -rf build/wheel build/elsewhere
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(BIN)/pip install --quiet --no-deps --target build/elsewhere build/wheel/*.whl
	cd / && PYTHONPATH=$(CURDIR)/build/elsewhere $(abspath $(BIN))/python -c 'import \
	  ubr.weights.released as r, ubr.downstream.cli, ubr.weights.exports, ubr.pretrain.cli as c; \
	  assert all("elsewhere" in f for f in (c.__file__, r.__file__)), c.__file__; \
	  import pathlib; assert (pathlib.Path(c.__file__).parent / "py.typed").is_file(); \
	  assert len(r.versions()) == $(words $(wildcard weights/packaged/*.safetensors)), r.versions(); \
	  c.main(["--help"])'

scorer: env  ## the wheel of ubr-score in dist/, with the released weights
	rm -f dist/ubr_score-*.whl
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./scorer

clean:
	rm -rf build dist scorer/build scorer/*.egg-info demo-run .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
