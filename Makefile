# Every command of the project. The environment is made from requirements.lock by pip alone, once per lock.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
UV ?= uv

# The stamps are named by content: another lock makes another environment, a stopped installation has no stamp.
LOCKED := $(VENV)/locked-$(shell cksum < requirements.lock | tr ' ' '-')
LINKED := $(VENV)/linked-$(shell cksum < pyproject.toml | tr ' ' '-')

# Nothing phones home, and Prefect keeps to this folder.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1
demo: export PREFECT_HOME := $(CURDIR)/demo/prefect

PEERS := .venv-peers
PEERS_LOCKED := $(PEERS)/locked-$(shell cksum < tests/peers/requirements.lock | tr ' ' '-')

.PHONY: help demo test suite test-thorough test-services faults test-peers lint bench lock lock-peers environment clean

help:
	@echo "make demo    write a demo dataset and evaluate it"
	@echo "make test    everything that continuous integration runs"
	@echo "make test-thorough  the same with many more examples (an hour)"
	@echo "make test-services  tests with a Docker engine, SLURM and other services, which need packages or root"
	@echo "make faults  a hundred faults on purpose: killed workers, full disks, ...; writes docs/faults.md (half an hour)"
	@echo "make test-peers  ask other tools for their figures, in an environment of their own (4 GB, Python 3.11)"
	@echo "make lint    ruff and mypy alone"
	@echo "make bench   measure the kernel and a whole run"
	@echo "make lock    remake requirements.lock and docker/requirements.lock from pyproject.toml (needs uv)"
	@echo "make clean   remove the demo, caches and builds; the environment stays"
	@echo "PYTHON=/path/to/python3.11 chooses the Python (3.11 or newer) that the environment is made with."

demo: environment
	$(BIN)/python -m segpipe.writing.demo demo/data
	$(BIN)/python -m flows.evaluate configs/examples/demo.yaml

test: lint suite

# Three processes on two cores: what waits for a server or for workers leaves a core to the others.
suite: environment
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile

# apt-get install chromium docker.io docker-compose debootstrap iptables slurmctld slurmd slurm-client munge
# What is not there is skipped, with the package that it needs.
test-services: environment
	$(BIN)/python -m pytest tests/services

# Ten to twenty times as many examples, and every pair where `make test` takes some.
test-thorough: environment
	SEGPIPE_THOROUGH=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

faults: environment
	$(BIN)/python -m tests.faults --number 105 --seed $(or $(SEED),20261120) --write

test-peers: $(PEERS_LOCKED)
	$(PEERS)/bin/python -m tests.peers

$(PEERS_LOCKED):
	@echo "Making $(PEERS) from tests/peers/requirements.lock (some minutes)"
	$(or $(PYTHON),python3.11) -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --no-deps --require-hashes -r tests/peers/requirements.lock
	@touch $@

lint: environment
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: environment
	$(BIN)/python -m tests.bench

lock:
	$(UV) pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-strip-extras --no-header -q -o requirements.lock
	$(UV) pip compile pyproject.toml docker/requirements.in --extra cloud --extra flows --extra images \
		--extra performance --constraint requirements.lock --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-strip-extras --no-annotate --no-header -q -o docker/requirements.lock

# Two packages are left out: a backport of Python's own typing, and torchvision, which needs another torch.
lock-peers:
	$(UV) pip compile tests/peers/requirements.in --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-emit-package typing --no-emit-package torchvision --no-annotate --no-header \
		-q -o tests/peers/requirements.lock

environment: $(LOCKED) $(LINKED)

$(LOCKED):
	@set -e; \
	for python in $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "No Python 3.11 or newer: tried $(or $(PYTHON),python3.11, python3, python3.12 to python3.14)." >&2; \
		echo "Install one, or name it: make $(or $(firstword $(MAKECMDGOALS)),demo) PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) from requirements.lock with $$found (about a minute)"; \
	"$$found" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	@touch $@

$(LINKED): $(LOCKED)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find segpipe flows tests -name __pycache__ -type d -prune -exec rm -rf {} +
