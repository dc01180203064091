# The same few commands here, for a newcomer and in CI.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help run demo demo-crash demo-slow-listener demo-redis-down demo-oom test test-demo fuzz mutants soak chaos test-scale lint fmt package test-package bench test-vm test-matrix

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run the exporter: on this host, or in a private systemd with example services
	@scripts/run

demo: ## the exporter, Prometheus with our alerts and services to break, in a private systemd; needs root
	@scripts/demo up

demo-crash: ## with the demo running: laravel-queue crashes, see what moves and what fires
demo-slow-listener: ## laravel-reverb accepts no connections any more
demo-redis-down: ## redis cannot start
demo-oom: ## a job wants too much memory
demo-crash demo-slow-listener demo-redis-down demo-oom:
	@scripts/demo $(@:demo-%=%)

test: lint ## everything that CI checks; needs root
	@scripts/setup test
	@scripts/test

test-demo: ## the demo, broken in all its ways; some minutes
	@scripts/demo test

bench: ## what following, reading and writing cost; whole hosts of 100 to 5,000 units beside other exporters; needs root
	@scripts/setup bench
	cargo bench

lint: ## formatting, clippy, licenses and sources of dependencies, language
	@scripts/setup lint
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo deny --log-level error check bans licenses sources
	-scripts/language

fmt: ## format the sources
	cargo fmt

fuzz: ## find inputs that break the parsers, SECONDS (60) for each; some minutes to build
	@scripts/setup fuzz
	@scripts/fuzz $(SECONDS)

mutants: ## change FILE in all ways and see that a unit test or the golden page notices
	@scripts/setup mutants
	cargo mutants --file $(FILE)

soak: ## half an hour on a host that never rests: no drift, memory flat; needs root
	@scripts/setup machine
	cargo test --test soak -- --ignored --nocapture

test-scale: ## what sockets, processes, units and forged signals in numbers cost; minutes, needs root
	@scripts/setup machine
	cargo test --release --test hostile -- --ignored --nocapture

chaos: ## half an hour of faults at random while services crash: every crash is accounted for; needs root
	@scripts/setup machine
	cargo test --test faults -- --ignored --nocapture

package: ## build the .deb, the .rpm and the tarball, into target/package
	@scripts/package

test-package: ## install, upgrade and remove them in Debians of their own; needs root, and `make package`
	@scripts/setup test-package
	cargo test --test package -- --ignored --nocapture

test-vm: ## in a whole Debian in QEMU: cgroup v2 with all controllers, a real boot and reboot; needs root, and `make package`
	@scripts/setup test-vm
	cargo test --test vm -- --ignored --nocapture --skip inside::

test-matrix: ## on Debians with systemd 247 to the newest, into docs/compatibility.md; needs root; three quarters of an hour
	@scripts/setup test-matrix
	scripts/matrix
