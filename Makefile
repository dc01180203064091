# The same commands for development and CI. A target installs its missing tools through scripts/setup.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help run demo demo-crash demo-slow-listener demo-redis-down demo-oom test test-demo fuzz mutants soak chaos test-scale simulate simulate-alerts fleet lint fmt package reproducible repository image test-package bench test-vm test-matrix test-laravel pictures book

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run the exporter: on this host, or in a private systemd with example services
	@scripts/run

demo: ## run the exporter, Prometheus with the alert rules, and example services in a private systemd; needs root
	@scripts/demo up

demo-crash: ## crash laravel-queue in the running demo; show changed metrics and firing alerts
demo-slow-listener: ## stop laravel-reverb from accepting connections
demo-redis-down: ## keep redis from starting
demo-oom: ## let a queue job exceed the memory limit
demo-crash demo-slow-listener demo-redis-down demo-oom:
	@scripts/demo $(@:demo-%=%)

test: lint ## run all checks of CI; needs root
	@scripts/setup test
	@scripts/test

test-demo: ## run the demo with each break; takes minutes
	@scripts/demo test

bench: ## measure signal handling, collection and rendering, and whole hosts against other exporters; needs root
	@scripts/setup bench
	cargo bench

pictures: ## take the pictures of the dashboards and of the status page; needs root; half an hour
	@scripts/setup pictures
	@scripts/pictures

lint: ## check formatting, clippy, licenses and sources of dependencies, and language
	@scripts/setup lint
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo deny --log-level error check bans licenses sources
	scripts/language

fmt: ## format the sources
	cargo fmt

fuzz: ## fuzz each parser for SECONDS (60); builds for minutes first
	@scripts/setup fuzz
	@scripts/fuzz $(SECONDS)

mutants: ## run mutation tests on FILE with the unit tests and the golden files
	@scripts/setup mutants
	cargo mutants --file $(FILE)

soak: ## test for drift and memory growth during 30 minutes of constant change; needs root
	@scripts/setup machine
	cargo test --test soak -- --ignored --nocapture

test-scale: ## test with large numbers of sockets, processes, units and forged signals; takes minutes; needs root
	@scripts/setup machine
	cargo test --release --test hostile -- --ignored --nocapture

simulate: ## run SEEDS random histories (10000) of a simulated systemd against the code that counts; SEED=n runs one again
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	  cargo test --release --lib simulation::tests::simulate -- --ignored --exact --nocapture

simulate-alerts: ## measure the alerts on simulated hosts whose incidents are known, with Prometheus 3 and VictoriaMetrics; takes minutes
	@scripts/setup simulation
	@scripts/simulate-alerts

fleet: ## scrape 1,000 hosts with two agents into VictoriaMetrics, fail services, store and agent, check notifications; half an hour
	@scripts/setup fleet
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo build --release --example fleet
	@scripts/fleet

chaos: ## inject random faults for 30 minutes and check that every crash is counted; needs root
	@scripts/setup machine
	cargo test --test faults -- --ignored --nocapture

package: ## build the .deb, the .rpm and the tarball in target/package; TARGET=aarch64-unknown-linux-gnu adds those for arm64
	@TARGET=$(TARGET) scripts/package

reproducible: ## build the packages of target/package again, with another path and user, and compare them; TARGET as for package
	@TARGET=$(TARGET) scripts/reproducible

repository: ## make signed apt and rpm repositories of target/package in target/repository; needs SIGNING_KEY=ID
	@scripts/repository

image: ## make an OCI image of the tarballs in target/package, without a daemon
	@scripts/image

test-package: ## install, upgrade and remove the packages on separate Debian trees; needs root and `make package`
	@scripts/setup test-package
	cargo test --test package -- --ignored --nocapture

test-vm: ## test in a Debian VM (QEMU): pure cgroup v2, boot and reboot; needs root and `make package`
	@scripts/setup test-vm
	cargo test --test vm -- --ignored --nocapture --skip inside::

test-matrix: ## test with systemd 247 to the newest and write docs/compatibility.md; takes 55 minutes; needs root
	@scripts/setup test-matrix
	scripts/matrix

test-laravel: ## test a deployment of a real Laravel with Redis, with the alerts at each step; takes 12 minutes; needs root
	@scripts/setup demo
	@scripts/setup laravel
	cargo test --test laravel -- --ignored --nocapture

book: ## the documentation as a searchable website, into target/book; some minutes to build mdBook
	@scripts/setup book
	@scripts/book
