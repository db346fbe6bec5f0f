# Runs, tests and packages CIM. `make help` lists the targets.
#
# Profiles: clippy, tests and the demo's application use dev, run, bench and image use release; only fuzz builds a third one, apart.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
CARGO ?= cargo
# On CI the lock file decides and nothing may be left out.
LOCKED := $(if $(CI),--locked)
# A test that hangs fails after a quarter of an hour, with its name in what was printed, and the others go on.
LIMITED := --config "target.'cfg(unix)'.runner = ['timeout', '--foreground', '15m']"
CARGO_TARGET_DIR ?= target
TOOLS := CARGO_TARGET_DIR='$(CARGO_TARGET_DIR)' tests/tools.sh
IMAGE ?= cim
# What bench runs; with ARGS one of them alone.
BENCH ?= $(if $(ARGS),pipeline,pipeline configuration delivery nats)
# What fuzz runs, each for so many seconds; differential takes as many.
TARGET ?= $(basename $(notdir $(wildcard tests/fuzz/targets/*.rs)))
SECONDS ?= 60
# Tools that integration-test does without, out of: go python java promtool prometheus etcd kafka collector hadolint chroot chromium.
WITHOUT ?=
# One of those that are tested with is enough to see it work.
DEMO_KAFKA := 4.1.0
INTEGRATION_TOOLS := go python java promtool prometheus etcd kafka collector hadolint chroot chromium

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.* ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.* ## /\1|/' | awk -F'|' '{ printf "  make %-18s %s\n", $$1, $$2 }'

.PHONY: run
run: build-tools ## build CIM and start it standalone (ARGS="..." goes to cim; files under ./cim-data)
	$(CARGO) run --release $(LOCKED) --bin cim -- $(ARGS)

.PHONY: demo
demo: demo-tools ## see it work: CIM with etcd, with Kafka where Java and Maven are, and a sample application (examples/)
	$(CARGO) build --release $(LOCKED) --bin cim
	$(CARGO) build $(LOCKED) --package sample
	@kafka='$(CARGO_TARGET_DIR)/tools/kafka-$(DEMO_KAFKA)'; [ -d "$$kafka" ] && command -v java >/dev/null || kafka=; \
	PATH="$$PATH:$(abspath $(CARGO_TARGET_DIR))/tools/usr/bin" examples/demo.sh '$(CARGO_TARGET_DIR)/release/cim' '$(CARGO_TARGET_DIR)/debug/sample' $$kafka

.PHONY: release
release: build-tools ## build the optimised binary, target/release/cim (FEATURES=kafka-tls: TLS and SASL towards Kafka; needs perl)
	$(CARGO) build --release $(LOCKED) --bin cim $(if $(FEATURES),--features '$(FEATURES)')

.PHONY: test
test: build-tools ## unit, property and whole-daemon tests; needs no network and no other program
	$(CARGO) test $(LIMITED) $(LOCKED)

.PHONY: integration-test
integration-test: integration-tools ## the daemon with stock NATS clients, suites of NATS itself, Prometheus, etcd, Kafka, rsyslog and Chromium (WITHOUT="java ..." leaves some out, not on CI)
	PATH="$$PATH:$(abspath $(CARGO_TARGET_DIR))/tools/usr/bin:$(abspath $(CARGO_TARGET_DIR))/tools/bin" $(CARGO) test $(LIMITED) $(LOCKED) --tests --no-fail-fast -- --ignored $(foreach tool,$(WITHOUT),--skip with_$(tool)_)

.PHONY: check
check: fmt-check clippy test integration-test ## everything that CI checks: formatting, clippy, test, integration-test

.PHONY: fmt
fmt: lint-tools ## format the code
	$(CARGO) fmt --all

.PHONY: fmt-check
fmt-check: lint-tools
	$(CARGO) fmt --all --check

.PHONY: clippy
clippy: lint-tools ## clippy, a warning is an error
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings

.PHONY: bench
bench: bench-tools ## log lines, change sets, delivery and the NATS server beside nats-server, with the release build: throughput, CPU, memory, latency (BENCH=pipeline ARGS="..." for one)
	@set -e; for bench in $(BENCH); do \
		PATH="$$PATH:$(abspath $(CARGO_TARGET_DIR))/tools/usr/bin" $(CARGO) bench $(LOCKED) --bench $$bench $(if $(ARGS),-- $(ARGS)); \
	done

.PHONY: fuzz
fuzz: fuzz-tools ## search for bytes that break a reader (TARGET=nats_stream SECONDS=60; without TARGET each in turn)
	@set -e; for target in $(TARGET); do \
		found='$(abspath $(CARGO_TARGET_DIR))/fuzz/found'/$$target; mkdir -p "$$found"; \
		$(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz --target-dir '$(abspath $(CARGO_TARGET_DIR))/fuzz' $$target \
			"$$found" "tests/fuzz/corpus/$$target" -- -max_total_time=$(SECONDS) -timeout=10; \
	done

.PHONY: link-order
link-order: order-tools ## find anew which functions the daemon runs, for the order in which they are linked (link/order.sh)
	: >link/order.txt
	$(CARGO) rustc --release $(LOCKED) --bin cim -- -C strip=none
	link/order.sh '$(CARGO_TARGET_DIR)/release/cim'

.PHONY: image-root
image-root: release ## the release binary with all that it needs, as the image has them: target/image-root (FEATURES=kafka-tls as the image)
	deploy/image-root.sh '$(CARGO_TARGET_DIR)/release/cim' '$(CARGO_TARGET_DIR)/image-root'

.PHONY: differential
differential: differential-tools ## send nats-server and the embedded server the same random bytes and compare the answers (SECONDS=60; SEED=1 for those of integration-test)
	DIFFERENTIAL_SECONDS=$(SECONDS) DIFFERENTIAL_SEED=$(or $(SEED),$$(date +%s)) \
		$(CARGO) test $(LOCKED) --test differential -- --ignored --nocapture

.PHONY: image
image: ## build the container image (IMAGE=name; docker or podman)
	@engine=$$(command -v docker || command -v podman) || { echo "missing: docker or podman; install one of them" >&2; exit 1; }; \
	context='$(CARGO_TARGET_DIR)/image'; \
	rm -rf "$$context" && mkdir -p "$$context" && \
	tar -c Cargo.toml Cargo.lock LICENSE Makefile Dockerfile build.rs .cargo deploy examples link src threads tests | tar -x -C "$$context" && \
	"$$engine" build $$(case "$$engine" in *podman) echo --format docker;; esac) -t '$(IMAGE)' \
		--build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)" \
		--build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
		--build-arg CREATED="$$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$$context"

.PHONY: sbom
sbom: sbom-tools ## the software bill of materials of the image's binary, target/sbom/cim.cdx.json (CycloneDX)
	@PATH="$$PATH:$(abspath $(CARGO_TARGET_DIR))/tools/bin"; \
	export SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || date +%s); \
	$(CARGO) cyclonedx --quiet --format json --spec-version 1.5 --features kafka-tls --override-filename cim.cdx && \
	rm -f examples/rust/cim.cdx.json && mkdir -p '$(CARGO_TARGET_DIR)/sbom' && mv cim.cdx.json '$(CARGO_TARGET_DIR)/sbom/'

.PHONY: deny
deny: deny-tools ## licences and sources of all crates, those that are not wanted, and known vulnerabilities where their database can be reached
	@PATH="$$PATH:$(abspath $(CARGO_TARGET_DIR))/tools/bin"; \
	$(CARGO) deny --locked --offline check licenses bans sources || exit; \
	if $(CARGO) deny --locked fetch db >/dev/null 2>&1; then \
		$(CARGO) deny --locked check --disable-fetch advisories; \
	else \
		echo "NOT checked: known vulnerabilities, as the advisory database cannot be reached from here" >&2; \
	fi

.PHONY: clean
clean: ## remove everything that was built (files that CIM wrote, ./cim-data, stay)
	$(CARGO) clean

.PHONY: build-tools demo-tools lint-tools bench-tools fuzz-tools differential-tools integration-tools order-tools sbom-tools deny-tools
build-tools:
	@$(TOOLS) rust cc
demo-tools: build-tools
	@$(TOOLS) etcd curl
	@! { command -v java && command -v mvn; } >/dev/null || KAFKA_VERSIONS=$(DEMO_KAFKA) $(TOOLS) kafka || echo "so the demo goes without Kafka" >&2
lint-tools: build-tools
	@$(TOOLS) lint
bench-tools: build-tools
	@$(if $(filter configuration,$(BENCH)),$(TOOLS) etcd)
	@$(if $(filter delivery,$(BENCH)),$(TOOLS) kafka)
fuzz-tools: build-tools
	@$(TOOLS) fuzz
order-tools: build-tools
	@$(TOOLS) valgrind
sbom-tools: build-tools
	@$(TOOLS) sbom
deny-tools: build-tools
	@$(TOOLS) deny
differential-tools: build-tools
	@$(TOOLS) go
integration-tools: build-tools
	@if [ -n '$(WITHOUT)' ]; then \
		if [ -n '$(CI)' ]; then echo "WITHOUT is not for CI: nothing may be left out there" >&2; exit 1; fi; \
		echo "left out, so not tested: $(WITHOUT)"; \
	fi
	@$(TOOLS) $(filter-out $(WITHOUT),$(INTEGRATION_TOOLS)) || \
		{ echo 'to go without some: make integration-test WITHOUT="java promtool"' >&2; exit 1; }
