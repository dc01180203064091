# The same few commands here, for a newcomer and in CI.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help run test lint fmt package test-package

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

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

package: ## build the .deb, the .rpm and the tarball, into target/package
	@scripts/package

test-package: ## install, upgrade and remove them in Debians of their own; needs root, and `make package`
	@scripts/setup test-package
	cargo test --test package -- --ignored --nocapture
