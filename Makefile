# make run     build, and take messages on 127.0.0.1:2575
# make test    every test, with a RabbitMQ that the tests start for themselves
# make lint    the rules of the code, of what is deployed, and of the shipped configuration
# make bench   ratios beside their own limits, measured in one run

CARGO ?= cargo
SBIN := PATH="$$PATH:/usr/sbin:/sbin"
# Of the tools that cargo installs; a newer one is taken where it is there.
NEXTEST := 0.9.143
DENY := 0.20.2
MACHETE := 0.9.2

.PHONY: run test lint bench need-cargo need-build need-test need-lint

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

bench: need-build need-test
	$(SBIN) $(CARGO) bench --locked --no-fail-fast

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
