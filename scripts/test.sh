#!/bin/sh
# All checks and all tests, cheap ones first. The services the suite needs are started before it and stopped after it, however it ends.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
# Not below the target folder: as root the services run as another user, who may not enter there.
state=$(mktemp -d "${TMPDIR:-/tmp}/trunkline-test.XXXXXX")
chmod 711 "$state"
trap 'rmdir "$state" 2>/dev/null || { [ -e "$state" ] && echo "test: logs of the services are in $state" >&2; } || true' EXIT

echo "test: format"
cargo fmt --all --check
echo "test: lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
if command -v cargo-deny >/dev/null 2>&1; then
    echo "test: dependencies"
    cargo deny --offline check bans licenses sources
fi
echo "test: build"
cargo build --locked
echo "test: independent clients"
scripts/clients.sh
echo "test: OAuth flows of independent clients"
scripts/oauth.sh
echo "test: official conformance suite"
scripts/conformance.sh
echo "test: suite"
"$target/debug/trunkline" services --dir "$state" -- cargo test --workspace --locked "$@"
