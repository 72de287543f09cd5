# All of it works in a fresh clone with nothing but python3 (3.11 or later) and make.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 1
DATA ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: serve install test check fix train bench audit image image-test clean

serve: .venv/serving
	$(BIN)/python -m app --host $(HOST) --port $(PORT) --workers $(WORKERS)

install: .venv/development

# In a process of their own: Ray's gRPC does not outlive forks, and training forks its loaders.
OF_RAY := tests/app/test_ray_serve.py tests/ml/scoring/test_ray.py

# Lint and types first: they are the fastest to fail.
test: check
	$(BIN)/python -m pytest $(addprefix --ignore=,$(OF_RAY))
	$(BIN)/python -m pytest $(OF_RAY)

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

# Minutes each, on a machine that does nothing else.
bench: .venv/development .venv-peers/made
	missed=0; for file in benchmarks/*.py; do \
		PYTHONPATH=. $(BIN)/python $$file || missed=1; done; exit $$missed

# Needs the internet: it asks for the holes that are known today, and fails where none are told.
audit: .venv/development
	$(BIN)/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

image:
	docker build --tag skyspotter .

# Builds, weighs and tries the image; where no Docker engine answers, buildah does (root, Debian).
image-test: .venv/serving
	$(BIN)/python -m deploy.image_test

clean:
	rm -rf .venv .venv-peers runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

# The stamps make a second call cost nothing, and a changed pin install anew.
.venv/serving: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	touch $@

.venv/development: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[training,development]'
	touch $@ .venv/serving

# What the service is measured beside, in an environment of its own: it never mixes with ours.
.venv-peers/made: benchmarks/peers/requirements.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@
