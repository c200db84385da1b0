# make run     build, and take messages on 127.0.0.1:2575
# make test    every test, with a RabbitMQ that the tests start for themselves
# make lint    the rules of the code, of what is deployed, and of the shipped configuration
# make bench   ratios beside their own limits, measured in one run
# make fuzz    each fuzz target in turn, at most RUNS inputs or SECONDS; TARGETS="hl7 xml" for some

CARGO ?= cargo
SBIN := PATH="$$PATH:/usr/sbin:/sbin"
# Of the tools that cargo installs; a newer one is taken where it is there.
NEXTEST := 0.9.143
DENY := 0.20.2
MACHETE := 0.9.2

# What coverage-guided fuzzing needs of the compiler, all of it in the stable one. No sanitizer: no
# code of ours is unsafe.
FUZZ_FLAGS := --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
# With a target named, the flags are not for build scripts and macros.
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')
TARGETS ?= frame hl7 path datetime escape charset xml fhir mapping
RUNS ?= 20000000
SECONDS ?= 3600
# Longest input, in bytes.
INPUT_MAX ?= 1024

.PHONY: run test lint bench fuzz need-cargo need-build need-test need-lint

run: need-build
	$(CARGO) build --release --locked
	@echo
	@echo "Messages: 127.0.0.1:2575. Metrics: http://127.0.0.1:8080/metrics. Events: var/quickstart/out/."
	@echo "Try next, from another terminal:"
	@echo "  target/release/tidegate send 127.0.0.1:2575 fixtures/hl7/adt-a01.hl7"
	@echo "  cat var/quickstart/out/bed-flow.ndjson"
	@echo
	exec target/release/tidegate run --config conf/quickstart.toml

test: need-test
	$(CARGO) nextest run --locked --lib --test tidy --test library --test daemon --test disk
	$(CARGO) test --locked --doc
	# In one process, which starts one RabbitMQ for all of its tests.
	$(SBIN) $(CARGO) test --locked --test broker

lint: need-lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --locked --no-deps --document-private-items
	$(CARGO) deny --log-level error check bans licenses sources
	$(CARGO) machete
	systemd-analyze security --offline=true --threshold=20 systemd/tidegate.service
	promtool check rules deploy/prometheus/rules.yml
	promtool check config --syntax-only deploy/prometheus/prometheus.yml
	cd deploy/prometheus && promtool test rules rules_test.yml
	python3 deploy/check.py
	# The fuzz targets are a workspace of their own, which nothing else here would build.
	cd fuzz && $(CARGO) metadata --locked --format-version 1 >/dev/null

bench: need-build need-test
	$(SBIN) $(CARGO) bench --locked --no-fail-fast

fuzz: need-build
	@.ci/need python3:python3 g++:g++
	python3 fuzz/seed.py $(TARGETS)
	cd fuzz && RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --locked --release --target $(FUZZ_HOST)
	cd fuzz && for target in $(TARGETS); do \
	  mkdir -p artifacts/$$target; \
	  target/$(FUZZ_HOST)/release/$$target corpus/$$target -runs=$(RUNS) \
	    -max_total_time=$(SECONDS) -max_len=$(INPUT_MAX) -rss_limit_mb=2048 \
	    -artifact_prefix=artifacts/$$target/ -print_final_stats=1 || exit 1; \
	done

need-cargo:
	@command -v $(CARGO) >/dev/null || \
	  { echo "missing: Rust 1.95 or later. Install it from https://rustup.rs" >&2; exit 1; }

need-build: need-cargo
	@.ci/need cc:build-essential

need-test: need-build
	@.ci/need rabbitmq-server:rabbitmq-server faketime:faketime strace:strace mkfs.ext4:e2fsprogs losetup:mount openssl:openssl
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-nextest@$(NEXTEST)

need-lint: need-build
	@.ci/need promtool:prometheus systemd-analyze:systemd python3:python3
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny@$(DENY)
	@$(CARGO) machete --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-machete@$(MACHETE)
