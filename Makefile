# Everything a person needs to type. Each target says what it does before it does it.

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
CARGO := cargo
ARGS ?=

.PHONY: run build test faults assets bench fmt lint clean

## run: install what is missing, build, and start everything on this computer (ARGS="--port 0 --fresh")
run:
	@scripts/install.sh run
	@scripts/assets.sh
	$(CARGO) build --locked
	@exec $(TARGET_DIR)/debug/trunkline dev $(ARGS)

## build: the release binary, with all it embeds
build: assets
	$(CARGO) build --release --locked

## test: all checks and all tests, with services of their own
test:
	@scripts/install.sh test
	@scripts/assets.sh
	@scripts/test.sh

## faults: the whole matrix of faults at full length (a quarter of an hour), and a table of its rows with figures
faults:
	@scripts/faults.sh

## assets: third-party front-end files from npm, by lock file
assets:
	@scripts/assets.sh

## bench: calls per second through the platform, beside the bare upstream
bench: assets
	$(CARGO) build --release --locked -p trunkline -p trunkline-bench
	$(TARGET_DIR)/release/trunkline-bench --program $(TARGET_DIR)/release/trunkline $(ARGS)

fmt:
	$(CARGO) fmt --all

lint: assets
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

clean:
	$(CARGO) clean
	rm -rf static/vendor node_modules
