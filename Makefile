# `make help` says what there is.
.DEFAULT_GOAL := help
CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.PHONY: help setup setup-test build demo test test-vm lint dist bench

setup: ## Install what a build and the demo need (Debian packages)
	@tests/setup build

setup-test:
	@tests/setup test

build: setup ## Build the release binary
	$(CARGO) build --locked --release

demo: setup ## Show the main job: a simulated plant, an outage of 30 s, a reconnect, the account
	$(CARGO) build --locked
	target/debug/tidegate demo

test: setup-test ## Run all tests, with a real mosquitto and a real Apache Kafka
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-3} $(CARGO) test --locked --workspace # most of a test's time is waiting

test-vm: setup-test ## Install the package in a virtual machine, cut its power, upgrade, count (root; not in CI); ARCH=amd64 or arm64
	PATH=$(PATH):/usr/sbin tests/vm/run $(or $(ARCH),arm64)

lint: setup ## Formatting, clippy without warnings, dependencies, shell scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@tests/setup lint
	cargo-deny --all-features check --hide-inclusion-graph bans licenses sources
	@if cargo-deny fetch db 2>/dev/null; then cargo-deny check --hide-inclusion-graph advisories; \
	else echo "skipped: advisories, for their database cannot be fetched from here"; fi
	tests/bars/structure
	systemd/exposure
	shellcheck -x -P SCRIPTDIR cross/build cross/cc cross/check cross/dist cross/gather cross/is-static cross/openssl cross/shared cross/std cross/zig systemd/exposure systemd/install.sh .ci/run fuzz/run tests/setup tests/profile tests/kafka/broker $(filter-out %.json %.yaml %.yml,$(wildcard examples/fleet/*)) $(filter-out %.md,$(wildcard tests/bars/*)) tests/vm/*

dist: ## Make static binaries, packages and checksums of them in target/dist: with cross, or CROSS=zig
	cross/dist $(or $(CROSS),cross)

bench: build ## Measure CPU, throughput, disk and memory (see tests/bars)
	tests/bars/all
