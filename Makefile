# All of it works in a fresh clone with nothing but python3 (3.11 or later) and make.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 1
DATA ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: serve install test check fix train bench image clean

serve: .venv/serving
	$(BIN)/python -m uvicorn app.main:app --host $(HOST) --port $(PORT) --workers $(WORKERS)

install: .venv/development

# Lint and types first: they are the fastest to fail.
test: check
	$(BIN)/python -m pytest

check: .venv/development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: .venv/development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: .venv/development
	$(BIN)/python -m ml train $(if $(DATA),"$(DATA)")

# Minutes each, on a machine that does nothing else.
bench: .venv/development
	set -e; for file in benchmarks/*.py; do $(BIN)/python $$file; done

image:
	docker build --tag skyspotter .

clean:
	rm -rf .venv runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

# The stamps make a second call cost nothing, and a changed pin install anew.
.venv/serving: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	touch $@

.venv/development: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[training,development]'
	touch $@ .venv/serving
