# `make` alone lists what can be done. Everything is set up on the way; nothing is done twice.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo up down status doctor test check format bench bench-features slo load faults replay-handbook replay-sparkov handbook-features licences clean distclean bench-scorer bench-gpu bench-swap bench-scaling
PYTHON := .venv/bin/python
SOURCES := features models streams services infra loadtest tests

help: ## This list
	@echo "Tollgate: streaming fraud scoring. What can be done:"
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  KEEP=1 leaves the demo's stack running; EMBEDDED=1 takes a mock broker in place of Kafka."

setup: ## Environments, Kafka's jars, system packages; only what is missing or changed
	@infra/setup.sh

setup-dev:
	@infra/setup.sh --dev

demo: setup ## The whole system at work: history, first model, live traffic, live view, summary
	@.venv/bin/tollgate demo $(if $(KEEP),--keep)

up: setup ## Start the local stack in .tollgate
	@.venv/bin/tollgate up

down: ## Stop it
	@.venv/bin/tollgate down

status: ## What it is doing
	@.venv/bin/tollgate status

doctor: setup ## Check this machine, and how to mend what is wrong
	@.venv/bin/tollgate doctor

test: setup-dev ## Every test
	@$(PYTHON) -m pytest --durations=10 -n 2 --no-loadscope-reorder

check: setup-dev ## Formatter, linter, types, import rules, licences
	.venv/bin/ruff format --check $(SOURCES)
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) -m infra.licences --check
	@if command -v promtool >/dev/null; then promtool check rules infra/prometheus/rules.yml; else echo "promtool is not here: rules not checked"; fi

format: setup-dev ## Format and mend what the linter can
	.venv/bin/ruff format $(SOURCES)
	.venv/bin/ruff check --fix $(SOURCES)

bench: setup-dev ## Stream, model swap, HTTP with its peer, GPU, scorer, profile: medians of RUNS=5 beside their targets, about an hour; SECONDS=60, ONLY=stream
	@$(PYTHON) -m loadtest.bench.bench --report --runs $(or $(RUNS),5) --seconds $(or $(SECONDS),60) $(if $(ONLY),--only $(ONLY)) $(if $(RATES),--rates $(RATES))

bench-scaling: setup-dev ## One and two processors and replicas of scoring, 2 to 16 partitions: what each costs at RATE=5000 on this machine
	@$(PYTHON) -m loadtest.bench.scaling --rate $(or $(RATE),5000)

bench-features: setup-dev ## What features cost: kernel, processor, Redis, offline engine, and what a user would pick instead
	@$(PYTHON) -m loadtest.bench.features --report

bench-scorer: setup-dev ## What scoring and explaining a row costs, by backend and batch size
	@$(PYTHON) -m loadtest.bench.scorer

bench-swap: setup-dev ## What a model swap does to p99 and to the books at 1,000, 5,000 and 10,000 a second, and to HTTP requests, on a stack of its own
	@$(PYTHON) -m loadtest.bench.swap

bench-gpu: setup-dev ## Scoring on a GPU against its targets; without one: what it would need (exit 0)
	@$(PYTHON) -m loadtest.bench.gpu

slo: setup ## 1,000 transactions a second for 60 s on a stack of its own: nothing missing or doubled, p99 below 100 ms
	@home=$$(mktemp -d /tmp/tollgate-slo-XXXX) && trap '.venv/bin/tollgate down --home '$$home' --purge 2>/dev/null' EXIT && \
	.venv/bin/tollgate up --home $$home --port-base 24500 && \
	.venv/bin/tollgate simulate --home $$home --rate 1000 --seconds 60 --p99-below 100

load: setup-dev ## Locust, headless: SHAPE=steady|ramp|spike|attack|soak TARGET=http|kafka USERS=20 RATE=10 (a user), REPORT=dir; on the stack in STACK, else on one of its own
	@home=$(STACK); if [ -z "$$home" ]; then home=$$(mktemp -d /tmp/tollgate-load-XXXX) && trap '.venv/bin/tollgate down --home '$$home' --purge 2>/dev/null' EXIT && \
	.venv/bin/tollgate up --home $$home --port-base 24800; fi && \
	$(PYTHON) -m loadtest.locust --home $$home --shape $(or $(SHAPE),steady) --target $(or $(TARGET),http) --users $(or $(USERS),20) --rate $(or $(RATE),10) \
	--report $(or $(REPORT),loadtest/reports/load) $(if $(DURATION),--seconds $(DURATION)) $(if $(P99_MS),--p99-ms $(P99_MS))

faults: setup-dev ## Every fault ROUNDS times (20) at 2,000 a second on a stack of its own; SEED=1, FAULT="broker" for one
	@$(PYTHON) -m tests.faults --rounds $(or $(ROUNDS),20) --seed $(or $(SEED),1) $(if $(FAULT),--only "$(FAULT)")

# $(call replay,NAME,PORT): a file of ../shared/data with its built-in mapping through a stack of its own, then the books
define replay
@test -f ../shared/data/$(1)_transactions.parquet || { echo "../shared/data is not here"; exit 2; }
@home=$$(mktemp -d /tmp/tollgate-replay-XXXX) && trap '.venv/bin/tollgate down --home '$$home' --purge 2>/dev/null' EXIT && \
.venv/bin/tollgate up --home $$home --port-base $(2) && \
.venv/bin/tollgate replay ../shared/data/$(1)_transactions.parquet --mapping $(1) --speed max --home $$home && \
.venv/bin/tollgate reconcile --home $$home --wait 60
endef

replay-handbook: setup ## All 919,451 rows of ../shared/data/handbook_transactions.parquet through a stack of its own, then the books
	$(call replay,handbook,24600)

replay-sparkov: setup ## All 300,000 rows of ../shared/data/sparkov_transactions.parquet the same way
	$(call replay,sparkov,24700)

handbook-features: setup-dev ## The engine's windows against the Handbook's own 14 features, row by row, as a table
	@$(PYTHON) -m loadtest.bench.handbook_features

licences: setup-dev ## Make infra/licences.md from what is installed
	$(PYTHON) -m infra.licences

clean: ## Stop the stack, remove its folder and caches; environments stay
	@if [ -x .venv/bin/tollgate ] && [ -f .tollgate/settings.json ]; then .venv/bin/tollgate down --purge; fi
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove the environments and everything fetched as well
	rm -rf .venv .venv-drift .cache
