# Tau. `make` alone says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAGE ?=
ARGS ?=
VENV = export PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: help setup demo test sim model check bench compile deploy clean python

help: ## Say what there is
	@echo "Tau: a git push goes in, a tested image comes out, a tag puts it live."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Start with: make demo"

setup: python ## Install what is missing, saying first what and why (as root on Debian and Ubuntu)
	@$(PYTHON) infra/local/setup.py

demo: setup ## A push, a broken test and a release, through all of it, on this machine (KEEP=1: leave it running)
	@KEEP="$(KEEP)" $(BIN)/python -m infra.local.demo

# Without an engine the tests that need none still run, and the others are named. .ci/run does not accept that.
test: python ## Every test (ARGS=... is passed to pytest; TAU_CORPUS=DIR adds recorded webhooks)
	@$(PYTHON) infra/local/setup.py --tests $(if $(filter 1,$(TAU_REQUIRE_ENGINE)),,--optional-packages)
	@$(BIN)/python -m $(if $(ARGS),pytest -q $(ARGS),tests.both)

sim: python ## The protocol in N=30000 simulated schedules (SEED=n replays one, step by step)
	@$(PYTHON) infra/local/setup.py --only-python
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED),-n $(or $(N),30000))

model: python ## Search the delivery protocol's model for every order of events (docs/delivery.pml)
	@$(PYTHON) infra/local/setup.py --tests
	@$(BIN)/python -m pytest -v tests/proof/test_delivery_model.py $(ARGS)

check: python ## Format, lint, types, ci.yml and the stack
	@$(PYTHON) infra/local/setup.py --only-python
	@$(VENV); failed=0; run() { echo "check: $$*"; "$$@" || { echo "check: $$* FAILED" >&2; failed=1; }; }; \
	run ruff format --check --quiet .; \
	run ruff check --quiet .; \
	run mypy --no-error-summary; \
	run tau check; \
	run tau compile --check; \
	run cfn-lint infra/stack.yml infra/pool.yml; \
	exit $$failed

bench: setup ## Measure: each script of tests/bench
	@for script in tests/bench/*.py; do echo "bench: $$script"; $(BIN)/python "$$script"; done

compile: python ## chalicelib/ci.yml -> chalicelib/ci.json
	@$(PYTHON) infra/local/setup.py --only-python
	@$(BIN)/tau compile

deploy: python ## To AWS: make deploy STAGE=prod
	@test -n "$(STAGE)" || { echo "Which stage? make deploy STAGE=prod" >&2; exit 2; }
	@command -v aws >/dev/null || { echo "The aws command is missing: https://aws.amazon.com/cli/" >&2; exit 1; }
	@$(PYTHON) infra/local/setup.py --only-python
	@$(VENV); run() { echo "deploy: $$*"; "$$@"; }; \
	run tau compile --check; \
	run aws cloudformation deploy --template-file infra/stack.yml --stack-name "tau-$(STAGE)" \
	    --parameter-overrides "Stage=$(STAGE)" --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset; \
	find chalicelib -name __pycache__ -prune -exec rm -rf {} +; \
	PYTHONDONTWRITEBYTECODE=1 run chalice deploy --stage "$(STAGE)"

clean: ## Remove what was made here; the system's packages stay
	@rm -rf .venv .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

python:
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "Tau needs Python 3.11 or newer, and $(PYTHON) is not there. Debian and Ubuntu: apt-get install python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Tau needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" --version)." >&2; \
	    echo "Install a newer one beside it, then say which: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
