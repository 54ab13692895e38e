# The commands of this project. Each one installs what it needs, if possible.

CARGO ?= cargo

.PHONY: help dev test check deny chaos conformance browser dashboards dashboards-test exports openapi docs docs-configuration queries bench isolation build release postgres faketime pgbouncer promtool alerts clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

dev: postgres build ## A working SMS agent on this machine, with a phone in the browser (AGENT: the folder of an agent that answers)
	@exec target/debug/textback dev $(if $(AGENT),--agent $(AGENT))

test: postgres faketime pgbouncer promtool check ## Everything that must hold: format, lints, unit and integration tests
	$(CARGO) test --locked --workspace

check: deny ## Format, lints, and dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

deny: ## Licences, duplicate crates and sources (deny.toml); advisories where RustSec's database is reachable: cargo deny check advisories
	@tool=$$(scripts/ensure-cargo-deny.sh) && "$$tool" --locked check --hide-inclusion-graph licenses bans sources

chaos: postgres ## Kill everything at random under load, 20 seeds (minutes; TEXTBACK_CHAOS_SEEDS, TEXTBACK_CHAOS_FIRST_SEED, TEXTBACK_CHAOS_TEXTS)
	TEXTBACK_CHAOS_SEEDS=$${TEXTBACK_CHAOS_SEEDS:-20} TEXTBACK_CHAOS_TEXTS=$${TEXTBACK_CHAOS_TEXTS:-1200} \
		TEXTBACK_FAILPOINT_SEEDS=$${TEXTBACK_FAILPOINT_SEEDS:-10} TEXTBACK_RACE_SEEDS=$${TEXTBACK_RACE_SEEDS:-20} \
		$(CARGO) test --locked --test it -- chaos failpoints model_faults inactivity_races --nocapture --test-threads 1

conformance: postgres ## The client and the simulator against Twilio's documents and its Python client (node 20, TEXTBACK_TWILIO_SPEC)
	scripts/conformance.sh

browser: postgres build docs ## The console in Chromium at four widths in both themes, with axe, and the book; pictures in target/browser/pictures and docs/pictures (node 20, by hand)
	scripts/browser.sh

dashboards: build ## Superset with the dashboards, on the database of the textback dev that runs (Python 3.10 to 3.12, 850 MB; PORT, DASHBOARDS_DATABASE_URL)
	@exec scripts/dashboards.sh

dashboards-test: postgres build ## The dashboards in Superset and Chromium, with conversations of a week; pictures in docs/pictures (node 20, by hand)
	scripts/dashboards.sh test

exports: build ## Write the dashboards of deploy/grafana and deploy/superset from sql/reports
	rm -rf deploy/grafana/dashboards deploy/superset/textback
	target/debug/textback reporting dashboards deploy

openapi: build ## Write openapi/textback.yaml from the code
	target/debug/textback openapi > openapi/textback.yaml

docs: ## Build the book of docs/ into target/book (npm; Python 3.8 or newer)
	scripts/docs.sh

docs-configuration: build ## Write the settings and commands of docs/configuration.md from the code
	sed '/^<!-- The rest is printed by/q' docs/configuration.md > target/configuration.md
	echo >> target/configuration.md
	RUST_LOG=off target/debug/textback configuration >> target/configuration.md
	mv target/configuration.md docs/configuration.md

queries: postgres ## Renew .sqlx: the descriptions of sql/queries by which the compiler checks parameters and columns
	$(CARGO) run --locked --quiet -p query-descriptions -- textback "$${TEXTBACK_PG_BIN:-}"

bench: postgres ## Measure speed against a pgbench lower bound (writes benches/RESULTS.md), and inactivity jobs with millions of sessions (TEXTBACK_BENCH_SESSIONS)
	$(CARGO) bench --locked --bench speed
	$(CARGO) bench --locked --bench inactivity

isolation: postgres ## Measure one tenant's latency beside noisy neighbours (writes benches/ISOLATION.md; TEXTBACK_ISOLATION_BEFORE, _ROWS, _SECONDS)
	$(CARGO) bench --locked --bench isolation

build: ## The binary, for development
	$(CARGO) build --locked

release: ## The binary, for production
	$(CARGO) build --locked --release

postgres: ## PostgreSQL's programs, if they are missing
	@scripts/ensure-postgres.sh

faketime: ## The library that gives the workers of a test other clocks, if it is missing
	@scripts/ensure-libfaketime.sh

pgbouncer: ## PgBouncer, for the tests behind a pooler, if it is missing
	@scripts/ensure-pgbouncer.sh

promtool: ## Prometheus' promtool, for the tests of metrics and alerts, if it is missing
	@scripts/ensure-promtool.sh

alerts: promtool ## Check the rules of deploy/prometheus, and run their tests
	promtool check rules deploy/prometheus/alerts.yaml
	promtool test rules deploy/prometheus/alerts_test.yaml

clean: ## Remove what was built, and the data of make dev
	$(CARGO) clean
	rm -rf data
