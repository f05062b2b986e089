# The only list of commands. CI calls `make check`, `make test` and `make test-dspy`, nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# Seconds for `make fuzz` and `make stress`, rounds for `make bench`.
SECONDS_TO_FUZZ ?= 60
STRESS_SECONDS ?= 600
ROUNDS ?= 9
WITH_DISK := -p scrubjay -p scrubjay-cli --features scrubjay/disk
COMMAND_TESTS := $(patsubst crates/scrubjay-cli/tests/%.rs,--test %,$(wildcard crates/scrubjay-cli/tests/*.rs))

.PHONY: help tools demo test test-python test-dspy check bench bench-python interleavings sanitize memcheck stress fuzz soak stack clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## Install what a bare Debian machine with cargo lacks
	@scripts/install-tools

demo: tools ## Show the engine, the disk tier, the command and the Python package at work on real input
	@$(CARGO) build --quiet --release -p scrubjay --features disk --example demo --example demo_disk -p scrubjay-cli --bins
	@target=$$($(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release; \
	  $$target/examples/demo && $$target/examples/demo_disk && scripts/demo-command $$target/scrubjay
	@scripts/demo-python

test: tools ## Run every test that CI runs
	# Without the command, which brings the feature `disk`: the compiler's messages in tests/ui depend on what is in scope.
	$(CARGO) test --workspace --exclude scrubjay-cli --exclude scrubjay-python
	# The disk tier and the command in one go, so that the engine is built once for both.
	$(CARGO) test $(WITH_DISK) --lib --bins --test 'disk_*' $(COMMAND_TESTS)
	$(CARGO) test -p scrubjay --features disk --test ui
	$(CARGO) test $(WITH_DISK) --doc disk
	$(MAKE) stack interleavings
	$(CARGO) check --manifest-path bench/Cargo.toml
	scripts/check-tree
	$(MAKE) test-python

test-python: tools ## Build the Python package for every CPython found here, and test each build
	scripts/test-python

test-dspy: tools ## Test scrubjay.dspy with real DSPy, litellm and openai against a server of the tests
	scripts/test-dspy

stack: ## Measure what memoization adds to the stack and to the heap, in release builds
	$(CARGO) test --release -p scrubjay --test stack_depth -- --nocapture

check: tools ## Formatting, lints, docs and feature combinations, warnings denied
	$(CARGO) fmt --all -- --check
	$(CARGO) fmt --manifest-path bench/Cargo.toml -- --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p scrubjay --features disk --all-targets -- -D warnings
	$(CARGO) clippy --manifest-path bench/Cargo.toml -- -D warnings
	for features in "" macros snapshot disk; do \
	  $(CARGO) clippy -p scrubjay --lib --no-default-features --features "$$features" -- -D warnings; \
	done
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

soak: ## Kill KILLS writers of a folder (default 1000), flip every byte of a store, and compare answers with floors for STEPS
	KILLS=$${KILLS:-1000} $(CARGO) test --release -p scrubjay --features disk --test disk_processes -- killed
	STEPS=$${STEPS:-100000} $(CARGO) test --release -p scrubjay --features disk --test disk_freshness
	FLIP_EVERY=1 $(CARGO) test --release -p scrubjay --features disk --test disk_damage -- flipped_byte_of_a_large

bench: ## Measure against the peers and write docs/benchmarks.md (about 25 minutes)
	scripts/bench $(ROUNDS)

bench-python: tools ## Measure the Python package against its peers (a minute)
	scripts/bench-python $(ROUNDS)

interleavings: ## Explore thread interleavings of flights and fences under a model checker
	RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle \
	  $(CARGO) test --release -p scrubjay --no-default-features --test interleavings

# Needs a nightly toolchain with rust-src, because std must be instrumented too. Reports that name seize's freeing paths
# are known: the sanitizer does not see its fences.
sanitize: ## Run the single-flight tests under ThreadSanitizer
	RUST_BACKTRACE=0 CARGO_TARGET_DIR=target/tsan \
	  RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
	  $(CARGO) +nightly test -Zbuild-std --target x86_64-unknown-linux-gnu -p scrubjay --no-default-features \
	  --test single_flight --test single_flight_async -- --skip ten_thousand

memcheck: export WITH_VALGRIND = yes
memcheck: tools ## Run the reclamation stress under valgrind
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --fair-sched=yes --error-exitcode=1" \
	  $(CARGO) test -p scrubjay --no-default-features --test reclamation

# Stable compilers know the sanitizer but do not offer it.
stress: ## Run the reclamation stress for STRESS_SECONDS under AddressSanitizer
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR=target/asan STRESS_SECONDS=$(STRESS_SECONDS) \
	  $(CARGO) test --target x86_64-unknown-linux-gnu -p scrubjay --no-default-features --test reclamation \
	  -- --ignored --nocapture

fuzz: ## Fuzz the cache against its model, and every decoder, for SECONDS_TO_FUZZ seconds each
	for target in fuzz/fuzz_targets/*.rs; do scripts/fuzz $$(basename $$target .rs) $(SECONDS_TO_FUZZ); done

clean: ## Remove everything that was built
	$(CARGO) clean
