# Every target works in a fresh clone with only python3 (3.11 or later) and make.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 1
DATA ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: serve install test test-ray test-all-but-ray check fix train bench audit image image-test clean

serve: .venv/serving
	$(BIN)/python -m app --host $(HOST) --port $(PORT) --workers $(WORKERS)

install: .venv/development

# Ray's gRPC does not survive forks, and training forks its data loaders, so the Ray tests need a
# process of their own, after the others: beside them Ray starts too slowly.
RAY_TESTS := tests/app/test_ray_serve.py tests/ml/scoring/test_ray.py

# Lint and types come first because they fail fastest.
test: check
	$(MAKE) --jobs 1 --keep-going test-all-but-ray test-ray

# One thread for each test process: two processes with a thread per core would fight for the cores.
test-ray test-all-but-ray: export OMP_NUM_THREADS = 1
test-ray: .venv/development
	$(BIN)/python -m pytest -q $(RAY_TESTS)
test-all-but-ray: .venv/development
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(addprefix --ignore=,$(RAY_TESTS))

check: .venv/development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fix: .venv/development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: .venv/development
	$(BIN)/python -m ml train $(if $(DATA),"$(DATA)")

# Each benchmark takes minutes. Run them on an idle machine.
bench: .venv/development .venv-peers/made
	missed=0; for file in benchmarks/*.py; do \
		PYTHONPATH=. $(BIN)/python $$file || missed=1; done; exit $$missed

# Needs the internet: it looks up known vulnerabilities and fails if it cannot.
audit: .venv/development
	$(BIN)/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

image:
	docker build --tag skyspotter .

# Builds the image, checks its size and runs it. Without a Docker engine it uses buildah (root,
# Debian).
image-test: .venv/serving
	$(BIN)/python -m deploy.image_test

clean:
	rm -rf .venv .venv-peers runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

# With the stamp files a second call does nothing, and a changed pin installs again.
.venv/serving: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	touch $@

# Python compiles what is imported; compiling everything here would take half a minute more.
.venv/development: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --no-compile --editable '.[training,development]'
	touch $@ .venv/serving

# The servers that the benchmark compares with. They have an environment of their own.
.venv-peers/made: benchmarks/peers/requirements.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@
