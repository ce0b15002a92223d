# Tidemill. `make demo`, `make demo-experiment`, `make demo-portal` and `make test` set up all that they need in .venv, from pinned and hashed requirements.

PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3 python,$(shell $(name) -c \
	'import sys; sys.version_info[:2] in ((3, 11), (3, 12), (3, 13)) and print(sys.executable)' 2>/dev/null)))
BIN = .venv/bin
# Whatever the environment says: what Python has compiled is kept, or each of a thousand processes compiles all of it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-experiment demo-portal test check format bench run-environment dev-environment requirements clean

demo: run-environment
	@$(BIN)/tidemill --site site demo

demo-experiment: run-environment
	@$(BIN)/tidemill --site site-experiment demo experiment

demo-portal: run-environment
	@$(BIN)/tidemill --site site-portal demo portal

# Three at a time suit two processors: a good part of what tests do is waiting for others.
test: check
	$(BIN)/pytest -n 3 --dist loadgroup

check: dev-environment
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

format: dev-environment
	$(BIN)/ruff format src tests benchmarks examples
	$(BIN)/ruff check --fix src tests benchmarks examples

bench: dev-environment
	$(BIN)/python benchmarks/all.py

run-environment: .venv/run.stamp
dev-environment: .venv/dev.stamp

.venv/run.stamp: requirements/run.txt requirements/build.txt pyproject.toml | .venv
	@test -e .venv/dev.stamp || echo "Installing what Tidemill needs into .venv (about 200 MB, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt -r requirements/run.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements/dev.txt .venv/run.stamp
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.venv:
	@test -n "$(PYTHON)" || { echo "Tidemill needs Python 3.11, 3.12 or 3.13: none was found. Say which: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "This Python cannot make a virtual environment; on Debian: apt install python3-venv"; rm -rf .venv; exit 1; }

# For developers: write the pinned requirements anew (needs uv).
requirements:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements/run.txt
	uv pip compile --group build --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -c requirements/run.txt -o requirements/build.txt
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -c requirements/run.txt -o requirements/dev.txt

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache site site-experiment site-portal
