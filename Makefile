# `make run` and `make test` set everything up: both install what is missing on Debian or Ubuntu. `make help` lists the rest.

SHELL := /bin/bash
CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
BINARY := target/release/portcullis
# Shown by `portcullis_build_info`.
export PORTCULLIS_COMMIT := $(shell git rev-parse --short HEAD 2>/dev/null || echo -)

.PHONY: help run test soak check-tools build packages-run packages-test fmt bench schema clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

run: packages-run build ## Build the gateway and run it with sample accounts and upstreams on 127.0.0.1:8080
	@./$(BINARY) demo $(ARGS)

test: packages-test ## Everything CI runs
	@CARGO="$(CARGO)" bash .ci/test

soak: packages-test ## The long tests: outages, cancellation, timing, memory (at most 15 minutes)
	@CARGO="$(CARGO)" bash .ci/soak

build: check-tools ## Build the release binary
	$(CARGO) build --release --locked

bench: packages-run ## Criterion benches of the decision
	$(CARGO) bench --locked --bench decide

schema: ## Renew what is generated: deploy/schema and the table of reasons in README.md
	@CARGO="$(CARGO)" bash .ci/generated

fmt: ## Format the sources
	$(CARGO) fmt

check-tools:
	@command -v $(CARGO) >/dev/null || { echo "A Rust toolchain is needed (1.88 or newer): see https://rustup.rs" >&2; exit 1; }

# What the carrier's compression libraries are built with.
packages-run: check-tools
	@bash .ci/packages cc=gcc cmake=cmake make=make

packages-test: check-tools
	@bash .ci/packages cc=gcc cmake=cmake make=make redis-server=redis-server openssl=openssl

clean: ## Remove what was built
	$(CARGO) clean
