# The same few commands here, for a newcomer and in CI.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help run test lint fmt

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

run: ## run the exporter: on this host, or in a private systemd with example services
	@scripts/run

test: lint ## everything that CI checks; needs root
	@scripts/setup test
	cargo test --no-fail-fast

lint: ## formatting and clippy
	@scripts/setup lint
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

fmt: ## format the sources
	cargo fmt
