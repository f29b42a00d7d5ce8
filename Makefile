# `make` alone lists the targets. Each target first sets up what it needs; nothing is done twice.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo up down status doctor test test-console console-story check format bench bench-features slo load faults drill soak rolling rollout-drill attack fuzz-mapping fuzz-rules fuzz-transactions replay-handbook replay-sparkov handbook-features licences clean distclean bench-scorer bench-gpu bench-swap bench-scaling bench-explained bench-ratio bench-state bench-shadow bench-secure sbom drift-table rollout-table generations-table quality
PYTHON := .venv/bin/python
SOURCES := features models streams services infra loadtest tests

help: ## This list
	@echo "Tollgate: streaming fraud scoring. Targets:"
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  KEEP=1 leaves the demo's stack running; EMBEDDED=1 uses a mock broker in place of Kafka."

setup: ## Install environments, Kafka's jars, system packages; only what is missing or changed
	@infra/setup.sh

setup-dev:
	@infra/setup.sh --dev

demo: setup ## Run the whole system once: train a first model, send live traffic, print a summary; STORY=attack: an attack, drift, a new model rolled out, a harmful one undone
	@.venv/bin/tollgate demo $(if $(KEEP),--keep) $(if $(STORY),--story $(STORY))

up: setup ## Start the local stack in .tollgate
	@.venv/bin/tollgate up

down: ## Stop the local stack
	@.venv/bin/tollgate down

status: ## Show the state of the local stack
	@.venv/bin/tollgate status

doctor: setup ## Check this machine and say how to fix problems
	@.venv/bin/tollgate doctor

test: setup-dev ## Run all tests
	@$(PYTHON) -m pytest --durations=10 -n 2 --no-loadscope-reorder

test-console: setup-dev ## Run all browser tests of the console's pages on Chromium: each screen, light and dark, wide and narrow
	@CONSOLE=all $(PYTHON) -m pytest tests/integration/test_console_pages.py

console-story: setup-dev ## The console's closing story by two people in Chromium, on a stack of its own; SECURE=1: on a secured one
	@$(if $(SECURE),SECURE=1) $(PYTHON) -m pytest tests/e2e/test_closing_story.py

check: setup-dev ## Check format, lint, types, import rules, licences
	.venv/bin/ruff format --check $(SOURCES)
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/vulture
	$(PYTHON) -m infra.licences --check
	@if command -v promtool >/dev/null; then promtool check rules infra/prometheus/rules.yml infra/prometheus/slo.yml; else echo "promtool is not installed: rules not checked"; fi

format: setup-dev ## Format the code and apply the linter's fixes
	.venv/bin/ruff format $(SOURCES)
	.venv/bin/ruff check --fix $(SOURCES)

bench: setup-dev ## Measure stream, bare pipe, Kafka Streams, swap, HTTP, memory, GPU, scorer, profile: medians of RUNS=5 beside their targets, an hour and a half; SECONDS=60, ONLY=stream, QUICK=1
	@$(PYTHON) -m loadtest.bench --report --runs $(or $(RUNS),5) --seconds $(or $(SECONDS),60) $(if $(ONLY),--only $(ONLY)) $(if $(RATES),--rates $(RATES)) $(if $(QUICK),--quick)

bench-scaling: setup-dev ## Measure CPU with one and two processors and scoring replicas, 2 to 16 partitions, at RATE=5000
	@$(PYTHON) -m loadtest.bench.scaling --rate $(or $(RATE),5000)

bench-explained: setup-dev ## Measure the first minute after `up` with nine of ten payments reviewed and explained, on a separate stack
	@$(PYTHON) -m loadtest.bench.explained

bench-ratio: setup-dev ## Measure CPU per decision beside a bare pipe and beside Kafka Streams with ONNX Runtime, in turn: RUNS=5, SECONDS=60, RATE=10000
	@$(PYTHON) -m loadtest.bench.ratio --runs $(or $(RUNS),5) --seconds $(or $(SECONDS),60) --rate $(or $(RATE),10000)

bench-state: setup-dev ## Measure the bytes stored per entity of each kind, and Redis' memory for a million cards: CARDS=20000 are stored
	@$(PYTHON) -m loadtest.bench.state --cards $(or $(CARDS),20000)

bench-secure: setup-dev ## Measure what TLS, passwords and rights cost: the plain and the secured stack in turn, PAIRS=3, SECONDS=20, at 1,000 and 2,000 a second
	@$(PYTHON) -m loadtest.bench.secured --pairs $(or $(PAIRS),3) --seconds $(or $(SECONDS),20)

bench-features: setup-dev ## Measure the cost of features: kernel, processor, Redis, offline engine, comparable systems
	@$(PYTHON) -m loadtest.bench.features --report

bench-scorer: setup-dev ## Measure scoring and explaining a row, by backend and batch size
	@$(PYTHON) -m loadtest.bench.models.scorer

bench-shadow: setup-dev ## Measure the CPU of a decision with a challenger in the shadow and in a canary; exit code 1 if the shadow costs more than 15 %
	@$(PYTHON) -m loadtest.bench.models.shadow

drift-table: setup-dev ## Run the drift stream over MONTHS=3 of simulated traffic, quiet and with each drift; exit code 1 if it cries wolf or misses one
	@$(PYTHON) -m loadtest.bench.drift --months $(or $(MONTHS),3)

rollout-table: setup-dev ## Roll out identical and harmful models over a simulated day, ROLLOUTS=100; exit code 1 if one is undone falsely or too late
	@$(PYTHON) -m loadtest.bench.rollout --rollouts $(or $(ROLLOUTS),100)

generations-table: setup-dev ## Retrain for ten generations on payments whose declines have no outcome: explored, left out, learnt as honest; PLOT=file.png
	@$(PYTHON) -m loadtest.bench.learning.generations_table $(if $(PLOT),--plot $(PLOT))

quality: setup-dev ## Measure models on the public data of ../shared/data beside published figures; SELECT=1 compares kinds on earlier folds
	@$(PYTHON) -m loadtest.bench.learning.quality $(if $(SELECT),--select)

bench-swap: setup-dev ## Measure the effect of a model swap on p99, losses and HTTP requests at 1,000, 5,000 and 10,000 a second, on a separate stack
	@$(PYTHON) -m loadtest.bench.models.swap

bench-gpu: setup-dev ## Measure scoring on a GPU against its targets; without a GPU: print what is needed (exit 0)
	@$(PYTHON) -m loadtest.bench.models.gpu

slo: setup ## Check 1,000 transactions a second for 60 s on a separate stack: none missing or duplicated, p99 below 100 ms
	@home=$$(mktemp -d /tmp/tollgate-slo-XXXX) && trap '.venv/bin/tollgate down --home '$$home' --purge 2>/dev/null' EXIT && \
	.venv/bin/tollgate up --home $$home --port-base 24500 && \
	.venv/bin/tollgate simulate --home $$home --rate 1000 --seconds 60 --p99-below 100

load: setup-dev ## Run Locust, headless: SHAPE=steady|ramp|spike|attack|soak TARGET=http|kafka USERS=20 RATE=10 (a user), REPORT=dir; on the stack in STACK, else on a separate one
	@home=$(STACK); if [ -z "$$home" ]; then home=$$(mktemp -d /tmp/tollgate-load-XXXX) && trap '.venv/bin/tollgate down --home '$$home' --purge 2>/dev/null' EXIT && \
	.venv/bin/tollgate up --home $$home --port-base 24800; fi && \
	$(PYTHON) -m loadtest.locust --home $$home --shape $(or $(SHAPE),steady) --target $(or $(TARGET),http) --users $(or $(USERS),20) --rate $(or $(RATE),10) \
	--report $(or $(REPORT),loadtest/reports/load) $(if $(DURATION),--seconds $(DURATION)) $(if $(P99_MS),--p99-ms $(P99_MS))

faults: setup-dev ## Run every fault ROUNDS times (20) at 2,000 a second on a separate stack; SEED=1, FAULT="broker" for one, SECURE=1 on a secured stack
	@$(PYTHON) -m tests.faults $(if $(SECURE),--secure) --rounds $(or $(ROUNDS),20) --seed $(or $(SEED),1) $(if $(FAULT),--only "$(FAULT)")

soak: setup-dev ## Watch memory, files and threads of every process for MINUTES=20 at RATE=2000 a second; exit code 1 if one of ours grows by over 5 %
	@$(PYTHON) -m loadtest.bench.soak --minutes $(or $(MINUTES),20) --rate $(or $(RATE),2000)

rolling: setup-dev ## Restart every process in turn beside RATE=1000 a second on a separate stack; exit code 1 if anything is lost or doubled; SERVERS=1: Kafka, Redis and Ray too
	@$(PYTHON) -m loadtest.bench.rolling --rate $(or $(RATE),1000) $(if $(SERVERS),--servers)

rollout-drill: setup-dev ## Roll out a model on a whole stack, from shadow to every card, and a harmful one that is undone by itself: five minutes
	@ROLLOUT_DRILL=1 $(PYTHON) -m pytest -v tests/e2e/test_rollout_life.py

attack: setup-dev ## Attack a separate stack in every known way and print what held; STACK=dir for a running one, SECURE=1: a secured one, ATTACK="poison on transactions" for one
	@$(PYTHON) -m tests.attack $(if $(STACK),--home $(STACK)) $(if $(SECURE),--secure) $(if $(ATTACK),--only "$(ATTACK)")

fuzz-mapping: setup-dev ## Read COUNT (50000) damaged files and mappings: each ends in transactions or in a reason; FROM=0
	@MAPPING_MUTATIONS=$(or $(COUNT),50000) MAPPING_MUTATIONS_FROM=$(or $(FROM),0) $(PYTHON) -m pytest -q -p no:cacheprovider tests/property/test_mapping_mutations.py

fuzz-rules: setup-dev ## Check COUNT (50000) damaged rules files: each ends in a policy that decides or in a reason; FROM=0
	@POLICY_MUTATIONS=$(or $(COUNT),50000) POLICY_MUTATIONS_FROM=$(or $(FROM),0) $(PYTHON) -m pytest -q -p no:cacheprovider tests/property/test_rules_mutations.py

fuzz-transactions: setup-dev ## Send COUNT (200000) transactions of careless producers to a separate stack, half by Kafka, half over HTTP: each ends in a decision or a reason
	@FUZZED_TRANSACTIONS=$(or $(COUNT),200000) $(PYTHON) -m tests.attack --only "transactions of careless producers"

# $(call replay,NAME,PORT): a file of ../shared/data with its built-in mapping through a separate stack, then reconcile
define replay
@test -f ../shared/data/$(1)_transactions.parquet || { echo "../shared/data is missing"; exit 2; }
@home=$$(mktemp -d /tmp/tollgate-replay-XXXX) && trap '.venv/bin/tollgate down --home '$$home' --purge 2>/dev/null' EXIT && \
.venv/bin/tollgate up --home $$home --port-base $(2) && \
.venv/bin/tollgate replay ../shared/data/$(1)_transactions.parquet --mapping $(1) --speed max --home $$home && \
.venv/bin/tollgate reconcile --home $$home --wait 60
endef

drill: setup-dev ## Break a stack in every way that has a page, wait for the page, do what its runbook says, count losses; FAULT="Redis frozen" for one
	@$(PYTHON) -m tests.faults.drill $(if $(FAULT),--only "$(FAULT)")

replay-handbook: setup ## Replay all 919,451 rows of ../shared/data/handbook_transactions.parquet on a separate stack, then reconcile
	$(call replay,handbook,24600)

replay-sparkov: setup ## Replay all 300,000 rows of ../shared/data/sparkov_transactions.parquet on a separate stack, then reconcile
	$(call replay,sparkov,24700)

handbook-features: setup-dev ## Compare the engine's windows with the Handbook's 14 features, row by row
	@$(PYTHON) -m loadtest.bench.handbook_features

licences: setup-dev ## Write infra/licences.md from the installed packages
	$(PYTHON) -m infra.licences

sbom: setup-dev ## Write the bill of materials (CycloneDX) to FILE=tollgate.cdx.json
	@$(PYTHON) -m infra.sbom $(or $(FILE),tollgate.cdx.json)

clean: ## Stop the stack, delete its folder and the caches; environments stay
	@if [ -x .venv/bin/tollgate ] && [ -f .tollgate/settings.json ]; then .venv/bin/tollgate down --purge; fi
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Also delete the environments and all downloads
	rm -rf .venv .venv-drift .cache services/console/web/node_modules services/console/web/dist
